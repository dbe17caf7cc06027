//! What earlier boots left: how the last one ended, and the kernel's records of crashes.

use std::io::Read as _;

use super::file::Direction;
use super::find;
use super::format::Id;
use super::reader::{FIELD_MAX, Filter, Reader};
use super::tally::log_line;
use super::watch::Earlier;
use crate::facts::journal::{Crash, LogLine, Past, PreviousBoot};
use crate::facts::{Blind, Timestamp};
use crate::observe::host::Host;

/// Where records of crashes lie: the firmware's memory, what systemd-pstore(8) moved out of it, kdump's dumps.
const CRASHES: [&str; 3] = ["/sys/fs/pstore", "/var/lib/systemd/pstore", "/var/crash"];
/// Records looked at in one directory.
const RECORDS: usize = 64;
/// Bytes of one that are looked at: a record of pstore has some kilobytes.
const RECORD_MAX: u64 = 256 << 10;
/// Kernel lines of the previous boot that are looked at.
const KERNEL_LINES: usize = 500;
const MESSAGE_MAX: usize = 4096;
/// What systemd says while it shuts down (systemd.special(7)), and logind before.
const SHUTDOWN_UNITS: [&str; 8] =
    ["shutdown.target", "reboot.target", "poweroff.target", "halt.target", "kexec.target", "umount.target", "final.target", "soft-reboot.target"];
/// `SD_MESSAGE_SHUTDOWN`: the system is rebooted or powered down.
const SHUTDOWN: &str = "98268866d1d54a499c4e98921d93bc40";

/// Looks back beyond `boot`.
pub(super) fn observe(host: &Host, reader: &mut Reader, boot: Option<Id>, earlier: &Earlier) -> Past {
    let boots = reader.boots();
    let at = boots.iter().position(|known| Some(known.id) == boot);
    let booted = at.and_then(|at| Timestamp::from_unix_micros(boots.get(at)?.first));
    let before = at.and_then(|at| boots.get(at.checked_sub(1)?)).map(|known| (known.id, Timestamp::from_unix_micros(known.last)));
    let left = earlier.boot_id.as_deref().and_then(Id::parse).filter(|id| boot.is_some_and(|boot| boot != *id));
    let previous = before.or(left.map(|id| (id, None))).map(|(id, until)| PreviousBoot {
        boot_id: id.to_string(),
        until,
        shutdown: shutdown(reader, id),
        agent_stopped: left.filter(|left| *left == id).map(|_| earlier.stopped),
        last: newest(reader, &Filter::field("_BOOT_ID", &id.to_string()), 1, |_| true),
        panic: newest(reader, &of_kernel(id), KERNEL_LINES, is_crash),
    });
    let mut past = Past { booted, previous, ..Past::default() };
    look_for_crashes(host, &mut past);
    past
}

fn of_kernel(boot: Id) -> Filter {
    Filter::And(vec![Filter::field("_BOOT_ID", &boot.to_string()), Filter::field("_TRANSPORT", "kernel")])
}

fn shutdown(reader: &mut Reader, boot: Id) -> Option<LogLine> {
    let units = SHUTDOWN_UNITS.into_iter().map(|unit| Filter::field("UNIT", unit));
    let said = Filter::Or(units.chain([Filter::field("MESSAGE_ID", SHUTDOWN)]).collect());
    newest(reader, &Filter::And(vec![Filter::field("_BOOT_ID", &boot.to_string()), said]), 1, |_| true)
}

/// The newest line that matches and is as `wanted` says, of the last `most`.
fn newest(reader: &mut Reader, filter: &Filter, most: usize, wanted: impl Fn(&str) -> bool) -> Option<LogLine> {
    let mut walk = reader.walk(filter, Direction::Backward);
    let mut value = Vec::new();
    for _ in 0..most {
        let file = walk.next(reader)?;
        let entry = std::mem::take(&mut walk.entry);
        if reader.value(file, &entry, b"MESSAGE=", MESSAGE_MAX, &mut value) {
            let message = String::from_utf8_lossy(&value).into_owned();
            if wanted(&message) {
                let name = if reader.value(file, &entry, b"_SYSTEMD_UNIT=", FIELD_MAX, &mut value)
                    || reader.value(file, &entry, b"SYSLOG_IDENTIFIER=", FIELD_MAX, &mut value)
                {
                    String::from_utf8_lossy(&value).into_owned()
                } else {
                    "journal".to_owned()
                };
                return Some(log_line(entry.head.realtime, &name, &message, reader.cursor(file, &entry.head).to_string()));
            }
        }
        walk.entry = entry;
    }
    None
}

/// The first words of what the kernel says when it can go on no more (`kernel/panic.c`, `arch/*/mm/fault.c`, `die()`).
fn is_crash(line: &str) -> bool {
    ["Kernel panic - not syncing", "BUG: ", "Oops: ", "general protection fault", "Unable to handle kernel"].iter().any(|crash| line.contains(crash))
}

/// Looks for what the kernel left of its crashes. True if that is other than it was.
pub(super) fn look_for_crashes(host: &Host, past: &mut Past) -> bool {
    let before = (std::mem::take(&mut past.crashes), std::mem::take(&mut past.unseen));
    for directory in CRASHES {
        match records(host, directory) {
            Ok(found) => past.crashes.extend(found),
            Err(blind) => past.unseen.push(blind.grant("run as root, or grant CAP_DAC_READ_SEARCH")),
        }
    }
    past.crashes.sort_by_key(|crash| crash.at);
    before != (past.crashes.clone(), past.unseen.clone())
}

fn records(host: &Host, directory: &str) -> Result<Vec<Crash>, Blind> {
    let mut found: Vec<Crash> = Vec::new();
    for name in host.list(directory)?.unwrap_or_default().into_iter().rev().take(RECORDS) {
        let path = format!("{directory}/{name}");
        // systemd-pstore and kdump make a directory for each crash.
        let paths: Vec<String> = match host.list(&path)? {
            Some(inner) => inner.into_iter().take(RECORDS).map(|name| format!("{path}/{name}")).collect(),
            None => vec![path],
        };
        let records: Result<Vec<_>, Blind> = paths.iter().map(|path| record(host, path)).collect();
        let mut records: Vec<Crash> = records?.into_iter().flatten().collect();
        // Of one crash, the record that says what happened.
        records.sort_by_key(|record| (record.line.is_none(), record.path.clone()));
        found.extend(records.into_iter().next());
    }
    Ok(found)
}

fn record(host: &Host, path: &str) -> Result<Option<Crash>, Blind> {
    // Beside them kdump-tools keeps `kdump_lock` and `kexec_cmd`, kexec-tools `kexec-dmesg.log`: of no crash.
    let is_record = |name: &str| ["dmesg", "vmcore", "dump."].iter().any(|kind| name.starts_with(kind));
    if !path.rsplit('/').next().is_some_and(is_record) {
        return Ok(None);
    }
    let Some(file) = find::open(host, path)? else { return Ok(None) };
    let blind = |error: std::io::Error| Blind::new(format!("{path}: {error}"));
    let at = file.metadata().and_then(|metadata| metadata.modified()).map(Timestamp::from).map_err(blind)?;
    let mut bytes = Vec::new();
    file.take(RECORD_MAX).read_to_end(&mut bytes).map_err(blind)?;
    let text = String::from_utf8_lossy(&bytes);
    let crash = text.lines().rfind(|line| is_crash(line));
    // "<0>[ 1234.5] Kernel panic …", and pstore's own first line.
    let line = crash.map(|line| line.split_once("] ").map_or(line, |(_, said)| said).chars().filter(|c| !c.is_control()).take(300).collect());
    Ok(Some(Crash { path: path.to_owned(), at, line }))
}
