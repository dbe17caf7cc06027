//! systemd's units: over D-Bus where systemd runs, from unit files in a tree that does not run.

mod files;

use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::fcntl::OFlag;
use tokio::time::timeout;
use zbus::Connection;
use zbus::{OwnedObjectPath, OwnedVariant as OwnedValue};

use super::host::Host;
use crate::config::Config;
use crate::facts::units::{Active, EnvironmentFile, Unit, UnitSource};
use crate::facts::{Blind, Timestamp, Units};
pub use files::from_files;

/// The units a node may live by.
const KNOWN: [&str; 19] = [
    "kubelet.service",
    "kube-proxy.service",
    "containerd.service",
    "crio.service",
    "docker.service",
    "cri-docker.service",
    "kube-apiserver.service",
    "kube-controller-manager.service",
    "kube-scheduler.service",
    "etcd.service",
    "k3s.service",
    "k3s-agent.service",
    "rke2-server.service",
    "rke2-agent.service",
    "k0scontroller.service",
    "k0sworker.service",
    "snap.microk8s.daemon-kubelite.service",
    "snap.microk8s.daemon-kubelet.service",
    "snap.microk8s.daemon-containerd.service",
];
/// The units whose command line holds paths and no secrets. The embedded distributions take their token there.
const ARGV_KEPT: &[&str] = KNOWN.split_at(10).0;
/// The units whose `KUBELET_*` and `KUBE_*` variables make up their command line.
const VARIABLES_KEPT: [&str; 2] = ["kubelet.service", "kube-proxy.service"];

/// The names of the units that are watched: those known, and those configured.
#[must_use]
pub fn watched(config: &Config) -> Vec<String> {
    let mut names: Vec<String> = KNOWN.into_iter().map(str::to_owned).collect();
    for name in &config.units.watch {
        if !names.contains(name) {
            names.push(name.clone());
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

/// A stopped PID 1 never answers, and no library default bounds that.
pub const DEADLINE: Duration = Duration::from_secs(2);
const SOCKET: &str = "/run/dbus/system_bus_socket";
pub const SYSTEMD: &str = "org.freedesktop.systemd1";
pub const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
pub const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// The properties that name units which pull this one in.
const WANTS: [&str; 5] = ["WantedBy", "RequiredBy", "BoundBy", "UpheldBy", "TriggeredBy"];

type Properties = HashMap<String, OwnedValue>;

/// Connects to the node's system bus: `DBUS_SYSTEM_BUS_ADDRESS` if set, else the socket below the root.
///
/// # Errors
/// Blind, with what to grant.
pub async fn connect(host: &Host) -> Result<Connection, Blind> {
    let blind = |error: &dyn std::fmt::Display| {
        Blind::new(format!("no answer from the system bus: {error}"))
            .grant(format!("mount {SOCKET} below the root; run as a user the node's passwd knows (root)"))
    };
    let builder = if let Ok(address) = std::env::var("DBUS_SYSTEM_BUS_ADDRESS") {
        zbus::connection::Builder::address(address.as_str()).method_timeout(DEADLINE)
    } else {
        let socket = host
            .open_at(SOCKET, OFlag::O_PATH)
            .map_err(|errno| Blind::new(format!("no system bus at {SOCKET}: {}", errno.desc())).grant(format!("mount {SOCKET} below the root")))?;
        // Through the descriptor, so that a symlink inside the root cannot lead out of it, and no path is too long.
        let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
        let stream = timeout(DEADLINE, tokio::net::UnixStream::connect(path)).await.map_err(|_| blind(&"timed out"))?;
        let stream = stream.and_then(tokio::net::UnixStream::into_std).map_err(|error| blind(&error))?;
        zbus::connection::Builder::unix_stream(stream).method_timeout(DEADLINE)
    };
    timeout(DEADLINE, builder.build()).await.map_err(|_| blind(&"timed out"))?.map_err(|error| blind(&error))
}

/// Asks systemd for the watched units, within [`DEADLINE`].
///
/// # Errors
/// Blind, if systemd does not answer.
pub async fn observe(connection: &Connection, config: &Config) -> Result<Units, Blind> {
    let all = async {
        let mut units = Vec::new();
        for name in watched(config) {
            units.push(unit(connection, &name).await?);
        }
        Ok::<_, zbus::Error>(units)
    };
    match timeout(DEADLINE, all).await {
        Ok(Ok(units)) => Ok(Units { source: UnitSource::Systemd, units }),
        Ok(Err(error)) => Err(Blind::new(format!("systemd refused over D-Bus: {error}"))),
        Err(_) => Err(Blind::new("systemd gave no answer in 2 s over D-Bus")),
    }
}

async fn unit(connection: &Connection, name: &str) -> zbus::Result<Unit> {
    let reply = connection.call_method(Some(SYSTEMD), MANAGER_PATH, Some(MANAGER), "LoadUnit", &(name,)).await?;
    let path: OwnedObjectPath = reply.body().deserialize()?;
    let mut properties = get_all(connection, &path, "org.freedesktop.systemd1.Unit").await?;
    let load_state = text(&properties, "LoadState");
    if load_state == "not-found" {
        return Ok(Unit { name: name.to_owned(), load_state, active: Some(Active { state: "inactive".to_owned(), ..Active::default() }), ..Unit::default() });
    }
    properties.extend(get_all(connection, &path, "org.freedesktop.systemd1.Service").await.unwrap_or_default());
    Ok(from_properties(name, load_state, &properties))
}

async fn get_all(connection: &Connection, path: &OwnedObjectPath, interface: &str) -> zbus::Result<Properties> {
    let reply = connection.call_method(Some(SYSTEMD), path, Some("org.freedesktop.DBus.Properties"), "GetAll", &(interface,)).await?;
    reply.body().deserialize()
}

fn from_properties(name: &str, load_state: String, properties: &Properties) -> Unit {
    let time = |key: &str| get::<u64>(properties, key).and_then(Timestamp::from_unix_micros);
    let invocation: Option<Vec<u8>> = get(properties, "InvocationID");
    let active = Active {
        state: text(properties, "ActiveState"),
        sub_state: text(properties, "SubState"),
        since: time("StateChangeTimestamp"),
        active_enter: time("ActiveEnterTimestamp"),
        result: text(properties, "Result"),
        exec_main_code: get(properties, "ExecMainCode").unwrap_or(0),
        exec_main_status: get(properties, "ExecMainStatus").unwrap_or(0),
        main_pid: get(properties, "MainPID").filter(|pid| *pid != 0),
        restarts: get(properties, "NRestarts"),
        invocation_id: invocation.filter(|id| id.len() == 16).map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect()),
    };
    let load_error: Option<(String, String)> = get(properties, "LoadError");
    Unit {
        name: name.to_owned(),
        load_state,
        load_error: load_error.map(|(_, message)| message).filter(|message| !message.is_empty()),
        active: Some(active),
        unit_file_state: text(properties, "UnitFileState"),
        need_daemon_reload: get(properties, "NeedDaemonReload").unwrap_or(false),
        fragment_path: Some(text(properties, "FragmentPath")).filter(|path| !path.is_empty()),
        drop_in_paths: get(properties, "DropInPaths").unwrap_or_default(),
        wanted_by: WANTS.into_iter().flat_map(|key| get::<Vec<String>>(properties, key).unwrap_or_default()).collect(),
        exec_start: keep_argv(name, exec_start(properties)),
        environment: get::<Vec<String>>(properties, "Environment").unwrap_or_default().into_iter().filter(|v| keep_variable(name, v)).collect(),
        environment_files: environment_files(properties),
        standard_error: text(properties, "StandardError"),
    }
}

/// The argv of the first `ExecStart`.
fn exec_start(properties: &Properties) -> Vec<String> {
    // (path, argv, ignore failure, start and exit times, pid, how it ended)
    type Command = (String, Vec<String>, bool, u64, u64, u64, u64, u32, i32, i32);
    let commands: Vec<Command> = get(properties, "ExecStart").unwrap_or_default();
    commands.into_iter().next().map(|command| command.1).unwrap_or_default()
}

fn environment_files(properties: &Properties) -> Vec<EnvironmentFile> {
    let files: Vec<(String, bool)> = get(properties, "EnvironmentFiles").unwrap_or_default();
    files.into_iter().map(|(path, optional)| EnvironmentFile { path, optional }).collect()
}

/// A property of the expected type; old systemd lacks some.
fn get<T: TryFrom<OwnedValue>>(properties: &Properties, key: &str) -> Option<T> {
    T::try_from(properties.get(key)?.try_clone().ok()?).ok()
}

fn text(properties: &Properties, key: &str) -> String {
    get(properties, key).unwrap_or_default()
}
