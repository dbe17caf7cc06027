//! KubeletConfiguration v1beta1: every field and its type, and what does not fit them; and the fields of a Pod v1 that static pods have.
//!
//! From `staging/src/k8s.io/kubelet/config/v1beta1/types.go` of Kubernetes 1.36, with `logging` of
//! `component-base/logs/api/v1`, `tracing` of `component-base/tracing/api/v1` and taints of `api/core/v1`.

use super::quantity::{duration, quantity};
use crate::facts::kubelet::{Fault, IgnoredField};
use crate::observe::yaml::{At, Node, Tree};

/// What a field holds. `null` is always allowed and means that it is not set.
pub(super) enum Type {
    Text,
    Bool,
    /// A whole number within these bounds.
    Int(i64, i64),
    Float,
    /// A Go duration in a string.
    Duration,
    /// A string or a number.
    Quantity,
    /// A number or a name (`intstr.IntOrString`).
    IntOrText,
    /// Nanoseconds, or a Go duration in a string (`logging.flushFrequency`).
    DurationOrNanoseconds,
    List(&'static Type),
    /// Any keys, values of one type.
    Map(&'static Type),
    Object(&'static [(&'static str, Type)]),
}

use Type::{Bool, Duration, DurationOrNanoseconds, Float, Int, IntOrText, List, Map, Object, Quantity, Text};

const INT32: Type = Int(i32::MIN as i64, i32::MAX as i64);
const INT64: Type = Int(i64::MIN, i64::MAX);
const UINT32: Type = Int(0, u32::MAX as i64);
const LOG_FORMAT: Type = Object(&[("splitStream", Bool), ("infoBufferSize", Quantity)]);

#[rustfmt::skip] // one table
const KUBELET_CONFIGURATION: &[(&str, Type)] = &[
    ("kind", Text), ("apiVersion", Text),
    ("enableServer", Bool),
    ("staticPodPath", Text), ("podLogsDir", Text), ("staticPodURL", Text), ("staticPodURLHeader", Map(&List(&Text))),
    ("syncFrequency", Duration), ("fileCheckFrequency", Duration), ("httpCheckFrequency", Duration),
    ("address", Text), ("port", INT32), ("readOnlyPort", INT32),
    ("tlsCertFile", Text), ("tlsPrivateKeyFile", Text), ("tlsCipherSuites", List(&Text)), ("tlsMinVersion", Text), ("tlsCurvePreferences", List(&INT32)),
    ("rotateCertificates", Bool), ("serverTLSBootstrap", Bool),
    ("authentication", Object(&[
        ("x509", Object(&[("clientCAFile", Text)])),
        ("webhook", Object(&[("enabled", Bool), ("cacheTTL", Duration)])),
        ("anonymous", Object(&[("enabled", Bool)])),
    ])),
    ("authorization", Object(&[
        ("mode", Text),
        ("webhook", Object(&[("cacheAuthorizedTTL", Duration), ("cacheUnauthorizedTTL", Duration)])),
    ])),
    ("registryPullQPS", INT32), ("registryBurst", INT32),
    ("imagePullCredentialsVerificationPolicy", Text), ("preloadedImagesVerificationAllowlist", List(&Text)),
    ("eventRecordQPS", INT32), ("eventBurst", INT32),
    ("enableDebuggingHandlers", Bool), ("enableContentionProfiling", Bool),
    ("healthzPort", INT32), ("healthzBindAddress", Text),
    ("oomScoreAdj", INT32),
    ("clusterDomain", Text), ("clusterDNS", List(&Text)),
    ("streamingConnectionIdleTimeout", Duration),
    ("nodeStatusUpdateFrequency", Duration), ("nodeStatusReportFrequency", Duration), ("nodeLeaseDurationSeconds", INT32),
    ("imageMinimumGCAge", Duration), ("imageMaximumGCAge", Duration),
    ("imageGCHighThresholdPercent", INT32), ("imageGCLowThresholdPercent", INT32),
    ("volumeStatsAggPeriod", Duration),
    ("kubeletCgroups", Text), ("systemCgroups", Text), ("cgroupRoot", Text), ("cgroupsPerQOS", Bool), ("cgroupDriver", Text),
    ("singleProcessOOMKill", Bool),
    ("cpuManagerPolicy", Text), ("cpuManagerPolicyOptions", Map(&Text)), ("cpuManagerReconcilePeriod", Duration),
    ("memoryManagerPolicy", Text),
    ("topologyManagerPolicy", Text), ("topologyManagerScope", Text), ("topologyManagerPolicyOptions", Map(&Text)),
    ("draManagerReconcilePeriod", Duration),
    ("qosReserved", Map(&Text)),
    ("runtimeRequestTimeout", Duration),
    ("hairpinMode", Text), ("maxPods", INT32), ("podCIDR", Text), ("podPidsLimit", INT64), ("resolvConf", Text), ("runOnce", Bool),
    ("cpuCFSQuota", Bool), ("cpuCFSQuotaPeriod", Duration),
    ("nodeStatusMaxImages", INT32), ("maxOpenFiles", INT64), ("contentType", Text), ("kubeAPIQPS", INT32), ("kubeAPIBurst", INT32),
    ("serializeImagePulls", Bool), ("maxParallelImagePulls", INT32),
    ("evictionHard", Map(&Text)), ("evictionSoft", Map(&Text)), ("evictionSoftGracePeriod", Map(&Text)),
    ("evictionPressureTransitionPeriod", Duration), ("evictionMaxPodGracePeriod", INT32), ("evictionMinimumReclaim", Map(&Text)),
    ("mergeDefaultEvictionSettings", Bool),
    ("podsPerCore", INT32), ("enableControllerAttachDetach", Bool), ("protectKernelDefaults", Bool),
    ("makeIPTablesUtilChains", Bool), ("iptablesMasqueradeBit", INT32), ("iptablesDropBit", INT32),
    ("featureGates", Map(&Bool)),
    ("failSwapOn", Bool), ("memorySwap", Object(&[("swapBehavior", Text)])),
    ("containerLogMaxSize", Text), ("containerLogMaxFiles", INT32), ("containerLogMaxWorkers", INT32), ("containerLogMonitorInterval", Duration),
    ("configMapAndSecretChangeDetectionStrategy", Text),
    ("systemReserved", Map(&Text)), ("kubeReserved", Map(&Text)), ("reservedSystemCPUs", Text), ("showHiddenMetricsForVersion", Text),
    ("systemReservedCgroup", Text), ("kubeReservedCgroup", Text), ("enforceNodeAllocatable", List(&Text)),
    ("allowedUnsafeSysctls", List(&Text)), ("volumePluginDir", Text), ("providerID", Text), ("kernelMemcgNotification", Bool),
    ("logging", Object(&[
        ("format", Text), ("flushFrequency", DurationOrNanoseconds), ("verbosity", UINT32),
        ("vmodule", List(&Object(&[("filePattern", Text), ("verbosity", UINT32)]))),
        ("options", Object(&[("text", LOG_FORMAT), ("json", LOG_FORMAT)])),
    ])),
    ("enableSystemLogHandler", Bool), ("enableSystemLogQuery", Bool),
    ("shutdownGracePeriod", Duration), ("shutdownGracePeriodCriticalPods", Duration),
    ("shutdownGracePeriodByPodPriority", List(&Object(&[("priority", INT32), ("shutdownGracePeriodSeconds", INT64)]))),
    ("crashLoopBackOff", Object(&[("maxContainerRestartPeriod", Duration)])),
    ("reservedMemory", List(&Object(&[("numaNode", INT32), ("limits", Map(&Quantity))]))),
    ("enableProfilingHandler", Bool), ("enableDebugFlagsHandler", Bool), ("seccompDefault", Bool),
    ("memoryThrottlingFactor", Float), ("memoryReservationPolicy", Text),
    ("registerWithTaints", List(&Object(&[("key", Text), ("value", Text), ("effect", Text), ("timeAdded", Text)]))),
    ("registerNode", Bool),
    ("tracing", Object(&[("endpoint", Text), ("samplingRatePerMillion", INT32)])),
    ("localStorageCapacityIsolation", Bool),
    ("containerRuntimeEndpoint", Text), ("imageServiceEndpoint", Text),
    ("failCgroupV1", Bool), ("userNamespaces", Object(&[("idsPerPod", INT64)])),
];

const PROBE: Type = Object(&[
    ("httpGet", Object(&[("path", Text), ("port", IntOrText), ("host", Text), ("scheme", Text)])),
    ("exec", Object(&[("command", List(&Text))])),
    ("tcpSocket", Object(&[("port", IntOrText), ("host", Text)])),
    ("initialDelaySeconds", INT32),
    ("timeoutSeconds", INT32),
    ("periodSeconds", INT32),
    ("successThreshold", INT32),
    ("failureThreshold", INT32),
]);

#[rustfmt::skip] // one table
const CONTAINER: Type = Object(&[
    ("name", Text), ("image", Text), ("imagePullPolicy", Text), ("command", List(&Text)), ("args", List(&Text)), ("workingDir", Text),
    ("env", List(&Object(&[("name", Text), ("value", Text)]))),
    ("ports", List(&Object(&[("name", Text), ("containerPort", INT32), ("hostPort", INT32), ("hostIP", Text), ("protocol", Text)]))),
    ("resources", Object(&[("limits", Map(&Quantity)), ("requests", Map(&Quantity))])),
    ("volumeMounts", List(&Object(&[("name", Text), ("mountPath", Text), ("subPath", Text), ("readOnly", Bool), ("mountPropagation", Text)]))),
    ("livenessProbe", PROBE), ("readinessProbe", PROBE), ("startupProbe", PROBE),
    ("securityContext", Object(&[
        ("privileged", Bool), ("runAsUser", INT64), ("runAsGroup", INT64), ("runAsNonRoot", Bool), ("readOnlyRootFilesystem", Bool), ("allowPrivilegeEscalation", Bool),
    ])),
    ("stdin", Bool), ("tty", Bool), ("terminationMessagePath", Text), ("terminationMessagePolicy", Text),
]);

/// Where a pod's containers are listed.
pub(super) const CONTAINERS: [&str; 2] = ["initContainers", "containers"];

/// What static pods have of a Pod (`staging/src/k8s.io/api/core/v1/types.go`). Other fields are not looked at.
#[rustfmt::skip] // one table
pub(super) const POD: &[(&str, Type)] = &[
    ("metadata", Object(&[("name", Text), ("namespace", Text), ("labels", Map(&Text)), ("annotations", Map(&Text))])),
    ("spec", Object(&[
        ("containers", List(&CONTAINER)), ("initContainers", List(&CONTAINER)),
        ("volumes", List(&Object(&[("name", Text), ("hostPath", Object(&[("path", Text), ("type", Text)]))]))),
        ("hostNetwork", Bool), ("hostPID", Bool), ("hostIPC", Bool), ("priority", INT32), ("priorityClassName", Text), ("restartPolicy", Text), ("dnsPolicy", Text),
        ("nodeName", Text), ("nodeSelector", Map(&Text)), ("hostname", Text), ("schedulerName", Text), ("serviceAccountName", Text),
        ("automountServiceAccountToken", Bool), ("enableServiceLinks", Bool), ("terminationGracePeriodSeconds", INT64), ("activeDeadlineSeconds", INT64),
        ("tolerations", List(&Object(&[("key", Text), ("operator", Text), ("value", Text), ("effect", Text), ("tolerationSeconds", INT64)]))),
    ])),
];

/// The fields that came after 1.20, by the minor release that brought them; an older kubelet ignores them. Not every one of them:
/// those whose release is on record (`CHANGELOG/CHANGELOG-1.*.md`).
const SINCE: [(&str, u32); 27] = [
    ("memoryManagerPolicy", 21),
    ("reservedMemory", 21),
    ("cpuManagerPolicyOptions", 22),
    ("memorySwap", 22),
    ("memoryThrottlingFactor", 22),
    ("seccompDefault", 22),
    ("registerNode", 23),
    ("registerWithTaints", 23),
    ("shutdownGracePeriodByPodPriority", 23),
    ("localStorageCapacityIsolation", 25),
    ("tracing", 25),
    ("topologyManagerPolicyOptions", 26),
    ("containerRuntimeEndpoint", 27),
    ("enableSystemLogQuery", 27),
    ("imageServiceEndpoint", 27),
    ("maxParallelImagePulls", 27),
    ("imageMaximumGCAge", 29),
    ("containerLogMaxWorkers", 30),
    ("containerLogMonitorInterval", 30),
    ("podLogsDir", 30),
    ("failCgroupV1", 31),
    ("crashLoopBackOff", 32),
    ("singleProcessOOMKill", 32),
    ("imagePullCredentialsVerificationPolicy", 33),
    ("mergeDefaultEvictionSettings", 33),
    ("preloadedImagesVerificationAllowlist", 33),
    ("userNamespaces", 33),
];

/// What one file's shape says: values of a wrong type, which the kubelet refuses, and fields it passes over.
#[derive(Default)]
pub(super) struct Shape {
    pub faults: Vec<Fault>,
    pub ignored: Vec<IgnoredField>,
}

/// A file with more mistakes is no configuration; nobody reads the hundredth.
const MOST: usize = 100;

/// Holds a file's tree against the schema, as a kubelet of Kubernetes 1.`release` would.
pub(super) fn check(config: &Node, release: Option<u32>) -> Shape {
    let mut shape = Shape::default();
    object(config, KUBELET_CONFIGURATION, "", release, &mut shape);
    shape.faults.truncate(MOST);
    shape.ignored.truncate(MOST);
    shape
}

/// What of these fields is of a wrong type; others are passed over.
pub(super) fn types(node: &Node, fields: &'static [(&'static str, Type)]) -> Vec<Fault> {
    let mut shape = Shape::default();
    object(node, fields, "", None, &mut shape);
    shape.faults.truncate(MOST);
    shape.faults
}

fn object(node: &Node, fields: &'static [(&'static str, Type)], path: &str, release: Option<u32>, shape: &mut Shape) {
    for (index, (key, value)) in node.entries().iter().enumerate() {
        let dotted = join(path, &key.name);
        let Some((_, kind)) = fields.iter().find(|(name, _)| *name == key.name) else {
            // Comparing takes time, and nobody reads the hundredth.
            if shape.ignored.len() < MOST {
                let meant = did_you_mean(&key.name, path, fields);
                shape.ignored.push(IgnoredField { did_you_mean: meant, ..ignored(dotted, &key.at) });
            }
            continue;
        };
        let since = SINCE.iter().find(|(field, _)| *field == dotted).map(|(_, since)| *since);
        // kubeadm of a newer cluster writes fields without a value, of which nobody misses anything.
        if let Some(since) = since.filter(|since| release.is_some_and(|release| release < *since) && !says_nothing(value)) {
            shape.ignored.push(IgnoredField { since: Some(since), ..ignored(dotted, &key.at) });
            continue;
        }
        // Of a key that stands there twice the last one counts.
        if node.entries().iter().skip(index + 1).any(|(later, _)| later.name == key.name) {
            shape.ignored.push(IgnoredField { duplicate: true, ..ignored(dotted, &key.at) });
            continue;
        }
        value_of(value, kind, &dotted, release, shape);
    }
}

/// The zero value of its type, as Go writes what is not set.
fn says_nothing(node: &Node) -> bool {
    match &node.tree {
        Tree::Null => true,
        Tree::Text(text) => text.is_empty() || duration(text) == Some(0),
        Tree::List(items) => items.is_empty(),
        Tree::Map(entries) => entries.iter().all(|(_, value)| says_nothing(value)),
        Tree::Int(_) | Tree::Float(_) => node.number() == Some(0.0),
        Tree::Bool(_) => false,
    }
}

fn ignored(field: String, at: &At) -> IgnoredField {
    IgnoredField { field, path: at.file.to_string(), line: at.line, column: at.column, duplicate: false, did_you_mean: None, since: None }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn value_of(node: &Node, kind: &'static Type, path: &str, release: Option<u32>, shape: &mut Shape) {
    match (kind, &node.tree) {
        (_, Tree::Null) => {}
        (Object(fields), Tree::Map(_)) => object(node, fields, path, release, shape),
        (List(item), Tree::List(items)) => {
            items.iter().enumerate().for_each(|(index, value)| value_of(value, item, &format!("{path}[{index}]"), release, shape));
        }
        (Map(item), Tree::Map(entries)) => entries.iter().for_each(|(key, value)| value_of(value, item, &join(path, &key.name), release, shape)),
        _ if fits(node, kind) => {}
        _ => shape.faults.push(node.at.fault(format!("{path} is {}, where {} is expected", shown(node, path), expected(kind)))),
    }
}

/// What stands there; of a pod's variables and words, which may be secrets, only what kind it is.
fn shown(node: &Node, path: &str) -> String {
    let secret = ["].env[", "].command[", "].args["].iter().any(|list| path.contains(list));
    match &node.tree {
        Tree::Bool(_) if secret => "true or false".to_owned(),
        Tree::Int(_) | Tree::Float(_) if secret => "a number".to_owned(),
        Tree::Text(_) if secret => "a string".to_owned(),
        _ => node.to_string(),
    }
}

fn fits(node: &Node, kind: &Type) -> bool {
    match kind {
        Text => matches!(node.tree, Tree::Text(_)),
        Bool => matches!(node.tree, Tree::Bool(_)),
        Int(least, most) => node.int().is_some_and(|value| (*least..=*most).contains(&value)),
        Float => node.number().is_some(),
        Duration => node.text().and_then(duration).is_some(),
        Quantity => node.text().map_or(node.number().is_some(), |text| quantity(text).is_some()),
        IntOrText => node.text().is_some() || node.int().is_some(),
        DurationOrNanoseconds => node.text().map_or(node.int().is_some(), |text| duration(text).is_some()),
        List(_) | Map(_) | Object(_) => false,
    }
}

fn expected(kind: &Type) -> &'static str {
    match kind {
        Text => "a string",
        Bool => "true or false",
        Int(..) => "a whole number",
        Float => "a number",
        Duration => "a duration in a string (30s, 5m0s, 2h)",
        Quantity => "a quantity (64Mi, 1G)",
        IntOrText => "a number or a name",
        DurationOrNanoseconds => "a duration (5s)",
        List(_) => "a list",
        Map(_) | Object(_) => "a mapping",
    }
}

/// The known field that was probably meant: at the same place, or the same name at another.
fn did_you_mean(name: &str, path: &str, fields: &'static [(&'static str, Type)]) -> Option<String> {
    // No field is half as long; what is longer is not compared, for that takes time.
    if name.chars().count() > 100 {
        return None;
    }
    let close = |candidate: &str| {
        let distance = if candidate.eq_ignore_ascii_case(name) { 0 } else { strsim::damerau_levenshtein(name, candidate) };
        (distance <= name.chars().count().min(candidate.len()) / 4 + 1).then_some(distance)
    };
    let here = fields.iter().filter_map(|(field, _)| Some((close(field)?, join(path, field)))).min();
    let elsewhere = || {
        let mut found = Vec::new();
        places(KUBELET_CONFIGURATION, "", name, &mut found);
        found.into_iter().next()
    };
    here.map(|(_, field)| field).or_else(elsewhere)
}

/// Every dotted place of a field of that name, whatever its case.
fn places(fields: &'static [(&'static str, Type)], path: &str, name: &str, found: &mut Vec<String>) {
    for (field, kind) in fields {
        let dotted = join(path, field);
        if let Object(inner) = kind {
            places(inner, &dotted, name, found);
        }
        if field.eq_ignore_ascii_case(name) {
            found.push(dotted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::yaml;

    fn shape(text: &str) -> Shape {
        check(&yaml::parse(text.as_bytes(), "/c").unwrap().unwrap(), None)
    }

    #[test]
    fn every_field_is_listed_once() {
        let mut names: Vec<_> = KUBELET_CONFIGURATION.iter().map(|(name, _)| *name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn a_wrong_type_is_named_with_its_place() {
        let shape = shape("maxPods: \"110\"\nauthentication:\n  webhook: {cacheTTL: 5}\nclusterDNS: 10.96.0.10\nfailSwapOn: 1\n");
        let saw: Vec<_> = shape.faults.iter().map(|fault| (fault.line.unwrap(), fault.message.as_str())).collect();
        assert_eq!(
            saw,
            [
                (1, "maxPods is \"110\", where a whole number is expected"),
                (3, "authentication.webhook.cacheTTL is 5, where a duration in a string (30s, 5m0s, 2h) is expected"),
                (4, "clusterDNS is \"10.96.0.10\", where a list is expected"),
                (5, "failSwapOn is 1, where true or false is expected"),
            ]
        );
    }

    #[test]
    fn an_unknown_field_suggests_the_one_that_was_meant() {
        let meant = |text: &str| shape(text).ignored.into_iter().map(|field| (field.field, field.did_you_mean.unwrap_or_default())).next().unwrap();
        assert_eq!(meant("evictionHardd: {}"), ("evictionHardd".to_owned(), "evictionHard".to_owned()));
        assert_eq!(meant("maxpods: 5"), ("maxpods".to_owned(), "maxPods".to_owned()));
        assert_eq!(meant("clientCAFile: /x"), ("clientCAFile".to_owned(), "authentication.x509.clientCAFile".to_owned()));
        assert_eq!(meant("authentication: {x509: {clientCaFile: /x}}").1, "authentication.x509.clientCAFile");
        assert_eq!(meant("colour: blue").1, "");
    }

    #[test]
    fn a_field_newer_than_the_kubelet_is_ignored_by_it() {
        let node = yaml::parse(b"failCgroupV1: 5\nmaxPods: 5\n", "/c").unwrap().unwrap();
        let since = |release| check(&node, release).ignored.iter().map(|field| (field.field.clone(), field.since)).collect::<Vec<_>>();
        assert_eq!(since(Some(30)), [("failCgroupV1".to_owned(), Some(31))]);
        assert_eq!(since(Some(31)), []);
        assert_eq!(since(None), []);
        let empty = yaml::parse(b"crashLoopBackOff: {}\nimageMaximumGCAge: 0s\n", "/c").unwrap().unwrap();
        assert_eq!(check(&empty, Some(20)).ignored, []);
        for (field, _) in SINCE {
            assert!(KUBELET_CONFIGURATION.iter().any(|(name, _)| *name == field), "{field}");
        }
    }

    #[test]
    fn of_a_duplicate_the_earlier_one_is_ignored() {
        let shape = shape("kubeReserved: {}\nmaxPods: 5\nkubeReserved: {cpu: 1m}\n");
        assert_eq!(shape.ignored.len(), 1);
        assert_eq!((shape.ignored[0].line, shape.ignored[0].duplicate), (1, true));
    }
}
