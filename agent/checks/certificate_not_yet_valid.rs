use std::time::Duration;

use super::certificate::{self, Harm, Mend, Wrong};
use crate::config::Config;
use crate::facts::timestamp::human_span;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "certificate-not-yet-valid",
    title: "a certificate in use is not valid yet",
    severity: Severity::Critical,
    domain: Domain::Certificates,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("certificate_not_yet_valid.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    certificate::find_by(
        facts,
        Harm::Done,
        |_| Mend::Clock,
        |place, certificate| {
            let wait = certificate.not_before.seconds_since(facts.certificates_at);
            (wait > 0 && !certificate::is_replaced(place, certificate)).then(|| {
                Wrong::new(format!("is valid only from {} on, {} after this node's clock", certificate.not_before.human(), human_span(wait)))
                    .stops("it is refused, unless it is the clock that is wrong")
            })
        },
    )
}
