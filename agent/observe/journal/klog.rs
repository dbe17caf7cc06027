//! How the programs of a node write their log lines: klog, logrus and zap.

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

/// The letter of a klog header, `Lmmdd hh:mm:ss.uuuuuu PID file.go:line] `.
fn klog_level(message: &str) -> Option<u8> {
    let bytes = message.as_bytes();
    let level = *bytes.first()?;
    let digits = |from: usize, to: usize| bytes.get(from..to).is_some_and(|part| part.iter().all(u8::is_ascii_digit));
    (matches!(level, b'I' | b'W' | b'E' | b'F') && digits(1, 5) && bytes.get(5) == Some(&b' ') && digits(6, 8) && bytes.get(8) == Some(&b':')).then_some(level)
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
