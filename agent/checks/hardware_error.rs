use std::time::Duration;

use super::kernel::{self, finding};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "hardware-error",
    title: "the hardware reports errors: memory, a CPU, a bus",
    severity: Severity::Warning,
    domain: Domain::Journal,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[
        Signal { from: LogSource::Kernel, pattern: r"\[Hardware Error\]: (CPU|Machine Check|event severity|.*([Uu]ncorrect|[Ff]atal|error_type))" },
        Signal { from: LogSource::Kernel, pattern: r"EDAC .*\b(CE|UE) " },
        Signal { from: LogSource::Kernel, pattern: r"Memory failure: 0x" },
        Signal { from: LogSource::Kernel, pattern: r"PCIe Bus Error: severity=" },
        Signal { from: LogSource::Kernel, pattern: r"temperature above threshold" },
    ],
    article: include_str!("hardware_error.md"),
    examine,
};

const NEWS_SECONDS: i64 = 86_400;
/// Errors that the hardware corrected itself are told of from so many on.
const CORRECTED: usize = 10;

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let told = kernel::told(facts, CHECK.code, NEWS_SECONDS, |line| part(line).map(str::to_owned))?;
    let one = |told: kernel::Told<'_>| {
        let worst = is_uncorrected(&told.last.message);
        let how = if worst { "errors that could not be corrected" } else { "many errors, which it could still correct" };
        (worst || told.count >= CORRECTED).then(|| {
            finding(&told, format!("the hardware reports {how}: {}", told.subject))
                .remedy("journalctl -k --no-pager | grep -E 'Hardware Error|EDAC|Memory failure|PCIe Bus Error|temperature' | tail -30; ras-mc-ctl --errors 2>/dev/null | tail -20")
                .remedy(format!("kubectl drain {} --ignore-daemonsets --delete-emptydir-data  # before the part is replaced (in a cloud: stop and start moves it)", facts.node_name()))
        })
    };
    Ok(told.into_iter().filter_map(one).collect())
}

fn is_uncorrected(line: &str) -> bool {
    ["ncorrect", "UE ", "atal", "Memory failure", "Action required"].iter().any(|word| line.contains(word)) && !line.contains("Non-Fatal")
}

/// Which part it is; none for lines that only say that there was something.
fn part(line: &str) -> Option<&'static str> {
    let is = |words: &[&str]| words.iter().any(|word| line.contains(word));
    if is(&["EDAC", "Memory failure", "emory error", "DIMM"]) {
        Some("memory")
    } else if is(&["PCIe Bus Error", "AER:"]) {
        Some("PCIe bus")
    } else if is(&["temperature above threshold"]) {
        Some("CPU temperature")
    } else if is(&["Machine check events logged"]) {
        None
    } else {
        Some("CPU or memory (machine check)")
    }
}
