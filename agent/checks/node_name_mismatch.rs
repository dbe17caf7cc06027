use std::time::Duration;

use super::kubelet::{RESTART, edit, quote};
use crate::config::Config;
use crate::facts::certificates::{Certificate, Place, Role};
use crate::facts::node::GIVEN_NAME;
use crate::facts::{Blind, Domain, Facts, Sourced};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "node-name-mismatch",
    title: "the kubelet calls itself otherwise than its certificate does",
    severity: Severity::Critical,
    domain: Domain::Kubelet,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("node_name_mismatch.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let Some(name) = own_name(facts)? else { return Ok(Vec::new()) };
    let client = leaf(facts, Role::KubeletClient)?;
    let Some((place, certified)) = client.and_then(|(place, leaf)| Some((place, leaf.common_name.strip_prefix("system:node:")?))) else {
        return Ok(Vec::new());
    };
    let told = facts.node.name.as_ref().filter(|told| told.source == GIVEN_NAME);
    // Where the cluster's name for this machine is known to be the kubelet's, the certificate is wrong: certificate-wrong-user.
    if certified == name.value || told.is_some_and(|told| told.value == name.value) {
        return Ok(Vec::new());
    }
    let summary = format!("the kubelet calls itself {}, and its certificate is for {certified}, so the API server lets it be neither", name.value);
    let mut finding = Finding::new(Component::Kubelet, name.value.clone(), summary)
        .evidence(name.source.clone(), format!("the node is called {}", name.value))
        .evidence(place.location(), format!("CN=system:node:{certified}"));
    // The kubelet signed its serving certificate itself when it first started here, as NODE@SECONDS.
    let serving = leaf(facts, Role::KubeletServing)?.and_then(|(place, leaf)| Some((place, leaf.common_name.split_once('@')?.0)));
    if let Some((place, first)) = serving {
        finding = finding.evidence(place.location(), format!("it first started as {first}"));
    }
    let mirrors = &facts.kubelet.ok()?.surroundings.mirror_names;
    for mirror in mirrors.iter().take(3) {
        finding = finding.evidence(mirror.source.clone(), format!("static pods have run here under the node name {}", mirror.value));
    }
    let ran_as = |name: &str| mirrors.iter().any(|mirror| mirror.value == name);
    let first = serving.map(|(_, first)| first);
    let remedies = match () {
        () if name.source.ends_with("--hostname-override") => vec![edit(name)],
        () if told.is_some_and(|told| told.value == certified) || first == Some(certified) || (first.is_none() && ran_as(certified)) => {
            vec![format!("hostnamectl set-hostname {} && {RESTART}", quote(certified))]
        }
        () if first == Some(name.value.as_str()) => facts.new_kubelet_conf(),
        () => vec![format!("kubectl get node {} {} -o wide  # where kubectl works: which of the two is this machine?", quote(certified), quote(&name.value))],
    };
    Ok(vec![remedies.into_iter().fold(finding, Finding::remedy)])
}

/// The name under which the kubelet registers, where nothing else can have given it another: a distribution that embeds the
/// kubelet, or a cloud provider inside it.
fn own_name(facts: &Facts) -> Result<Option<&Sourced<String>>, Blind> {
    let kubelet = facts.kubelet.ok()?;
    let cloud = kubelet.flags.get("cloud-provider").is_some_and(|cloud| !["", "external"].contains(&cloud.value.as_str()));
    Ok(kubelet.surroundings.node_name.as_ref().filter(|_| !cloud && kubelet.command_line_source != "default"))
}

fn leaf(facts: &Facts, role: Role) -> Result<Option<(&Place, &Certificate)>, Blind> {
    let places = &facts.certificates.ok()?.places;
    Ok(places.iter().filter(|place| place.role == role && place.in_use).find_map(|place| Some((place, place.leaf()?))))
}
