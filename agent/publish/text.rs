//! The report for a person in a terminal.

use std::fmt::Write as _;

use crate::diagnose::{Report, Verdict};
use crate::facts::timestamp::human_span;
use crate::finding::{Finding, Severity};

/// How it may look.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    pub color: bool,
    /// Columns; lines of prose are wrapped at it, commands never.
    pub width: usize,
}

impl Style {
    /// Bounded to what can be read; `None` is for pipes and files.
    #[must_use]
    pub fn new(color: bool, width: Option<usize>) -> Self {
        Self { color, width: width.unwrap_or(100).clamp(60, 160) }
    }
}

/// Root causes with what they explain folded under them, then what could not be seen.
#[must_use]
pub fn render(report: &Report, least: Severity, style: Style) -> String {
    let mut out = String::new();
    let name = report.node.name.as_ref().map_or("this node", |name| name.value.as_str());
    let verdict = paint(style, verdict_color(report.verdict), &report.verdict.name().to_uppercase());
    let _ = writeln!(out, "{name}  {verdict}  {}  {}", headline(report), report.time.human());
    for finding in report.roots().filter(|finding| finding.severity >= least) {
        out.push('\n');
        root(&mut out, report, finding, style);
    }
    if !report.unknown.is_empty() {
        out.push('\n');
    }
    for unknown in &report.unknown {
        let grant = unknown.grant.as_ref().map_or_else(String::new, |grant| format!(" ({grant})"));
        wrap(&mut out, &format!("cannot see  {}: {}{grant}", unknown.domain, unknown.reason), 12, style.width);
    }
    if let Some(first) = report.roots().find(|finding| finding.severity >= least) {
        let _ = writeln!(out, "\nmore: nodetriage explain {}", first.code);
    }
    out
}

/// The verdict's one statement: the first root cause, or that there is none.
#[must_use]
pub fn headline(report: &Report) -> String {
    match (report.roots().find(|finding| finding.severity > Severity::Info), report.verdict) {
        (Some(first), _) => {
            let others = report.roots().filter(|finding| finding.severity > Severity::Info).count() - 1;
            if others == 0 { first.summary.clone() } else { format!("{} (and {others} more)", first.summary) }
        }
        (None, Verdict::Healthy) => "nothing is wrong".to_owned(),
        (None, _) => "nothing wrong was seen, but not everything could be seen".to_owned(),
    }
}

fn root(out: &mut String, report: &Report, finding: &Finding, style: Style) {
    title(out, report, finding, "", style);
    wrap(out, &format!("    {}", finding.summary), 4, style.width);
    for evidence in &finding.evidence {
        wrap(out, &format!("    {}: {}", evidence.source, evidence.saw), 8, style.width);
    }
    for (index, command) in finding.remedy.iter().enumerate() {
        let _ = writeln!(out, "  {}  {}", if index == 0 { "do" } else { "  " }, paint(style, "1", command));
    }
    if report.explained_by(finding).next().is_some() {
        out.push_str("  explains\n");
        let mut told = vec![finding.reference()];
        consequences(out, report, finding, &mut told, "    ", style);
    }
}

fn consequences(out: &mut String, report: &Report, cause: &Finding, told: &mut Vec<crate::finding::Reference>, indent: &str, style: Style) {
    for effect in report.explained_by(cause) {
        if told.contains(&effect.reference()) {
            continue;
        }
        told.push(effect.reference());
        title(out, report, effect, indent, style);
        let last = effect.evidence.last().map_or_else(|| effect.summary.clone(), |evidence| format!("{}: {}", effect.summary, evidence.saw));
        wrap(out, &format!("{indent}    {last}"), indent.len() + 4, style.width);
        consequences(out, report, effect, told, &format!("{indent}  "), style);
    }
}

fn title(out: &mut String, report: &Report, finding: &Finding, indent: &str, style: Style) {
    let (mark, color) = match finding.severity {
        Severity::Critical => ("✖", "31"),
        Severity::Warning => ("!", "33"),
        Severity::Info => ("·", "36"),
    };
    let since = finding.since.map_or_else(String::new, |since| format!("  since {} ({})", since.human(), human_span(report.time.seconds_since(since))));
    let stale = if finding.stale { "  (last known)" } else { "" };
    let _ = writeln!(out, "{indent}{} {}  {}{since}{stale}", paint(style, color, mark), paint(style, color, &finding.code), finding.subject);
}

/// Breaks prose at spaces; a word longer than the line stays whole, so that paths can be copied.
fn wrap(out: &mut String, text: &str, hang: usize, width: usize) {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let lead = text.len() - text.trim_start().len();
    let mut line = " ".repeat(lead);
    let mut empty = true;
    for word in text.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > width {
            out.push_str(&line);
            out.push('\n');
            line = " ".repeat(hang);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    out.push_str(&line);
    out.push('\n');
}

fn verdict_color(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Healthy => "32",
        Verdict::Warning => "33",
        Verdict::Critical => "31",
        Verdict::Unknown => "35",
    }
}

fn paint(style: Style, color: &str, text: &str) -> String {
    if style.color { format!("\x1b[{color}m{text}\x1b[0m") } else { text.to_owned() }
}
