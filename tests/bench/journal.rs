//! What reading a journal costs, beside journalctl on the same files in the same run.
//!
//! `cargo bench --bench journal -- FILE... [-u UNIT]`; prints CPU seconds, their ratio to journalctl's, and peak memory.

use std::fs::File;
use std::io::Write as _;
use std::process::{Command, Stdio};

use nix::sys::resource::{UsageWho, getrusage};
use nodetriage::observe::journal::export;
use nodetriage::observe::journal::file::{Direction, Entry};
use nodetriage::observe::journal::reader::{Filter, Reader};

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if args.first().is_some_and(|arg| arg == "--read") {
        return read(&args[1], &args[2], &args[3..]);
    }
    let unit = args.iter().position(|arg| arg == "-u").map(|at| args.drain(at..).nth(1).expect("-u UNIT"));
    if args.is_empty() {
        println!("left out: no journal files named (cargo bench --bench journal -- FILE... [-u UNIT])");
        return;
    }
    let unit = unit.unwrap_or_else(|| "kubelet.service".to_owned());
    println!("{:28} {:>10} {:>10} {:>7} {:>9}", "", "journalctl", "ours", "ratio", "peak RSS");
    let files: Vec<String> = args.iter().flat_map(|file| ["--file".to_owned(), file.clone()]).collect();
    let fields: [&str; 1] = [&format!("_SYSTEMD_UNIT={unit}")];
    for (name, mode, options) in [
        ("full scan, export", "full", &[][..]),
        ("full scan, MESSAGE", "message", &[]),
        ("one unit, export", "unit", &fields),
        ("tail 100, export", "tail", &["-n", "100"]),
    ] {
        let mut journalctl = Command::new("journalctl");
        journalctl.args(["--no-pager", "-q", "-o", if mode == "message" { "cat" } else { "export" }]).args(&files).args(options);
        let mut ours = Command::new(std::env::current_exe().expect("a program has a path"));
        ours.args(["--read", mode, &unit]).args(&args);
        // In turns, the best of five: both find the files in memory, and the same neighbours on the machine.
        let (mut theirs, mut own, mut said) = (f64::MAX, f64::MAX, String::new());
        for _ in 0..5 {
            theirs = theirs.min(cpu(&mut journalctl).0);
            let (seconds, words) = cpu(&mut ours);
            (own, said) = (own.min(seconds), words);
        }
        println!("{name:28} {theirs:8.3} s {own:8.3} s {:7.3} {:>6} kB", own / theirs, said.trim());
    }
}

/// CPU seconds of a command, and what it says on stderr.
fn cpu(command: &mut Command) -> (f64, String) {
    #[allow(clippy::cast_precision_loss)] // a benchmark does not run for 285 million years
    let seconds = || {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("getrusage");
        [usage.user_time(), usage.system_time()].iter().map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6).sum::<f64>()
    };
    let before = seconds();
    let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().and_then(std::process::Child::wait_with_output).expect("it runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    (seconds() - before, String::from_utf8_lossy(&output.stderr).into_owned())
}

fn read(mode: &str, unit: &str, files: &[String]) {
    let mut reader = Reader::default();
    for file in files {
        reader.add(File::open(file).expect("a file"), file.clone()).unwrap_or_else(|fault| panic!("{file}: {fault}"));
    }
    let filter = if mode == "unit" { Filter::field("_SYSTEMD_UNIT", unit) } else { Filter::All };
    let mut out = std::io::stdout().lock();
    let (mut bytes, mut message) = (Vec::new(), Vec::new());
    let mut entry = Entry::default();
    if mode == "tail" {
        for (file, offset) in reader.tail(&filter, 100) {
            reader.entry(file, offset, &mut entry).expect("an entry");
            export::entry(&mut reader, file, &entry, &mut bytes).expect("a file of the reader");
        }
    } else {
        let mut walk = reader.walk(&filter, Direction::Forward);
        while let Some(file) = walk.next(&mut reader) {
            if mode == "message" {
                // As the agent reads a line.
                let _ = reader.value(file, &walk.entry, b"MESSAGE=", 64 << 10, &mut message);
                bytes.append(&mut message);
                bytes.push(b'\n');
            } else {
                export::entry(&mut reader, file, &walk.entry, &mut bytes).expect("a file of the reader");
            }
            if bytes.len() > 48 << 10 {
                out.write_all(&bytes).expect("stdout");
                bytes.clear();
            }
        }
    }
    out.write_all(&bytes).expect("stdout");
    out.flush().expect("stdout");
    eprintln!("{}", getrusage(UsageWho::RUSAGE_SELF).expect("getrusage").max_rss());
}
