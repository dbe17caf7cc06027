use std::time::Duration;

use super::kubelet::edit_at;
use crate::config::Config;
use crate::facts::kubelet::IgnoredField;
use crate::facts::{Blind, Domain, Facts};
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
        let told = |finding: Finding, field: &&IgnoredField| finding.evidence(format!("{path}:{}:{}", field.line, field.column), why(field));
        Some(fields.iter().take(10).fold(finding, told).remedy(edit_at(path, Some(first.line))))
    });
    Ok(ignored.collect())
}

fn why(field: &IgnoredField) -> String {
    let name = &field.field;
    match &field.did_you_mean {
        _ if field.duplicate => format!("{name} stands there again further down, and that one counts"),
        Some(meant) => format!("there is no field {name}; did you mean {meant}?"),
        None => format!("there is no field {name}"),
    }
}
