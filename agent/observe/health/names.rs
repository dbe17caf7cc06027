//! The addresses of the API server's name, by the node's own hosts file and resolvers.
//!
//! Not by the C library: linked statically it could not load the modules of nsswitch.conf, and in a pod it would read the pod's files.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::facts::Blind;
use crate::observe::host::Host;

const LIMIT: u64 = 1 << 20;
/// resolv.conf(5): `MAXNS`.
const MOST_SERVERS: usize = 3;
/// Of one question to one server. The C library waits 5 s; who answers later than this is ill, too.
const PATIENCE: Duration = Duration::from_millis(800);
const A: u16 = 1;
const AAAA: u16 = 28;

/// What of the node's files decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Resolver {
    /// The text of /etc/hosts.
    hosts: String,
    servers: Vec<SocketAddr>,
}

/// What is known of a name.
#[derive(Debug)]
pub(super) enum Named {
    Addresses(Vec<IpAddr>),
    /// It has none; what was said.
    Nothing(String),
    /// Nobody could be asked.
    Blind(Blind),
}

impl Resolver {
    pub(super) fn read(host: &Host) -> Self {
        let text = |path: &str| host.read_text(path, LIMIT).unwrap_or_default();
        let servers = text("/etc/resolv.conf")
            .lines()
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                let address = words.next().filter(|word| *word == "nameserver").and(words.next())?;
                Some(SocketAddr::new(address.parse().ok()?, 53))
            })
            .take(MOST_SERVERS)
            .collect();
        Self { hosts: text("/etc/hosts"), servers }
    }

    /// The addresses of a name, as it stands: the API server's is written out.
    pub(super) async fn resolve(&self, name: &str) -> Named {
        if let Ok(address) = name.parse() {
            return Named::Addresses(vec![address]);
        }
        let written = self.written(name);
        if !written.is_empty() {
            return Named::Addresses(written);
        }
        let mut said = Vec::new();
        for server in &self.servers {
            match ask(*server, name).await {
                Ok(Ok(addresses)) => return Named::Addresses(addresses),
                // An answer is an answer: the C library asks the next server only where one fails.
                Ok(Err(Code::NoSuchName)) => return Named::Nothing(format!("{server}: no such host")),
                Ok(Err(Code::NoAddress)) => return Named::Nothing(format!("{server}: the name has no address")),
                Ok(Err(Code::Failed(code))) => said.push(format!("{server}: {code}")),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Named::Blind(Blind::new(format!("{server} may not be asked from here: {}", super::ask::words(&error))));
                }
                Err(error) => said.push(format!("{server}: {}", super::ask::words(&error))),
            }
        }
        if said.is_empty() { Named::Nothing("/etc/resolv.conf names no server".to_owned()) } else { Named::Nothing(said.join("; ")) }
    }

    fn written(&self, name: &str) -> Vec<IpAddr> {
        let of_line = |line: &str| {
            let mut words = line.split('#').next()?.split_whitespace();
            let address = words.next()?.parse().ok()?;
            words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
        };
        self.hosts.lines().filter_map(of_line).collect()
    }
}

/// Why a server told no address.
#[derive(Debug, PartialEq, Eq)]
enum Code {
    NoSuchName,
    NoAddress,
    Failed(&'static str),
}

/// Both kinds of address from one server (RFC 1035).
async fn ask(server: SocketAddr, name: &str) -> io::Result<Result<Vec<IpAddr>, Code>> {
    let local = if server.is_ipv4() { SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)) } else { SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)) };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    let mut found = Vec::new();
    let mut failed = None;
    for kind in [A, AAAA] {
        let question = question(name, kind).ok_or_else(|| io::Error::other("no name that DNS knows"))?;
        socket.send(&question).await?;
        let mut reply = [0; 1232];
        let received = timeout(PATIENCE, socket.recv(&mut reply)).await.map_err(|_| io::Error::other("no answer"))??;
        match answer(reply.get(..received).unwrap_or_default(), &question) {
            Some(Ok(addresses)) => found.extend(addresses),
            Some(Err(code)) => failed = failed.or(Some(code)),
            None => failed = failed.or(Some(Code::Failed("its answer makes no sense"))),
        }
    }
    Ok(if found.is_empty() { Err(failed.unwrap_or(Code::NoAddress)) } else { Ok(found) })
}

/// A question with recursion desired. Its number is the kind: it goes over a socket of its own.
fn question(name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut bytes = vec![0, u8::try_from(kind).ok()?, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length))?;
        bytes.push(length);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    (bytes.len() <= 255 + 16).then_some(bytes)
}

/// The addresses in a reply; `None` if it is none to this question.
fn answer(reply: &[u8], question: &[u8]) -> Option<Result<Vec<IpAddr>, Code>> {
    let number = |at: usize| Some(u16::from_be_bytes(reply.get(at..at + 2)?.try_into().ok()?));
    if reply.get(..2)? != question.get(..2)? || reply.get(2)? & 0x80 == 0 {
        return None;
    }
    match reply.get(3)? & 0x0f {
        0 => {}
        2 => return Some(Err(Code::Failed("server failure"))),
        3 => return Some(Err(Code::NoSuchName)),
        5 => return Some(Err(Code::Failed("refused"))),
        _ => return Some(Err(Code::Failed("an error"))),
    }
    let mut at = question.len();
    let mut found = Vec::new();
    for _ in 0..number(6)?.min(64) {
        at = after_name(reply, at)?;
        let (kind, length) = (number(at)?, usize::from(number(at + 8)?));
        let data = reply.get(at + 10..at + 10 + length)?;
        match kind {
            A => found.extend(<[u8; 4]>::try_from(data).map(IpAddr::from)),
            AAAA => found.extend(<[u8; 16]>::try_from(data).map(IpAddr::from)),
            // Aliases on the way.
            _ => {}
        }
        at += 10 + length;
    }
    Some(if found.is_empty() { Err(Code::NoAddress) } else { Ok(found) })
}

/// Past a name, which ends in a zero or in a reference.
fn after_name(reply: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *reply.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver(hosts: &str, servers: Vec<SocketAddr>) -> Resolver {
        Resolver { hosts: hosts.to_owned(), servers }
    }

    #[tokio::test]
    async fn addresses_and_what_the_hosts_file_says_need_no_server() {
        let hosts = resolver("127.0.0.1 localhost\n192.0.2.1\tapi.example API2 # api3\n2001:db8::1 api.example\n", Vec::new());
        let of = async |name: &str| match hosts.resolve(name).await {
            Named::Addresses(found) => found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Named::Nothing(why) => why,
            Named::Blind(blind) => blind.reason,
        };
        assert_eq!(of("192.0.2.9").await, "192.0.2.9");
        assert_eq!(of("api.example").await, "192.0.2.1 2001:db8::1");
        assert_eq!(of("api2").await, "192.0.2.1");
        assert_eq!(of("api3").await, "/etc/resolv.conf names no server");
    }

    /// A name server that gives this reply to every question, with the question's number and text in it.
    async fn server(rcode: u8, records: &'static [u8], count: u8) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut question = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut question).await {
                let is_a = question[length - 3] == 1;
                let mut reply = question[..length].to_vec();
                (reply[2], reply[3], reply[7]) = (0x81, 0x80 | rcode, if is_a { count } else { 0 });
                if is_a {
                    reply.extend(records);
                }
                socket.send_to(&reply, from).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn a_name_server_is_asked_and_its_word_is_told() {
        // An alias, then its address.
        let records = b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01x\xc0\x0c\x01x\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01";
        let good = server(0, records, 2).await;
        let Named::Addresses(found) = resolver("", vec![good]).resolve("api.example.com").await else { panic!("it has an address") };
        assert_eq!(found, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        for (address, told) in [
            (server(3, b"", 0).await, "no such host"),
            (server(2, b"", 0).await, "server failure"),
            (server(0, b"", 0).await, "has no address"),
            (server(0, b"\xc0", 1).await, "makes no sense"),
        ] {
            let Named::Nothing(why) = resolver("", vec![address]).resolve("api.example.com").await else { panic!("{told}") };
            assert!(why.contains(told), "{why}");
        }
        // Who does not answer is passed over.
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let Named::Addresses(_) = resolver("", vec![silent.local_addr().unwrap(), good]).resolve("api.example.com").await else {
            panic!("the second one knows")
        };
        let Named::Nothing(why) = resolver("", vec![good]).resolve(&"long.".repeat(60)).await else { panic!("too long") };
        assert!(why.contains("no name"), "{why}");
    }
}
