//! What the checks of the kubelet's configuration share: where a value is mended, and how a path is written in a command.

use crate::facts::kubelet::{Fault, Manifest, NEWEST, OddFlag, Oddity};
pub(super) use crate::facts::shell::quote;
use crate::facts::{Facts, Kubelet, Sourced};
use crate::finding::{Component, Finding};

/// More faults of one file than anybody reads at once.
const MOST: usize = 10;

pub(super) const RESTART: &str = "systemctl restart kubelet";

/// The file and line that a value's source names: `/var/lib/kubelet/config.yaml:9`, or `/etc/default/kubelet:1 --config`.
pub(super) fn place(source: &str) -> Option<(&str, u64)> {
    let (file, line) = source.split(" --").next()?.rsplit_once(':')?;
    Some((file, line.parse().ok()?)).filter(|(file, _)| file.starts_with('/'))
}

/// The command that opens the place where a value was set, and has the kubelet read it again.
pub(super) fn edit<T>(value: &Sourced<T>) -> String {
    match place(&value.source) {
        Some((file, line)) => edit_at(file, Some(line)),
        // In the unit itself, or told by the process only.
        None => format!("systemctl edit --full kubelet && {RESTART}"),
    }
}

/// The command that opens a file at a line, and has the kubelet read it again.
pub(super) fn edit_at(file: &str, line: Option<u64>) -> String {
    let line = line.map_or_else(String::new, |line| format!("+{line} "));
    format!("vi {line}{} && {RESTART}", quote(file))
}

/// The command that writes `new` for `old` on the very line that set a value, and has the kubelet read it again;
/// where that cannot be written safely, one that opens the line.
pub(super) fn replace<T>(value: &Sourced<T>, old: &str, new: &str) -> String {
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-:[]".contains(c));
    match place(&value.source) {
        Some((file, line)) if plain(old) && plain(new) => {
            let pattern: String = old.chars().flat_map(|c| ".[]".contains(c).then_some('\\').into_iter().chain([c])).collect();
            format!("sed -i '{line}s#{pattern}#{new}#' {} && {RESTART}", quote(file))
        }
        _ => edit(value),
    }
}

/// The faults of a file as evidence.
pub(super) fn faults(finding: Finding, path: &str, faults: &[Fault]) -> Finding {
    let finding = faults.iter().take(MOST).fold(finding, |finding, fault| finding.evidence(fault.place(path), fault.message.clone()));
    match faults.len().checked_sub(MOST) {
        Some(more @ 1..) => finding.evidence(path, format!("and {more} more")),
        _ => finding,
    }
}

/// Whose fault a static pod's is. Of the API server and what it needs, others on the node feel it; of the rest only the cluster does.
pub(super) fn component_of(manifest: &Manifest) -> Component {
    if ["kube-apiserver", "etcd"].contains(&manifest.stem()) { Component::ControlPlane } else { Component::Workloads }
}

/// `2.0 GiB`, `512 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss)] // one digit is shown
    let gib = bytes as f64 / 1_073_741_824.0;
    if gib >= 1.0 { format!("{gib:.1} GiB") } else { format!("{} MiB", bytes >> 20) }
}

/// The kubelet that is installed, by its package, else by what the running one said of itself: `1.36.2`, and where it stands.
pub(super) fn version(facts: &Facts) -> Option<Sourced<String>> {
    let said = || {
        let seen = facts.journal.known()?.signals.get(super::kubelet_flag_outdated::CHECK.code)?;
        let line = seen.samples.last()?;
        let record = line.record();
        let version: String = record.value("kubeletVersion")?.strip_prefix('v')?.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        Some(Sourced::new(version, line.source.clone()))
    };
    facts.kubelet.known().and_then(|kubelet| kubelet.version.clone()).or_else(said)
}

/// Its minor release: 36 of 1.36.2.
pub(super) fn release(facts: &Facts) -> Option<u32> {
    Kubelet::release_of(version(facts).as_ref())
}

/// Flags that the kubelet refuses when it is started next. Those that its running process has it has taken, unless that is just
/// what it exits of, again and again.
pub(super) fn refused_flags(facts: &Facts) -> Vec<&OddFlag> {
    let unit = facts.units.known().and_then(|units| units.get("kubelet.service"));
    let unit = unit.and_then(|unit| Some((unit, unit.active.as_ref()?)));
    let runs = unit.is_none_or(|(unit, active)| super::unit::state(unit, active, facts.now) == super::unit::State::Well);
    let odd = facts.kubelet.known().map(|kubelet| kubelet.odd_flags.as_slice()).unwrap_or_default();
    let release = release(facts);
    // A newer program than the running one may be installed already.
    let refused = |odd: &&OddFlag| match &odd.oddity {
        Oddity::Gone { release: gone } => release.is_some_and(|release| release >= *gone),
        // Of a flag that came later than what is known here, only a slip of the pen is told.
        Oddity::Unknown { did_you_mean } => !(odd.live && runs) && (did_you_mean.is_some() || release.is_some_and(|release| release <= NEWEST)),
        Oddity::Refused(_) => !(odd.live && runs),
    };
    odd.iter().filter(refused).collect()
}

/// What follows from a fault that the kubelet does not survive: it exits now, or will when it is started next.
pub(super) fn consequence(facts: &Facts) -> &'static str {
    let active = facts.units.known().and_then(|units| units.get("kubelet.service")?.active.as_ref());
    if active.is_some_and(|active| active.state == "active") { "the kubelet will not start again" } else { "the kubelet exits at start" }
}
