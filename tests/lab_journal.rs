//! The daemon and a real journald: what was counted survives kills and reboots to the line, and a flood costs neither memory
//! nor the other domains' time.

#[path = "lab/mod.rs"]
mod lab;

use std::io::Write as _;
use std::time::{Duration, Instant};

use lab::{Daemon, Lab, roots};
use serde_json::Value;

const SIGNAL: &str = "kubelet-pleg-unhealthy";
/// A loaded machine is given long; the tests wait for what happens, not for this.
const LONG: Duration = Duration::from_mins(2);

/// A node whose kubelet writes whatever comes through a FIFO, as fast as it can: `lines FROM TO`.
fn node(suite: &str, name: &str) -> Option<Lab> {
    let lab = Lab::boot(suite, name)?;
    lab.sh("mkdir -p /etc/systemd/journald.conf.d /etc/systemd/system/kubelet.service.d
            printf '[Journal]\\nRateLimitIntervalSec=0\\n' > /etc/systemd/journald.conf.d/rate.conf
            mkfifo /root/lines
            printf '#!/bin/sh\\nexec 3<>/root/lines\\nwhile read -r from to <&3; do seq -f \"E1201 03:12:40.284180     621 kubelet.go:2661] \\\\\"PLEG is not healthy: pleg was last seen active\\\\\" n=%%.0f\" $from $to; done\\n' > /root/talk
            printf '[Service]\\nEnvironmentFile=\\nExecStartPre=\\nExecStart=\\nExecStart=/bin/sh /root/talk\\n' > /etc/systemd/system/kubelet.service.d/99-talk.conf
            systemctl daemon-reload; systemctl restart systemd-journald kubelet");
    Some(lab)
}

fn write(lab: &Lab, from: u64, to: u64) {
    lab.sh(&format!("echo {from} {to} > /root/lines"));
}

/// Until the journal has the kubelet's last line.
fn written(lab: &Lab, last: u64) {
    let start = Instant::now();
    while !lab.sh("journalctl -q -u kubelet -o cat -n 1 --grep n=").trim_end().ends_with(&format!("n={last}")) {
        assert!(start.elapsed() < LONG, "journald has not written line {last}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn count(daemon: &Daemon) -> u64 {
    let (_, body) = daemon.get("/api/v1/facts").expect("an answer");
    let facts: Value = serde_json::from_str(&body).unwrap();
    facts["journal"]["known"]["signals"][SIGNAL]["count"].as_u64().unwrap_or(0)
}

fn counted(daemon: &Daemon, expected: u64, after: &str) {
    let start = Instant::now();
    loop {
        let count = count(daemon);
        assert!(count <= expected, "{after}: {count} lines of {expected} were counted: some twice");
        if count == expected {
            println!("{after}: {expected} counted after {:?}", start.elapsed());
            return;
        }
        assert!(start.elapsed() < LONG, "{after}: {count} of {expected} lines were counted; {}", daemon.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn kept(lab: &Lab) {
    let state = lab.root().parent().unwrap().join("state/state.json");
    let is_kept = || std::fs::read_to_string(&state).is_ok_and(|text| serde_json::from_str::<Value>(&text).is_ok_and(|state| !state["journal"].is_null()));
    lab.until(is_kept, "the journal's place in the state file");
}

/// The journal sees a reboot where the boot's id is another and all its units are started anew.
fn reboot(lab: &Lab) {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
    std::fs::File::options().write(true).truncate(true).open(lab.root().parent().unwrap().join("boot_id")).unwrap().write_all(id.as_bytes()).unwrap();
    lab.sh("systemctl restart systemd-journald; systemctl restart kubelet; logger 'a new boot'; journalctl -q --sync");
}

#[test]
fn counts_are_exact_over_kills_and_reboots() {
    let Some(lab) = node("trixie", "kept") else { return };
    write(&lab, 1, 1000);
    written(&lab, 1000);
    let daemon = lab.daemon_outside(&[]);
    counted(&daemon, 1000, "at the first start");
    kept(&lab);
    // These are counted, but the state file knows nothing of them yet.
    write(&lab, 1001, 1500);
    counted(&daemon, 1500, "while it runs");
    drop(daemon); // SIGKILL
    // More than is looked back for, through rotations.
    write(&lab, 1501, 61_500);
    for _ in 0..3 {
        lab.sh("sleep 0.5; journalctl -q --rotate");
    }
    written(&lab, 61_500);
    let daemon = lab.daemon_outside(&[]);
    counted(&daemon, 61_500, "60,000 lines later");
    drop(daemon);
    let daemon = lab.daemon_outside(&[]);
    counted(&daemon, 61_500, "killed again");
    assert!(!roots(&daemon.report()).iter().any(|root| root.starts_with("node-rebooted")));
    drop(daemon);

    write(&lab, 61_501, 61_600);
    written(&lab, 61_600);
    reboot(&lab);
    write(&lab, 1, 300);
    written(&lab, 300);
    let daemon = lab.daemon_outside(&[]);
    counted(&daemon, 300, "in another boot");
    let (report, _) = daemon.wait_for(Instant::now(), "no shutdown was seen", |report| roots(report).contains(&"node-rebooted-uncleanly node1".to_owned()));
    assert!(report.to_string().contains("was not asked to end either"), "{report:#}");
    // Asked to end, as it is at a shutdown.
    lab.sh("true");
    assert!(std::process::Command::new("kill").args(["-TERM", &daemon.pid().unwrap().to_string()]).status().unwrap().success());
    let state = lab.root().parent().unwrap().join("state/state.json");
    lab.until(|| std::fs::read_to_string(&state).is_ok_and(|text| text.contains("\"stopped\":true")), "it ended in order");
    drop(daemon);
    reboot(&lab);
    let daemon = lab.daemon_outside(&[]);
    counted(&daemon, 0, "in a third boot");
    assert!(!roots(&daemon.report()).iter().any(|root| root.starts_with("node-rebooted")), "{:?}", roots(&daemon.report()));
}

/// Shut down and booted, unplugged and booted: the shipped unit, started by the node itself, from the same disk.
#[test]
fn a_real_reboot_begins_anew_and_a_pulled_plug_is_told() {
    let Some(lab) = node("trixie", "reboot") else { return };
    let daemon = lab.daemon_inside();
    write(&lab, 1, 500);
    counted(&daemon, 500, "before the reboot");
    lab.reboot(false);
    // Before it is asked, and before the journal's lines of this boot have all been written.
    write(&lab, 1, 300);
    let daemon = lab.daemon_started_at_boot();
    counted(&daemon, 300, "after a shutdown in order");
    let past = past(&daemon);
    assert!(past["previous"]["shutdown"].is_object() && past["previous"]["agent_stopped"] == true, "{past:#}");
    assert!(!roots(&daemon.report()).iter().any(|root| root.starts_with("node-rebooted")), "{:?}", roots(&daemon.report()));

    lab.reboot(true);
    write(&lab, 1, 100);
    let daemon = lab.daemon_started_at_boot();
    counted(&daemon, 100, "after the plug was pulled");
    daemon.wait_for(Instant::now(), "no shutdown was seen", |report| roots(report).contains(&"node-rebooted-uncleanly node1".to_owned()));
}

/// Never silently empty: who finds one such file among others says so, who finds nothing else is blind.
#[test]
fn a_file_of_a_later_systemd_is_told_and_counted() {
    let Some(lab) = node("forky", "later") else { return };
    let daemon = lab.daemon_outside(&[]);
    lab.sh("journalctl -q --rotate; cd /var/log/journal/*/; for file in system@*.journal; do cp \"$file\" later; break; done
            printf '\\200' | dd of=later bs=1 seek=13 conv=notrunc status=none");
    let event = lab.event("cd /var/log/journal/*/; mv later system@later.journal");
    let later =
        |report: &Value| roots(report).iter().any(|root| root.starts_with("journal-unreadable /var/log/journal/") && root.ends_with("/system@later.journal"));
    let (report, _) = daemon.wait_for(event, "a file with unknown flags", later);
    assert!(report.to_string().contains("incompatible flags 0x8000") && report.to_string().contains("a newer nodetriage"), "{report:#}");
    assert!((metric(&daemon, "nodetriage_journal_unreadable_files") - 1.0).abs() < 0.1);
    write(&lab, 1, 10);
    counted(&daemon, 10, "what can be read goes on");

    let disk = std::env::temp_dir().join(format!("nodetriage-later-{}", std::process::id()));
    std::fs::create_dir_all(disk.join("etc")).unwrap();
    let machine = lab.sh("cat /etc/machine-id").trim().to_owned();
    std::fs::write(disk.join("etc/machine-id"), &machine).unwrap();
    let journal = disk.join("var/log/journal").join(&machine);
    std::fs::create_dir_all(&journal).unwrap();
    std::fs::copy(lab.root().join("var/log/journal").join(&machine).join("system@later.journal"), journal.join("system.journal")).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_nodetriage")).args(["check", "--output", "json", "--root"]).arg(&disk).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let blind = report["unknown"].as_array().unwrap().iter().find(|unknown| unknown.to_string().contains("incompatible flags 0x8000"));
    assert!(blind.is_some_and(|unknown| unknown["grant"].as_str().is_some_and(|grant| grant.contains("a newer nodetriage"))), "{report:#}");
    std::fs::remove_dir_all(disk).unwrap();

    let event = lab.event("rm /var/log/journal/*/system@later.journal");
    daemon.wait_for(event, "it is gone", |report| !later(report));
    assert!(metric(&daemon, "nodetriage_journal_unreadable_files").abs() < 0.1);
}

/// What is vacuumed before anybody could read it is gone for everybody; it is counted, to the line.
#[test]
fn what_is_vacuumed_unread_is_counted_as_lost() {
    let Some(lab) = node("trixie", "lost") else { return };
    let daemon = lab.daemon_outside(&[]);
    write(&lab, 1, 1000);
    counted(&daemon, 1000, "at first");
    let signal = |name: &str| assert!(std::process::Command::new("kill").args([name, &daemon.pid().unwrap().to_string()]).status().unwrap().success());
    signal("-STOP");
    for part in 1..4 {
        write(&lab, part * 1000 + 1, part * 1000 + 1000);
        written(&lab, part * 1000 + 1000);
        lab.sh("journalctl -q --rotate");
    }
    lab.sh("journalctl -q --vacuum-files=1");
    write(&lab, 4001, 4010);
    written(&lab, 4010);
    signal("-CONT");
    let start = Instant::now();
    let lost = || metric(&daemon, "nodetriage_journal_lost_entries_total");
    while lost() < 1.0 {
        assert!(start.elapsed() < LONG, "nothing is counted as lost; {} of 4,010 lines were seen", count(&daemon));
        std::thread::sleep(Duration::from_millis(100));
    }
    let (seen, lost) = (count(&daemon), lost());
    let unseen = metric_of(4010 - seen);
    println!("{unseen} of the kubelet's lines were never seen, {lost} entries are counted as lost");
    // And the few that others wrote in the meantime.
    assert!(unseen > 0.0 && (unseen..unseen + 200.0).contains(&lost), "{unseen} unseen, {lost} lost");
    write(&lab, 4011, 4020);
    counted(&daemon, seen + 10, "afterwards");
}

fn past(daemon: &Daemon) -> Value {
    let (_, body) = daemon.get("/api/v1/facts").expect("an answer");
    serde_json::from_str::<Value>(&body).unwrap()["journal"]["known"]["past"].clone()
}

/// `NODETRIAGE_FLOOD_SECONDS=60 cargo test --test lab_journal flood -- --nocapture` shows it for a minute. Unoptimized it reads more slowly
/// than journald writes, which in a minute vacuums what was not read yet: then that is counted.
#[test]
fn a_flood_costs_no_memory_and_no_other_domain_its_time() {
    let Some(lab) = node("trixie", "flood") else { return };
    let seconds: u64 = std::env::var("NODETRIAGE_FLOOD_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let daemon = lab.daemon_outside(&[]);
    let pid = daemon.pid().unwrap();
    write(&lab, 1, 2000);
    counted(&daemon, 2000, "before the flood");
    let before = memory(pid);
    let start = Instant::now();
    let (mut from, mut most, mut behind, mut looks) = (2001, before, 0.0_f64, 0);
    while start.elapsed() < Duration::from_secs(seconds) {
        write(&lab, from, from + 49_999);
        from += 50_000;
        // Another domain is on time while the lines pour in.
        if looks == 0 {
            let event = lab.event("systemctl stop kube-proxy");
            daemon.wait_for(event, "a unit stopped in the flood", |report| roots(report).contains(&"unit-inactive kube-proxy.service".to_owned()));
        }
        looks += 1;
        while !lab.sh("journalctl -q -u kubelet -o cat -n 1 --grep n=").contains(&format!("n={}", from - 1)) {
            behind = behind.max(metric(&daemon, "nodetriage_journal_behind_seconds"));
            most = most.max(memory(pid));
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    let took = start.elapsed();
    let (start, lost) = (Instant::now(), || metric(&daemon, "nodetriage_journal_lost_entries_total"));
    while metric_of(count(&daemon)) + lost() < metric_of(from - 1) {
        assert!(start.elapsed() < LONG + took * 2, "after the flood: {} of {} lines were counted, {} lost", count(&daemon), from - 1, lost());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(count(&daemon) < from, "some were counted twice");
    most = most.max(memory(pid));
    let lost = lost();
    #[allow(clippy::cast_precision_loss)]
    let rate = (from - 2001) as f64 / took.as_secs_f64();
    eprintln!(
        "flood: {} lines in {took:.1?} ({rate:.0}/s, as fast as journald takes them), {before} kB before, {most} kB at most, {behind:.1} s behind at most, {lost} lost",
        from - 2001
    );
    assert!(most < before + 6_000, "{before} kB before the flood, {most} kB in it");
    assert!(metric(&daemon, "nodetriage_journal_entries_total") + lost >= metric_of(from - 2001));
    assert!(lost < 0.5 || seconds > 5, "{lost} entries were lost");
    assert!(metric(&daemon, "nodetriage_journal_behind_seconds") < 5.0);
}

#[allow(clippy::cast_precision_loss)]
fn metric_of(number: u64) -> f64 {
    number as f64
}

fn metric(daemon: &Daemon, name: &str) -> f64 {
    let (_, body) = daemon.get("/metrics").expect("an answer");
    let line = body.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("no {name}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// kB of its own memory (RssAnon: what is mapped from the binary counts for every build differently).
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
