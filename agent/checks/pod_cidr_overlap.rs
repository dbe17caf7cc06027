use std::net::IpAddr;
use std::time::Duration;

use super::cni::judged;
use crate::config::Config;
use crate::facts::cni::Route;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "pod-cidr-overlap",
    title: "pods' addresses collide with a network that the node itself is in",
    severity: Severity::Warning,
    domain: Domain::Cni,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("pod_cidr_overlap.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let Some(cni) = judged(facts)? else { return Ok(Vec::new()) };
    let Some((file, network)) = cni.in_effect() else { return Ok(Vec::new()) };
    let ranges = cni.pools.iter().filter(|pool| pool.file == file.name).flat_map(|pool| &pool.sets).flat_map(|set| &set.ranges);
    let collisions = ranges.flat_map(|range| cni.routes.iter().filter(|route| meets(*range, route)).map(move |route| (range, route)));
    let mut found: Vec<Finding> = Vec::new();
    for ((first, last), route) in collisions {
        let subject = format!("{}/{}", route.first, route.length);
        if found.iter().any(|other| other.subject == subject) {
            continue;
        }
        let summary = format!(
            "pods here have addresses from {first} to {last}, and {subject} is a network of the node's {}: each hides a part of the other",
            route.interface
        );
        let finding = Finding::new(Component::Network, subject.clone(), summary)
            .evidence(cni.path_of(file), network.identity())
            .evidence(if route.first.is_ipv4() { "/proc/1/net/route" } else { "/proc/1/net/ipv6_route" }, format!("{subject} over {}", route.interface));
        found.push(finding.remedy(format!("ip route get {first}; ip route show to match {first}  # which of the two is in the way; one of them has to move")));
    }
    Ok(found)
}

fn meets((first, last): (IpAddr, IpAddr), route: &Route) -> bool {
    first.is_ipv4() == route.first.is_ipv4() && first <= route.last && route.first <= last
}
