use std::time::Duration;

use super::kernel::{self, finding};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "etcd-slow",
    title: "etcd waits for its disk",
    severity: Severity::Warning,
    domain: Domain::Journal,
    settle: Duration::ZERO,
    explained_by: &[&super::io_stalled::CHECK, &super::disk_io_error::CHECK, &super::disk_pressure::CHECK, &super::cpu_starved::CHECK],
    signals: &[
        Signal { from: LogSource::Container("etcd"), pattern: r"slow fdatasync" },
        Signal { from: LogSource::Container("etcd"), pattern: r"took too long" },
        Signal { from: LogSource::Container("etcd"), pattern: r"leader is overloaded likely from slow disk" },
        Signal { from: LogSource::Container("etcd"), pattern: r"failed to send out heartbeat on time" },
        Signal { from: LogSource::Container("etcd"), pattern: r"sync duration of .*, expected less than" },
        Signal { from: LogSource::Unit("etcd.service"), pattern: r"slow fdatasync" },
        Signal { from: LogSource::Unit("etcd.service"), pattern: r"took too long" },
        Signal { from: LogSource::Unit("etcd.service"), pattern: r"leader is overloaded likely from slow disk" },
        Signal { from: LogSource::Unit("etcd.service"), pattern: r"failed to send out heartbeat on time" },
        Signal { from: LogSource::Unit("etcd.service"), pattern: r"sync duration of .*, expected less than" },
    ],
    article: include_str!("etcd_slow.md"),
    examine,
};

const NEWS_SECONDS: i64 = 600;
/// A slow request now and then is normal; a write that was not on disk after a second is not.
const OFTEN: usize = 10;

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let told = kernel::told(facts, CHECK.code, NEWS_SECONDS, |_| Some("etcd".to_owned()))?;
    let disk = |line: &str| ["slow fdatasync", "sync duration of", "slow disk"].iter().any(|slow| line.contains(slow));
    let one = |told: &kernel::Told<'_>| {
        let what = if disk(&told.last.message) { "a write took longer than a second to reach the disk" } else { "its requests take too long" };
        finding(told, format!("etcd is slow: {what}, and so is everything that the API server does"))
            .remedy("cat /proc/pressure/io; iostat -x 1 3 2>/dev/null  # who else writes to the disk of /var/lib/etcd?")
            .remedy("fio --rw=write --ioengine=sync --fdatasync=1 --directory=/var/lib/etcd --size=22m --bs=2300 --name=etcd-disk --unlink=1  # p99 of fdatasync must be below 10 ms")
    };
    let told = told.iter().filter(|told| told.count >= OFTEN || disk(&told.last.message));
    Ok(told.map(one).map(|finding| Finding { component: Component::ControlPlane, ..finding }).collect())
}
