//! What the kubelet's program tells without being run: its version, and which feature gates it knows.
//!
//! Kubernetes' build writes the version into the program by `-ldflags -X` (`hack/lib/version.sh`); Go's linker ends such a string by a
//! zero (`cmd/link/internal/loader` `Addstring`), as it does no other. A feature gate that a program knows stands in it by name; what stands
//! in it may be the name of something else, so that only its absence tells anything.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use regex::bytes::Regex;

use super::command_line::CommandLine;
use crate::facts::Sourced;
use crate::observe::host::Host;

/// Longer than a machine's list of packages with all of Debian's in it.
const DPKG_LIMIT: u64 = 64 << 20;
/// The kubelet has 60 to 80 MiB, k3s about as much.
const LONGEST: u64 = 512 << 20;
const CHUNK: usize = 256 << 10;
/// Longer than what is looked for.
const OVERLAP: usize = 256;
/// On a disk that is slower than that nothing is told; it is tried again with the next look.
const PATIENCE: Duration = Duration::from_secs(2);
/// More gates than anybody sets.
const MOST_GATES: usize = 200;

/// What is said in a kubelet, and in no other program: `component-base/featuregate`, and the kind of its configuration.
const MARKS: [&str; 2] = ["unrecognized feature gate", "KubeletConfiguration"];

/// Distributions that embed the kubelet: their mark, and where it is.
const EMBEDDED: [(&str, &str); 2] = [("/var/lib/rancher/k3s/agent", "/var/lib/rancher/k3s/data/current/bin/k3s"), ("/var/lib/k0s", "/var/lib/k0s/bin/kubelet")];

/// The kubelet that is installed: `1.36.2`, or of Bottlerocket `1.36`.
pub(super) fn version(host: &Host, command_line: &CommandLine) -> Option<Sourced<String>> {
    let path = path(host, command_line);
    let inside = || Some(Sourced::new(look_at(host, &path, &[])?.version?, path.clone()));
    version_of_path(&path).or_else(|| package(host, &path)).or_else(|| image(host)).or_else(inside)
}

/// Those of these feature gates that the kubelet's program does not know, and where it is.
pub(super) fn unknown_gates(host: &Host, command_line: &CommandLine, gates: &[String]) -> (String, Vec<String>) {
    let path = path(host, command_line);
    let known = if gates.is_empty() { None } else { look_at(host, &path, gates) };
    let unknown = known.into_iter().flat_map(|program| program.gates).filter(|(gate, known)| !known && gates.contains(gate)).map(|(gate, _)| gate);
    (path, unknown.collect())
}

/// The running process's, else what its unit starts, else where it is installed.
fn path(host: &Host, command_line: &CommandLine) -> String {
    let running = || Some(host.link(&format!("/proc/{}/exe", command_line.pid?))?.trim_end_matches(" (deleted)").to_owned());
    let started = || command_line.program.clone();
    let is_kubelet = |path: &String| path.starts_with('/') && path.rsplit('/').next().is_some_and(|name| name.starts_with("kubelet"));
    let embedded = || EMBEDDED.iter().find(|(mark, _)| host.exists(mark).unwrap_or(false)).map(|(_, path)| (*path).to_owned());
    running().filter(is_kubelet).or_else(|| started().filter(is_kubelet)).or_else(embedded).unwrap_or_else(|| "/usr/bin/kubelet".to_owned())
}

/// `1.30.4` of `v1.30.4+rke2r1`.
fn release(text: &str) -> Option<String> {
    let version = text.trim().strip_prefix('v')?;
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
    let version = version.get(..end)?;
    let parts: Vec<&str> = version.split('.').collect();
    (parts.len() == 3 && parts.first() == Some(&"1") && parts.iter().all(|part| part.parse::<u32>().is_ok())).then(|| version.to_owned())
}

/// minikube's `/var/lib/minikube/binaries/v1.30.0/kubelet`, RKE2's `/var/lib/rancher/rke2/data/v1.30.4-rke2r1-0a1b2c3d/bin/kubelet`.
fn version_of_path(path: &str) -> Option<Sourced<String>> {
    Some(Sourced::new(path.split('/').find_map(release)?, path))
}

/// The package that the program is of.
fn package(host: &Host, path: &str) -> Option<Sourced<String>> {
    const DPKG: &str = "/var/lib/dpkg/status";
    let text = host.read_text(DPKG, DPKG_LIMIT).ok().filter(|_| path == "/usr/bin/kubelet")?;
    let mut lines = text.lines().enumerate().skip_while(|(_, line)| *line != "Package: kubelet").take_while(|(_, line)| !line.is_empty());
    let (index, version) = lines.find_map(|(index, line)| Some((index, line.strip_prefix("Version: ")?)))?;
    let version = version.split_once(':').map_or(version, |(_, version)| version).split(['-', '+', '~']).next()?;
    Some(Sourced::new(version.to_owned(), format!("{DPKG}:{}", index + 1)))
}

/// The node's image, where it is made for one release: kind's `/kind/version`, MicroK8s' snap, Bottlerocket's variant `aws-k8s-1.36`.
fn image(host: &Host) -> Option<Sourced<String>> {
    let text = |path: &str| host.read_text(path, 1 << 16).ok();
    let line = |path: &str, key: &str| {
        let text = text(path)?;
        let (index, value) = text.lines().enumerate().find_map(|(index, line)| Some((index, line.strip_prefix(key)?)))?;
        Some(Sourced::new(value.trim().trim_matches(['"', '\'']).to_owned(), format!("{path}:{}", index + 1)))
    };
    let kind = || Some(Sourced::new(release(&text("/kind/version")?)?, "/kind/version"));
    let snap = || {
        let found = line("/snap/microk8s/current/meta/snap.yaml", "version:").filter(|_| host.exists("/var/snap/microk8s/current").unwrap_or(false))?;
        Some(Sourced::new(release(&found.value)?, found.source))
    };
    let bottlerocket = || {
        line("/etc/os-release", "ID=").filter(|id| id.value == "bottlerocket")?;
        let variant = line("/etc/os-release", "VARIANT_ID=")?;
        let (_, release) = variant.value.split_once("-k8s-")?;
        let release: String = release.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        Some(Sourced::new(release, variant.source)).filter(|release| release.value.starts_with("1."))
    };
    kind().or_else(snap).or_else(bottlerocket)
}

/// What was found in a kubelet.
#[derive(Clone, Debug, Default)]
struct Program {
    version: Option<String>,
    /// Whether each of the names that were looked for stands in it.
    gates: BTreeMap<String, bool>,
}

/// Device, inode, length and time of change of a file.
type Identity = (u64, u64, u64, i64, i64);

/// What was found last, `None` in what is no kubelet: it is read again only when it is another file, or other gates are set.
static LAST: Mutex<Option<(Identity, Option<Program>)>> = Mutex::new(None);

/// `None`: it is not there, is no kubelet, or cannot be read in time.
fn look_at(host: &Host, path: &str, gates: &[String]) -> Option<Program> {
    let file = File::from(host.open_at(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).ok()?);
    let metadata = file.metadata().ok().filter(|metadata| metadata.is_file() && metadata.len() <= LONGEST)?;
    let identity = (metadata.dev(), metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec());
    // Not held while a disk is waited for.
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).clone().filter(|(of, _)| *of == identity).map(|(_, program)| program);
    let known = match &last {
        Some(None) => return None,
        Some(Some(program)) => program.gates.clone(),
        None => BTreeMap::new(),
    };
    let asked: Vec<&str> = gates.iter().map(String::as_str).filter(|gate| is_name(gate) && !known.contains_key(*gate)).take(MOST_GATES).collect();
    if let Some(program) = last.filter(|_| asked.is_empty()) {
        return program;
    }
    let mut found = look_through(file, &asked).ok()?;
    if let Some(program) = &mut found {
        program.gates.extend(known);
    }
    *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some((identity, found.clone()));
    found
}

/// Anything else is no gate of any kubelet, and its absence would say nothing.
fn is_name(gate: &str) -> bool {
    (4..=100).contains(&gate.len()) && gate.chars().all(|c| c.is_ascii_alphanumeric())
}

/// Reads it a piece at a time.
fn look_through(mut file: File, gates: &[&str]) -> Result<Option<Program>, ()> {
    let begun = Instant::now();
    // Both are constants, or letters and digits.
    let literals: Vec<Regex> = MARKS.iter().chain(gates).map(|text| Regex::new(text).map_err(drop)).collect::<Result<_, ()>>()?;
    let stamped = Regex::new(r"v1\.[0-9]{2}\.[0-9]{1,3}(?:[-+.][0-9A-Za-z.+-]{0,60})?\x00").map_err(drop)?;
    let mut seen = vec![false; literals.len()];
    let mut versions: Vec<String> = Vec::new();
    let mut kept = 0;
    let mut buffer = vec![0; CHUNK];
    let mut first = true;
    loop {
        let read = buffer.get_mut(kept..).and_then(|rest| file.read(rest).ok()).ok_or(())?;
        if read == 0 {
            break;
        }
        let piece = buffer.get(..kept + read).unwrap_or_default();
        if std::mem::take(&mut first) && !piece.starts_with(b"\x7fELF") {
            return Ok(None);
        }
        for (literal, seen) in literals.iter().zip(&mut seen).filter(|(_, seen)| !**seen) {
            *seen = literal.is_match(piece);
        }
        for found in stamped.find_iter(piece) {
            versions.extend(release(&String::from_utf8_lossy(found.as_bytes())).filter(|version| versions.len() < 10 && !versions.contains(version)));
        }
        let keep = piece.len().min(OVERLAP);
        let from = piece.len() - keep;
        buffer.copy_within(from..from + keep, 0);
        kept = keep;
        if begun.elapsed() > PATIENCE {
            return Err(());
        }
    }
    if !seen.iter().take(MARKS.len()).all(|seen| *seen) {
        return Ok(None);
    }
    let gates = gates.iter().zip(seen.iter().skip(MARKS.len())).map(|(gate, seen)| ((*gate).to_owned(), *seen)).collect();
    // Two that differ would leave it open which is the kubelet's.
    let version = <[String; 1]>::try_from(versions).ok().map(|[version]| version);
    Ok(Some(Program { version, gates }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_whole_one_of_kubernetes_1() {
        for (text, version) in [("v1.36.2", Some("1.36.2")), ("v1.30.4+rke2r1", Some("1.30.4")), ("v1.30.4-eks-a737599\0", Some("1.30.4"))] {
            assert_eq!(release(text).as_deref(), version, "{text}");
        }
        for bad in ["1.36.2", "v1.36", "v2.1.9", "v1.30.", "vendor", ""] {
            assert_eq!(release(bad), None, "{bad}");
        }
        assert_eq!(version_of_path("/var/lib/minikube/binaries/v1.30.0/kubelet").unwrap().value, "1.30.0");
        assert_eq!(version_of_path("/usr/bin/kubelet"), None);
    }
}
