//! The kernel's own log, `/dev/kmsg`, where the journal has none of it. Reading it needs CAP_SYSLOG or root
//! (`kernel.dmesg_restrict`).

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::time::{ClockId, clock_gettime};
use tokio::io::unix::AsyncFd;

use super::follow::waited_for;
use super::format::Id;
use super::look::{Look, unix_micros};
use super::tail::own_line;
use super::tally::Origin;
use crate::facts::Blind;
use crate::observe::host::Host;

pub(super) const PATH: &str = "/dev/kmsg";
/// The kernel's longest record (`CONSOLE_EXT_LOG_MAX`).
const RECORD: usize = 8192;
/// Records taken in one go.
const BATCH: usize = 500;

/// The open device.
#[derive(Debug)]
pub(super) struct Kmsg {
    file: File,
    boot: Id,
    /// Records that the kernel had overwritten before they were read.
    pub lost: u64,
}

impl Kmsg {
    /// Reads from the oldest record that the kernel still has.
    ///
    /// # Errors
    /// Blind: it is not there, or may not be read.
    pub fn open(host: &Host, boot: Id) -> Result<Self, Blind> {
        let fd = host
            .open_at(PATH, OFlag::O_RDONLY | OFlag::O_NONBLOCK)
            .map_err(|errno| Blind::new(format!("{PATH}: {}", errno.desc())).grant("run as root or with CAP_SYSLOG, and let the pod have /dev/kmsg"))?;
        let file = File::from(fd);
        // The first read says whether it is allowed, and whether it is the kernel's log at all.
        match (&file).read(&mut [0; RECORD]) {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(Blind::new(format!("{PATH}: {error}")).grant("run as root or with CAP_SYSLOG"));
            }
            _ => {}
        }
        let fd = host.open_at(PATH, OFlag::O_RDONLY | OFlag::O_NONBLOCK).map_err(|errno| Blind::new(format!("{PATH}: {}", errno.desc())))?;
        Ok(Self { file: File::from(fd), boot, lost: 0 })
    }

    /// Becomes readable with the next record.
    pub fn events(&self) -> Option<AsyncFd<OwnedFd>> {
        waited_for(OwnedFd::from(self.file.try_clone().ok()?)).ok()
    }

    /// Takes in what there is, a batch at most. True if there is more.
    pub fn read(&mut self, look: &mut Look) -> bool {
        let mut record = [0; RECORD];
        for _ in 0..BATCH {
            match (&self.file).read(&mut record) {
                Ok(0) => return false,
                Ok(count) => {
                    let Some((micros, message)) = record.get(..count).and_then(parse) else { continue };
                    let realtime = unix_micros().saturating_sub(monotonic().saturating_sub(micros));
                    look.tally.take(&own_line(Origin::Kernel, realtime, self.boot, None, message), String::new);
                }
                // The buffer came round; reading goes on with the oldest that is left.
                Err(error) if error.raw_os_error() == Some(Errno::EPIPE as i32) => self.lost += 1,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }
}

/// Microseconds since boot, on the clock of the kernel's log.
fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).ok();
    now.and_then(|now| u64::try_from(now.tv_sec()).ok()?.checked_mul(1_000_000)?.checked_add(u64::try_from(now.tv_nsec()).ok()? / 1000)).unwrap_or(0)
}

/// Microseconds since boot and message of `6,1234,5678901,-;MESSAGE`, without the lines of its dictionary
/// (`Documentation/ABI/testing/dev-kmsg`).
fn parse(record: &[u8]) -> Option<(u64, &[u8])> {
    let semicolon = record.iter().position(|byte| *byte == b';')?;
    let micros = std::str::from_utf8(record.get(..semicolon)?).ok()?.split(',').nth(2)?.parse().ok()?;
    let message = record.get(semicolon + 1..)?;
    let end = message.iter().position(|byte| *byte == b'\n').unwrap_or(message.len());
    Some((micros, message.get(..end)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_its_time_and_its_first_line() {
        assert_eq!(
            parse(b"6,339,5140900,-;NET: Registered protocol family 10\n SUBSYSTEM=net\n"),
            Some((5_140_900, &b"NET: Registered protocol family 10"[..]))
        );
        assert_eq!(parse(b"12,1,14026198927,-;nodetriage"), Some((14_026_198_927, &b"nodetriage"[..])));
        for other in [&b""[..], b";", b"6,1;x", b"6,1,x,-;y", b"no semicolon"] {
            assert_eq!(parse(other), None);
        }
    }
}
