//! The report in a browser: one page without scripts, with nothing fetched from anywhere, readable on a phone at night.

mod markdown;
mod tables;

use std::borrow::Cow;
use std::fmt::Write as _;

use super::view::{Effect, Root, Title, View, plain};
use crate::diagnose::Report;
use crate::facts::Facts;
use crate::finding::{Check, Severity};

/// Content-Security-Policy: nothing but this very style, known by its hash, whatever a log line may have smuggled in.
pub const POLICY: &str = concat!(
    "default-src 'none'; style-src 'sha256-",
    "IIr+0H3it346ePZeMiDwpKwybHhSZYye8J9U8v3iVdE=",
    "'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
);
const STYLE: &str = include_str!("page/style.css");
/// Seconds between two looks of an open page.
const REFRESH: u32 = 30;

/// The whole report. Links are relative, for behind `kubectl proxy` the page does not lie at `/`.
#[must_use]
pub fn render(report: &Report, facts: &Facts) -> String {
    let view = View::new(report, Severity::Info);
    let mut body = String::new();
    let verdict = view.verdict.name();
    let _ = write!(body, "<header class=\"{verdict}\">\n<p><strong>{}</strong> <b>{}</b></p>\n", verdict.to_uppercase(), escape(&view.node));
    let _ = write!(body, "<h1>{}</h1>\n<p>{}</p>\n", escape(&view.headline), escape(&view.time));
    for note in &view.notes {
        let _ = writeln!(body, "<p>{}</p>", escape(note));
    }
    body.push_str("</header>\n<main>\n");
    view.roots.iter().for_each(|root| self::root(&mut body, root));
    blind(&mut body, &view);
    tables::render(&mut body, facts);
    body.push_str("</main>\n");
    let title = format!("{}: {verdict}", view.node);
    let links = "<a href=\"./\">reload</a> <a href=\"api/v1/report\">report</a> <a href=\"api/v1/facts\">facts</a> <a href=\"api/v1/checks\">checks</a> <a href=\"metrics\">metrics</a>";
    document(&title, Some(REFRESH), &body, links)
}

/// The article of a check, below what it finds on this node.
#[must_use]
pub fn article(check: &Check, report: Option<&Report>) -> String {
    let mut body = String::from("<main class=\"article\">\n");
    for finding in report.iter().flat_map(|report| &report.findings).filter(|finding| finding.code == check.code) {
        let (subject, summary) = (plain(&finding.subject), plain(&finding.summary));
        let _ = write!(body, "<section class=\"{}\">\n<p>on this node now:</p>\n", finding.severity.name());
        let _ = writeln!(body, "<h2><a href=\"../#{}\">{}</a></h2>\n<p>{}</p>\n</section>", anchor(check.code, &subject), escape(&subject), escape(&summary));
    }
    body.push_str(&markdown::html(check.article));
    body.push_str("</main>\n");
    document(check.code, None, &body, "<a href=\"../\">this node's report</a>")
}

/// While the first round of observation is not complete.
#[must_use]
pub fn not_ready(why: &str) -> String {
    let body = format!("<header class=\"unknown\">\n<p><strong>UNKNOWN</strong></p>\n<h1>{}</h1>\n</header>\n", escape(why));
    document("not looked at yet", Some(2), &body, "<a href=\"./\">reload</a>")
}

fn document(title: &str, refresh: Option<u32>, body: &str, links: &str) -> String {
    let refresh = refresh.map_or_else(String::new, |seconds| format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">\n"));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n{refresh}\
         <link rel=\"icon\" href=\"data:,\">\n<title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\
         <footer>{links} <span>nodetriage {}</span></footer>\n</body>\n</html>\n",
        escape(title),
        env!("CARGO_PKG_VERSION")
    )
}

fn root(out: &mut String, root: &Root) {
    let id = anchor(&root.title.code, &root.title.subject);
    let _ = write!(out, "<section id=\"{id}\" class=\"{}\">\n<h2>{}</h2>\n", root.title.severity.name(), title(&root.title));
    if let Some(summary) = &root.summary {
        let _ = writeln!(out, "<p>{}</p>", escape(summary));
    }
    evidence(out, &root.title, &root.evidence);
    for command in &root.commands {
        // A comment says where to type what follows: it is not to be copied with it.
        let tag = if command.starts_with('#') { "p" } else { "pre" };
        let _ = writeln!(out, "<{tag}>{}</{tag}>", escape(command));
    }
    if !root.effects.is_empty() {
        out.push_str("<h3>explains</h3>\n");
        effects(out, &root.effects);
    }
    out.push_str("</section>\n");
}

/// Each code leads to its article, each finding's mark to itself.
fn title(title: &Title) -> String {
    let mark = match title.severity {
        Severity::Critical => "✖",
        Severity::Warning => "!",
        Severity::Info => "·",
    };
    let (id, code, subject) = (anchor(&title.code, &title.subject), escape(&title.code), escape(&title.subject));
    let mut html = format!("<a class=\"mark\" href=\"#{id}\">{mark}</a> <a href=\"explain/{code}\">{code}</a> <b>{subject}</b>");
    if let Some(since) = &title.since {
        let _ = write!(html, " <small>since {}</small>", escape(since));
    }
    if title.stale {
        html.push_str(" <small>(last known)</small>");
    }
    html
}

fn evidence(out: &mut String, title: &Title, evidence: &[(String, String)]) {
    out.push_str("<dl>\n");
    // What was seen at the very subject, which the title has named, needs no other "where".
    let (here, elsewhere): (Vec<_>, Vec<_>) = evidence.iter().partition(|(source, _)| *source == title.subject);
    for (_, saw) in here {
        let _ = writeln!(out, "<dd class=\"here\">{}</dd>", escape(saw));
    }
    for (source, saw) in elsewhere {
        let _ = writeln!(out, "<dt>{}</dt><dd>{}</dd>", escape(source), escape(saw));
    }
    out.push_str("</dl>\n");
}

fn effects(out: &mut String, effects: &[Effect]) {
    out.push_str("<ul>\n");
    for effect in effects {
        let Some(fact) = &effect.fact else {
            let _ = writeln!(out, "<li>{} <small>(as above)</small></li>", title(&effect.title));
            continue;
        };
        let (id, class) = (anchor(&effect.title.code, &effect.title.subject), effect.title.severity.name());
        let _ = writeln!(out, "<li id=\"{id}\" class=\"{class}\">{}<p>{}</p>", title(&effect.title), escape(fact));
        if let Some((source, saw)) = &effect.evidence {
            let _ = writeln!(out, "<dl><dt>{}</dt><dd>{}</dd></dl>", escape(source), escape(saw));
        }
        if !effect.effects.is_empty() {
            self::effects(out, &effect.effects);
        }
        out.push_str("</li>\n");
    }
    out.push_str("</ul>\n");
}

fn blind(out: &mut String, view: &View) {
    if view.blind.is_empty() {
        return;
    }
    out.push_str("<section id=\"cannot-see\" class=\"unknown\">\n<h2>cannot see</h2>\n<dl>\n");
    for row in &view.blind {
        let _ = writeln!(out, "<dt>{}</dt>\n<dd>{}", escape(row.domain.name()), escape(&row.reasons));
        if let Some(grant) = &row.grant {
            let _ = write!(out, " → {}", escape(grant));
        }
        out.push_str("</dd>\n");
    }
    out.push_str("</dl>\n</section>\n");
}

/// A name for a link within the page, of characters that need no escaping anywhere.
fn anchor(code: &str, subject: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '_' { c } else { '-' };
    format!("{code}-{subject}").chars().map(safe).collect()
}

/// Text that is text wherever it stands, in an element or an attribute.
fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;

    #[test]
    fn the_policy_allows_this_style_and_no_other() {
        let hash = ring::digest::digest(&ring::digest::SHA256, STYLE.as_bytes());
        let hash = base64::engine::general_purpose::STANDARD.encode(hash);
        assert!(POLICY.contains(&format!("'sha256-{hash}'")), "page/style.css has changed; its hash is now {hash}");
    }
}
