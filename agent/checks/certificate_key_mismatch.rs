use std::time::Duration;

use super::certificate::{self, Harm, Wrong};
use crate::config::Config;
use crate::facts::certificates::{KeyState, Role};
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "certificate-key-mismatch",
    title: "a private key is not its certificate's",
    severity: Severity::Critical,
    domain: Domain::Certificates,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("certificate_key_mismatch.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    certificate::find(facts, Harm::Done, |place, certificate| {
        let key = place.key.as_ref().filter(|_| certificate::is_leaf(place, certificate))?;
        let (what, saw) = match &key.state {
            KeyState::Found { matches, .. } if matches.known() == Some(&false) => ("does not belong to its private key", "the key of another certificate"),
            KeyState::Invalid(why) => ("has no usable private key", why.as_str()),
            // What the kubelet's kubeconfig names and is not there is kubelet-kubeconfig-invalid's business.
            KeyState::Missing if place.role != Role::KubeletClient => ("has no private key", "the file does not exist"),
            KeyState::Found { .. } | KeyState::Missing | KeyState::Unreadable(_) => return None,
        };
        let wrong = Wrong::new(what).evidence(key.path.clone(), saw).replace();
        Some(match certificate::reader(facts, place) {
            Some(program) => wrong.stops(format!("{program} does not start with it")),
            None => wrong,
        })
    })
}
