//! The kubelet's flags: every one of Kubernetes 1.20 to 1.36, what it holds, which field of the configuration it sets, and the
//! release that refuses it.
//!
//! Names and types are those that kubelets 1.20.2 and 1.36.2 print of themselves (`FLAG: --…` at `-v=2`), and of
//! `cmd/kubelet/app/options/options.go`; removals are those of `CHANGELOG/CHANGELOG-1.*.md`.

use std::net::IpAddr;

use super::quantity::duration;
use crate::observe::yaml::{At, Key, Node, Tree};

/// What a flag holds (`spf13/pflag`, `component-base/cli/flag`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Holds {
    Text,
    /// Takes no value from the next word (pflag `NoOptDefVal`).
    Bool,
    Int,
    Float,
    Duration,
    Ip,
    /// One address, or one of each family (component-helpers `node/util/ips.go` `ParseNodeIPArgument`).
    NodeIp,
    /// `a,b`.
    List,
    /// `a=1,b=2`, or with `<`.
    Pairs(char),
    /// `A=true,B=false`.
    Gates,
    /// `a=1,b`; some of Kubernetes' own labels are refused.
    Labels,
    /// May hold a credential: the value is dropped.
    Secret,
}

use Holds::{Bool, Duration, Float, Gates, Int, Ip, Labels, List, NodeIp, Pairs, Secret, Text};

/// A flag.
pub(super) struct Flag {
    pub name: &'static str,
    pub holds: Holds,
    /// The field that it overrides, dotted; empty where there is none.
    pub field: &'static str,
    /// The minor release of Kubernetes 1 that refuses it; where that is not on record, 36, which does.
    pub gone: Option<u32>,
}

const fn of(name: &'static str, holds: Holds) -> Flag {
    Flag { name, holds, field: "", gone: None }
}

const fn sets(name: &'static str, holds: Holds, field: &'static str) -> Flag {
    Flag { name, holds, field, gone: None }
}

const fn gone(name: &'static str, holds: Holds, release: u32) -> Flag {
    Flag { name, holds, field: "", gone: Some(release) }
}

/// The flag of that name.
pub(super) fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name)
}

/// All of them.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FLAGS.iter().map(|flag| flag.name)
}

#[rustfmt::skip] // one table
const FLAGS: &[Flag] = &[
    of("v", Int), of("vmodule", Text), of("version", Bool), of("help", Bool), of("h", Bool),
    of("bootstrap-kubeconfig", Text), of("cert-dir", Text), of("cloud-provider", Text), of("config", Text), of("config-dir", Text),
    of("exit-on-lock-contention", Bool), of("experimental-allocatable-ignore-eviction", Bool), of("experimental-mounter-path", Text),
    of("hostname-override", Text), of("image-credential-provider-bin-dir", Text), of("image-credential-provider-config", Text),
    of("kubeconfig", Text), of("lock-file", Text), of("maximum-dead-containers", Int), of("maximum-dead-containers-per-container", Int),
    of("minimum-container-ttl-duration", Duration), of("node-ip", NodeIp), of("node-labels", Labels), of("root-dir", Text),
    of("runtime-cgroups", Text),
    // cAdvisor's.
    of("application-metrics-count-limit", Int), of("boot-id-file", Text), of("container-hints", Text), of("containerd", Text),
    of("containerd-namespace", Text), of("enable-load-reader", Bool), of("event-storage-age-limit", Text), of("event-storage-event-limit", Text),
    of("global-housekeeping-interval", Duration), of("housekeeping-interval", Duration), of("log-cadvisor-usage", Bool), of("machine-id-file", Text),
    of("max-housekeeping-interval", Duration), of("storage-driver-buffer-duration", Duration), of("storage-driver-db", Text),
    of("storage-driver-host", Text), of("storage-driver-password", Secret), of("storage-driver-secure", Bool), of("storage-driver-table", Text),
    of("storage-driver-user", Secret),
    // Those that override the configuration file.
    sets("address", Ip, "address"), sets("allowed-unsafe-sysctls", List, "allowedUnsafeSysctls"), sets("anonymous-auth", Bool, "authentication.anonymous.enabled"),
    sets("authentication-token-webhook", Bool, "authentication.webhook.enabled"),
    sets("authentication-token-webhook-cache-ttl", Duration, "authentication.webhook.cacheTTL"), sets("authorization-mode", Text, "authorization.mode"),
    sets("authorization-webhook-cache-authorized-ttl", Duration, "authorization.webhook.cacheAuthorizedTTL"),
    sets("authorization-webhook-cache-unauthorized-ttl", Duration, "authorization.webhook.cacheUnauthorizedTTL"),
    sets("cgroup-driver", Text, "cgroupDriver"), sets("cgroup-root", Text, "cgroupRoot"), sets("cgroups-per-qos", Bool, "cgroupsPerQOS"),
    sets("client-ca-file", Text, "authentication.x509.clientCAFile"), sets("cluster-dns", List, "clusterDNS"), sets("cluster-domain", Text, "clusterDomain"),
    sets("container-log-max-files", Int, "containerLogMaxFiles"), sets("container-log-max-size", Text, "containerLogMaxSize"),
    sets("container-runtime-endpoint", Text, "containerRuntimeEndpoint"), sets("contention-profiling", Bool, "enableContentionProfiling"),
    sets("cpu-cfs-quota", Bool, "cpuCFSQuota"), sets("cpu-cfs-quota-period", Duration, "cpuCFSQuotaPeriod"), sets("cpu-manager-policy", Text, "cpuManagerPolicy"),
    sets("cpu-manager-policy-options", Pairs('='), "cpuManagerPolicyOptions"), sets("cpu-manager-reconcile-period", Duration, "cpuManagerReconcilePeriod"),
    sets("enable-controller-attach-detach", Bool, "enableControllerAttachDetach"), sets("enable-debugging-handlers", Bool, "enableDebuggingHandlers"),
    sets("enable-server", Bool, "enableServer"), sets("enforce-node-allocatable", List, "enforceNodeAllocatable"), sets("event-burst", Int, "eventBurst"),
    sets("event-qps", Int, "eventRecordQPS"), sets("eviction-hard", Pairs('<'), "evictionHard"), sets("eviction-max-pod-grace-period", Int, "evictionMaxPodGracePeriod"),
    sets("eviction-minimum-reclaim", Pairs('='), "evictionMinimumReclaim"), sets("eviction-pressure-transition-period", Duration, "evictionPressureTransitionPeriod"),
    sets("eviction-soft", Pairs('<'), "evictionSoft"), sets("eviction-soft-grace-period", Pairs('='), "evictionSoftGracePeriod"),
    sets("fail-cgroupv1", Bool, "failCgroupV1"), sets("fail-swap-on", Bool, "failSwapOn"), sets("feature-gates", Gates, "featureGates"),
    sets("file-check-frequency", Duration, "fileCheckFrequency"), sets("hairpin-mode", Text, "hairpinMode"), sets("healthz-bind-address", Ip, "healthzBindAddress"),
    sets("healthz-port", Int, "healthzPort"), sets("http-check-frequency", Duration, "httpCheckFrequency"),
    sets("image-gc-high-threshold", Int, "imageGCHighThresholdPercent"), sets("image-gc-low-threshold", Int, "imageGCLowThresholdPercent"),
    sets("image-service-endpoint", Text, "imageServiceEndpoint"), sets("kernel-memcg-notification", Bool, "kernelMemcgNotification"),
    sets("kube-api-burst", Int, "kubeAPIBurst"), sets("kube-api-content-type", Text, "contentType"), sets("kube-api-qps", Int, "kubeAPIQPS"),
    sets("kube-reserved", Pairs('='), "kubeReserved"), sets("kube-reserved-cgroup", Text, "kubeReservedCgroup"), sets("kubelet-cgroups", Text, "kubeletCgroups"),
    sets("local-storage-capacity-isolation", Bool, "localStorageCapacityIsolation"), sets("log-flush-frequency", Duration, "logging.flushFrequency"),
    of("log-json-info-buffer-size", Text), of("log-json-split-stream", Bool), of("log-text-info-buffer-size", Text), of("log-text-split-stream", Bool),
    sets("logging-format", Text, "logging.format"), sets("make-iptables-util-chains", Bool, "makeIPTablesUtilChains"), of("manifest-url", Secret),
    of("manifest-url-header", Secret), sets("max-open-files", Int, "maxOpenFiles"), sets("max-pods", Int, "maxPods"),
    sets("memory-manager-policy", Text, "memoryManagerPolicy"), sets("minimum-image-ttl-duration", Duration, "imageMinimumGCAge"),
    sets("node-status-max-images", Int, "nodeStatusMaxImages"), sets("node-status-update-frequency", Duration, "nodeStatusUpdateFrequency"),
    sets("oom-score-adj", Int, "oomScoreAdj"), sets("pod-cidr", Text, "podCIDR"), sets("pod-manifest-path", Text, "staticPodPath"),
    sets("pod-max-pids", Int, "podPidsLimit"), sets("pods-per-core", Int, "podsPerCore"), sets("port", Int, "port"),
    sets("protect-kernel-defaults", Bool, "protectKernelDefaults"), sets("provider-id", Text, "providerID"), sets("qos-reserved", Pairs('='), "qosReserved"),
    sets("read-only-port", Int, "readOnlyPort"), sets("register-node", Bool, "registerNode"), of("register-with-taints", Text),
    sets("registry-burst", Int, "registryBurst"), sets("registry-qps", Int, "registryPullQPS"), sets("reserved-cpus", Text, "reservedSystemCPUs"),
    of("reserved-memory", Text), sets("resolv-conf", Text, "resolvConf"), sets("rotate-certificates", Bool, "rotateCertificates"),
    sets("rotate-server-certificates", Bool, "serverTLSBootstrap"), sets("runonce", Bool, "runOnce"), sets("runtime-request-timeout", Duration, "runtimeRequestTimeout"),
    sets("seccomp-default", Bool, "seccompDefault"), sets("serialize-image-pulls", Bool, "serializeImagePulls"),
    sets("streaming-connection-idle-timeout", Duration, "streamingConnectionIdleTimeout"), sets("sync-frequency", Duration, "syncFrequency"),
    sets("system-cgroups", Text, "systemCgroups"), sets("system-reserved", Pairs('='), "systemReserved"), sets("system-reserved-cgroup", Text, "systemReservedCgroup"),
    sets("tls-cert-file", Text, "tlsCertFile"), sets("tls-cipher-suites", List, "tlsCipherSuites"), sets("tls-min-version", Text, "tlsMinVersion"),
    sets("tls-private-key-file", Text, "tlsPrivateKeyFile"), sets("topology-manager-policy", Text, "topologyManagerPolicy"),
    sets("topology-manager-policy-options", Pairs('='), "topologyManagerPolicyOptions"), sets("topology-manager-scope", Text, "topologyManagerScope"),
    sets("volume-plugin-dir", Text, "volumePluginDir"), sets("volume-stats-agg-period", Duration, "volumeStatsAggPeriod"),
    // Of kubernetes/kubernetes: #103172 and #103941 (1.23); #106907, #107096, #104732, #101719 and #106932 (1.24); #109388 (1.25);
    // KEP-2845 (1.26); #114017, #116015 (1.27); #122082, #122363 (1.31); #130161, #122384 (1.34); #133779 (1.35).
    gone("experimental-bootstrap-kubeconfig", Text, 23), gone("seccomp-profile-root", Text, 23),
    gone("cni-bin-dir", Text, 24), gone("cni-cache-dir", Text, 24), gone("cni-conf-dir", Text, 24), gone("docker-endpoint", Text, 24),
    gone("dynamic-config-dir", Text, 24), gone("experimental-check-node-capabilities-before-mount", Bool, 24),
    gone("experimental-dockershim-root-directory", Text, 24), gone("image-pull-progress-deadline", Duration, 24), gone("network-plugin", Text, 24),
    gone("network-plugin-mtu", Int, 24), gone("non-masquerade-cidr", Text, 24), gone("really-crash-for-testing", Bool, 24),
    gone("experimental-kernel-memcg-notification", Bool, 25),
    gone("add-dir-header", Bool, 26), gone("alsologtostderr", Bool, 26), gone("log-backtrace-at", Text, 26), gone("log-dir", Text, 26), gone("log-file", Text, 26),
    gone("log-file-max-size", Int, 26), gone("logtostderr", Bool, 26), gone("one-output", Bool, 26), gone("skip-headers", Bool, 26),
    gone("skip-log-headers", Bool, 26), gone("stderrthreshold", Text, 26),
    gone("container-runtime", Text, 27), gone("master-service-namespace", Text, 27),
    gone("iptables-drop-bit", Int, 31), gone("iptables-masquerade-bit", Int, 31), gone("keep-terminated-pod-volumes", Bool, 31),
    gone("cloud-config", Text, 34), gone("register-schedulable", Bool, 34),
    gone("pod-infra-container-image", Text, 35),
    gone("azure-container-registry-config", Text, 36), gone("chaos-chance", Float, 36), gone("docker", Text, 36), gone("docker-env-metadata-whitelist", Text, 36),
    gone("docker-only", Bool, 36), gone("docker-root", Text, 36), gone("docker-tls", Bool, 36), gone("docker-tls-ca", Text, 36), gone("docker-tls-cert", Text, 36),
    gone("docker-tls-key", Text, 36), gone("enable-cadvisor-json-endpoints", Bool, 36), gone("experimental-logging-sanitization", Bool, 36),
    gone("redirect-container-streaming", Bool, 36),
];

/// As `strconv.ParseBool`.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// As `strconv.ParseInt` with base 0.
fn parse_int(text: &str) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text.strip_prefix('+').unwrap_or(text)), |digits| (-1, digits));
    let radix = |prefix: &str, radix| Some(i64::from_str_radix(digits.strip_prefix(prefix)?, radix).ok()?.wrapping_mul(sign));
    radix("0x", 16).or_else(|| radix("0o", 8)).or_else(|| radix("0b", 2)).or_else(|| text.parse().ok())
}

/// An address; leading zeros are allowed (`netutils.ParseIPSloppy`).
pub(super) fn parse_ip(text: &str) -> Option<IpAddr> {
    let stripped = |part: &str| match part.trim_start_matches('0') {
        "" if !part.is_empty() => "0".to_owned(),
        rest => rest.to_owned(),
    };
    text.parse().ok().or_else(|| text.split('.').map(stripped).collect::<Vec<_>>().join(".").parse().ok())
}

impl Flag {
    /// What the kubelet expects instead of such a value, if it refuses it.
    pub(super) fn refuses(&self, value: &str) -> Option<String> {
        let unless = |fine: bool, expected: &str| (!fine).then(|| format!("where {expected} is expected"));
        match self.holds {
            Text | Secret | List => None,
            Bool => unless(parse_bool(value).is_some(), "true or false"),
            Int => unless(parse_int(value).is_some(), "a whole number"),
            Float => unless(value.parse::<f64>().is_ok(), "a number"),
            Duration => unless(duration(value).is_some(), "a duration (30s, 5m0s, 2h)"),
            Ip => unless(value.is_empty() || parse_ip(value).is_some(), "an IP address"),
            NodeIp => node_ip(value),
            Pairs(separator) => unless(items(value).all(|item| item.contains(separator)), &format!("a{separator}1,b{separator}2")),
            Gates => unless(items(value).all(|item| item.split_once('=').is_some_and(|(_, on)| parse_bool(on.trim()).is_some())), "GATE=true,GATE=false"),
            Labels => labels(value),
        }
    }

    /// The value as it would stand in the configuration file.
    pub(super) fn node(&self, value: &str, at: &At) -> Option<Node> {
        let text = |text: &str| Tree::Text(text.to_owned());
        let node = |tree| Node { tree, at: at.clone() };
        let entry = |name: &str, tree| (Key { name: name.trim().to_owned(), at: at.clone() }, node(tree));
        let tree = match self.holds {
            Bool => Tree::Bool(parse_bool(value)?),
            Int => Tree::Int(parse_int(value)?),
            List => Tree::List(items(value).map(|item| node(text(item))).collect()),
            Pairs(separator) => {
                Tree::Map(items(value).filter_map(|item| item.split_once(separator)).map(|(name, value)| entry(name, text(value.trim()))).collect())
            }
            Gates => {
                let gates = items(value).filter_map(|item| item.split_once('='));
                Tree::Map(gates.filter_map(|(name, on)| Some(entry(name, Tree::Bool(parse_bool(on.trim())?)))).collect())
            }
            _ => text(value),
        };
        Some(node(tree))
    }

    /// A second appearance adds to the first, rather than replacing it.
    pub(super) fn adds_up(&self) -> bool {
        matches!(self.holds, List | Pairs(_) | Gates | Labels)
    }
}

fn items(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// What does not parse is passed over by the kubelet; two of one family are refused.
fn node_ip(value: &str) -> Option<String> {
    let addresses: Vec<IpAddr> = items(value).filter_map(parse_ip).collect();
    let fine = match addresses.as_slice() {
        [] | [_] => true,
        [first, second] => first.is_ipv4() != second.is_ipv4() && !first.is_unspecified() && !second.is_unspecified(),
        _ => false,
    };
    (!fine).then(|| "where one address, or one IPv4 and one IPv6 address, is expected".to_owned())
}

/// Labels of Kubernetes' own domains that a kubelet may not give itself (`ValidateKubeletFlags` of options.go; the sets of
/// `staging/src/k8s.io/kubelet/pkg/apis/well_known_labels.go`).
fn labels(value: &str) -> Option<String> {
    const ALLOWED: [&str; 10] = [
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "beta.kubernetes.io/instance-type",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
    ];
    let within = |namespace: &str, domain: &str| namespace == domain || namespace.strip_suffix(domain).is_some_and(|before| before.ends_with('.'));
    let refused = items(value).map(|item| item.split_once('=').map_or(item, |(key, _)| key)).find(|key| {
        let namespace = key.split_once('/').map_or("", |(namespace, _)| namespace);
        let kubernetes = within(namespace, "kubernetes.io") || within(namespace, "k8s.io");
        kubernetes && !within(namespace, "kubelet.kubernetes.io") && !within(namespace, "node.kubernetes.io") && !ALLOWED.contains(key)
    })?;
    Some(format!("where {refused} is a label that a kubelet may not give itself (it may those of node.kubernetes.io and kubelet.kubernetes.io)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_listed_once() {
        let mut all: Vec<_> = names().collect();
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn values_are_taken_as_pflag_takes_them() {
        let refuses = |name: &str, value: &str| find(name).unwrap().refuses(value).is_some();
        for (name, good, bad) in [
            ("fail-swap-on", "T", "no"),
            ("v", "0x2", "two"),
            ("max-pods", "-1", "110.5"),
            ("sync-frequency", "1m0s", "60"),
            ("address", "::", "10.0.0.300"),
            ("address", "010.000.0.1", "localhost"),
            ("node-ip", "192.0.2.7,2001:db8::7", "192.0.2.7,192.0.2.8"),
            ("node-ip", "::", "0.0.0.0,::"),
            ("eviction-hard", "memory.available<100Mi,nodefs.available<10%", "memory.available=100Mi"),
            ("kube-reserved", "cpu=100m, memory=1Gi", "cpu"),
            ("feature-gates", "A=true,B=f", "A=yes"),
            ("node-labels", "node.kubernetes.io/a=b,x.node.kubernetes.io/c,example.com/d=e,kubernetes.io/os=linux", "node-role.kubernetes.io/worker="),
            ("node-labels", "", "a.k8s.io/b=c"),
            ("chaos-chance", "0.1", "much"),
        ] {
            assert!(!refuses(name, good), "--{name}={good}");
            assert!(refuses(name, bad), "--{name}={bad}");
        }
    }
}
