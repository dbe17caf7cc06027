use std::time::Duration;

use super::kubelet::edit_at;
use crate::config::Config;
use crate::facts::kubelet::{IgnoredField, NEWEST};
use crate::facts::{Blind, Domain, Facts, Kubelet};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "kubelet-config-unknown-field",
    title: "the kubelet ignores a field of its configuration file",
    severity: Severity::Warning,
    domain: Domain::Kubelet,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("kubelet_config_unknown_field.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let kubelet = facts.kubelet.ok()?;
    let ignored = kubelet.config_files().filter_map(|file| {
        let path = &file.path.value;
        let fields: Vec<_> = kubelet.ignored_fields.iter().filter(|field| field.path == *path).collect();
        let first = fields.first()?;
        let what = if fields.len() == 1 { first.field.clone() } else { format!("{} fields", fields.len()) };
        let finding = Finding::new(Component::Kubelet, path.clone(), format!("the kubelet ignores {what} in {path}"));
        let told = |finding: Finding, field: &&IgnoredField| finding.evidence(format!("{path}:{}:{}", field.line, field.column), why(kubelet, field));
        Some(fields.iter().take(10).fold(finding, told).remedy(edit_at(path, Some(first.line))))
    });
    Ok(ignored.collect())
}

fn why(kubelet: &Kubelet, field: &IgnoredField) -> String {
    let name = &field.field;
    // Of fields that came later nothing is known here, and so not of those of a kubelet whose version nothing tells.
    let none = if kubelet.release().is_some_and(|release| release <= NEWEST) {
        format!("there is no field {name}")
    } else {
        format!("no field {name} is known up to Kubernetes 1.{NEWEST}")
    };
    match (&field.did_you_mean, field.since) {
        _ if field.duplicate => format!("{name} stands there again further down, and that one counts"),
        (_, Some(since)) => {
            let version = kubelet.version.as_ref().map_or("", |version| version.value.as_str());
            format!("{name} came with Kubernetes 1.{since}, and this kubelet is {version}")
        }
        (Some(meant), _) => format!("{none}; did you mean {meant}?"),
        (None, _) => none,
    }
}
