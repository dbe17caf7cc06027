//! The Markdown that articles are written in, as HTML: headings, paragraphs, lists, tables, code, emphasis, links.

use super::escape;

/// HTML in which every character of the article is text or one of this file's tags.
pub(super) fn html(markdown: &str) -> String {
    let mut out = String::new();
    let lines: Vec<&str> = markdown.lines().collect();
    let mut rest = lines.as_slice();
    while let Some(line) = rest.first() {
        let taken = if line.trim().is_empty() { 1 } else { block(&mut out, rest) };
        rest = rest.get(taken..).unwrap_or_default();
    }
    out
}

/// Writes the block that begins here; how many lines it has.
fn block(out: &mut String, lines: &[&str]) -> usize {
    let first = lines.first().copied().unwrap_or_default();
    if let Some(title) = first.strip_prefix("# ") {
        out.push_str(&format!("<h1>{}</h1>\n", inline(title)));
        return 1;
    }
    if let Some(title) = first.strip_prefix("## ").or_else(|| first.strip_prefix("### ")) {
        out.push_str(&format!("<h2>{}</h2>\n", inline(title)));
        return 1;
    }
    if first.trim_start().starts_with("```") {
        let code: Vec<_> = lines.iter().skip(1).take_while(|line| !line.trim_start().starts_with("```")).copied().collect();
        out.push_str(&format!("<pre>{}</pre>\n", escape(&code.join("\n"))));
        return code.len() + 2;
    }
    if first.starts_with("    ") {
        let code: Vec<_> = lines.iter().take_while(|line| line.starts_with("    ")).filter_map(|line| line.get(4..)).collect();
        out.push_str(&format!("<pre>{}</pre>\n", escape(&code.join("\n"))));
        return code.len();
    }
    if item(first).is_some() {
        return list(out, lines);
    }
    if first.starts_with('|') {
        return table(out, lines);
    }
    let text: Vec<_> = lines.iter().take_while(|line| !line.trim().is_empty() && !begins_another(line)).copied().collect();
    out.push_str(&format!("<p>{}</p>\n", inline(&text.join(" "))));
    text.len().max(1)
}

/// What ends a paragraph without an empty line before it.
fn begins_another(line: &str) -> bool {
    line.starts_with('#') || line.starts_with("```") || line.starts_with("    ") || line.starts_with('|') || item(line).is_some()
}

/// The text of a list's item, and whether it is numbered.
fn item(line: &str) -> Option<(bool, &str)> {
    if let Some(text) = line.strip_prefix("- ").or_else(|| line.strip_prefix("* ")) {
        return Some((false, text));
    }
    let (number, text) = line.split_once(". ")?;
    (!number.is_empty() && number.len() < 3 && number.chars().all(|c| c.is_ascii_digit())).then_some((true, text))
}

fn list(out: &mut String, lines: &[&str]) -> usize {
    let numbered = lines.first().and_then(|line| item(line)).is_some_and(|(numbered, _)| numbered);
    let tag = if numbered { "ol" } else { "ul" };
    let mut items: Vec<String> = Vec::new();
    let mut taken = 0;
    for line in lines {
        match (item(line), items.last_mut()) {
            (Some((_, text)), _) => items.push(text.to_owned()),
            (None, Some(last)) if line.starts_with(' ') && !line.trim().is_empty() => {
                last.push(' ');
                last.push_str(line.trim());
            }
            _ => break,
        }
        taken += 1;
    }
    out.push_str(&format!("<{tag}>\n"));
    out.extend(items.iter().map(|text| format!("<li>{}</li>\n", inline(text))));
    out.push_str(&format!("</{tag}>\n"));
    taken
}

fn table(out: &mut String, lines: &[&str]) -> usize {
    let rows: Vec<_> = lines.iter().take_while(|line| line.starts_with('|')).collect();
    out.push_str("<table>\n");
    for row in rows.iter().filter(|row| !row.chars().all(|c| "|-: ".contains(c))) {
        let cells = row.trim().trim_matches('|').split('|').map(|cell| format!("<td>{}</td>", inline(cell.trim())));
        out.push_str(&format!("<tr>{}</tr>\n", cells.collect::<String>()));
    }
    out.push_str("</table>\n");
    rows.len()
}

/// `code`, **strong**, `[text](address)`.
fn inline(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['`', '*', '[']) {
        let (before, marked) = rest.split_at(at);
        out.push_str(&escape(before));
        let (html, after) = code(marked).or_else(|| strong(marked)).or_else(|| link(marked)).unwrap_or_else(|| {
            let (mark, after) = marked.split_at(1);
            (mark.to_owned(), after)
        });
        out.push_str(&html);
        rest = after;
    }
    out.push_str(&escape(rest));
    out
}

fn code(text: &str) -> Option<(String, &str)> {
    let (code, after) = text.strip_prefix('`')?.split_once('`')?;
    Some((format!("<code>{}</code>", escape(code)), after))
}

fn strong(text: &str) -> Option<(String, &str)> {
    let (strong, after) = text.strip_prefix("**")?.split_once("**")?;
    Some((format!("<strong>{}</strong>", inline(strong)), after))
}

/// To the web, or to another article beside this one.
fn link(text: &str) -> Option<(String, &str)> {
    let (label, after) = text.strip_prefix('[')?.split_once("](")?;
    let (address, after) = after.split_once(')')?;
    let address = match address.strip_suffix(".md") {
        Some(article) if !article.contains('/') => article.replace('_', "-"),
        _ if address.starts_with("https://") => address.to_owned(),
        _ => return None,
    };
    Some((format!("<a href=\"{}\">{}</a>", escape(&address), inline(label)), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_articles_use_becomes_html() {
        let text = "# unit-failed\n\n## Meaning\nIt has `failed`,\n**twice**: see [x](unit_masked.md) & <b>.\n    systemctl status a < b\n    two\n\n- one\n  more\n- two\n\n1. first\n2. second\n\n```\nraw `x`\n```\n|a|b|\n|---|---|\n|1|`2`|\n";
        let expected = "<h1>unit-failed</h1>\n<h2>Meaning</h2>\n<p>It has <code>failed</code>, <strong>twice</strong>: see <a href=\"unit-masked\">x</a> &amp; &lt;b&gt;.</p>\n<pre>systemctl status a &lt; b\ntwo</pre>\n<ul>\n<li>one more</li>\n<li>two</li>\n</ul>\n<ol>\n<li>first</li>\n<li>second</li>\n</ol>\n<pre>raw `x`</pre>\n<table>\n<tr><td>a</td><td>b</td></tr>\n<tr><td>1</td><td><code>2</code></td></tr>\n</table>\n";
        assert_eq!(html(text), expected);
    }

    #[test]
    fn what_is_no_markup_is_text() {
        assert_eq!(html("a * b ` c [d] **e\n[x](javascript:alert)\n"), "<p>a * b ` c [d] **e [x](javascript:alert)</p>\n");
        assert_eq!(html("```\nnever closed"), "<pre>never closed</pre>\n");
        assert_eq!(html(""), "");
    }
}
