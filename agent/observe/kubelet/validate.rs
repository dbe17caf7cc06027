//! Values that the kubelet refuses at start although their type is right.
//!
//! From `pkg/kubelet/apis/config/validation/validation.go`, `pkg/kubelet/eviction/helpers.go`, the managers of `pkg/kubelet/cm` and what
//! `cmd/kubelet/app/server.go` parses on the way (1.20 to 1.36). Where a rule came or went with a release or hangs on a feature gate, it
//! is applied only as far as the release and the gate are known. Which gates a kubelet has its program tells (`program`), and its log
//! (`unrecognized feature gate`).

use super::quantity::{duration, quantity, threshold};
use crate::config::nearest;
use crate::observe::yaml::{At, Node, Tree};

/// What is wrong, and where.
pub(super) type Refusal = (At, String);

const SIGNALS: [&str; 9] = [
    "memory.available",
    "allocatableMemory.available",
    "nodefs.available",
    "nodefs.inodesFree",
    "imagefs.available",
    "imagefs.inodesFree",
    "containerfs.available",
    "containerfs.inodesFree",
    "pid.available",
];

/// Whole numbers and their bounds. Where 0 means "default" to the kubelet, it is not refused.
const RANGES: [(&str, i64, i64); 22] = [
    ("nodeLeaseDurationSeconds", 0, i64::MAX),
    ("eventBurst", 0, i64::MAX),
    ("eventRecordQPS", 0, i64::MAX),
    ("healthzPort", 0, 65_535),
    ("imageGCHighThresholdPercent", 0, 100),
    ("imageGCLowThresholdPercent", 0, 100),
    ("iptablesDropBit", 0, 31),
    ("iptablesMasqueradeBit", 0, 31),
    ("kubeAPIBurst", 0, i64::MAX),
    ("kubeAPIQPS", 0, i64::MAX),
    ("nodeStatusMaxImages", -1, i64::MAX),
    ("maxOpenFiles", 0, i64::MAX),
    ("maxPods", 0, i64::MAX),
    ("oomScoreAdj", -1000, 1000),
    ("podsPerCore", 0, i64::MAX),
    ("port", 0, 65_535),
    ("readOnlyPort", 0, 65_535),
    ("registryBurst", 0, i64::MAX),
    ("registryPullQPS", 0, i64::MAX),
    ("maxParallelImagePulls", 1, i64::MAX),
    ("containerLogMaxFiles", 2, i64::MAX),
    ("containerLogMaxWorkers", 1, i64::MAX),
];

/// Words, of which one must be chosen. An empty string is the default.
const WORDS: [(&[&str], &[&str]); 12] = [
    (&["topologyManagerPolicy"], &["none", "best-effort", "restricted", "single-numa-node"]),
    (&["topologyManagerScope"], &["container", "pod"]),
    (&["hairpinMode"], &["none", "hairpin-veth", "promiscuous-bridge"]),
    (&["memorySwap", "swapBehavior"], &["LimitedSwap", "NoSwap", "UnlimitedSwap"]),
    (&["cpuManagerPolicy"], &["none", "static"]),
    (&["memoryManagerPolicy"], &["None", "Static"]),
    (&["memoryReservationPolicy"], &["None", "TieredReservation"]),
    (&["imagePullCredentialsVerificationPolicy"], &["NeverVerify", "NeverVerifyPreloadedImages", "NeverVerifyAllowlistedImages", "AlwaysVerify"]),
    (&["authorization", "mode"], &["AlwaysAllow", "Webhook"]),
    (&["configMapAndSecretChangeDetectionStrategy"], &["Get", "Cache", "Watch"]),
    (&["logging", "format"], &["text", "json"]),
    (&["tlsMinVersion"], &["VersionTLS10", "VersionTLS11", "VersionTLS12", "VersionTLS13"]),
];

/// `pkg/kubelet/types/constants.go`.
const ENFORCEMENTS: [&str; 6] = ["pods", "system-reserved", "kube-reserved", "system-reserved-compressible", "kube-reserved-compressible", "none"];
const RESERVABLE: [&str; 4] = ["cpu", "memory", "ephemeral-storage", "pid"];

/// Go's `tls.CipherSuites` and `tls.InsecureCipherSuites`, with the older names of two (`component-base/cli/flag/ciphersuites_flag.go`).
const CIPHERS: [&str; 27] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_RC4_128_SHA",
];

/// The feature gates that rules hang on, and the release from which each is on unless it is set (`pkg/features/kube_features.go`).
const GATES: [(&str, u32); 11] = [
    ("CPUManagerPolicyOptions", 23),
    ("CustomCPUCFSQuotaPeriod", u32::MAX),
    ("GracefulNodeShutdown", 21),
    ("GracefulNodeShutdownBasedOnPodPriority", 24),
    ("ImageMaximumGCAge", 30),
    ("KubeletCrashLoopBackOffMax", 35),
    ("KubeletEnsureSecretPulledImages", 35),
    ("KubeletTracing", 27),
    ("LoggingAlphaOptions", u32::MAX),
    ("MemoryQoS", u32::MAX),
    ("RotateKubeletServerCertificate", 12),
];

/// Gates that have had their day: from that release on the kubelet refuses to have them set otherwise
/// (`lockToDefault` of `test/compatibility_lifecycle/reference/versioned_feature_list.yaml`), and later to have them set at all.
#[rustfmt::skip] // one table
const LOCKED: [(&str, u32, bool); 34] = [
    ("AllowServiceLBStatusOnNonLB", 32, false), ("AnyVolumeDataSource", 33, true), ("BtreeWatchCache", 33, true), ("CPUManagerPolicyOptions", 33, true),
    ("CRDValidationRatcheting", 33, true), ("CSIMigrationPortworx", 33, true), ("ComponentSLIs", 32, true), ("CronJobsScheduledAnnotation", 32, true),
    ("CustomResourceFieldSelectors", 32, true), ("DevicePluginCDIDevices", 31, true), ("HonorPVReclaimPolicy", 33, true), ("JobBackoffLimitPerIndex", 33, true),
    ("JobSuccessPolicy", 33, true), ("KubeletTracing", 34, true), ("LoadBalancerIPMode", 32, true), ("LogarithmicScaleDown", 31, true),
    ("MatchLabelKeysInPodAffinity", 33, true), ("MemoryManager", 32, true), ("NFTablesProxyMode", 33, true),
    ("NodeInclusionPolicyInPodTopologySpread", 33, true), ("NodeSwap", 34, true), ("PodIndexLabel", 32, true), ("PodSchedulingReadiness", 30, true),
    ("RecursiveReadOnlyMounts", 33, true), ("RetryGenerateName", 32, true), ("ServiceAccountTokenJTI", 32, true), ("ServiceAccountTokenNodeBinding", 33, true),
    ("ServiceAccountTokenPodNodeInfo", 32, true), ("ServiceTrafficDistribution", 33, true), ("SidecarContainers", 33, true),
    ("SizeMemoryBackedVolumes", 32, true), ("StatefulSetAutoDeletePVC", 32, true), ("StructuredAuthorizationConfiguration", 32, true),
    ("TopologyAwareHints", 33, true),
];

/// The newest release whose gates are known.
const NEWEST: u32 = crate::facts::kubelet::NEWEST;

/// Whether a gate is on; `None` where that cannot be told.
fn gate(config: &Node, release: Option<u32>, name: &str) -> Option<bool> {
    if let Some(set) = config.find(&["featureGates", name]) {
        return set.bool();
    }
    // These set whole groups of gates, and which belong to them changes.
    let groups = ["AllAlpha", "AllBeta"].iter().any(|group| config.find(&["featureGates", group]).is_some());
    let (_, from) = GATES.iter().find(|(gate, _)| *gate == name)?;
    release.filter(|release| !groups && *release <= NEWEST).map(|release| release >= *from)
}

/// Everything refused in the merged configuration, in the order of the rules.
pub(super) fn check(config: &Node, release: Option<u32>) -> Vec<Refusal> {
    let mut refused = Vec::new();
    for (field, least, most) in RANGES {
        if let Some((node, value)) = config.find(&[field]).and_then(|node| Some((node, node.int()?)))
            && !(least..=most).contains(&value)
        {
            let range = if most == i64::MAX { format!("{least} or more") } else { format!("a number from {least} to {most}") };
            refused.push((node.at.clone(), format!("{field} is {value}, where {range} is expected")));
        }
    }
    for (path, words) in WORDS {
        if let Some((node, word)) = config.find(path).and_then(|node| Some((node, node.text()?)))
            && !word.is_empty()
            && !words.contains(&word)
        {
            refused.push((node.at.clone(), format!("{} is {node}, where {} is expected", path.join("."), one_of(words))));
        }
    }
    gates(config, release, &mut refused);
    locked(config, release, &mut refused);
    options(config, release, &mut refused);
    image_gc(config, &mut refused);
    eviction(config, &mut refused);
    reserved(config, &mut refused);
    managers(config, &mut refused);
    enforcement(config, &mut refused);
    cgroups(config, &mut refused);
    shutdown(config, &mut refused);
    images(config, &mut refused);
    allowlist(config, &mut refused);
    logs(config, &mut refused);
    logging(config, &mut refused);
    others(config, release, &mut refused);
    taints(config, &mut refused);
    refused
}

/// Values that need a feature gate which is off, and gates that need a value.
fn gates(config: &Node, release: Option<u32>, refused: &mut Vec<Refusal>) {
    const PERIOD: i64 = 100_000_000;
    let needs = |name: &str, node: Option<&Node>, what: &str, refused: &mut Vec<Refusal>| {
        if let Some(node) = node.filter(|_| gate(config, release, name) == Some(false)) {
            refused.push((node.at.clone(), format!("{what} needs the feature gate {name}, which is off")));
        }
    };
    let span = |path: &[&str]| config.find(path).and_then(|node| Some((node, duration(node.text()?)?)));
    let positive = |field: &str| span(&[field]).filter(|(_, span)| *span > 0).map(|(node, _)| node);
    let quota = span(&["cpuCFSQuotaPeriod"]).filter(|(_, span)| *span != PERIOD).map(|(node, _)| node);
    needs("CustomCPUCFSQuotaPeriod", quota, "a cpuCFSQuotaPeriod other than 100ms", refused);
    let age = span(&["imageMaximumGCAge"]).filter(|(_, span)| *span != 0).map(|(node, _)| node);
    needs("ImageMaximumGCAge", age, "imageMaximumGCAge", refused);
    needs("GracefulNodeShutdown", positive("shutdownGracePeriod"), "shutdownGracePeriod", refused);
    needs("GracefulNodeShutdown", positive("shutdownGracePeriodCriticalPods"), "shutdownGracePeriodCriticalPods", refused);
    let by_priority = config.find(&["shutdownGracePeriodByPodPriority"]).filter(|node| !node.items().is_empty());
    needs("GracefulNodeShutdownBasedOnPodPriority", by_priority, "shutdownGracePeriodByPodPriority", refused);
    needs("KubeletCrashLoopBackOffMax", config.find(&["crashLoopBackOff", "maxContainerRestartPeriod"]), "crashLoopBackOff.maxContainerRestartPeriod", refused);
    needs("KubeletEnsureSecretPulledImages", config.find(&["imagePullCredentialsVerificationPolicy"]), "imagePullCredentialsVerificationPolicy", refused);
    let bootstrap = config.find(&["serverTLSBootstrap"]).filter(|node| node.bool() == Some(true));
    needs("RotateKubeletServerCertificate", bootstrap, "serverTLSBootstrap", refused);
    let tracing = config.find(&["tracing"]).filter(|_| release.is_some_and(|release| release >= 25));
    needs("KubeletTracing", tracing, "tracing", refused);
    let tiered = config.find(&["memoryReservationPolicy"]).filter(|node| node.text() == Some("TieredReservation"));
    needs("MemoryQoS", tiered, "memoryReservationPolicy: TieredReservation", refused);
    for format in ["text", "json"] {
        // Before 1.24 no gate stood before them.
        let option = |name: &str| config.find(&["logging", "options", format, name]).filter(|_| release.is_some_and(|release| release >= 24));
        needs("LoggingAlphaOptions", option("splitStream").filter(|node| node.bool() == Some(true)), "logging.options.splitStream", refused);
        let sized = option("infoBufferSize").filter(|node| node.text().map_or_else(|| node.number(), quantity).is_some_and(|size| size > 0.0));
        needs("LoggingAlphaOptions", sized, "logging.options.infoBufferSize", refused);
    }
    // Its default was off, and then on without a gate; a gate that is set to off is refused in every release that has it.
    for (gate, path) in [("NodeLogQuery", &["enableSystemLogQuery"][..]), ("NodeSwap", &["memorySwap", "swapBehavior"])] {
        let off = config.find(&["featureGates", gate]).is_some_and(|set| set.bool() == Some(false));
        let set = config.find(path).filter(|node| off && node.bool() != Some(false) && node.text() != Some(""));
        if let Some(node) = set {
            refused.push((node.at.clone(), format!("{} needs the feature gate {gate}, which is off", path.join("."))));
        }
    }
}

fn locked(config: &Node, release: Option<u32>, refused: &mut Vec<Refusal>) {
    for (key, value) in config.find(&["featureGates"]).map(Node::entries).unwrap_or_default() {
        let Some((name, from, locked)) = LOCKED.iter().find(|(name, ..)| *name == key.name) else { continue };
        if release.is_some_and(|release| release >= *from) && value.bool() == Some(!locked) {
            refused.push((value.at.clone(), format!("featureGates.{name} is {value}, and Kubernetes 1.{from} and later have it locked to {locked}")));
        }
    }
}

/// The options of the CPU and the topology manager (`pkg/kubelet/cm/cpumanager/policy_options.go`, `policy_none.go`,
/// `pkg/kubelet/cm/topologymanager/policy_options.go`). Of names that came later nothing is known here: only a slip of the pen is told.
fn options(config: &Node, release: Option<u32>, refused: &mut Vec<Refusal>) {
    const CPU: [&str; 6] = [
        "align-by-socket",
        "distribute-cpus-across-cores",
        "distribute-cpus-across-numa",
        "full-pcpus-only",
        "prefer-align-cpus-by-uncorecache",
        "strict-cpu-reservation",
    ];
    const TOPOLOGY: [&str; 2] = ["max-allowable-numa-nodes", "prefer-closest-numa-nodes"];
    let list = |field: &str| config.find(&[field]).filter(|node| !node.entries().is_empty());
    let is_static = config.find(&["cpuManagerPolicy"]).and_then(Node::text) == Some("static");
    if let Some(node) = list("cpuManagerPolicyOptions").filter(|_| !is_static && gate(config, release, "CPUManagerPolicyOptions") != Some(false)) {
        refused.push((node.at.clone(), "cpuManagerPolicyOptions needs cpuManagerPolicy: static".to_owned()));
    }
    for (field, known) in [("cpuManagerPolicyOptions", &CPU[..]), ("topologyManagerPolicyOptions", &TOPOLOGY)] {
        for (key, value) in list(field).map(Node::entries).unwrap_or_default() {
            let name = key.name.as_str();
            if !known.contains(&name) {
                let meant = nearest(name, known.iter().copied());
                refused.extend(meant.map(|meant| (key.at.clone(), format!("{field} has {name:?}, which is no option; did you mean {meant}?"))));
                continue;
            }
            let text = value.text().unwrap_or_default();
            let expected = match name {
                "max-allowable-numa-nodes" => text.parse::<i64>().map_or(true, |most| most < 8).then_some("a whole number from 8 on"),
                _ => super::flags::parse_bool(text).is_none().then_some("true or false"),
            };
            refused.extend(expected.map(|expected| (value.at.clone(), format!("{field}.{name} is {value}, where {expected} is expected in a string"))));
        }
    }
    let on = |option: &str| config.find(&["cpuManagerPolicyOptions", option]).filter(|node| node.text().and_then(super::flags::parse_bool) == Some(true));
    let across_cores = on("distribute-cpus-across-cores").filter(|_| is_static);
    for other in ["full-pcpus-only", "prefer-align-cpus-by-uncorecache"] {
        if let Some(node) = across_cores.filter(|_| on(other).is_some()) {
            refused.push((node.at.clone(), format!("cpuManagerPolicyOptions.distribute-cpus-across-cores cannot be used with {other}")));
        }
    }
}

fn one_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [word] => (*word).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

fn image_gc(config: &Node, refused: &mut Vec<Refusal>) {
    let percent = |field: &str, default| config.find(&[field]).and_then(Node::int).unwrap_or(default);
    let (high, low) = (percent("imageGCHighThresholdPercent", 85), percent("imageGCLowThresholdPercent", 80));
    let at = config.find(&["imageGCLowThresholdPercent"]).or_else(|| config.find(&["imageGCHighThresholdPercent"]));
    if let Some(node) = at.filter(|_| low >= high) {
        refused.push((node.at.clone(), format!("imageGCLowThresholdPercent ({low}) must be less than imageGCHighThresholdPercent ({high})")));
    }
    let age = |field: &str| config.find(&[field]).and_then(|node| Some((node, duration(node.text()?)?)));
    for field in ["imageMinimumGCAge", "imageMaximumGCAge"] {
        if let Some((node, _)) = age(field).filter(|(_, age)| *age < 0) {
            refused.push((node.at.clone(), format!("{field} is {node}, where a duration that is not negative is expected")));
        }
    }
    let least = age("imageMinimumGCAge").map_or(120_000_000_000, |(_, least)| if least == 0 { 120_000_000_000 } else { least });
    if let Some((node, _)) = age("imageMaximumGCAge").filter(|(_, most)| *most > 0 && *most <= least) {
        refused.push((node.at.clone(), format!("imageMaximumGCAge is {node}, where more than imageMinimumGCAge is expected")));
    }
}

fn eviction(config: &Node, refused: &mut Vec<Refusal>) {
    let entries = |field: &str| config.find(&[field]).map(Node::entries).unwrap_or_default();
    for field in ["evictionHard", "evictionSoft", "evictionSoftGracePeriod", "evictionMinimumReclaim"] {
        for (key, value) in entries(field) {
            if !SIGNALS.contains(&key.name.as_str()) {
                refused.push((key.at.clone(), format!("{field} has the signal {:?}, where {} is expected", key.name, one_of(&SIGNALS))));
                continue;
            }
            let Some(text) = value.text() else { continue };
            let wrong = match field {
                "evictionSoftGracePeriod" => duration(text).is_none_or(|grace| grace < 0).then_some("a duration that is not negative (1m30s)"),
                "evictionMinimumReclaim" => {
                    let fine = super::quantity::percent(text).map_or_else(|| quantity(text).is_some_and(|least| least >= 0.0), |percent| percent > 0.0);
                    (!fine).then_some("a quantity (500Mi) or a percentage above 0%")
                }
                _ => threshold(text).err(),
            };
            if let Some(expected) = wrong {
                refused.push((value.at.clone(), format!("{field}.{} is {value}, where {expected} is expected", key.name)));
            }
        }
    }
    for (key, _) in entries("evictionSoft") {
        if !entries("evictionSoftGracePeriod").iter().any(|(signal, _)| signal.name == key.name) {
            refused.push((key.at.clone(), format!("evictionSoft.{} needs a grace period of the same name in evictionSoftGracePeriod", key.name)));
        }
    }
}

fn reserved(config: &Node, refused: &mut Vec<Refusal>) {
    for field in ["systemReserved", "kubeReserved"] {
        for (key, value) in config.find(&[field]).map(Node::entries).unwrap_or_default() {
            if !RESERVABLE.contains(&key.name.as_str()) {
                refused.push((key.at.clone(), format!("{field} reserves {:?}, where {} is expected", key.name, one_of(&RESERVABLE))));
            } else if value.text().is_some_and(|text| quantity(text).is_none_or(|reserved| reserved < 0.0)) {
                refused.push((value.at.clone(), format!("{field}.{} is {value}, where a quantity that is not negative is expected", key.name)));
            }
        }
    }
    let mut seen: Vec<(Option<i64>, &str)> = Vec::new();
    for reserved in config.find(&["reservedMemory"]).map(Node::items).unwrap_or_default() {
        let numa = reserved.get("numaNode").and_then(Node::int);
        for (key, value) in reserved.get("limits").map(Node::entries).unwrap_or_default() {
            let limit = (numa, key.name.as_str());
            let zero = value.text().map_or_else(|| value.int() == Some(0), |text| quantity(text) == Some(0.0));
            if key.name != "memory" && !key.name.starts_with("hugepages-") {
                refused.push((key.at.clone(), format!("reservedMemory limits {:?}, where memory or hugepages-SIZE is expected", key.name)));
            } else if zero {
                refused.push((value.at.clone(), format!("reservedMemory.{} is {value}, where an amount above 0 is expected", key.name)));
            } else if seen.contains(&limit) {
                refused.push((key.at.clone(), format!("reservedMemory has {} of NUMA node {} twice", key.name, numa.unwrap_or_default())));
            }
            seen.push(limit);
        }
    }
}

/// Amounts of a mapping that must agree with others.
fn amount(config: &Node, path: &[&str]) -> f64 {
    config.find(path).and_then(|node| node.text().map_or_else(|| node.number(), quantity)).unwrap_or_default()
}

/// What the CPU and the memory manager want reserved (`pkg/kubelet/cm/cpumanager/cpu_manager.go` `NewManager`,
/// `pkg/kubelet/cm/memorymanager/memory_manager.go` `validateReservedMemory`), and `ParseQOSReserved`.
fn managers(config: &Node, refused: &mut Vec<Refusal>) {
    let is = |field: &str, word: &str| config.find(&[field]).filter(|node| node.text() == Some(word));
    let reserved = |resource: &str| amount(config, &["systemReserved", resource]) + amount(config, &["kubeReserved", resource]);
    if let Some(node) = is("cpuManagerPolicy", "static").filter(|_| reserved("cpu") <= 0.0 && !is_set(config, "reservedSystemCPUs")) {
        refused.push((node.at.clone(), "cpuManagerPolicy is static, which needs CPU in systemReserved, kubeReserved or reservedSystemCPUs".to_owned()));
    }
    if let Some(node) = is("memoryManagerPolicy", "Static") {
        let by_node = config.find(&["reservedMemory"]).map(Node::items).unwrap_or_default();
        let total: f64 = by_node.iter().map(|node| amount(node, &["limits", "memory"])).sum();
        // A mapping of the file, or a flag's, replaces the defaults; a drop-in's is laid over them. A percentage hangs on how much memory there is.
        let hard = config.find(&["evictionHard"]).filter(|_| !is_on(config, "mergeDefaultEvictionSettings", false));
        let replaces = hard.is_some_and(|node| !node.entries().is_empty() && (node.at.line == 0 || node.at.file == config.at.file));
        let threshold = match config.find(&["evictionHard", "memory.available"]).and_then(Node::text) {
            Some(text) => quantity(text),
            None => Some(if replaces { 0.0 } else { 104_857_600.0 }),
        };
        let expected = threshold.map(|threshold| reserved("memory") + threshold);
        if let Some(expected) = expected.filter(|expected| (*expected - total).abs() >= 1.0) {
            let said = format!(
                "memoryManagerPolicy is Static, and reservedMemory adds up to {total} bytes, where {expected} are expected: what systemReserved, kubeReserved and evictionHard set aside"
            );
            refused.push((node.at.clone(), said));
        }
    }
    for (key, value) in config.find(&["qosReserved"]).map(Node::entries).unwrap_or_default() {
        let percent = value.text().and_then(|text| text.strip_suffix('%')?.parse::<u32>().ok()).filter(|percent| *percent <= 100);
        if key.name != "memory" {
            refused.push((key.at.clone(), format!("qosReserved reserves {:?}, where memory is expected", key.name)));
        } else if percent.is_none() {
            refused.push((value.at.clone(), format!("qosReserved.memory is {value}, where a percentage from 0% to 100% is expected")));
        }
    }
}

/// A string that is set and not empty.
fn is_set(config: &Node, field: &str) -> bool {
    config.find(&[field]).and_then(Node::text).is_some_and(|text| !text.is_empty())
}

fn enforcement(config: &Node, refused: &mut Vec<Refusal>) {
    let per_qos = config.find(&["cgroupsPerQOS"]);
    let off = per_qos.filter(|node| node.bool() == Some(false));
    let Some(list) = config.find(&["enforceNodeAllocatable"]) else {
        refused.extend(off.map(|node| (node.at.clone(), "cgroupsPerQOS is false, which needs enforceNodeAllocatable: [none]".to_owned())));
        return;
    };
    let items = list.items();
    for (index, item) in items.iter().enumerate() {
        let Some(word) = item.text() else { continue };
        let twice = items.iter().take(index).any(|earlier| earlier.text() == Some(word));
        let whole = word.strip_suffix("-compressible").filter(|whole| items.iter().any(|other| other.text() == Some(whole)));
        let what = match word {
            _ if whole.is_some() => format!(" beside {:?}", whole.unwrap_or_default()),
            _ if !ENFORCEMENTS.contains(&word) => format!(", where {} is expected", one_of(&ENFORCEMENTS)),
            _ if twice => " twice".to_owned(),
            "none" if items.len() > 1 => " beside others".to_owned(),
            "none" => continue,
            _ if word.starts_with("system-reserved") && !is_set(config, "systemReservedCgroup") => ", which needs systemReservedCgroup".to_owned(),
            _ if word.starts_with("kube-reserved") && !is_set(config, "kubeReservedCgroup") => ", which needs kubeReservedCgroup".to_owned(),
            _ if off.is_some() => ", which needs cgroupsPerQOS: true".to_owned(),
            _ => continue,
        };
        refused.push((item.at.clone(), format!("enforceNodeAllocatable has {word:?}{what}")));
    }
}

fn cgroups(config: &Node, refused: &mut Vec<Refusal>) {
    if let Some(node) = config.find(&["reservedSystemCPUs"]).filter(|_| is_set(config, "reservedSystemCPUs")) {
        if is_set(config, "systemReservedCgroup") || is_set(config, "kubeReservedCgroup") {
            refused.push((node.at.clone(), "reservedSystemCPUs cannot be used with systemReservedCgroup or kubeReservedCgroup".to_owned()));
        }
        if !node.text().is_some_and(is_cpu_list) {
            refused.push((node.at.clone(), format!("reservedSystemCPUs is {node}, where a list of CPUs (0-1,4) is expected")));
        }
    }
    if let Some(node) = config.find(&["systemCgroups"]).filter(|_| is_set(config, "systemCgroups") && !is_set(config, "cgroupRoot")) {
        refused.push((node.at.clone(), "systemCgroups needs cgroupRoot".to_owned()));
    }
}

/// `k8s.io/utils/cpuset` `Parse`.
fn is_cpu_list(text: &str) -> bool {
    let number = |text: &str| text.parse::<u32>().ok();
    text.split(',').all(|range| match range.split_once('-') {
        Some((first, last)) => number(first).zip(number(last)).is_some_and(|(first, last)| first <= last),
        None => number(range).is_some(),
    })
}

fn shutdown(config: &Node, refused: &mut Vec<Refusal>) {
    const SECOND: i64 = 1_000_000_000;
    let period = |field: &str| config.find(&[field]).and_then(|node| Some((node, duration(node.text()?)?)));
    let total = period("shutdownGracePeriod");
    let critical = period("shutdownGracePeriodCriticalPods");
    for (field, found) in [("shutdownGracePeriod", total), ("shutdownGracePeriodCriticalPods", critical)] {
        if let Some((node, _)) = found.filter(|(_, period)| *period < 0 || (1..SECOND).contains(period)) {
            refused.push((node.at.clone(), format!("{field} is {node}, where 0 or at least 1s is expected")));
        }
    }
    if let Some((node, _)) = critical.filter(|(_, critical)| *critical > total.map_or(0, |(_, total)| total)) {
        refused.push((node.at.clone(), format!("shutdownGracePeriodCriticalPods is {node}, where at most shutdownGracePeriod is expected")));
    }
    let by_priority = config.find(&["shutdownGracePeriodByPodPriority"]).filter(|node| !node.items().is_empty());
    if let Some(node) = by_priority.filter(|_| [total, critical].iter().flatten().any(|(_, period)| *period > 0)) {
        refused.push((node.at.clone(), "shutdownGracePeriodByPodPriority cannot be used with shutdownGracePeriod".to_owned()));
    }
}

fn is_on(config: &Node, field: &str, default: bool) -> bool {
    config.find(&[field]).and_then(Node::bool).unwrap_or(default)
}

fn images(config: &Node, refused: &mut Vec<Refusal>) {
    let pulls = config.find(&["maxParallelImagePulls"]).filter(|node| node.int().is_some_and(|pulls| pulls > 1));
    // Unset, it is false where several pulls are asked for (`SetDefaults_KubeletConfiguration`; since when is not on record).
    if let Some(node) = pulls.filter(|_| is_on(config, "serializeImagePulls", false)) {
        refused.push((node.at.clone(), format!("maxParallelImagePulls is {node}, which needs serializeImagePulls: false")));
    }
    let policy = config.find(&["imagePullCredentialsVerificationPolicy"]).and_then(Node::text);
    let list = config.find(&["preloadedImagesVerificationAllowlist"]).filter(|node| !node.items().is_empty());
    if let Some(node) = list.filter(|_| policy != Some("NeverVerifyAllowlistedImages")) {
        let said = "preloadedImagesVerificationAllowlist needs imagePullCredentialsVerificationPolicy: NeverVerifyAllowlistedImages";
        refused.push((node.at.clone(), said.to_owned()));
    }
}

/// `pkg/kubelet/images/pullmanager/image_pull_policies.go` `ValidateAllowlistImagesPatterns`.
fn allowlist(config: &Node, refused: &mut Vec<Refusal>) {
    for pattern in config.find(&["preloadedImagesVerificationAllowlist"]).map(Node::items).unwrap_or_default() {
        let Some(text) = pattern.text().map(str::trim) else { continue };
        let prefix = text.strip_suffix("/*");
        let fine = prefix.map_or_else(|| !text.is_empty() && !text.contains('*') && !text.ends_with('/'), |prefix| !prefix.is_empty() && !prefix.contains('*'));
        if !fine {
            let said = format!("preloadedImagesVerificationAllowlist has {pattern}, where an image without tag, or a path that ends in /*, is expected");
            refused.push((pattern.at.clone(), said));
        }
    }
}

fn logs(config: &Node, refused: &mut Vec<Refusal>) {
    let text = |field: &str| config.find(&[field]).and_then(|node| Some((node, node.text()?))).filter(|(_, text)| !text.is_empty());
    if let Some((node, _)) = text("containerLogMaxSize").filter(|(_, size)| quantity(size).is_none()) {
        refused.push((node.at.clone(), format!("containerLogMaxSize is {node}, where a quantity (10Mi) is expected")));
    }
    if let Some((node, _)) = text("containerLogMonitorInterval").filter(|(_, every)| duration(every).is_some_and(|every| every < 3_000_000_000)) {
        refused.push((node.at.clone(), format!("containerLogMonitorInterval is {node}, where at least 3s is expected")));
    }
    let clean = |dir: &str| dir.starts_with('/') && dir.is_ascii() && (dir == "/" || dir.split('/').skip(1).all(|part| !matches!(part, "" | "." | "..")));
    if let Some((node, _)) = text("podLogsDir").filter(|(_, dir)| !clean(dir)) {
        refused.push((node.at.clone(), format!("podLogsDir is {node}, where an absolute path of ASCII without . and .. is expected")));
    }
    let query = config.find(&["enableSystemLogQuery"]).filter(|node| node.bool() == Some(true));
    if let Some(node) = query.filter(|_| !is_on(config, "enableSystemLogHandler", true)) {
        refused.push((node.at.clone(), "enableSystemLogQuery is true, which needs enableSystemLogHandler: true".to_owned()));
    }
}

/// `component-base/logs/api/v1/options.go` `Validate`.
fn logging(config: &Node, refused: &mut Vec<Refusal>) {
    let Some(logging) = config.find(&["logging"]) else { return };
    let rules = logging.get("vmodule").map(Node::items).unwrap_or_default();
    let text = logging.get("format").and_then(Node::text).is_none_or(|format| matches!(format, "" | "text"));
    if let Some(node) = logging.get("vmodule").filter(|_| !rules.is_empty() && !text) {
        refused.push((node.at.clone(), "logging.vmodule needs logging.format: text".to_owned()));
    }
    for rule in rules {
        let pattern = rule.get("filePattern").and_then(Node::text).unwrap_or_default();
        if pattern.is_empty() || pattern.contains(['=', ',']) {
            let at = rule.get("filePattern").unwrap_or(rule).at.clone();
            refused.push((at, format!("logging.vmodule has the file pattern {pattern:?}, where one without = and , is expected")));
        }
    }
    let levels = rules.iter().filter_map(|rule| rule.get("verbosity")).chain(logging.get("verbosity"));
    for level in levels.filter(|level| level.int().is_some_and(|level| level > i64::from(i32::MAX))) {
        refused.push((level.at.clone(), format!("a verbosity is {level}, where at most {} is expected", i32::MAX)));
    }
}

fn others(config: &Node, release: Option<u32>, refused: &mut Vec<Refusal>) {
    // Outside of these bounds with their feature gates, and without them.
    let spans: [(&[&str], i64, i64, &str); 3] = [
        (&["cpuCFSQuotaPeriod"], 1_000_000, 1_000_000_000, "1ms to 1s"),
        (&["crashLoopBackOff", "maxContainerRestartPeriod"], 1_000_000_000, 300_000_000_000, "1s to 300s"),
        (&["draManagerReconcilePeriod"], 0, i64::MAX, "a duration that is not negative"),
    ];
    for (path, least, most, range) in spans {
        let span = config.find(path).and_then(|node| Some((node, duration(node.text()?)?)));
        if let Some((node, _)) = span.filter(|(_, span)| !(least..=most).contains(span)) {
            refused.push((node.at.clone(), format!("{} is {node}, where {range} is expected", path.join("."))));
        }
    }
    let factor = config.find(&["memoryThrottlingFactor"]);
    if let Some(node) = factor.filter(|node| node.number().is_some_and(|factor| factor <= 0.0 || factor > 1.0)) {
        refused.push((node.at.clone(), format!("memoryThrottlingFactor is {node}, where more than 0 and at most 1 is expected")));
    }
    let rate = config.find(&["tracing", "samplingRatePerMillion"]);
    if let Some(node) = rate.filter(|node| node.int().is_some_and(|rate| !(0..=1_000_000).contains(&rate))) {
        refused.push((node.at.clone(), format!("tracing.samplingRatePerMillion is {node}, where a number from 0 to 1000000 is expected")));
    }
    // `component-base/tracing/api/v1/config.go` `validateEndpoint`.
    let endpoint = config.find(&["tracing", "endpoint"]).and_then(|node| Some((node, node.text()?)));
    let schemes = ["dns:", "unix:", "unix-abstract:"];
    if let Some((node, _)) = endpoint.filter(|(_, text)| text.contains("//") && !schemes.iter().any(|scheme| text.starts_with(scheme))) {
        refused.push((node.at.clone(), format!("tracing.endpoint is {node}, where HOST:PORT, or a URL of dns, unix or unix-abstract, is expected")));
    }
    for node in config.find(&["tlsCipherSuites"]).map(Node::items).unwrap_or_default() {
        if node.text().is_some_and(|name| !CIPHERS.contains(&name)) {
            refused.push((node.at.clone(), format!("tlsCipherSuites has {node}, which is no cipher suite of Go's TLS")));
        }
    }
    // cri-client/pkg/util `GetAddressAndDialer`: a bare path is taken as well.
    for field in ["containerRuntimeEndpoint", "imageServiceEndpoint"] {
        let node = config.find(&[field]).filter(|node| node.text().is_some_and(|endpoint| endpoint.contains("://") && !endpoint.starts_with("unix://")));
        if let Some(node) = node {
            refused.push((node.at.clone(), format!("{field} is {node}, where a socket (unix:///run/containerd/containerd.sock) is expected")));
        }
    }
    let hidden = config.find(&["showHiddenMetricsForVersion"]).and_then(|node| Some((node, node.text().filter(|text| !text.is_empty())?)));
    let before = release.and_then(|release| release.checked_sub(1)).map(|before| format!("1.{before}"));
    if let Some((node, version)) = hidden {
        let fine = before.as_ref().map_or_else(|| version.starts_with("1."), |before| version == before);
        if !fine {
            let expected = before.unwrap_or_else(|| "the release before the kubelet's (1.35)".to_owned());
            refused.push((node.at.clone(), format!("showHiddenMetricsForVersion is {node}, where {expected} is expected")));
        }
    }
    if let Some(node) = config.find(&["runOnce"]).filter(|node| node.bool() == Some(true) && release.is_some_and(|release| release >= 36)) {
        refused.push((node.at.clone(), "runOnce is true, which Kubernetes 1.36 refuses".to_owned()));
    }
    let swap = config.find(&["memorySwap", "swapBehavior"]).filter(|node| node.text() == Some("UnlimitedSwap"));
    if let Some(node) = swap.filter(|_| release.is_some_and(|release| release >= 30)) {
        refused.push((
            node.at.clone(),
            "memorySwap.swapBehavior is UnlimitedSwap, which Kubernetes 1.30 and later refuse: LimitedSwap or NoSwap is expected".to_owned(),
        ));
    }
}

/// `pkg/util/taints` `CheckTaintValidation`.
fn taints(config: &Node, refused: &mut Vec<Refusal>) {
    for taint in config.find(&["registerWithTaints"]).map(Node::items).unwrap_or_default().iter().filter(|taint| matches!(taint.tree, Tree::Map(_))) {
        let text = |key: &str| taint.get(key).and_then(Node::text).unwrap_or_default();
        let at = |key: &str| taint.get(key).unwrap_or(taint).at.clone();
        if !matches!(text("effect"), "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
            let said = format!("a taint's effect is {:?}, where NoSchedule, PreferNoSchedule or NoExecute is expected", text("effect"));
            refused.push((at("effect"), said));
        }
        if !is_qualified_name(text("key")) {
            refused.push((at("key"), format!("a taint's key is {:?}, where a label's key (example.com/name) is expected", text("key"))));
        }
        if !text("value").is_empty() && !is_name(text("value")) {
            refused.push((at("value"), format!("a taint's value is {:?}, where a label's value is expected", text("value"))));
        }
        if let Some(added) = taint.find(&["timeAdded"]) {
            refused.push((added.at.clone(), "a taint has timeAdded, which only the cluster sets".to_owned()));
        }
    }
}

/// The name of a label, and its value (`apimachinery/pkg/util/validation` `IsQualifiedName`).
fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()].into_iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric));
    ends && bytes.len() <= 63 && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

fn is_qualified_name(text: &str) -> bool {
    let Some((domain, name)) = text.split_once('/') else { return is_name(text) };
    let part = |part: &str| is_name(part) && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    is_name(name) && domain.len() <= 253 && domain.split('.').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::yaml;

    /// `line: message` of what a kubelet of that release refuses.
    fn refused_by(text: &str, release: Option<u32>) -> Vec<String> {
        let node = yaml::parse(text.as_bytes(), "/c").unwrap().unwrap();
        check(&node, release).into_iter().map(|(at, message)| format!("{}: {message}", at.line)).collect()
    }

    fn refused(text: &str) -> Vec<String> {
        refused_by(text, None)
    }

    /// The rules of `ValidateKubeletConfiguration` in its order, by the kubelet's own words for each, then those of the code that starts
    /// it; a configuration that breaks it; what is said of it.
    #[rustfmt::skip] // one table
    const RULES: &[(&str, &str, &str)] = &[
        ("nodeLeaseDurationSeconds must be greater than 0", "nodeLeaseDurationSeconds: -1", "1: nodeLeaseDurationSeconds is -1, where 0 or more is expected"),
        ("systemCgroups (--system-cgroups) was specified and cgroupRoot (--cgroup-root) was not specified", "systemCgroups: /s", "1: systemCgroups needs cgroupRoot"),
        ("eventBurst (--event-burst) %v must not be a negative number", "eventBurst: -1", "1: eventBurst is -1, where 0 or more is expected"),
        ("eventRecordQPS (--event-qps) %v must not be a negative number", "eventRecordQPS: -1", "1: eventRecordQPS is -1, where 0 or more is expected"),
        ("healthzPort (--healthz-port) %v must be between 1 and 65535, inclusive", "healthzPort: 70000", "1: healthzPort is 70000, where a number from 0 to 65535 is expected"),
        ("cpuCFSQuotaPeriod (--cpu-cfs-quota-period) %v must be between 1ms and 1sec, inclusive", "cpuCFSQuotaPeriod: 5s", "1: cpuCFSQuotaPeriod is \"5s\", where 1ms to 1s is expected"),
        ("imageGCHighThresholdPercent (--image-gc-high-threshold) %v must be between 0 and 100, inclusive", "imageGCHighThresholdPercent: 101", "1: imageGCHighThresholdPercent is 101, where a number from 0 to 100 is expected"),
        ("imageGCLowThresholdPercent (--image-gc-low-threshold) %v must be between 0 and 100, inclusive", "imageGCLowThresholdPercent: -1", "1: imageGCLowThresholdPercent is -1, where a number from 0 to 100 is expected"),
        ("imageGCLowThresholdPercent (--image-gc-low-threshold) %v must be less than imageGCHighThresholdPercent", "imageGCHighThresholdPercent: 50", "1: imageGCLowThresholdPercent (80) must be less than imageGCHighThresholdPercent (50)"),
        ("imageMinimumGCAge %v must not be negative", "imageMinimumGCAge: -1s", "1: imageMinimumGCAge is \"-1s\", where a duration that is not negative is expected"),
        ("imageMaximumGCAge %v must not be negative", "imageMaximumGCAge: -1s", "1: imageMaximumGCAge is \"-1s\", where a duration that is not negative is expected"),
        ("imageMaximumGCAge %v must be greater than imageMinimumGCAge %v", "imageMaximumGCAge: 1m", "1: imageMaximumGCAge is \"1m\", where more than imageMinimumGCAge is expected"),
        ("draManagerReconcilePeriod %v must be greater than zero", "draManagerReconcilePeriod: -1s", "1: draManagerReconcilePeriod is \"-1s\", where a duration that is not negative is expected"),
        ("iptablesDropBit (--iptables-drop-bit) %v must be between 0 and 31, inclusive", "iptablesDropBit: 32", "1: iptablesDropBit is 32, where a number from 0 to 31 is expected"),
        ("iptablesMasqueradeBit (--iptables-masquerade-bit) %v must be between 0 and 31, inclusive", "iptablesMasqueradeBit: 32", "1: iptablesMasqueradeBit is 32, where a number from 0 to 31 is expected"),
        ("kubeAPIBurst (--kube-api-burst) %v must not be a negative number", "kubeAPIBurst: -1", "1: kubeAPIBurst is -1, where 0 or more is expected"),
        ("kubeAPIQPS (--kube-api-qps) %v must not be a negative number", "kubeAPIQPS: -1", "1: kubeAPIQPS is -1, where 0 or more is expected"),
        ("nodeStatusMaxImages (--node-status-max-images) %v must be -1 or greater", "nodeStatusMaxImages: -2", "1: nodeStatusMaxImages is -2, where -1 or more is expected"),
        ("maxOpenFiles (--max-open-files) %v must not be a negative number", "maxOpenFiles: -1", "1: maxOpenFiles is -1, where 0 or more is expected"),
        ("maxPods (--max-pods) %v must not be a negative number", "maxPods: -1", "1: maxPods is -1, where 0 or more is expected"),
        ("oomScoreAdj (--oom-score-adj) %v must be between -1000 and 1000, inclusive", "a: b\noomScoreAdj: -2000", "2: oomScoreAdj is -2000, where a number from -1000 to 1000 is expected"),
        ("podsPerCore (--pods-per-core) %v must not be a negative number", "podsPerCore: -1", "1: podsPerCore is -1, where 0 or more is expected"),
        ("port (--port) %v must be between 1 and 65535, inclusive", "port: 65536", "1: port is 65536, where a number from 0 to 65535 is expected"),
        ("readOnlyPort (--read-only-port) %v must be between 0 and 65535, inclusive", "readOnlyPort: -1", "1: readOnlyPort is -1, where a number from 0 to 65535 is expected"),
        ("registryBurst (--registry-burst) %v must not be a negative number", "registryBurst: -1", "1: registryBurst is -1, where 0 or more is expected"),
        ("registryPullQPS (--registry-qps) %v must not be a negative number", "registryPullQPS: -1", "1: registryPullQPS is -1, where 0 or more is expected"),
        ("maxParallelImagePulls %v must be a positive number", "maxParallelImagePulls: 0", "1: maxParallelImagePulls is 0, where 1 or more is expected"),
        ("maxParallelImagePulls cannot be larger than 1 unless SerializeImagePulls is set to false", "maxParallelImagePulls: 5\nserializeImagePulls: true", "1: maxParallelImagePulls is 5, which needs serializeImagePulls: false"),
        ("invalid taint: %v", "registerWithTaints:\n- {key: a, effect: Never}", "2: a taint's effect is \"Never\", where NoSchedule, PreferNoSchedule or NoExecute is expected"),
        ("invalid taint: %v", "registerWithTaints:\n- {key: a b, effect: NoSchedule}", "2: a taint's key is \"a b\", where a label's key (example.com/name) is expected"),
        ("invalid taint: %v", "registerWithTaints:\n- {key: a/b, value: -c, effect: NoSchedule}", "2: a taint's value is \"-c\", where a label's value is expected"),
        ("taint.TimeAdded is not nil", "registerWithTaints:\n- {key: a, effect: NoSchedule, timeAdded: now}", "2: a taint has timeAdded, which only the cluster sets"),
        ("topologyManagerPolicy (--topology-manager-policy) %q must be one of", "topologyManagerPolicy: some", "1: topologyManagerPolicy is \"some\", where none, best-effort, restricted or single-numa-node is expected"),
        ("topologyManagerScope (--topology-manager-scope) %q must be one of", "topologyManagerScope: node", "1: topologyManagerScope is \"node\", where container or pod is expected"),
        ("shutdownGracePeriodCriticalPods %v must be <= shutdownGracePeriod %v", "shutdownGracePeriod: 10s\nshutdownGracePeriodCriticalPods: 20s", "2: shutdownGracePeriodCriticalPods is \"20s\", where at most shutdownGracePeriod is expected"),
        ("shutdownGracePeriod %v must be either zero or otherwise >= 1 sec", "shutdownGracePeriod: 500ms", "1: shutdownGracePeriod is \"500ms\", where 0 or at least 1s is expected"),
        ("shutdownGracePeriodCriticalPods %v must be either zero or otherwise >= 1 sec", "shutdownGracePeriod: 2s\nshutdownGracePeriodCriticalPods: 1ms", "2: shutdownGracePeriodCriticalPods is \"1ms\", where 0 or at least 1s is expected"),
        ("Cannot specify both shutdownGracePeriodByPodPriority and shutdownGracePeriod at the same time", "shutdownGracePeriod: 10s\nshutdownGracePeriodByPodPriority: [{priority: 0, shutdownGracePeriodSeconds: 5}]", "2: shutdownGracePeriodByPodPriority cannot be used with shutdownGracePeriod"),
        ("specifying shutdownGracePeriod … requires feature gate GracefulNodeShutdown", "featureGates: {GracefulNodeShutdown: false}\nshutdownGracePeriod: 10s", "2: shutdownGracePeriod needs the feature gate GracefulNodeShutdown, which is off"),
        ("Specifying shutdownGracePeriodByPodPriority requires feature gate", "featureGates: {GracefulNodeShutdownBasedOnPodPriority: false}\nshutdownGracePeriodByPodPriority: [{priority: 0}]", "2: shutdownGracePeriodByPodPriority needs the feature gate GracefulNodeShutdownBasedOnPodPriority, which is off"),
        ("cpuCFSQuotaPeriod %v requires feature gate CustomCPUCFSQuotaPeriod", "cpuCFSQuotaPeriod: 50ms\nfeatureGates: {CustomCPUCFSQuotaPeriod: false}", "1: a cpuCFSQuotaPeriod other than 100ms needs the feature gate CustomCPUCFSQuotaPeriod, which is off"),
        ("ImageMaximumGCAge feature gate is required", "imageMaximumGCAge: 1h\nfeatureGates: {ImageMaximumGCAge: false}", "1: imageMaximumGCAge needs the feature gate ImageMaximumGCAge, which is off"),
        ("serverTLSBootstrap %v requires feature gate RotateKubeletServerCertificate", "serverTLSBootstrap: true\nfeatureGates: {RotateKubeletServerCertificate: false}", "1: serverTLSBootstrap needs the feature gate RotateKubeletServerCertificate, which is off"),
        ("memorySwap.swapBehavior %q must be one of", "memorySwap:\n  swapBehavior: Some", "2: memorySwap.swapBehavior is \"Some\", where LimitedSwap, NoSwap or UnlimitedSwap is expected"),
        ("memorySwap.swapBehavior cannot be set when NodeSwap feature flag is disabled", "memorySwap: {swapBehavior: LimitedSwap}\nfeatureGates: {NodeSwap: false}", "1: memorySwap.swapBehavior needs the feature gate NodeSwap, which is off"),
        ("CrashLoopBackOff.MaxContainerRestartPeriod (got: %v seconds) must be set between 1s and 300s", "crashLoopBackOff:\n  maxContainerRestartPeriod: 10m", "2: crashLoopBackOff.maxContainerRestartPeriod is \"10m\", where 1s to 300s is expected"),
        ("FeatureGate KubeletCrashLoopBackOffMax not enabled, CrashLoopBackOff.MaxContainerRestartPeriod must not be set", "featureGates: {KubeletCrashLoopBackOffMax: false}\ncrashLoopBackOff: {maxContainerRestartPeriod: 1m}", "2: crashLoopBackOff.maxContainerRestartPeriod needs the feature gate KubeletCrashLoopBackOffMax, which is off"),
        ("both %q and %q cannot be specified together in enforceNodeAllocatable", "kubeReservedCgroup: /k\nenforceNodeAllocatable: [kube-reserved, kube-reserved-compressible]", "2: enforceNodeAllocatable has \"kube-reserved-compressible\" beside \"kube-reserved\""),
        ("duplicated enforcements %q in enforceNodeAllocatable", "enforceNodeAllocatable: [pods, pods]", "1: enforceNodeAllocatable has \"pods\" twice"),
        ("systemReservedCgroup (--system-reserved-cgroup) must be specified when", "enforceNodeAllocatable: [system-reserved-compressible]", "1: enforceNodeAllocatable has \"system-reserved-compressible\", which needs systemReservedCgroup"),
        ("kubeReservedCgroup (--kube-reserved-cgroup) must be specified when", "enforceNodeAllocatable:\n- kube-reserved", "2: enforceNodeAllocatable has \"kube-reserved\", which needs kubeReservedCgroup"),
        ("may not contain additional enforcements when %q is specified", "enforceNodeAllocatable: [none, pods]", "1: enforceNodeAllocatable has \"none\" beside others"),
        ("option %q specified for enforceNodeAllocatable. Valid options are", "enforceNodeAllocatable: [all]", "1: enforceNodeAllocatable has \"all\", where pods, system-reserved, kube-reserved, system-reserved-compressible, kube-reserved-compressible or none is expected"),
        ("cgroupsPerQOS (--cgroups-per-qos) must be set to true when %q contained", "cgroupsPerQOS: false\nenforceNodeAllocatable: [pods]", "2: enforceNodeAllocatable has \"pods\", which needs cgroupsPerQOS: true"),
        ("cgroupsPerQOS (--cgroups-per-qos) must be set to true when %q contained", "cgroupsPerQOS: false", "1: cgroupsPerQOS is false, which needs enforceNodeAllocatable: [none]"),
        ("option %q specified for hairpinMode (--hairpin-mode)", "hairpinMode: bridge", "1: hairpinMode is \"bridge\", where none, hairpin-veth or promiscuous-bridge is expected"),
        ("option %q specified for imagePullCredentialsVerificationPolicy", "imagePullCredentialsVerificationPolicy: Always", "1: imagePullCredentialsVerificationPolicy is \"Always\", where NeverVerify, NeverVerifyPreloadedImages, NeverVerifyAllowlistedImages or AlwaysVerify is expected"),
        ("can't set `preloadedImagesVerificationAllowlist` if", "preloadedImagesVerificationAllowlist: [a]", "1: preloadedImagesVerificationAllowlist needs imagePullCredentialsVerificationPolicy: NeverVerifyAllowlistedImages"),
        ("`imagePullCredentialsVerificationPolicy` must not be set if KubeletEnsureSecretPulledImages feature gate is not enabled", "imagePullCredentialsVerificationPolicy: AlwaysVerify\nfeatureGates: {KubeletEnsureSecretPulledImages: false}", "1: imagePullCredentialsVerificationPolicy needs the feature gate KubeletEnsureSecretPulledImages, which is off"),
        ("can't use reservedSystemCPUs (--reserved-cpus) with systemReservedCgroup", "reservedSystemCPUs: 0-1\nsystemReservedCgroup: /s", "1: reservedSystemCPUs cannot be used with systemReservedCgroup or kubeReservedCgroup"),
        ("unable to parse reservedSystemCPUs (--reserved-cpus) %v", "reservedSystemCPUs: 0-", "1: reservedSystemCPUs is \"0-\", where a list of CPUs (0-1,4) is expected"),
        ("the limit type %q for NUMA node %d is not supported", "reservedMemory:\n- numaNode: 0\n  limits: {cpu: \"1\"}", "3: reservedMemory limits \"cpu\", where memory or hugepages-SIZE is expected"),
        ("reserved memory may not be zero for NUMA node %d and resource %q", "reservedMemory:\n- numaNode: 0\n  limits: {memory: \"0\"}", "3: reservedMemory.memory is \"0\", where an amount above 0 is expected"),
        ("the reserved memory has a duplicate value for NUMA node %d and resource %q", "reservedMemory:\n- {numaNode: 1, limits: {memory: 1Gi}}\n- {numaNode: 1, limits: {memory: 1Gi}}", "3: reservedMemory has memory of NUMA node 1 twice"),
        ("--show-hidden-metrics-for-version must be omitted or have the value '%v'", "showHiddenMetricsForVersion: next", "1: showHiddenMetricsForVersion is \"next\", where the release before the kubelet's (1.35) is expected"),
        ("logging.format: Unsupported log format", "logging: {format: xml}", "1: logging.format is \"xml\", where text or json is expected"),
        ("logging.verbosity: Must be <= %d", "logging: {verbosity: 3000000000}", "1: a verbosity is 3000000000, where at most 2147483647 is expected"),
        ("logging.vmodule: Only supported for text log format", "logging:\n  format: json\n  vmodule: [{filePattern: a, verbosity: 1}]", "3: logging.vmodule needs logging.format: text"),
        ("File pattern must not contain equal sign or comma", "logging: {vmodule: [{filePattern: \"a=b\", verbosity: 1}]}", "1: logging.vmodule has the file pattern \"a=b\", where one without = and , is expected"),
        ("tracing: sampling rate per million must be less than or equal to one million", "tracing: {samplingRatePerMillion: 1000001}", "1: tracing.samplingRatePerMillion is 1000001, where a number from 0 to 1000000 is expected"),
        ("memoryThrottlingFactor %v must be greater than 0 and less than or equal to 1.0", "memoryThrottlingFactor: 1.5", "1: memoryThrottlingFactor is 1.5, where more than 0 and at most 1 is expected"),
        ("option %q specified for memoryReservationPolicy", "memoryReservationPolicy: Some", "1: memoryReservationPolicy is \"Some\", where None or TieredReservation is expected"),
        ("NodeLogQuery feature gate is required for enableSystemLogQuery", "enableSystemLogQuery: true\nfeatureGates: {NodeLogQuery: false}", "1: enableSystemLogQuery needs the feature gate NodeLogQuery, which is off"),
        ("enableSystemLogHandler is required for enableSystemLogQuery", "enableSystemLogQuery: true\nenableSystemLogHandler: false", "1: enableSystemLogQuery is true, which needs enableSystemLogHandler: true"),
        ("containerLogMaxWorkers must be greater than or equal to 1", "containerLogMaxWorkers: 0", "1: containerLogMaxWorkers is 0, where 1 or more is expected"),
        ("containerLogMonitorInterval must be a positive time duration greater than or equal to 3s", "containerLogMonitorInterval: 0s", "1: containerLogMonitorInterval is \"0s\", where at least 3s is expected"),
        ("containerLogMaxFiles must be greater than 1", "containerLogMaxFiles: 1", "1: containerLogMaxFiles is 1, where 2 or more is expected"),
        ("pod logs path %q must be absolute path", "podLogsDir: var/log", "1: podLogsDir is \"var/log\", where an absolute path of ASCII without . and .. is expected"),
        ("pod logs path %q must be normalized", "podLogsDir: /var/../log", "1: podLogsDir is \"/var/../log\", where an absolute path of ASCII without . and .. is expected"),
        ("pod logs path %q mut contains ASCII characters only", "podLogsDir: /var/lög", "1: podLogsDir is \"/var/lög\", where an absolute path of ASCII without . and .. is expected"),
        ("unsupported scheme: %v.  Options are none, dns, unix, or unix-abstract", "tracing: {endpoint: \"http://127.0.0.1:4317\"}", "1: tracing.endpoint is \"http://127.0.0.1:4317\", where HOST:PORT, or a URL of dns, unix or unix-abstract, is expected"),
        ("invalid image pattern in `preloadedImagesVerificationAllowlist`", "imagePullCredentialsVerificationPolicy: NeverVerifyAllowlistedImages\npreloadedImagesVerificationAllowlist: [\"registry.example.com/*\", \"registry.*/a\"]", "2: preloadedImagesVerificationAllowlist has \"registry.*/a\", where an image without tag, or a path that ends in /*, is expected"),
        // What is parsed after that, on the way to a running kubelet.
        ("None policy: received unsupported options=%v", "cpuManagerPolicyOptions: {full-pcpus-only: \"true\"}", "1: cpuManagerPolicyOptions needs cpuManagerPolicy: static"),
        ("unknown CPU Manager Policy option: %q", "cpuManagerPolicy: static\nkubeReserved: {cpu: 500m}\ncpuManagerPolicyOptions: {full-pcpu-only: \"true\"}", "3: cpuManagerPolicyOptions has \"full-pcpu-only\", which is no option; did you mean full-pcpus-only?"),
        ("bad value for option %q", "cpuManagerPolicy: static\nkubeReserved: {cpu: 500m}\ncpuManagerPolicyOptions: {full-pcpus-only: \"yes\"}", "3: cpuManagerPolicyOptions.full-pcpus-only is \"yes\", where true or false is expected in a string"),
        ("static policy options %s and %s can not be used at the same time", "cpuManagerPolicy: static\nkubeReserved: {cpu: 500m}\ncpuManagerPolicyOptions: {full-pcpus-only: \"true\", distribute-cpus-across-cores: \"true\"}", "3: cpuManagerPolicyOptions.distribute-cpus-across-cores cannot be used with full-pcpus-only"),
        ("unknown Topology Manager Policy option: %q", "topologyManagerPolicyOptions: {prefer-closest-numa-node: \"true\"}", "1: topologyManagerPolicyOptions has \"prefer-closest-numa-node\", which is no option; did you mean prefer-closest-numa-nodes?"),
        ("the minimum value of %q should not be less than %v", "topologyManagerPolicyOptions: {max-allowable-numa-nodes: \"4\"}", "1: topologyManagerPolicyOptions.max-allowable-numa-nodes is \"4\", where a whole number from 8 on is expected in a string"),
        ("quantities must match the regular expression", "evictionHard:\n  memory.available: lots", "2: evictionHard.memory.available is \"lots\", where a quantity above 0 (100Mi) or a percentage from 0% to 100% is expected"),
        ("grace period must be specified for the soft eviction threshold pid.available", "evictionSoft:\n  pid.available: 10%", "2: evictionSoft.pid.available needs a grace period of the same name in evictionSoftGracePeriod"),
        ("time: invalid duration", "evictionSoft: {pid.available: 10%}\nevictionSoftGracePeriod: {pid.available: soon}", "2: evictionSoftGracePeriod.pid.available is \"soon\", where a duration that is not negative (1m30s) is expected"),
        ("cannot reserve %q resource", "systemReserved:\n  disk: 1G", "2: systemReserved reserves \"disk\", where cpu, memory, ephemeral-storage or pid is expected"),
        ("failed to parse quantity %q for %q resource", "kubeReserved:\n  cpu: 100q", "2: kubeReserved.cpu is \"100q\", where a quantity that is not negative is expected"),
        ("cannot reserve %q resource (--qos-reserved)", "qosReserved: {cpu: 50%}", "1: qosReserved reserves \"cpu\", where memory is expected"),
        ("percentage must be between 0 and 100", "qosReserved: {memory: 101%}", "1: qosReserved.memory is \"101%\", where a percentage from 0% to 100% is expected"),
        ("the static policy requires systemreserved.cpu + kubereserved.cpu to be greater than zero", "cpuManagerPolicy: static", "1: cpuManagerPolicy is static, which needs CPU in systemReserved, kubeReserved or reservedSystemCPUs"),
        ("unknown policy: %q", "cpuManagerPolicy: dynamic", "1: cpuManagerPolicy is \"dynamic\", where none or static is expected"),
        ("the total amount %q of type %q is not equal to the value %q determined by Node Allocatable feature", "memoryManagerPolicy: Static\nevictionHard: {memory.available: 24Mi}\nkubeReserved: {memory: 1000Mi}\nreservedMemory: [{numaNode: 0, limits: {memory: 1000Mi}}]", "1: memoryManagerPolicy is Static, and reservedMemory adds up to 1048576000 bytes, where 1073741824 are expected: what systemReserved, kubeReserved and evictionHard set aside"),
        ("unknown configmap and secret manager mode", "configMapAndSecretChangeDetectionStrategy: Poll", "1: configMapAndSecretChangeDetectionStrategy is \"Poll\", where Get, Cache or Watch is expected"),
        ("unknown authorization mode %q", "authorization: {mode: RBAC}", "1: authorization.mode is \"RBAC\", where AlwaysAllow or Webhook is expected"),
        ("Cipher suite %s not supported or doesn't exist", "tlsCipherSuites: [TLS_NULL]", "1: tlsCipherSuites has \"TLS_NULL\", which is no cipher suite of Go's TLS"),
        ("unknown tls version", "tlsMinVersion: \"1.2\"", "1: tlsMinVersion is \"1.2\", where VersionTLS10, VersionTLS11, VersionTLS12 or VersionTLS13 is expected"),
        ("only support unix socket endpoint", "containerRuntimeEndpoint: tcp://127.0.0.1:1", "1: containerRuntimeEndpoint is \"tcp://127.0.0.1:1\", where a socket (unix:///run/containerd/containerd.sock) is expected"),
        ("failed to parse container log max size", "containerLogMaxSize: 10MB", "1: containerLogMaxSize is \"10MB\", where a quantity (10Mi) is expected"),
    ];

    #[test]
    fn one_mistake_is_one_refusal_at_its_line() {
        for (_said_by_the_kubelet, text, expected) in RULES {
            assert_eq!(refused(text), [*expected], "{text}");
        }
        let signal = refused("evictionHard:\n  memory.free: 100Mi");
        assert!(signal.len() == 1 && signal[0].starts_with("2: evictionHard has the signal \"memory.free\", where memory.available, "), "{signal:?}");
    }

    #[test]
    #[rustfmt::skip] // one table
    fn a_rule_holds_from_its_release_on() {
        for (text, taken, refusing, expected) in [
            ("runOnce: true", Some(30), Some(36), "1: runOnce is true, which Kubernetes 1.36 refuses"),
            ("memorySwap: {swapBehavior: UnlimitedSwap}", Some(29), Some(30), "1: memorySwap.swapBehavior is UnlimitedSwap, which Kubernetes 1.30 and later refuse: LimitedSwap or NoSwap is expected"),
            ("showHiddenMetricsForVersion: \"1.33\"", Some(34), Some(35), "1: showHiddenMetricsForVersion is \"1.33\", where 1.34 is expected"),
            ("cpuCFSQuotaPeriod: 50ms", None, Some(36), "1: a cpuCFSQuotaPeriod other than 100ms needs the feature gate CustomCPUCFSQuotaPeriod, which is off"),
            ("featureGates: {SidecarContainers: false}", Some(32), Some(33), "1: featureGates.SidecarContainers is false, and Kubernetes 1.33 and later have it locked to true"),
            ("featureGates: {MemoryManager: false}", None, Some(36), "1: featureGates.MemoryManager is false, and Kubernetes 1.32 and later have it locked to true"),
            ("tracing: {samplingRatePerMillion: 1}", Some(27), Some(26), "1: tracing needs the feature gate KubeletTracing, which is off"),
            ("logging: {options: {json: {splitStream: true}}}", Some(23), Some(36), "1: logging.options.splitStream needs the feature gate LoggingAlphaOptions, which is off"),
            ("memoryReservationPolicy: TieredReservation", None, Some(36), "1: memoryReservationPolicy: TieredReservation needs the feature gate MemoryQoS, which is off"),
            ("imageMaximumGCAge: 1h", Some(30), Some(29), "1: imageMaximumGCAge needs the feature gate ImageMaximumGCAge, which is off"),
            ("crashLoopBackOff: {maxContainerRestartPeriod: 1m}", Some(35), Some(34), "1: crashLoopBackOff.maxContainerRestartPeriod needs the feature gate KubeletCrashLoopBackOffMax, which is off"),
        ] {
            assert_eq!(refused_by(text, taken), Vec::<String>::new(), "{text}");
            assert_eq!(refused_by(text, refusing), [expected], "{text}");
        }
        // Gates of a release that is not known here, and gates that are set in groups, are nobody's business.
        assert_eq!(refused_by("cpuCFSQuotaPeriod: 50ms", Some(37)), Vec::<String>::new());
        assert_eq!(refused_by("cpuCFSQuotaPeriod: 50ms\nfeatureGates: {AllAlpha: true}", Some(36)), Vec::<String>::new());
    }

    #[test]
    fn what_the_kubelet_takes_is_not_refused() {
        for text in [
            "healthzPort: 0\nport: 10250\nreadOnlyPort: 0",
            "evictionHard: {memory.available: 100Mi, nodefs.available: 10%, imagefs.inodesFree: 0%, pid.available: 5%}",
            "evictionSoft: {memory.available: 1.5Gi}\nevictionSoftGracePeriod: {memory.available: 1m30s}",
            "imageGCHighThresholdPercent: 70\nimageGCLowThresholdPercent: 60",
            "nodeLeaseDurationSeconds: 0\ntopologyManagerPolicy: \"\"\nnodeStatusMaxImages: -1",
            "systemReserved: {cpu: 200m, memory: 1Gi, pid: \"100\"}\nreservedSystemCPUs: 0-1,4",
            "enforceNodeAllocatable: [none]\ncgroupsPerQOS: false",
            "maxParallelImagePulls: 5\nserializeImagePulls: false",
            "maxParallelImagePulls: 5",
            "tracing: {endpoint: \"otel.example.com:4317\", samplingRatePerMillion: 100}",
            "tracing: {endpoint: \"unix:///run/otel.sock\"}",
            "cpuManagerPolicy: static\nkubeReserved: {cpu: 500m}\ncpuManagerPolicyOptions: {full-pcpus-only: \"true\", an-option-of-tomorrow: \"7\"}",
            "topologyManagerPolicyOptions: {max-allowable-numa-nodes: \"16\", prefer-closest-numa-nodes: \"true\"}",
            "featureGates: {SidecarContainers: true, MemoryManager: true}",
            "logging: {options: {json: {splitStream: false, infoBufferSize: \"0\"}}}",
            "shutdownGracePeriod: 30s\nshutdownGracePeriodCriticalPods: 10s",
            "imageMaximumGCAge: 0s\nmemoryThrottlingFactor: 0.9\nmemorySwap: {}",
            "cpuManagerPolicy: static\nkubeReserved: {cpu: 500m}",
            "memoryManagerPolicy: Static\nsystemReserved: {memory: 924Mi}\nreservedMemory: [{numaNode: 0, limits: {memory: 1Gi}}]",
            "memoryManagerPolicy: Static\nmergeDefaultEvictionSettings: true\nevictionHard: {pid.available: 5%}\nreservedMemory: [{numaNode: 0, limits: {memory: 100Mi}}]",
            "memoryManagerPolicy: Static\nevictionHard: {memory.available: 5%}\nreservedMemory: [{numaNode: 0, limits: {memory: 1Gi}}]",
            "containerRuntimeEndpoint: /run/crio/crio.sock\nimageServiceEndpoint: unix:///run/crio/crio.sock",
            "registerWithTaints: [{key: node-role.kubernetes.io/control-plane, effect: NoSchedule}, {key: a, value: b, effect: NoExecute}]",
            "logging: {format: text, vmodule: [{filePattern: \"gc*\", verbosity: 9}]}\nshowHiddenMetricsForVersion: \"1.35\"",
            "tlsCipherSuites: [TLS_AES_128_GCM_SHA256, TLS_RSA_WITH_RC4_128_SHA]\nqosReserved: {memory: 50%}",
        ] {
            assert_eq!(refused(text), Vec::<String>::new(), "{text}");
            assert_eq!(refused_by(text, Some(36)), Vec::<String>::new(), "{text}");
        }
    }
}
