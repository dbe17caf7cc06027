//! Which form of an answer a client prefers (RFC 9110, 12.5.1).

use axum::http::{HeaderMap, header};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Html,
    Json,
}

/// Text, unless another form is wanted more: curl takes anything, a browser prefers HTML.
pub(super) fn preferred(headers: &HeaderMap) -> Form {
    let ranges: Vec<_> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(',')).collect();
    let text = quality(&ranges, "text", "plain");
    let html = quality(&ranges, "text", "html");
    let json = quality(&ranges, "application", "json");
    if html > text && html >= json {
        Form::Html
    } else if json > text {
        Form::Json
    } else {
        Form::Text
    }
}

/// In thousandths; of several ranges that match the most specific counts.
fn quality(ranges: &[&str], kind: &str, subtype: &str) -> u16 {
    let matching = ranges.iter().filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let (range_kind, range_subtype) = parts.next()?.split_once('/')?;
        let specific = match (range_kind, range_subtype) {
            ("*", "*") => 0,
            (k, "*") if k.eq_ignore_ascii_case(kind) => 1,
            (k, s) if k.eq_ignore_ascii_case(kind) && s.eq_ignore_ascii_case(subtype) => 2,
            _ => return None,
        };
        let q = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        Some((specific, q.map_or(1000, thousandths)))
    });
    matching.max_by_key(|(specific, _)| *specific).map_or(0, |(_, quality)| quality)
}

fn thousandths(q: &str) -> u16 {
    let q: f32 = q.trim().parse().unwrap_or(0.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped; NaN becomes 0
    let thousandths = (q.clamp(0.0, 1.0) * 1000.0) as u16;
    thousandths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_gets_what_it_can_show() {
        let cases = [
            ("", Form::Text),
            ("*/*", Form::Text),                                                                        // curl, wget
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Form::Html),            // Firefox
            ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8", Form::Html), // Chromium
            ("application/json", Form::Json),
            ("application/json, text/html;q=0.1", Form::Json),
            ("text/plain;q=0.9, text/html;q=0.4", Form::Text),
            ("text/html;q=0", Form::Text),
            ("text/*", Form::Text),
            ("text/*;q=0.5, text/plain;q=0.1", Form::Html),
            ("TEXT/HTML; q=0.8; charset=utf-8, text/plain; q=0.7", Form::Html),
            ("image/png", Form::Text),
            ("text/html;q=nonsense, garbage, ;;,/", Form::Text),
        ];
        for (accept, form) in cases {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
            assert_eq!(preferred(&headers), form, "{accept}");
        }
        assert_eq!(preferred(&HeaderMap::new()), Form::Text);
    }
}
