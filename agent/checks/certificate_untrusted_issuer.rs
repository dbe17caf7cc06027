use std::time::Duration;

use super::certificate;
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
    certificate::each(facts, |place, leaf| {
        let trust = leaf.trust.as_ref()?;
        let untrusted = trust.verified.known() == Some(&false);
        let why = if trust.same_name { "a CA of the same name with another key: the CA was replaced" } else { "another CA" };
        untrusted.then(|| {
            certificate::finding(facts, place, leaf, &format!("was signed by {why}"))
                .evidence(trust.authority.clone(), format!("its signature does not verify; its issuer is CN={}", leaf.issuer_common_name))
        })
    })
}
