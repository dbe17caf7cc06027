//! The ways to systemd, and what exactly bars them.

use std::fmt::Display;
use std::io::{Error, ErrorKind};
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};
use zbus::Connection;
use zbus::connection::Builder;

use super::wire::Bounded;
use crate::facts::Blind;
use crate::observe::host::Host;

const SOCKET: &str = "/run/dbus/system_bus_socket";
/// systemd's own, which asks nobody else; only root may use it (`bus_init_private` of src/core/dbus.c).
const PRIVATE_SOCKET: &str = "/run/systemd/private";

/// Where systemd is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The node's system bus.
    Bus,
    /// systemd's private socket.
    Private,
}

/// Connects to the node's system bus: `DBUS_SYSTEM_BUS_ADDRESS` if set, else the socket below the root, which is opened
/// by its path each time: a restarted dbus.socket is another file. Or to systemd's private socket.
pub(super) async fn dial(host: &Host, way: Way, deadline: Instant) -> Result<Connection, Blind> {
    let user = user_seen_from_outside();
    if way == Way::Private {
        return dial_private(host, user, deadline).await;
    }
    let address = std::env::var("DBUS_SYSTEM_BUS_ADDRESS").ok();
    let builder = match address.as_deref().map(|address| (address, address.strip_prefix("unix:path="))) {
        Some((_, Some(path))) => Builder::socket(Bounded { stream: connect(path.split(',').next().unwrap_or_default(), deadline).await?, private: false }),
        Some((address, None)) => Builder::address(address),
        None => Builder::socket(Bounded { stream: connect_below(host, SOCKET, deadline).await?, private: false }),
    };
    match timeout_at(deadline, builder.user_id(user).build()).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(not_let_in(host, user, &error)),
        Err(_) => Err(bus_hangs()),
    }
}

async fn dial_private(host: &Host, user: u32, deadline: Instant) -> Result<Connection, Blind> {
    let may_not = |error: &dyn Display| Blind::new(format!("{PRIVATE_SOCKET}: {error}"));
    if user != 0 {
        return Err(may_not(&"only root may ask systemd there"));
    }
    let socket = Bounded { stream: connect_below(host, PRIVATE_SOCKET, deadline).await?, private: true };
    match timeout_at(deadline, Builder::socket(socket).p2p().user_id(user).build()).await {
        Ok(connection) => connection.map_err(|error| may_not(&error)),
        Err(_) => Err(may_not(&"no answer in 2 s")),
    }
}

/// Through a descriptor, so that a symlink inside the root cannot lead out of it, and no path is too long.
async fn connect_below(host: &Host, socket: &str, deadline: Instant) -> Result<UnixStream, Blind> {
    let socket = host.open_at(socket, OFlag::O_PATH).map_err(|errno| no_socket(host, errno))?;
    connect(&format!("/proc/self/fd/{}", socket.as_raw_fd()), deadline).await
}

async fn connect(path: &str, deadline: Instant) -> Result<UnixStream, Blind> {
    match timeout_at(deadline, UnixStream::connect(path)).await {
        Ok(stream) => stream.map_err(|error| unreachable_bus(&error)),
        Err(_) => Err(bus_hangs()),
    }
}

/// Our user as the bus sees it: in a user namespace the one it is mapped to, which is the one to name in `AUTH EXTERNAL`.
fn user_seen_from_outside() -> u32 {
    let inside = nix::unistd::geteuid().as_raw();
    // The agent's own map, below the agent's own root.
    let map = Host::open(Path::new("/")).ok().and_then(|own| own.read_text("/proc/self/uid_map", 1 << 16).ok());
    map.and_then(|map| outside(&map, inside)).unwrap_or(inside)
}

/// user_namespaces(7): each line of the map is first inside, first outside, how many.
fn outside(map: &str, inside: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut numbers = line.split_ascii_whitespace().map(|number| number.parse::<u32>().ok());
        let (first_inside, first_outside, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let offset = inside.checked_sub(first_inside).filter(|offset| *offset < count)?;
        first_outside.checked_add(offset)
    })
}

/// There is no socket to connect to. A node without systemd is told apart from one whose bus is missing, as sd_booted(3) does.
fn no_socket(host: &Host, errno: Errno) -> Blind {
    if matches!(errno, Errno::EACCES | Errno::EPERM) {
        return Blind::new(format!("{SOCKET}: permission denied")).grant("run as root, or grant CAP_DAC_READ_SEARCH");
    }
    if errno != Errno::ENOENT {
        return Blind::new(format!("{SOCKET}: {}", errno.desc()));
    }
    if host.exists("/run/systemd/system").unwrap_or(false) {
        return Blind::new(format!("systemd runs, but the system bus does not: there is no {SOCKET}"))
            .grant("systemctl start dbus.socket dbus.service, or mount /run/dbus below the root");
    }
    match host.read_text("/proc/1/comm", 64).map(|comm| comm.trim().to_owned()) {
        Ok(comm) if comm != "systemd" => Blind::new(format!("this node's PID 1 is {comm}, not systemd: it has no units")),
        _ => Blind::new(format!("no system bus: there is no {SOCKET}")).grant("mount /run/dbus below the root"),
    }
}

/// The socket is there and does not take the connection.
fn unreachable_bus(error: &Error) -> Blind {
    match error.kind() {
        ErrorKind::ConnectionRefused => Blind::new(format!("the system bus has stopped: nothing listens on {SOCKET}"))
            .grant("systemctl start dbus.socket dbus.service; if only the socket is mounted, mount its directory /run/dbus: a new socket is another file"),
        ErrorKind::PermissionDenied => Blind::new(format!("may not connect to {SOCKET}: permission denied"))
            .grant("run as root; on a node with SELinux also as a type that may use the system bus (seLinuxOptions.type: spc_t)"),
        ErrorKind::WouldBlock => bus_hangs(),
        _ => Blind::new(format!("cannot connect to the system bus: {error}")),
    }
}

fn not_let_in(host: &Host, user: u32, error: &zbus::Error) -> Blind {
    match error {
        zbus::Error::Handshake(reason) if reason.contains("rejected") => {
            Blind::new(format!("the system bus rejects user {user}: it sees another one")).grant("run as root in the host's user namespace (hostUsers: true)")
        }
        // dbus-daemon answers OK to AUTH, then drops whom it cannot look up. dbus-broker takes everybody.
        zbus::Error::InputOutput(error) if dropped(error.kind()) && !knows(host, user) => {
            Blind::new(format!("dbus-daemon drops the connections of user {user}, whom the node's /etc/passwd does not name"))
                .grant("run as a user of the node's /etc/passwd: root (runAsUser: 0) or nobody (65534)")
        }
        zbus::Error::InputOutput(error) if dropped(error.kind()) => {
            Blind::new(format!("the system bus closed the connection as it was opened: {error}")).grant("run as root (runAsUser: 0)")
        }
        error => Blind::new(format!("the system bus does not let us in: {error}")),
    }
}

fn dropped(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof)
}

/// Whether the node's passwd names the user; where it cannot be read, it may.
fn knows(host: &Host, user: u32) -> bool {
    host.read_text("/etc/passwd", 1 << 22).map_or(true, |passwd| passwd.lines().any(|line| line.split(':').nth(2) == Some(user.to_string().as_str())))
}

pub(super) fn bus_hangs() -> Blind {
    Blind::new("the system bus gives no answer in 2 s: it hangs").grant("systemctl status dbus  # SIGSTOPped, or overloaded?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_in_a_namespace_is_named_as_the_bus_sees_it() {
        assert_eq!(outside("         0          0 4294967295\n", 0), Some(0));
        assert_eq!(outside("         0     100000      65536\n", 0), Some(100_000));
        assert_eq!(outside("0 100000 1000\n1000 1000 1\n", 1000), Some(1000));
        assert_eq!(outside("0 100000 10\n", 65_534), None);
        assert_eq!(outside("", 0), None);
    }
}
