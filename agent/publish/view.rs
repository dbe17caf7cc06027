//! What a person reads, before it is laid out: the text and the page say the same because both are made from this.
//!
//! A finding's words come from logs and file names; every string in here has been made harmless by [`plain`].

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::checks;
use crate::diagnose::{Report, Verdict};
use crate::facts::timestamp::human_span;
use crate::facts::{Domain, Timestamp};
use crate::finding::{Finding, Reference, Severity};

/// The whole report.
#[derive(Debug)]
pub struct View {
    pub node: String,
    pub verdict: Verdict,
    /// One statement: the first root cause, or that there is none.
    pub headline: String,
    pub time: String,
    /// What limits the report: another time for certificates, a disk instead of a running node, findings left out.
    pub notes: Vec<String>,
    pub roots: Vec<Root>,
    pub blind: Vec<BlindRow>,
    /// The code to ask `nodetriage explain` about.
    pub more: Option<String>,
}

/// A finding that nothing else explains.
#[derive(Debug)]
pub struct Root {
    pub title: Title,
    /// Absent where the headline is this statement.
    pub summary: Option<String>,
    /// Where it was seen, and what was seen.
    pub evidence: Vec<(String, String)>,
    /// To type, in order.
    pub commands: Vec<String>,
    pub effects: Vec<Effect>,
}

/// A finding folded under the one that explains it.
#[derive(Debug)]
pub struct Effect {
    pub title: Title,
    /// Its own statement; absent where it has been told already under another cause.
    pub fact: Option<String>,
    /// Its most telling evidence, unless that has been told already.
    pub evidence: Option<(String, String)>,
    pub effects: Vec<Effect>,
}

#[derive(Debug)]
pub struct Title {
    pub severity: Severity,
    pub code: String,
    pub subject: String,
    /// `03:12:44 (7 min)`
    pub since: Option<String>,
    /// Its domain has gone blind: this is what was last known.
    pub stale: bool,
}

/// What could not be seen of a domain for want of one thing.
#[derive(Debug)]
pub struct BlindRow {
    pub domain: Domain,
    pub reasons: String,
    pub grant: Option<String>,
}

/// Reasons told of one domain; fifty unreadable files are one line.
const REASONS: usize = 3;

impl View {
    /// The report without the roots below `least`, unless they explain something that is not.
    #[must_use]
    pub fn new(report: &Report, least: Severity) -> Self {
        let shown = super::at_least(report, least);
        let told = &mut BTreeSet::new();
        let first = first_root(report).map(Finding::reference);
        let mut roots: Vec<Root> = shown.roots().map(|finding| root(&shown, finding, first.as_ref(), told)).collect();
        // Nothing is lost if findings should explain each other in a circle.
        for finding in &shown.findings {
            if !told.contains(&finding.reference()) {
                roots.push(root(&shown, finding, first.as_ref(), told));
            }
        }
        Self {
            node: report.node.name.as_ref().map_or_else(|| "this node".to_owned(), |name| plain(&name.value).into_owned()),
            verdict: report.verdict,
            headline: headline(report),
            time: report.time.human(),
            notes: notes(report, report.findings.len() - shown.findings.len(), least),
            more: roots.first().map(|root| root.title.code.clone()),
            roots,
            blind: blind(report),
        }
    }
}

/// The verdict's one statement: the first root cause, or that there is none.
#[must_use]
pub fn headline(report: &Report) -> String {
    let roots = report.roots().filter(|finding| report.gravity(finding) > Severity::Info).count();
    match (first_root(report), report.verdict) {
        (Some(first), _) if roots < 2 => plain(&first.summary).into_owned(),
        (Some(first), _) if roots == 2 => format!("{} (and 1 other fault)", plain(&first.summary)),
        (Some(first), _) => format!("{} (and {} other faults)", plain(&first.summary), roots - 1),
        (None, Verdict::Healthy) => "nothing is wrong".to_owned(),
        (None, _) => "nothing wrong was seen, but not everything could be seen".to_owned(),
    }
}

/// The finding that the headline is about: they are sorted, and the first has the worst consequences. Where nothing is wrong, that
/// this is no node (yet) is the news.
fn first_root(report: &Report) -> Option<&Finding> {
    let no_node = [checks::node_not_kubernetes::CHECK.code, checks::node_not_joined::CHECK.code];
    let grave = report.findings.iter().find(|finding| report.gravity(finding) > Severity::Info);
    grave.or_else(|| report.roots().find(|finding| no_node.contains(&finding.code.as_str())))
}

fn notes(report: &Report, left_out: usize, least: Severity) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(at) = report.certificates_at {
        notes.push(format!("certificates as of {}, everything else as of now", at.human()));
    }
    if !report.node.live && report.node.root != "/" {
        notes.push(format!("looking at {}", plain(&report.node.root)));
    }
    if left_out > 0 {
        let findings = if left_out == 1 { "finding" } else { "findings" };
        notes.push(format!("{left_out} {findings} below {least} left out"));
    }
    notes
}

fn root(report: &Report, finding: &Finding, headline: Option<&Reference>, told: &mut BTreeSet<Reference>) -> Root {
    told.insert(finding.reference());
    let evidence: Vec<_> = finding.evidence.iter().map(|one| (plain(&one.source).into_owned(), plain(&one.saw).into_owned())).collect();
    let said: Vec<String> = evidence.iter().map(|(_, saw)| saw.clone()).collect();
    Root {
        title: title(report, finding),
        summary: (headline != Some(&finding.reference())).then(|| plain(&finding.summary).into_owned()),
        evidence,
        commands: finding.remedy.iter().map(|command| plain(command).into_owned()).collect(),
        effects: effects(report, finding, &said, told),
    }
}

fn effects(report: &Report, cause: &Finding, said: &[String], told: &mut BTreeSet<Reference>) -> Vec<Effect> {
    let mut effects = Vec::new();
    // What another consequence explains in turn is told under that one.
    let this = cause.reference();
    let direct = |effect: &&Finding| !effect.explained_by.iter().any(|other| *other != this && causes(report, other).contains(&this));
    for finding in report.explained_by(cause).filter(|finding| finding.reference() != this).filter(direct) {
        let first_time = told.insert(finding.reference());
        let evidence = finding.evidence.last().map(|one| (plain(&one.source).into_owned(), plain(&one.saw).into_owned()));
        effects.push(Effect {
            title: title(report, finding),
            fact: first_time.then(|| without_subject(finding)),
            evidence: evidence.filter(|(_, saw)| first_time && !said.contains(saw)),
            effects: if first_time { self::effects(report, finding, said, told) } else { Vec::new() },
        });
    }
    effects
}

/// Everything that explains `effect`, through whatever lies between.
fn causes(report: &Report, effect: &Reference) -> BTreeSet<Reference> {
    let mut causes = BTreeSet::new();
    let mut to_ask = vec![effect.clone()];
    while let Some(next) = to_ask.pop() {
        let finding = report.findings.iter().find(|finding| finding.reference() == next);
        let explained_by = finding.map_or(&[][..], |finding| &finding.explained_by);
        to_ask.extend(explained_by.iter().filter(|cause| causes.insert((*cause).clone())).cloned());
    }
    causes
}

/// The title has named the subject: "kubelet.service has failed" goes on as "has failed".
fn without_subject(finding: &Finding) -> String {
    let rest = finding.summary.strip_prefix(finding.subject.as_str()).and_then(|rest| rest.strip_prefix(' '));
    plain(rest.unwrap_or(&finding.summary)).into_owned()
}

fn title(report: &Report, finding: &Finding) -> Title {
    Title {
        severity: finding.severity,
        code: plain(&finding.code).into_owned(),
        subject: plain(&finding.subject).into_owned(),
        since: finding.since.map(|since| ago(report.time, since)),
        stale: finding.stale,
    }
}

/// `03:12:44 (7 min)`, with the date if it was another day.
fn ago(now: Timestamp, then: Timestamp) -> String {
    let age = human_span(now.seconds_since(then));
    let same_day = now.human().split(' ').next() == then.human().split(' ').next();
    if same_day { format!("{} ({age})", then.clock()) } else { format!("{} ({age})", then.human()) }
}

/// One row a domain and grant.
fn blind(report: &Report) -> Vec<BlindRow> {
    let mut rows: Vec<(Domain, Option<String>, Vec<String>)> = Vec::new();
    for unknown in &report.unknown {
        let grant = unknown.grant.as_ref().map(|grant| plain(grant).into_owned());
        let reason = plain(&unknown.reason).into_owned();
        match rows.iter_mut().find(|(domain, known, _)| *domain == unknown.domain && *known == grant) {
            Some((.., reasons)) => reasons.push(reason),
            None => rows.push((unknown.domain, grant, vec![reason])),
        }
    }
    rows.into_iter()
        .map(|(domain, grant, reasons)| {
            let more = reasons.len().saturating_sub(REASONS);
            let mut text = reasons.into_iter().take(REASONS).collect::<Vec<_>>().join("; ");
            if more > 0 {
                text.push_str(&format!("; and {more} more"));
            }
            BlindRow { domain, reasons: text, grant }
        })
        .collect()
}

/// Text that does nothing to a terminal and cannot pass for other text: white space becomes spaces, control characters
/// (ESC and the C1 set among them) and those that reorder or hide text become U+FFFD.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    let harmless = |c: char| match c {
        '\t' | '\n' | '\r' | '\u{2028}' | '\u{2029}' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    if text.chars().all(|c| harmless(c) == c) { Cow::Borrowed(text) } else { Cow::Owned(text.chars().map(harmless).collect()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose;
    use crate::facts::{Facts, Node};
    use crate::finding::Component;

    /// A report of findings named by letters, `effect: causes`.
    fn report(findings: &[(&str, &[&str])]) -> Report {
        let facts = Facts::unobserved(Timestamp::from_unix_seconds(1_800_000_000).unwrap(), Node::default());
        let mut report = diagnose::assemble(&facts, Vec::new());
        let reference = |name: &str| Reference { code: name.to_owned(), subject: String::new() };
        report.findings = findings
            .iter()
            .map(|(name, causes)| {
                let mut finding = Finding::new(Component::Node, "", format!("{name} is true"));
                (*name).clone_into(&mut finding.code);
                finding.severity = Severity::Critical;
                finding.explained_by = causes.iter().map(|cause| reference(cause)).collect();
                finding
            })
            .collect();
        report
    }

    /// `a(b(c)) d`: roots with their effects in brackets, a `'` on what was told before.
    fn outline(report: &Report) -> String {
        fn bracket(effects: &[Effect]) -> String {
            let told = |effect: &Effect| if effect.fact.is_none() { "'" } else { "" };
            let inner: Vec<_> = effects.iter().map(|effect| format!("{}{}{}", effect.title.code, told(effect), bracket(&effect.effects))).collect();
            if inner.is_empty() { String::new() } else { format!("({})", inner.join(" ")) }
        }
        let view = View::new(report, Severity::Info);
        view.roots.iter().map(|root| format!("{}{}", root.title.code, bracket(&root.effects))).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_consequence_is_told_once_under_its_nearest_cause() {
        assert_eq!(outline(&report(&[("a", &[]), ("b", &["a"]), ("c", &["a", "b"])])), "a(b(c))");
        assert_eq!(outline(&report(&[("a", &[]), ("d", &[]), ("b", &["a", "d"])])), "a(b) d(b')");
        assert_eq!(outline(&report(&[("a", &[]), ("c", &["b"]), ("b", &["a"])])), "a(b(c))");
    }

    #[test]
    fn nothing_is_lost_where_findings_explain_each_other() {
        let names: Vec<String> = (0..20).map(|number| format!("x{number}")).collect();
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        let circle: Vec<(&str, &[&str])> = all.iter().map(|name| (*name, all.as_slice())).collect();
        let outline = outline(&report(&circle));
        for name in &names {
            assert!(outline.split([' ', '(', ')']).any(|word| word == name), "{name} is lost in {outline}");
        }
    }

    #[test]
    fn nothing_that_moves_a_cursor_or_hides_a_letter_is_left() {
        assert!(matches!(plain("notAfter 2026-12-01, größer, 日本"), Cow::Borrowed(_)));
        assert_eq!(plain("a\x1b[2Jb\u{9b}1mc"), "a\u{fffd}[2Jb\u{fffd}1mc");
        assert_eq!(plain("one\ntwo\tthree\r"), "one two three ");
        assert_eq!(plain("rm -rf \u{202e}gpj.exe\u{200b}"), "rm -rf \u{fffd}gpj.exe\u{fffd}");
    }
}
