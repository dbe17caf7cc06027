//! The CNI directory as the runtime reads it: for who has to find out why pods get no network, or the wrong one.

use std::collections::{BTreeMap, BTreeSet};

use crate::checks::{self, cni_plugin_missing, runtime_unresponsive};
use crate::diagnose::Report;
use crate::facts::cni::{Binary, Cni, ConfFile};
use crate::facts::{Domain, Facts};
use crate::finding::{Finding, Severity};
use crate::publish::view::plain;

/// Files that are shown.
const SHOWN: usize = 30;

/// What stands there, in the runtime's order, and which of the plugins can be run.
pub(super) struct Networks {
    pub title: String,
    /// A file and what the runtime does with it; then the plugins.
    pub rows: Vec<(String, String)>,
    /// Paths with what findings say of them that the rows say, too.
    told: Vec<(String, String)>,
}

impl Networks {
    /// `None` where nobody asks: no finding is about the network's configuration, and `always` is not wanted.
    pub fn of(report: &Report, facts: &Facts, always: bool) -> Option<Self> {
        let cni = facts.cni.known().filter(|cni| cni.unused.is_none() && facts.is_kubernetes_node())?;
        let asked = always || report.findings.iter().any(|finding| report.gravity(finding) > Severity::Info && is_about(finding));
        let missing = || report.findings.iter().filter(|finding| finding.code == cni_plugin_missing::CHECK.code);
        // Its finding says where they were looked for.
        let told = |file: &ConfFile| missing().any(|finding| finding.subject == cni.path_of(file));
        let told = cni.networks().filter(|(file, _)| told(file)).flat_map(|(_, network)| network.binaries().chain(["loopback"]));
        (asked && !cni.files.is_empty()).then(|| Self::new(cni, &told.collect()))
    }

    fn new(cni: &Cni, missing_told: &BTreeSet<&str>) -> Self {
        let harmless = |text: &str| plain(text).into_owned();
        let mut rows: Vec<_> = cni.files.iter().take(SHOWN).map(|file| (harmless(&file.name), harmless(&cni.describe(file)))).collect();
        let rest = cni.files.len().saturating_sub(SHOWN);
        if rest > 0 {
            rows.push((String::new(), format!("and {rest} more files")));
        }
        rows.extend(plugins(cni, missing_told).into_iter().map(|line| ("plugins".to_owned(), harmless(&line))));
        let told = cni.files.iter().flat_map(|file| {
            let chain = cni.networks().find(|(network, _)| network.name == file.name).map(|(_, network)| network.identity());
            let also = chain.iter().flat_map(|chain| [chain.clone(), format!("in effect: {chain}")]).collect::<Vec<_>>();
            std::iter::once(cni.describe(file)).chain(also).map(|saw| (harmless(&cni.path_of(file)), harmless(&saw)))
        });
        let source = if cni.conf_dir.source == "default" { String::new() } else { format!(" ({})", cni.conf_dir.source) };
        let title = format!("{} as {} reads it{source}", cni.conf_dir.value, cni.runtime.name());
        Self { told: told.collect(), title: harmless(&title), rows }
    }

    /// Whether what a finding shows is among the rows.
    pub fn tells(&self, evidence: &(String, String)) -> bool {
        self.told.contains(evidence)
    }
}

fn is_about(finding: &Finding) -> bool {
    let of_cni = checks::get(&finding.code).is_some_and(|check| check.domain == Domain::Cni);
    of_cni || (finding.code == runtime_unresponsive::CHECK.code && finding.subject == "NetworkReady")
}

/// Where the binaries of all loadable files are, and which are nowhere, but for those of which that has been told.
fn plugins(cni: &Cni, missing_told: &BTreeSet<&str>) -> Vec<String> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let (mut missing, mut hidden, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for (kind, binary) in cni.binaries.iter().filter(|(kind, binary)| !(binary.cannot_run() && missing_told.contains(kind.as_str()))) {
        match binary {
            Binary::Found(path) => found.entry(path.rsplit_once('/').map_or("/", |(dir, _)| dir)).or_default().push(kind),
            Binary::Missing => missing.push(kind.as_str()),
            Binary::Unreadable(_) => hidden.push(kind.as_str()),
            Binary::NotExecutable(path) => others.push(format!("{path} cannot be run: it is not executable")),
            Binary::Elsewhere(path) => others.push(format!("{path} is not where {} looks", cni.runtime.name())),
        }
    }
    let mut lines: Vec<String> = found.into_iter().map(|(dir, kinds)| format!("{} in {dir}", kinds.join(", "))).collect();
    if !missing.is_empty() {
        let dirs: Vec<_> = cni.bin_dirs.iter().map(|dir| dir.value.as_str()).collect();
        lines.push(format!("{} missing: not in {}", missing.join(", "), dirs.join(", ")));
    }
    lines.extend(others);
    if !hidden.is_empty() {
        lines.push(format!("{} not seen", hidden.join(", ")));
    }
    lines
}
