//! What the checks of log lines share.

use crate::facts::journal::{LogLine, SignalSeen};
use crate::facts::record::Record;
use crate::facts::shell::quote;
use crate::facts::{Blind, Facts, Timestamp};
use crate::finding::{Finding, LogSource};

/// What was counted for the check of that code.
pub(super) fn seen<'a>(facts: &'a Facts, code: &str) -> Result<Option<&'a SignalSeen>, Blind> {
    let journal = facts.journal.ok()?;
    // The kernel's lines are seen without the journal, the units' are not.
    let is_kernel = || super::get(code).is_some_and(|check| check.signals.iter().all(|signal| signal.from == LogSource::Kernel));
    match &journal.unseen {
        Some(blind) if !is_kernel() => Err(blind.clone()),
        _ => Ok(journal.signals.get(code)),
    }
}

/// How many seconds ago that was: by the node's clock, or on the disk of a dead node by its last line.
pub(super) fn age(facts: &Facts, time: Timestamp) -> i64 {
    let until = facts.journal.known().and_then(|journal| journal.until).filter(|_| !facts.node.live);
    until.unwrap_or(facts.now).seconds_since(time)
}

/// Who said it, and when.
pub(super) fn place(line: &LogLine) -> String {
    format!("{}, last {}", line.source, line.time.clock())
}

/// The line as evidence.
pub(super) fn evidence(finding: Finding, line: &LogLine) -> Finding {
    finding.evidence(place(line), line.said())
}

/// The image that a line about a pull names: by its key, else in what the error says.
pub(super) fn image(message: &str) -> Option<String> {
    let record = Record::parse(message);
    let whole = record.to_string();
    let named = || {
        let before = [
            "failed to get sandbox image \"",
            "PullImage \"",
            "Back-off pulling image \"",
            "ailed to pull image \"",
            "failed pulling image \"",
            "nitializing source docker://",
        ];
        before.iter().find_map(|before| whole.split_once(before)).map(|(_, rest)| rest)
    };
    let image = record.value("image").or_else(named)?;
    let image = image.split(['"', ' ']).next().map(|image| image.trim_end_matches(':')).filter(|image| !image.is_empty())?;
    Some(image.to_owned())
}

/// The pod that a line is about, as `kubectl describe` takes it.
pub(super) fn describe_pod(line: &LogLine) -> Option<String> {
    let record = line.record();
    let (namespace, name) = record.value("pod")?.split_once('/')?;
    Some(format!("kubectl -n {} describe pod {} | tail -20", quote(namespace), quote(name)))
}

/// Why it could not be pulled, where a few words say it.
pub(super) fn pull_failure(message: &str) -> &'static str {
    [
        ("no such host", ": its registry's name cannot be resolved"),
        ("i/o timeout", ": its registry does not answer"),
        ("connection refused", ": its registry refuses connections"),
        ("x509", ": its registry's certificate is not trusted"),
        ("401 Unauthorized", ": its registry wants a login"),
        ("403 Forbidden", ": its registry forbids it"),
        ("toomanyrequests", ": its registry allows no more pulls for now"),
        ("429 Too Many", ": its registry allows no more pulls for now"),
        ("not found", ": its registry does not have it"),
        ("no space left", ": the disk is full"),
    ]
    .into_iter()
    .find(|(told, _)| message.contains(told))
    .map_or("", |(_, reason)| reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_runtimes_words_name_the_image() {
        let line = |said: &str| format!("E1201 03:12:30.976970     621 log.go:32] \"RunPodSandbox from runtime service failed\" err={said:?}");
        for (said, named) in [
            ("rpc error: failed to get sandbox image \"registry.k8s.io/pause:3.10\": failed to pull image", "registry.k8s.io/pause:3.10"),
            (
                "creating pod sandbox with name \"k8s_web-0_shop_1_0\": initializing source docker://registry.k8s.io/pause:3.10: pinging",
                "registry.k8s.io/pause:3.10",
            ),
            ("error creating pod sandbox with name \"k8s_x\": Error initializing source docker://reg:5000/pause:3.1: error pinging", "reg:5000/pause:3.1"),
            ("rpc error: code = Unknown desc = failed pulling image \"k8s.gcr.io/pause:3.2\": Error response from daemon", "k8s.gcr.io/pause:3.2"),
            ("failed to \"StartContainer\" for \"x\" with ImagePullBackOff: \"Back-off pulling image \\\"nginx:y\\\"\"", "nginx:y"),
        ] {
            assert_eq!(image(&line(said)).as_deref(), Some(named), "{said}");
        }
        let old = "E0614 07:00:01.123456    1234 remote_image.go:113] PullImage \"nginx:x\" from image service failed: rpc error: code = NotFound";
        assert_eq!(image(old).as_deref(), Some("nginx:x"));
        assert_eq!(image(&format!("{} image=\"nginx:z\"", line("not found"))).as_deref(), Some("nginx:z"));
        assert_eq!(image(&line("no such host")), None);
    }
}
