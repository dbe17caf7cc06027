//! systemd's units: over D-Bus where systemd runs, from unit files in a tree that does not run.

use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::fcntl::OFlag;
use tokio::time::timeout;
use zbus::Connection;
use zbus::{OwnedObjectPath, OwnedVariant as OwnedValue};

use super::host::Host;
use crate::facts::units::{Active, Unit, UnitSource};
use crate::facts::{Blind, Timestamp, Units};

/// The units a node may live by.
pub const WATCHED: [&str; 10] = [
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
];
/// A stopped PID 1 never answers, and no library default bounds that.
pub const DEADLINE: Duration = Duration::from_secs(2);
const SOCKET: &str = "/run/dbus/system_bus_socket";
pub const SYSTEMD: &str = "org.freedesktop.systemd1";
pub const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
pub const MANAGER: &str = "org.freedesktop.systemd1.Manager";

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
pub async fn observe(connection: &Connection) -> Result<Units, Blind> {
    let all = async {
        let mut units = Vec::new();
        for name in WATCHED {
            units.push(unit(connection, name).await?);
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
    }
}

/// A property of the expected type; old systemd lacks some.
fn get<T: TryFrom<OwnedValue>>(properties: &Properties, key: &str) -> Option<T> {
    T::try_from(properties.get(key)?.try_clone().ok()?).ok()
}

fn text(properties: &Properties, key: &str) -> String {
    get(properties, key).unwrap_or_default()
}

/// systemd.unit(5): where unit files lie, the strongest first.
const UNIT_DIRS: [&str; 5] = ["/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// What unit files tell of a node that does not run: what is installed, masked and enabled. Nothing about what is active.
///
/// # Errors
/// Blind, if the tree has no unit files at all.
pub fn from_files(host: &Host) -> Result<Units, Blind> {
    let mut any = false;
    for dir in UNIT_DIRS {
        any |= host.exists(dir)?;
    }
    if !any {
        return Err(Blind::new(format!("{} holds no systemd unit files, and no systemd runs there", host.path().display())));
    }
    Ok(Units { source: UnitSource::Files, units: WATCHED.into_iter().map(|name| unit_file(host, name)).collect() })
}

fn unit_file(host: &Host, name: &str) -> Unit {
    let fragment = UNIT_DIRS.into_iter().map(|dir| format!("{dir}/{name}")).find(|path| host.link(path).is_some() || host.exists(path).unwrap_or(false));
    let Some(path) = fragment else { return Unit { name: name.to_owned(), load_state: "not-found".to_owned(), ..Unit::default() } };
    let content = host.read_text(&path, 1 << 20);
    let masked = host.link(&path).as_deref() == Some("/dev/null") || content.as_ref().is_ok_and(String::is_empty);
    let wanted = host.list("/etc/systemd/system").ok().flatten().unwrap_or_default();
    let enabled = wanted
        .iter()
        .filter(|dir| dir.rsplit_once('.').is_some_and(|(_, kind)| matches!(kind, "wants" | "requires")))
        .any(|dir| host.link(&format!("/etc/systemd/system/{dir}/{name}")).is_some());
    let installable = content.is_ok_and(|content| content.lines().any(|line| line.trim() == "[Install]"));
    let state = match (masked, enabled, installable) {
        (true, ..) => "masked",
        (_, true, _) => "enabled",
        (.., true) => "disabled",
        _ => "static",
    };
    let load_state = if masked { "masked" } else { "loaded" };
    Unit { name: name.to_owned(), load_state: load_state.to_owned(), unit_file_state: state.to_owned(), fragment_path: Some(path), ..Unit::default() }
}
