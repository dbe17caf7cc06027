//! Values that the kubelet refuses at start although their type is right.
//!
//! From `pkg/kubelet/apis/config/validation/validation.go`, `pkg/kubelet/eviction/helpers.go` and what
//! `cmd/kubelet/app/server.go` parses on the way (1.36). Only rules that hold in every supported version, for the node
//! does not tell which kubelet it runs: nothing that depends on a feature gate.

use super::quantity::{duration, quantity, threshold};
use crate::observe::yaml::{At, Node};

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
const RANGES: [(&str, i64, i64); 21] = [
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

/// Everything refused in the merged configuration, in the order of the rules.
pub(super) fn check(config: &Node) -> Vec<Refusal> {
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
    image_gc(config, &mut refused);
    eviction(config, &mut refused);
    reserved(config, &mut refused);
    enforcement(config, &mut refused);
    cgroups(config, &mut refused);
    shutdown(config, &mut refused);
    images(config, &mut refused);
    logs(config, &mut refused);
    others(config, &mut refused);
    refused
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
    for reserved in config.find(&["reservedMemory"]).map(Node::items).unwrap_or_default() {
        for (key, value) in reserved.get("limits").map(Node::entries).unwrap_or_default() {
            let zero = value.text().map_or_else(|| value.int() == Some(0), |text| quantity(text) == Some(0.0));
            if key.name != "memory" && !key.name.starts_with("hugepages-") {
                refused.push((key.at.clone(), format!("reservedMemory limits {:?}, where memory or hugepages-SIZE is expected", key.name)));
            } else if zero {
                refused.push((value.at.clone(), format!("reservedMemory.{} is {value}, where an amount above 0 is expected", key.name)));
            }
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
        let what = match word {
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
    if let Some(node) = pulls.filter(|_| is_on(config, "serializeImagePulls", true)) {
        refused.push((node.at.clone(), format!("maxParallelImagePulls is {node}, which needs serializeImagePulls: false")));
    }
}

fn logs(config: &Node, refused: &mut Vec<Refusal>) {
    let text = |field: &str| config.find(&[field]).and_then(|node| Some((node, node.text()?))).filter(|(_, text)| !text.is_empty());
    if let Some((node, _)) = text("containerLogMaxSize").filter(|(_, size)| quantity(size).is_none()) {
        refused.push((node.at.clone(), format!("containerLogMaxSize is {node}, where a quantity (10Mi) is expected")));
    }
    if let Some((node, _)) = text("containerLogMonitorInterval").filter(|(_, every)| duration(every).is_some_and(|every| every != 0 && every < 3_000_000_000)) {
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

fn others(config: &Node, refused: &mut Vec<Refusal>) {
    // Outside of these bounds with their feature gates, and without them.
    let spans: [(&[&str], i64, i64, &str); 2] = [
        (&["cpuCFSQuotaPeriod"], 1_000_000, 1_000_000_000, "1ms to 1s"),
        (&["crashLoopBackOff", "maxContainerRestartPeriod"], 1_000_000_000, 300_000_000_000, "1s to 300s"),
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
    for taint in config.find(&["registerWithTaints"]).map(Node::items).unwrap_or_default() {
        let effect = taint.get("effect").and_then(Node::text).unwrap_or_default();
        if !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
            let at = taint.get("effect").unwrap_or(taint).at.clone();
            refused.push((at, format!("a taint's effect is {effect:?}, where NoSchedule, PreferNoSchedule or NoExecute is expected")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::yaml;

    /// `line: message` of what is refused.
    fn refused(text: &str) -> Vec<String> {
        let node = yaml::parse(text.as_bytes(), "/c").unwrap().unwrap();
        check(&node).into_iter().map(|(at, message)| format!("{}: {message}", at.line)).collect()
    }

    #[test]
    fn one_mistake_is_one_refusal_at_its_line() {
        for (text, expected) in [
            ("healthzPort: 70000", "1: healthzPort is 70000, where a number from 0 to 65535 is expected"),
            ("a: b\noomScoreAdj: -2000", "2: oomScoreAdj is -2000, where a number from -1000 to 1000 is expected"),
            ("imageGCHighThresholdPercent: 50", "1: imageGCLowThresholdPercent (80) must be less than imageGCHighThresholdPercent (50)"),
            ("imageMaximumGCAge: 1m", "1: imageMaximumGCAge is \"1m\", where more than imageMinimumGCAge is expected"),
            ("hairpinMode: bridge", "1: hairpinMode is \"bridge\", where none, hairpin-veth or promiscuous-bridge is expected"),
            ("memorySwap:\n  swapBehavior: Some", "2: memorySwap.swapBehavior is \"Some\", where LimitedSwap, NoSwap or UnlimitedSwap is expected"),
            (
                "evictionHard:\n  memory.available: lots",
                "2: evictionHard.memory.available is \"lots\", where a quantity above 0 (100Mi) or a percentage from 0% to 100% is expected",
            ),
            ("evictionSoft:\n  pid.available: 10%", "2: evictionSoft.pid.available needs a grace period of the same name in evictionSoftGracePeriod"),
            ("systemReserved:\n  disk: 1G", "2: systemReserved reserves \"disk\", where cpu, memory, ephemeral-storage or pid is expected"),
            ("kubeReserved:\n  cpu: 100q", "2: kubeReserved.cpu is \"100q\", where a quantity that is not negative is expected"),
            ("enforceNodeAllocatable: [pods, pods]", "1: enforceNodeAllocatable has \"pods\" twice"),
            ("enforceNodeAllocatable:\n- kube-reserved", "2: enforceNodeAllocatable has \"kube-reserved\", which needs kubeReservedCgroup"),
            ("cgroupsPerQOS: false\nenforceNodeAllocatable: [pods]", "2: enforceNodeAllocatable has \"pods\", which needs cgroupsPerQOS: true"),
            ("cgroupsPerQOS: false", "1: cgroupsPerQOS is false, which needs enforceNodeAllocatable: [none]"),
            ("reservedSystemCPUs: 0-", "1: reservedSystemCPUs is \"0-\", where a list of CPUs (0-1,4) is expected"),
            ("shutdownGracePeriod: 500ms", "1: shutdownGracePeriod is \"500ms\", where 0 or at least 1s is expected"),
            (
                "shutdownGracePeriod: 10s\nshutdownGracePeriodCriticalPods: 20s",
                "2: shutdownGracePeriodCriticalPods is \"20s\", where at most shutdownGracePeriod is expected",
            ),
            ("maxParallelImagePulls: 5", "1: maxParallelImagePulls is 5, which needs serializeImagePulls: false"),
            ("memoryThrottlingFactor: 1.5", "1: memoryThrottlingFactor is 1.5, where more than 0 and at most 1 is expected"),
            ("containerLogMaxFiles: 1", "1: containerLogMaxFiles is 1, where 2 or more is expected"),
            ("containerLogMaxSize: 10MB", "1: containerLogMaxSize is \"10MB\", where a quantity (10Mi) is expected"),
            ("containerLogMonitorInterval: 1s", "1: containerLogMonitorInterval is \"1s\", where at least 3s is expected"),
            ("podLogsDir: var/log", "1: podLogsDir is \"var/log\", where an absolute path of ASCII without . and .. is expected"),
            ("registerWithTaints:\n- {key: a, effect: Never}", "2: a taint's effect is \"Never\", where NoSchedule, PreferNoSchedule or NoExecute is expected"),
            ("reservedMemory:\n- numaNode: 0\n  limits: {memory: \"0\"}", "3: reservedMemory.memory is \"0\", where an amount above 0 is expected"),
            ("cpuCFSQuotaPeriod: 5s", "1: cpuCFSQuotaPeriod is \"5s\", where 1ms to 1s is expected"),
            ("crashLoopBackOff:\n  maxContainerRestartPeriod: 10m", "2: crashLoopBackOff.maxContainerRestartPeriod is \"10m\", where 1s to 300s is expected"),
            ("memoryReservationPolicy: Some", "1: memoryReservationPolicy is \"Some\", where None or TieredReservation is expected"),
            ("authorization: {mode: RBAC}", "1: authorization.mode is \"RBAC\", where AlwaysAllow or Webhook is expected"),
        ] {
            assert_eq!(refused(text), [expected], "{text}");
        }
        let signal = refused("evictionHard:\n  memory.free: 100Mi");
        assert!(signal.len() == 1 && signal[0].starts_with("2: evictionHard has the signal \"memory.free\", where memory.available, "), "{signal:?}");
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
            "shutdownGracePeriod: 30s\nshutdownGracePeriodCriticalPods: 10s",
            "imageMaximumGCAge: 0s\nmemoryThrottlingFactor: 0.9\nmemorySwap: {}",
        ] {
            assert_eq!(refused(text), Vec::<String>::new(), "{text}");
        }
    }
}
