use std::time::Duration;

use super::health::{self, NOT_READY, kubelet_says};
use crate::config::Config;
use crate::facts::health::Reach;
use crate::facts::kubelet::endpoint;
use crate::facts::shell::quote;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "api-server-unreachable",
    title: "the API server does not answer, or there is no way to it",
    severity: Severity::Critical,
    domain: Domain::Health,
    settle: Duration::from_secs(10),
    explained_by: &[&super::api_server_endpoint_mismatch::CHECK, &super::api_server_not_running::CHECK, &super::conntrack_full::CHECK],
    signals: &[kubelet_says!(
        r"(dial tcp [^ ]+:\d+: (i/o timeout|connect: (no route to host|network is unreachable|connection timed out))|context deadline exceeded|tls handshake timeout|client connection lost)"
    )],
    article: include_str!("api_server_unreachable.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let seen = |reach: &Reach| match reach {
        Reach::NoConnection { address, seconds } => {
            Some((format!("connect {address}"), if *seconds == 0 { "timed out".to_owned() } else { format!("no answer within {seconds} s") }))
        }
        Reach::NoRoute { address, error } => Some((format!("connect {address}"), error.clone())),
        Reach::Silent { address, seconds } => Some((format!("connect {address}"), format!("takes the connection and begins no TLS within {seconds} s"))),
        Reach::NotTls { address, error } => Some((format!("connect {address}"), format!("takes the connection and is no API server: {error}"))),
        _ => None,
    };
    let summary = |host: &str| {
        let reach = facts.health.known().and_then(|health| health.api_server.as_ref()?.reach.known());
        let what = match reach {
            Some(Reach::NoRoute { .. }) => "this node knows no way to",
            Some(Reach::Silent { .. }) => "the API server hangs at",
            Some(Reach::NotTls { .. }) => "something else than an API server answers at",
            _ => "nothing answers this node at",
        };
        format!("{what} {host}, and {NOT_READY}")
    };
    let found = health::of_api_server(facts, CHECK.code, seen, |_| true, summary)?;
    let remedies = |(finding, host): (Finding, String)| {
        let (name, port) = endpoint(&finding.subject).unwrap_or((host.clone(), 6443));
        let finding = finding.remedy(format!("ip route get {}; timeout 5 curl -sk {}; echo $?", quote(&name), quote(&format!("https://{host}/livez"))));
        if facts.node.control_plane {
            finding.remedy(health::LOOK_AT_OWN)
        } else {
            finding.remedy(format!(
                "# a firewall or security group between this node and {host} (tcp {port}), the load balancer, the routes: do other nodes reach it?"
            ))
        }
    };
    Ok(found.map(remedies).into_iter().collect())
}
