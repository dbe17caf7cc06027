//! What the CNI checks share: the directory as the runtime sees it.

use crate::facts::cni::Cni;
use crate::facts::shell::quote;
use crate::facts::{Blind, Facts};
use crate::finding::Finding;

/// Lines of a directory that are shown.
const SHOWN: usize = 12;

/// The facts, where there is anything to judge: `None` on a machine that is no node, or whose runtime uses no CNI.
pub(super) fn judged(facts: &Facts) -> Result<Option<&Cni>, Blind> {
    let cni = facts.cni.ok()?;
    Ok(Some(cni).filter(|cni| cni.unused.is_none() && facts.is_kubernetes_node()))
}

/// Every file in the runtime's order, with what the runtime makes of it.
pub(super) fn listing(cni: &Cni, mut finding: Finding) -> Finding {
    for file in cni.files.iter().take(SHOWN) {
        finding = finding.evidence(cni.path_of(file), cni.describe(file));
    }
    let rest = cni.files.len().saturating_sub(SHOWN);
    if rest > 0 {
        finding = finding.evidence(cni.conf_dir.value.clone(), format!("and {rest} more files"));
    }
    finding
}

/// Takes a file out of the runtime's sight without losing it; every runtime notices by itself.
pub(super) fn put_aside(path: &str) -> String {
    format!("mv {} {}  # no restart: the runtime watches the directory", quote(path), quote(&format!("{path}.disabled")))
}

/// Where to look when the network plugin's pod should have done something.
pub(super) fn look_at_its_pod(facts: &Facts, cni: &Cni, provider: Option<&str>) -> String {
    let pod = cni.installed.iter().filter(|(name, _)| provider.is_none_or(|provider| provider == *name)).find_map(|(_, mark)| mark.pod_logs.as_deref());
    match pod {
        Some(logs) => format!("tail -n 20 {}/*/*.log  # the network plugin's pod on this node", quote(logs)),
        None => format!("kubectl get pods -A -o wide --field-selector spec.nodeName={}  # does the network plugin's pod run here?", quote(facts.node_name())),
    }
}
