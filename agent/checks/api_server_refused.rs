use std::time::Duration;

use super::health::{self, NOT_READY, kubelet_says};
use crate::config::Config;
use crate::facts::health::Reach;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "api-server-refused",
    title: "the API server's address refuses connections",
    severity: Severity::Critical,
    domain: Domain::Health,
    settle: Duration::from_secs(10),
    explained_by: &[&super::api_server_endpoint_mismatch::CHECK, &super::api_server_not_running::CHECK],
    signals: &[kubelet_says!("connect: connection refused")],
    article: include_str!("api_server_refused.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let seen = |reach: &Reach| match reach {
        Reach::Refused { address } => Some((format!("connect {address}"), "connection refused".to_owned())),
        _ => None,
    };
    let found =
        health::of_api_server(facts, CHECK.code, seen, |_| true, |host| format!("{host} refuses connections: no API server listens there, and {NOT_READY}"))?;
    Ok(found.map(|(finding, host)| health::look_at_api_server(facts, finding, &host)).into_iter().collect())
}
