//! The report for a person in a terminal.

mod networks;

use super::view::{Effect, Root, Title, View};
use crate::diagnose::{Report, Verdict};
use crate::facts::Facts;
use crate::finding::Severity;
use networks::Networks;

/// How it may look.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    pub color: bool,
    /// Columns; prose is wrapped at it, commands and paths never.
    pub width: usize,
    /// Also what is well: how the runtime reads its networks.
    pub verbose: bool,
}

impl Style {
    /// Without colour, for a pipe, a file, or curl.
    pub const PLAIN: Self = Self { color: false, width: 100, verbose: false };

    /// Bounded to what can be read; `None` where nothing tells the width.
    #[must_use]
    pub fn new(color: bool, width: Option<usize>) -> Self {
        Self { color, width: width.unwrap_or(Self::PLAIN.width).clamp(60, 160), ..Self::PLAIN }
    }

    #[must_use]
    pub fn verbose(self, verbose: bool) -> Self {
        Self { verbose, ..self }
    }
}

/// SGR parameters (ECMA-48).
const BOLD: &str = "1";
const DIM: &str = "2";

/// Root causes with what they explain folded under them; the CNI directory as the runtime reads it, where anything is wrong with
/// it; what could not be seen.
#[must_use]
pub fn render(report: &Report, facts: &Facts, least: Severity, style: Style) -> String {
    let mut view = View::new(report, least);
    let networks = Networks::of(report, facts, style.verbose);
    let mut out = Text { out: String::new(), style };
    out.head(&view);
    for root in &mut view.roots {
        if let Some(networks) = &networks {
            // Told there for all of them.
            root.evidence.retain(|row| !networks.tells(row));
        }
        out.root(root);
    }
    if let Some(networks) = &networks {
        out.line("");
        let title = out.paint(BOLD, &networks.title);
        out.line(&title);
        out.evidence("", &networks.rows);
    }
    out.blind(&view);
    if let Some(code) = &view.more {
        out.line(&format!("\nmore: nodetriage explain {code}"));
    }
    out.out
}

struct Text {
    out: String,
    style: Style,
}

impl Text {
    fn line(&mut self, line: &str) {
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }

    fn head(&mut self, view: &View) {
        let verdict = view.verdict.name().to_uppercase();
        let before = view.node.chars().count() + verdict.len() + 4;
        let hang = if before > self.style.width / 2 { 4 } else { before };
        let mut lines = wrap(&view.headline, before, hang, self.style.width);
        let first = lines.remove(0);
        let head = format!("{}  {}  {}", self.paint(BOLD, &view.node), self.paint(verdict_color(view.verdict), &verdict), self.paint(BOLD, &first));
        let fits = lines.is_empty() && before + first.chars().count() + 2 + view.time.len() <= self.style.width;
        if fits {
            let time = self.paint(DIM, &view.time);
            return self.rest_of_head(&format!("{head}  {time}"), Vec::new(), &view.notes, hang);
        }
        let lines = lines.iter().map(|line| self.paint(BOLD, line)).collect();
        let notes: Vec<String> = std::iter::once(&view.time).chain(&view.notes).cloned().collect();
        self.rest_of_head(&head, lines, &notes, hang);
    }

    fn rest_of_head(&mut self, head: &str, lines: Vec<String>, notes: &[String], hang: usize) {
        let indent = " ".repeat(hang);
        self.line(head);
        for line in lines {
            self.line(&format!("{indent}{line}"));
        }
        for note in notes {
            for line in wrap(note, hang, hang, self.style.width) {
                let line = self.paint(DIM, &line);
                self.line(&format!("{indent}{line}"));
            }
        }
    }

    fn root(&mut self, root: &Root) {
        self.line("");
        let title = self.title(&root.title, "");
        self.line(&title);
        if let Some(summary) = &root.summary {
            self.prose(summary, 4, 4);
        }
        self.evidence(&root.title.subject, &root.evidence);
        for (index, command) in root.commands.iter().enumerate() {
            let comment_at = if command.starts_with('#') { Some(0) } else { command.find("  # ") };
            let (command, comment) = comment_at.map_or((command.as_str(), ""), |at| command.split_at(at));
            let line = format!("  {}  {}{}", if index == 0 { "do" } else { "  " }, self.paint(BOLD, command), self.paint(DIM, comment));
            self.line(&line);
        }
        if !root.effects.is_empty() {
            self.line("  explains");
            self.effects(&root.effects, 4);
        }
    }

    /// Where on the left, what on the right, in columns if there is room for both. What was seen at the very subject, which the
    /// title has named, needs no other "where", unless a column is there for it anyway; nor does what was seen where the last was.
    fn evidence(&mut self, subject: &str, evidence: &[(String, String)]) {
        let length = |text: &String| text.chars().count();
        let width = self.style.width;
        let half = width / 2 - 4;
        let apart = evidence.iter().any(|(source, _)| source != subject);
        let named = |source: &String| apart && !(source == subject && length(source) > half);
        let rows = || evidence.iter().filter(|(source, _)| named(source));
        let widest = rows().map(|(source, _)| length(source)).max().unwrap_or_default();
        let all_fit = rows().all(|(_, saw)| 4 + widest + 2 + length(saw) <= width);
        let fitting = rows().map(|(source, _)| length(source)).filter(|length| all_fit || *length <= half);
        let column = fitting.max().unwrap_or_default();
        for (_, saw) in evidence.iter().filter(|(source, _)| !named(source)) {
            self.prose(saw, 4, 4);
        }
        let mut last = "";
        for (source, saw) in rows() {
            let again = std::mem::replace(&mut last, source) == source;
            let painted = self.paint(DIM, source);
            let hang = 4 + column + 2;
            let lines = wrap(saw, hang, hang, width);
            let in_column = length(source) <= column;
            if 4 + length(source) + 2 + length(saw) <= width && !(in_column && lines.len() == 1) {
                self.line(&format!("    {painted}  {saw}"));
            } else if in_column {
                let label = if again { String::new() } else { painted };
                let padding = " ".repeat(column - if again { 0 } else { length(source) });
                for (index, line) in lines.into_iter().enumerate() {
                    let before = if index == 0 { format!("    {label}{padding}  ") } else { " ".repeat(hang) };
                    self.line(&format!("{before}{line}"));
                }
            } else {
                self.line(&format!("    {painted}"));
                self.prose(saw, 8, 8);
            }
        }
    }

    fn effects(&mut self, effects: &[Effect], indent: usize) {
        for effect in effects {
            let spaces = " ".repeat(indent);
            let Some(fact) = &effect.fact else {
                self.line(&format!("{spaces}{}  (as above)", self.title(&effect.title, "")));
                continue;
            };
            if indent + effect.title.length() + 2 + fact.chars().count() <= self.style.width {
                self.line(&format!("{spaces}{}", self.title(&effect.title, fact)));
            } else {
                self.line(&format!("{spaces}{}", self.title(&effect.title, "")));
                self.prose(fact, indent + 4, indent + 4);
            }
            if let Some((source, saw)) = &effect.evidence {
                self.prose(&format!("{source}: {saw}"), indent + 4, indent + 8);
            }
            self.effects(&effect.effects, indent + 2);
        }
    }

    /// With the finding's statement in it, if that fits.
    fn title(&self, title: &Title, fact: &str) -> String {
        let (mark, color) = match title.severity {
            Severity::Critical => ("✖", "31"),
            Severity::Warning => ("!", "33"),
            Severity::Info => ("·", "36"),
        };
        let code = self.paint(color, &format!("{mark} {}", title.code));
        let fact = if fact.is_empty() { String::new() } else { format!("  {fact}") };
        format!("{code}  {}{fact}{}", self.paint(BOLD, &title.subject), self.paint(DIM, &title.tail()))
    }

    fn blind(&mut self, view: &View) {
        let column = view.blind.iter().map(|row| row.domain.name().len()).max().unwrap_or_default();
        if !view.blind.is_empty() {
            self.line("\ncannot see");
        }
        let mut last = None;
        for row in &view.blind {
            let what = match &row.grant {
                Some(grant) => format!("{} → {grant}", row.reasons),
                None => row.reasons.clone(),
            };
            let hang = 2 + column + 2;
            for line in wrap(&what, hang, hang, self.style.width) {
                let domain = if last.replace(row.domain) == Some(row.domain) { "" } else { row.domain.name() };
                self.line(&format!("  {domain:column$}  {line}"));
            }
        }
    }

    fn prose(&mut self, text: &str, indent: usize, hang: usize) {
        for (index, line) in wrap(text, indent, hang, self.style.width).into_iter().enumerate() {
            let spaces = " ".repeat(if index == 0 { indent } else { hang });
            self.line(&format!("{spaces}{line}"));
        }
    }

    fn paint(&self, color: &str, text: &str) -> String {
        if self.style.color && !text.is_empty() { format!("\x1b[{color}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl Title {
    fn tail(&self) -> String {
        let since = self.since.as_ref().map_or_else(String::new, |since| format!("  since {since}"));
        since + if self.stale { "  (last known)" } else { "" }
    }

    /// Columns it takes.
    fn length(&self) -> usize {
        2 + self.code.chars().count() + 2 + self.subject.chars().count() + self.tail().chars().count()
    }
}

fn verdict_color(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Healthy => "1;32",
        Verdict::Warning => "1;33",
        Verdict::Critical => "1;31",
        Verdict::Unknown => "1;35",
    }
}

/// Lines without their indents, at least one. Breaks at spaces; a word longer than a line stays whole, so that it can be copied.
fn wrap(text: &str, indent: usize, hang: usize, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = indent;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        let line = lines.last_mut().expect("there is one");
        if line.is_empty() {
            line.push_str(word);
            used += length;
        } else if used + 1 + length <= width {
            line.push(' ');
            line.push_str(word);
            used += 1 + length;
        } else {
            lines.push(word.to_owned());
            used = hang + length;
        }
    }
    lines
}
