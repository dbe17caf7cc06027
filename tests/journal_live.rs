//! The journal followed while a real journald writes, rotates, vacuums, restarts, loses its files and moves between memory
//! and disk: every line is counted once.

#[path = "lab/mod.rs"]
mod lab;

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lab::Lab;
use nodetriage::config::Config;
use nodetriage::facts::journal::SignalSeen;
use nodetriage::facts::{Blind, Facts, Journal, Node, Timestamp};
use nodetriage::finding::{LogSource, Signal};
use nodetriage::observe::board::Board;
use nodetriage::observe::host::Host;
use nodetriage::observe::journal::{self, Earlier};

/// A loaded machine is given long; the test waits for what happens, not for this.
const DEADLINE: Duration = Duration::from_secs(30);
const CODE: &str = "counted";
static COUNTED: Signal = Signal { from: LogSource::Unit("counted.service"), pattern: "^n=[0-9]+" };

/// A node whose journal is followed in this process.
struct Followed {
    lab: Lab,
    board: Arc<Board>,
    written: u64,
}

impl Followed {
    fn boot(suite: &str, name: &str) -> Option<Self> {
        let lab = Lab::boot(suite, name)?;
        // What the follower says of its troubles is shown when the test fails.
        let _ = tracing_subscriber::fmt().with_test_writer().try_init();
        // One run of one unit writes whatever comes through this FIFO, as fast as it can.
        lab.sh("mkdir -p /etc/systemd/journald.conf.d; printf '[Journal]\\nRateLimitIntervalSec=0\\n' > /etc/systemd/journald.conf.d/rate.conf
                systemctl restart systemd-journald; mkfifo /root/lines; systemd-run -q --unit=counted.service -p StandardOutput=journal \
                sh -c 'exec 3<>/root/lines; while read -r from to <&3; do seq -f n=%.0f $from $to; done'");
        let board = Arc::new(Board::new(Facts::unobserved(Timestamp::from_unix_seconds(0).unwrap(), Node::default())));
        let host = Arc::new(Host::open(&lab.host_root()).unwrap());
        let mut config = Config::default();
        config.units.watch.push("counted.service".to_owned());
        let watched = Arc::clone(&board);
        std::thread::spawn(move || journal::watch(&host, &Arc::new(config), &[(CODE, &COUNTED)], &watched, Earlier::default(), &|_| {}));
        let followed = Self { lab, board, written: 0 };
        followed.wait("the first look", |journal| journal.files > 0);
        Some(followed)
    }

    fn write(&mut self, lines: u64) {
        let from = self.written + 1;
        self.written += lines;
        self.lab.sh(&format!("echo {from} {} > /root/lines", self.written));
    }

    /// Asks for so many lines a second, evenly, while journald rotates every second and archives are vacuumed. What journald cannot
    /// take in time waits in the pipe: it says how many it took.
    fn pace(&mut self, per_second: u64, seconds: u64) {
        const PARTS: u64 = 20;
        let mut lines = File::options().write(true).open(self.lab.root().join("root/lines")).unwrap();
        let (start, first) = (Instant::now(), self.written);
        std::thread::scope(|scope| {
            let lab = &self.lab;
            scope.spawn(move || {
                for _ in 0..seconds {
                    lab.sh("sleep 0.7; journalctl -q --rotate; journalctl -q --vacuum-files=4");
                }
            });
            for part in 0..seconds * PARTS {
                let from = self.written + 1;
                self.written += per_second / PARTS;
                writeln!(lines, "{from} {}", self.written).unwrap();
                std::thread::sleep((Duration::from_secs(part + 1) / u32::try_from(PARTS).unwrap()).saturating_sub(start.elapsed()));
            }
        });
        self.lab.sh("journalctl -q --sync");
        let asked = start.elapsed();
        self.all_counted(&format!("{per_second} lines a second through rotations and vacuums"));
        #[allow(clippy::cast_precision_loss)]
        let rate = (self.written - first) as f64 / start.elapsed().as_secs_f64();
        println!("{} lines asked for in {asked:?}, {rate:.0}/s taken by journald and counted", self.written - first);
    }

    /// Until everything that was written has been counted; more must never be.
    fn all_counted(&self, after: &str) {
        self.wait(after, |journal| journal.signals.get(CODE).is_some_and(|seen| self.is_whole(seen)));
        // Nothing is counted again later: a second look of the daemon's at everything would be a slow rescan away.
        let seen = self.board.read(|facts| facts.journal.known().unwrap().signals[CODE].clone());
        let numbers: Vec<u64> = seen.samples.iter().map(|line| line.message[2..].parse().unwrap()).collect();
        let last: Vec<u64> = (self.written + 1 - numbers.len() as u64..=self.written).collect();
        assert_eq!(numbers, last, "{after}: in order");
    }

    fn is_whole(&self, seen: &SignalSeen) -> bool {
        assert!(seen.count <= self.written, "{} lines of {} were counted: some twice", seen.count, self.written);
        seen.count == self.written
    }

    fn wait(&self, after: &str, met: impl Fn(&Journal) -> bool) {
        let start = Instant::now();
        while !self.board.read(|facts| facts.journal.known().is_some_and(&met)) {
            assert!(start.elapsed() < DEADLINE, "{after}: {} written, {}", self.written, self.board.read(|facts| brief(facts.journal.ok())));
            std::thread::sleep(Duration::from_millis(20));
        }
        println!("{after}: {:?}", start.elapsed());
    }
}

fn brief(journal: Result<&Journal, Blind>) -> String {
    let counted = |journal: &Journal| journal.signals.get(CODE).map(|seen| (seen.count, seen.samples.last().map(|line| line.message.clone())));
    match journal {
        Ok(journal) => format!("{:?} counted, {} files of {:?}, unreadable {:?}", counted(journal), journal.files, journal.directories, journal.unreadable),
        Err(blind) => blind.to_string(),
    }
}

#[test]
fn systemd_252() {
    if let Some(node) = Followed::boot("bookworm", "journal") {
        everything(node);
    }
}

#[test]
fn systemd_257() {
    if let Some(node) = Followed::boot("trixie", "journal") {
        everything(node);
    }
}

#[test]
fn systemd_262() {
    if let Some(node) = Followed::boot("forky", "journal") {
        everything(node);
    }
}

fn everything(mut node: Followed) {
    node.write(10);
    node.all_counted("ten lines");

    node.write(20_000);
    for _ in 0..6 {
        node.lab.sh("journalctl -q --rotate");
    }
    node.all_counted("20,000 lines through six rotations");
    node.write(5_000);
    node.lab.sh("journalctl -q --rotate");
    node.all_counted("another rotation");
    // What is vacuumed is gone for everybody who has it open, too.
    node.lab.sh("journalctl -q --vacuum-files=1");
    node.write(5_000);
    node.all_counted("a vacuum of all archives");

    node.pace(1_000, 3);
    node.pace(4_000, 5);

    node.write(3_000);
    node.lab.sh("systemctl restart systemd-journald");
    node.write(3_000);
    node.all_counted("journald restarted");

    node.lab.sh("rm /var/log/journal/*/system.journal");
    node.write(100);
    node.lab.sh("journalctl -q --rotate");
    node.write(100);
    node.all_counted("the file in use was deleted");

    // From disk to memory, and back: what was in memory is copied to disk, and must not count again.
    node.lab.sh("journalctl -q --relinquish-var");
    node.write(500);
    node.all_counted("in memory");
    node.lab.sh("journalctl -q --flush");
    node.write(500);
    node.all_counted("flushed to disk");

    // A file cut short under the reader takes its lines with it; what is written afterwards is seen.
    let seen = node.board.read(|facts| facts.journal.known().unwrap().signals[CODE].count);
    assert_eq!(seen, node.written);
    let directory = node.lab.root().join("var/log/journal");
    let machine = std::fs::read_dir(directory).unwrap().next().unwrap().unwrap().path();
    File::options().write(true).open(machine.join("system.journal")).unwrap().set_len(4096).unwrap();
    node.lab
        .sh("journalctl -q --rotate || systemctl restart systemd-journald; systemctl stop counted.service; systemctl reset-failed -q counted.service || true");
    node.lab.sh("systemd-run -q --unit=counted.service -p StandardOutput=journal echo n=1");
    node.wait("a new run after the file was truncated", |journal| journal.signals.get(CODE).is_some_and(|seen| seen.count == 1));
}
