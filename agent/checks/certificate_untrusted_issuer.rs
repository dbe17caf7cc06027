use std::time::Duration;

use super::certificate::{self, Harm, Wrong};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "certificate-untrusted-issuer",
    title: "a certificate was not issued by the CA that has to have issued it",
    severity: Severity::Critical,
    domain: Domain::Certificates,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("certificate_untrusted_issuer.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    certificate::find(facts, Harm::Done, |_, certificate| {
        let trust = certificate.trust.as_ref().filter(|trust| trust.verified.known() == Some(&false))?;
        let issuer = &certificate.issuer_common_name;
        let what = if trust.same_name {
            format!("was signed with another key of the CA {issuer}: that CA was replaced")
        } else {
            format!("was signed by another CA, {issuer}")
        };
        let stands_in = if trust.stand_in { "; this CA stands in for the one that decides, which is not on this node" } else { "" };
        Some(Wrong::new(what).evidence(trust.authority.clone(), format!("does not verify its signature{stands_in}")))
    })
}
