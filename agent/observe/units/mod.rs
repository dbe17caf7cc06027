//! systemd's units: over D-Bus where systemd runs, from unit files in a tree that does not run.
//!
//! `dial` opens the way to systemd and `wire` bounds what comes over it, `session` asks and listens on one connection, `properties` is what systemd says of a unit,
//! `watches` holds the units, `watch` keeps a session up for ever, `files` reads a dead tree.

mod dial;
mod files;
mod properties;
mod session;
mod watch;
mod watches;
mod wire;

use std::time::Duration;

use tokio::time::sleep_until;

use super::host::Host;
use crate::config::Config;
use crate::facts::{Blind, Units};
use dial::Way;
pub use files::from_files;
use session::{Bars, End, Session};
pub(super) use watch::jittered;
pub use watch::watch;
use watches::Watches;

pub(super) use crate::facts::units::KNOWN;

/// A stopped PID 1 never answers, and no library default bounds that.
const DEADLINE: Duration = Duration::from_secs(2);

/// The units whose command line holds paths and no secrets. The embedded distributions take their token there.
const ARGV_KEPT: &[&str] = KNOWN.split_at(10).0;
/// The units whose `KUBELET_*` and `KUBE_*` variables make up their command line.
const VARIABLES_KEPT: [&str; 2] = ["kubelet.service", "kube-proxy.service"];

/// The names of the units that are watched: those known, and those configured. What patterns find is found on the node.
#[must_use]
pub fn watched(config: &Config) -> Vec<String> {
    let mut names: Vec<String> = KNOWN.into_iter().map(str::to_owned).collect();
    for name in config.units.names() {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// What of an argv may be a fact.
fn keep_argv(unit: &str, mut argv: Vec<String>) -> Vec<String> {
    if !ARGV_KEPT.contains(&unit) {
        argv.truncate(1);
    }
    argv
}

/// Whether a `NAME=value` may be a fact.
fn keep_variable(unit: &str, variable: &str) -> bool {
    VARIABLES_KEPT.contains(&unit) && (variable.starts_with("KUBELET_") || variable.starts_with("KUBE_"))
}

/// Looks once: asks the systemd of a running node, within a deadline to connect and as long for each answer; reads the unit
/// files of a tree that does not run.
///
/// # Errors
/// Blind, with what to grant.
pub async fn observe(host: &Host, config: &Config) -> Result<Units, Blind> {
    if !host.is_live() && std::env::var_os("DBUS_SYSTEM_BUS_ADDRESS").is_none() {
        return from_files(host, config);
    }
    match look(host, config, Way::Bus).await {
        Ok(units) => Ok(units),
        Err(End::Blind { blind, of: Bars::Way, .. }) => look(host, config, Way::Private).await.map_err(|_| blind),
        Err(End::Blind { blind, .. }) => Err(blind),
        Err(End::Again) => Err(Blind::new("systemd has left the system bus just now")),
    }
}

async fn look(host: &Host, config: &Config, way: Way) -> Result<Units, End> {
    let mut watches = Watches::new(config);
    let mut session = Session::open(host, &mut watches, way).await?;
    session.look()?;
    loop {
        session.send().await?;
        let Some(overdue) = session.deadline() else { return Ok(session.facts()) };
        tokio::select! {
            changed = session.next() => { changed?; }
            () = sleep_until(overdue) => return Err(session.silence()),
        }
    }
}
