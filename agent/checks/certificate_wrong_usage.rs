use std::time::Duration;

use super::certificate::{self, Harm, Wrong};
use crate::config::Config;
use crate::facts::certificates::Role;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "certificate-wrong-usage",
    title: "a certificate is not made for its use",
    severity: Severity::Critical,
    domain: Domain::Certificates,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("certificate_wrong_usage.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    certificate::find(facts, Harm::Done, |place, certificate| {
        let usages = certificate.usages.as_ref().filter(|_| certificate::is_leaf(place, certificate))?;
        let allowed = |usage: &str| usages.iter().any(|allowed| allowed == usage || allowed == "any");
        let missing = needed(place.role).iter().find(|usage| !allowed(usage))?;
        let saw = if usages.is_empty() { "nothing".to_owned() } else { usages.join(", ") };
        Some(Wrong::new(format!("is not made for {missing}")).evidence(place.location(), format!("extended key usage: {saw}")).replace())
    })
}

/// What the other side of the connection asks of it (Go `crypto/x509` `VerifyOptions.KeyUsages`).
fn needed(role: Role) -> &'static [&'static str] {
    match role {
        Role::KubeletServing | Role::ApiServer | Role::EtcdServer => &["serverAuth"],
        Role::EtcdPeer => &["serverAuth", "clientAuth"],
        Role::KubeletClient
        | Role::ApiServerKubeletClient
        | Role::ApiServerEtcdClient
        | Role::FrontProxyClient
        | Role::EtcdHealthcheckClient
        | Role::KubeconfigClient => &["clientAuth"],
        Role::ClusterCa | Role::FrontProxyCa | Role::EtcdCa | Role::Other => &[],
    }
}
