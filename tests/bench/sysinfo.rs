//! cargo bench --bench sysinfo: why memory is read from the cgroup and not by the `sysinfo` crate. It prints what each says of
//! this machine's available memory, and the kubelet decides by the first (agent/observe/pressure).

use std::path::Path;

use nodetriage::facts::{Blind, Observed};
use nodetriage::observe::host::Host;
use nodetriage::observe::{kubelet, pressure};

fn main() {
    let host = Host::open(Path::new("/")).expect("this machine has a root");
    let units = Observed::Unknown(Blind::new("not asked"));
    let kubelet = kubelet::observe(&host, &units);
    let seen = pressure::observe(&host, &kubelet, &units, None, &pressure::Probe::default());
    let mut system = sysinfo::System::new().expect("/proc is there");
    system.refresh_memory();
    match seen.memory.known() {
        Some(memory) => println!("memory.available as the kubelet computes it {:>8} MiB", memory.available() >> 20),
        None => println!("memory.available as the kubelet computes it  unknown: {}", seen.memory.blind().expect("known or blind")),
    }
    println!("sysinfo's available_memory                  {:>8} MiB", system.available_memory() >> 20);
    println!("sysinfo's free_memory                       {:>8} MiB", system.free_memory() >> 20);
}
