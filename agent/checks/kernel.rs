//! What the checks of the kernel's lines share.

use super::log;
use crate::facts::journal::LogLine;
use crate::facts::{Blind, Facts, Timestamp};
use crate::finding::{Component, Finding};

/// Lines about one subject: a device, a task.
#[derive(Debug)]
pub(super) struct Told<'a> {
    pub subject: String,
    /// As far as lines were kept: at least so many.
    pub count: usize,
    pub first: Timestamp,
    pub last: &'a LogLine,
}

/// What was said in the last `seconds`, by subject, the newest first. A line without a subject counts for nothing.
pub(super) fn told<'a>(facts: &'a Facts, code: &str, seconds: i64, subject: impl Fn(&str) -> Option<String>) -> Result<Vec<Told<'a>>, Blind> {
    let mut told: Vec<Told<'_>> = Vec::new();
    let samples = log::seen(facts, code)?.map_or(&[][..], |seen| &seen.samples);
    for line in samples.iter().rev().filter(|line| log::age(facts, line.time) <= seconds) {
        let Some(subject) = subject(&line.message) else { continue };
        match told.iter_mut().find(|told| told.subject == subject) {
            Some(told) => (told.count, told.first) = (told.count + 1, line.time),
            None => told.push(Told { subject, count: 1, first: line.time, last: line }),
        }
    }
    Ok(told)
}

/// The finding of such lines, with the last of them as evidence.
pub(super) fn finding(told: &Told<'_>, summary: String) -> Finding {
    let finding = Finding::new(Component::Node, told.subject.clone(), summary).since(Some(told.first));
    let times = if told.count > 1 { format!("{} times, ", told.count) } else { String::new() };
    finding.evidence(format!("{}, {times}last {}", told.last.source, told.last.time.clock()), told.last.said())
}

/// The word between `before` and the first of `ends`.
pub(super) fn between<'a>(text: &'a str, before: &str, ends: &[char]) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    let end = rest.find(ends).unwrap_or(rest.len());
    rest.get(..end).filter(|word| !word.is_empty())
}
