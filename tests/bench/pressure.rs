//! cargo bench --bench pressure: what a quiet look at the node's pressure costs, all threads included. The budget is 0.4 ms of a
//! processor; the daemon looks every 10 s.

use std::path::Path;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nodetriage::facts::{Blind, Observed};
use nodetriage::observe::host::Host;
use nodetriage::observe::kubelet;
use nodetriage::observe::pressure::{Probe, observe};

const ROUNDS: u32 = 500;

fn main() {
    let host = Host::open(Path::new("/")).expect("this machine has a root");
    let units = Observed::Unknown(Blind::new("not asked"));
    let kubelet = kubelet::observe(&host, &units);
    let probe = Probe::default();
    let start = cpu();
    let _ = observe(&host, &kubelet, &units, None, &probe);
    println!("the first look  {:>8.3} ms", cpu().saturating_sub(start).as_secs_f64() * 1e3);
    // Whatever the first look has begun.
    std::thread::sleep(Duration::from_secs(2));
    let start = cpu();
    for _ in 0..ROUNDS {
        let _ = observe(&host, &kubelet, &units, None, &probe);
    }
    println!("each of {ROUNDS} more {:>8.3} ms", cpu().saturating_sub(start).as_secs_f64() * 1e3 / f64::from(ROUNDS));
}

fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process has its usage");
    let time = |time: nix::sys::time::TimeVal| Duration::new(time.tv_sec().unsigned_abs(), u32::try_from(time.tv_usec()).unwrap_or(0) * 1000);
    time(usage.user_time()) + time(usage.system_time())
}
