use std::time::Duration;

use super::health::{self, NOT_READY, kubelet_says};
use crate::config::Config;
use crate::facts::health::Reach;
use crate::facts::kubelet::endpoint;
use crate::facts::shell::quote;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "api-server-name-unresolvable",
    title: "the API server's name has no address",
    severity: Severity::Critical,
    domain: Domain::Health,
    settle: Duration::from_secs(10),
    explained_by: &[&super::resolv_conf_missing::CHECK],
    signals: &[kubelet_says!(r"dial tcp: lookup ")],
    article: include_str!("api_server_name_unresolvable.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let seen = |reach: &Reach| match reach {
        Reach::Unresolved { error } => Some(("/etc/hosts, /etc/resolv.conf".to_owned(), error.clone())),
        _ => None,
    };
    let found = health::of_api_server(
        facts,
        CHECK.code,
        seen,
        |_| true,
        |host| {
            let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
            format!("the API server's name {name} has no address here, and {NOT_READY}")
        },
    )?;
    let remedies = |(finding, host): (Finding, String)| {
        let name = endpoint(&finding.subject).map_or(host, |(name, _)| name);
        finding.remedy(format!("getent ahosts {}; cat /etc/resolv.conf; grep -n hosts: /etc/nsswitch.conf", quote(&name))).remedy(format!(
            "resolvectl query {} 2>/dev/null || nslookup {}",
            quote(&name),
            quote(&name)
        ))
    };
    Ok(found.map(remedies).into_iter().collect())
}
