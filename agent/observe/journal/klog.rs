//! How bad the lines of a node's programs are by their own word (klog, logrus, zap), and which make up one record. What they say in
//! detail: [`crate::facts::record`].

use crate::facts::record::klog_level;

/// What a line is, by its own header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// The program calls it an error, or worse.
    Error,
    /// The program calls it information or a warning.
    Calm,
    /// It has no header: a line of a longer record, or of a program that could not even start.
    Plain,
}

/// What the kubelet and kube-proxy log as errors at every healthy start.
const NORMAL: [&str; 12] = [
    "Image garbage collection failed once. Stats initialization may not have completed yet",
    "pleg has yet to be successful",
    "container runtime status check may not have completed yet",
    "checkpoint is not found",
    "failed to check if we have separate container filesystem. Ignoring.",
    "Error getting the current node from lister",
    "Unable to register mirror pod because node is not registered yet",
    "failed to get summary stats\" err=\"failed to get node info",
    "Failed creating a mirror pod\" err=\"pods",
    "Failed to get node when trying to set owner ref to the node lease",
    "Failed to list existing nftables objects",
    "nodePortAddresses is unset",
];

/// Reads the header. `severe` is what the journal's PRIORITY says (3 or less).
#[must_use]
pub fn tone(message: &str, severe: bool) -> Tone {
    if let Some(level) = klog_level(message) {
        return if matches!(level, b'E' | b'F') { Tone::Error } else { Tone::Calm };
    }
    // The lines that follow a slow operation's klog record.
    if message.starts_with("Trace[") {
        return Tone::Calm;
    }
    // logrus (containerd, CRI-O, dockerd) and zap (etcd) put the level near the start.
    let start = message.char_indices().nth(160).map_or(message, |(at, _)| message.get(..at).unwrap_or(message));
    let level = ["level=", "\"level\":\""].iter().find_map(|key| start.split_once(key)).map(|(_, rest)| rest.trim_start_matches('"'));
    match level {
        Some(level) if ["error", "fatal", "panic", "dpanic"].iter().any(|bad| level.starts_with(bad)) => Tone::Error,
        Some(_) => Tone::Calm,
        // The kubelet's JSON format: an error has no verbosity.
        None if message.starts_with("{\"ts\":") => {
            if message.contains("\"err\":") && !message.contains("\"v\":") {
                Tone::Error
            } else {
                Tone::Calm
            }
        }
        None if severe => Tone::Error,
        None => Tone::Plain,
    }
}

/// Whether it says nothing is wrong although it is logged as an error.
#[must_use]
pub fn is_normal(message: &str) -> bool {
    // A PLEG that once worked and a runtime that is down are told in the same line as the start's excuses.
    let real = ["pleg was last seen active", "container runtime is down", "container runtime not ready"];
    NORMAL.iter().any(|normal| message.contains(normal)) && !real.iter().any(|real| message.contains(real))
}

/// Whether more lines of the same record follow: a value with newlines is printed as `err=<`, the lines, ` >`.
#[must_use]
pub fn is_open(message: &str) -> bool {
    message.ends_with("=<")
}

/// Whether this line ends such a value.
#[must_use]
pub fn closes(message: &str) -> bool {
    message.starts_with(" >")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_of_a_node_is_understood() {
        for (line, severe, tone_of) in [
            (r#"E1123 18:02:38.105541     280 run.go:72] "command failed""#, false, Tone::Error),
            ("F1123 18:50:25.509082    8670 server.go:257] unable to load client CA file", false, Tone::Error),
            ("I1123 18:02:40.189356     351 swap_util.go:119] all is well", false, Tone::Calm),
            ("W1123 18:14:11.966319     821 manager.go:1184] hm", true, Tone::Calm),
            (r#"time="2026-11-24T03:12:44Z" level=fatal msg="no such device""#, false, Tone::Error),
            (r#"time="2026-11-24T03:12:44Z" level=info msg="said level=error""#, false, Tone::Calm),
            (r#"{"level":"fatal","ts":"2026-11-24T03:12:44Z","msg":"discovery failed"}"#, false, Tone::Error),
            (r#"{"level":"info","ts":"2026-11-24T03:12:44Z","msg":"ready"}"#, false, Tone::Calm),
            (r#"{"ts":1.7e12,"caller":"app/server.go:1","msg":"failed","err":"no"}"#, false, Tone::Error),
            (r#"{"ts":1.7e12,"caller":"app/server.go:1","msg":"fine","v":2}"#, false, Tone::Calm),
            ("kubelet.service: Failed to execute /usr/bin/kubelet: No such file or directory", true, Tone::Error),
            ("error while loading shared libraries: libseccomp.so.2", false, Tone::Plain),
            ("Trace[1905648656]: [1m6.235278868s] [1m6.235278868s] END", false, Tone::Calm),
            ("", false, Tone::Plain),
            ("E1", false, Tone::Plain),
        ] {
            assert_eq!(tone(line, severe), tone_of, "{line}");
        }
    }

    #[test]
    fn a_real_fault_beside_an_excuse_of_the_start_is_no_excuse() {
        assert!(is_normal(r#"err="[container runtime status check may not have completed yet, PLEG is not healthy: pleg has yet to be successful]""#));
        assert!(!is_normal(r#"err="[container runtime is down, PLEG is not healthy: pleg has yet to be successful]""#));
        assert!(!is_normal(r#""command failed" err="failed to run Kubelet""#));
    }
}
