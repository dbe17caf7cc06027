//! A line of a program's log, taken apart: klog's, logrus' and JSON.
//!
//! klog (`k8s.io/klog/v2`, `internal/serialize/keyvalues.go`) writes `Lmmdd hh:mm:ss.uuuuuu PID FILE:LINE] "MESSAGE" KEY=VALUE…`, where text
//! is quoted as Go quotes it, a text of several lines is `KEY=<`, the lines, ` >`, and other values are bare; before Kubernetes 1.20, and
//! in some places to this day, free text stands for all of it. logrus (containerd, CRI-O, dockerd) writes
//! `time="…" level=error msg="MESSAGE" KEY=VALUE…`. etcd, and the kubelet with `--logging-format=json`, write JSON.

use std::borrow::Cow;
use std::fmt;

/// Values taken of a line.
const VALUES_MAX: usize = 32;

/// What a line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record<'a> {
    /// The message without quotes; of a line in none of the forms, the line.
    pub message: Cow<'a, str>,
    /// The values in their order, unquoted once: an error that quotes others still quotes them.
    pub values: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// The letter of a klog header.
#[must_use]
pub fn klog_level(line: &str) -> Option<u8> {
    let bytes = line.as_bytes();
    let level = *bytes.first()?;
    let digits = |from: usize, to: usize| bytes.get(from..to).is_some_and(|part| part.iter().all(u8::is_ascii_digit));
    (matches!(level, b'I' | b'W' | b'E' | b'F') && digits(1, 5) && bytes.get(5) == Some(&b' ') && digits(6, 8) && bytes.get(8) == Some(&b':')).then_some(level)
}

impl<'a> Record<'a> {
    /// Takes a line apart. What is cut short is read as far as it goes.
    #[must_use]
    pub fn parse(line: &'a str) -> Self {
        klog(line).or_else(|| logrus(line)).or_else(|| json(line)).unwrap_or_else(|| Self { message: line.into(), values: Vec::new() })
    }

    /// The value of a key: `err`, `pod`, `image`, `path`.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        self.values.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_ref())
    }

    /// Why: klog's `err`, logrus' and zap's `error`.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.value("err").or_else(|| self.value("error"))
    }
}

/// For people, in one line: `MESSAGE: ERROR (KEY=VALUE …)`, without the header and the escapes.
impl fmt::Display for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&plain(self.message.trim()))?;
        if let Some(error) = self.error().filter(|error| !error.is_empty()) {
            let colon = if self.message.trim_end().ends_with(':') { "" } else { ":" };
            write!(f, "{colon} {}", plain(error.trim()))?;
        }
        let others = self.values.iter().filter(|(key, value)| !matches!(key.as_ref(), "err" | "error" | "logger") && !value.is_empty());
        for (at, (key, value)) in others.clone().enumerate() {
            write!(f, "{}{key}={}", if at == 0 { " (" } else { " " }, plain(value.trim()))?;
        }
        if others.count() > 0 { f.write_str(")") } else { Ok(()) }
    }
}

fn klog(line: &str) -> Option<Record<'_>> {
    klog_level(line)?;
    let (_, said) = line.split_once("] ").filter(|(head, _)| head.rsplit(' ').next().is_some_and(|place| place.contains(".go:")))?;
    let (message, values) = quoted(said).map_or((said.into(), Vec::new()), |(message, rest)| (message, values(rest)));
    Some(Record { message, values })
}

fn logrus(line: &str) -> Option<Record<'_>> {
    if !["time=", "level="].iter().any(|key| line.starts_with(key)) {
        return None;
    }
    let mut values = values(line);
    let message = values.iter().find(|(key, _)| key == "msg").map(|(_, message)| message.clone())?;
    values.retain(|(key, _)| !matches!(key.as_ref(), "time" | "level" | "msg"));
    Some(Record { message, values })
}

fn json(line: &str) -> Option<Record<'_>> {
    let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(line.strip_prefix('{').map(|_| line)?) else { return None };
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let message = fields.get("msg").map(text)?;
    let skipped = ["msg", "level", "ts", "caller", "v", "logger", "stacktrace"];
    let values = fields.iter().filter(|(key, _)| !skipped.contains(&key.as_str())).take(VALUES_MAX);
    Some(Record { message: message.into(), values: values.map(|(key, value)| (key.clone().into(), text(value).into())).collect() })
}

/// `KEY=VALUE KEY=VALUE…`. klog's keys may have spaces (`/proc/swaps contents=<`).
fn values(text: &str) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    let (mut values, mut rest) = (Vec::new(), text.trim_start());
    while let Some((key, after)) = rest.split_once('=').filter(|(key, _)| !key.is_empty() && !key.contains('"') && values.len() < VALUES_MAX) {
        let (value, after) = quoted(after).or_else(|| lines(after)).unwrap_or_else(|| bare(after));
        values.push((key.into(), value));
        rest = after.trim_start();
    }
    values
}

/// A text in Go's quotes (`strconv.Quote`), and what comes after it. Where its end is cut off, all there is.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let body = text.strip_prefix('"')?;
    let end = body.find(['"', '\\']).unwrap_or(body.len());
    let (simple, rest) = body.split_at(end);
    if !rest.starts_with('\\') {
        return Some((simple.into(), rest.strip_prefix('"').unwrap_or(rest)));
    }
    let (mut out, mut left) = (simple.to_owned(), rest.chars());
    while let Some(char) = left.next() {
        match char {
            '"' => return Some((out.into(), left.as_str())),
            '\\' => unescape(&mut left, &mut out),
            other => out.push(other),
        }
    }
    Some((out.into(), ""))
}

/// What follows a backslash.
fn unescape(left: &mut std::str::Chars<'_>, out: &mut String) {
    let hex = |left: &mut std::str::Chars<'_>, digits: usize| {
        let (code, after) = left.as_str().split_at_checked(digits)?;
        let char = char::from_u32(u32::from_str_radix(code, 16).ok()?)?;
        *left = after.chars();
        Some(char)
    };
    match left.next() {
        Some('n') => out.push('\n'),
        Some('t') => out.push('\t'),
        Some('r') => out.push('\r'),
        Some('a' | 'b' | 'f' | 'v') => out.push(' '),
        Some(kind @ ('x' | 'u' | 'U')) => {
            let digits = match kind {
                'x' => 2,
                'u' => 4,
                _ => 8,
            };
            out.push(hex(left, digits).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        Some(other) => out.push(other),
        None => {}
    }
}

/// A text of several lines, which here are one: `< LINE LINE >`.
fn lines(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let body = text.strip_prefix('<').filter(|body| body.is_empty() || body.starts_with(char::is_whitespace))?;
    // A line of it may have such an end within.
    let end = body.match_indices(" >").find(|(at, _)| body.get(at + 2..).is_some_and(|after| after.is_empty() || next_key(after) == Some(0)));
    let (value, rest) = end.map_or((body, ""), |(at, _)| (body.get(..at).unwrap_or(body), body.get(at + 2..).unwrap_or_default()));
    Some((value.trim().into(), rest))
}

/// A value without quotes: a number, or a structure, which may hold spaces but ends where another key begins.
fn bare(text: &str) -> (Cow<'_, str>, &str) {
    let end = if text.starts_with(['{', '[']) { structure(text) } else { None };
    let (value, rest) = text.split_at(end.or_else(|| next_key(text)).unwrap_or(text.len()));
    (value.into(), rest)
}

/// Where a structure in JSON ends.
fn structure(text: &str) -> Option<usize> {
    let (mut depth, mut inside, mut escaped) = (0_u32, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = inside,
            b'"' => inside = !inside,
            b'{' | b'[' if !inside => depth += 1,
            b'}' | b']' if !inside => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Where ` KEY=` begins.
fn next_key(text: &str) -> Option<usize> {
    let is_key =
        |key: &str| key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./".contains(&b));
    text.match_indices(' ').map(|(at, _)| at).find(|at| text.get(at + 1..).and_then(|after| after.split_once('=')).is_some_and(|(key, _)| is_key(key)))
}

/// Without the escapes of quotes within quotes, and in one line.
fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(|c: char| c == '\\' || c.is_control()) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c == '\\' || c.is_control()) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let after = from.trim_start_matches('\\');
        rest = match after.chars().next() {
            Some('"') => after,
            Some('n' | 't') if from.len() > after.len() => {
                space(&mut out);
                after.get(1..).unwrap_or_default().trim_start_matches(' ')
            }
            Some(c) if c.is_control() => {
                space(&mut out);
                after.get(c.len_utf8()..).unwrap_or_default().trim_start_matches(' ')
            }
            _ => {
                out.push_str(from.get(..from.len() - after.len()).unwrap_or_default());
                after
            }
        };
    }
    out.push_str(rest);
    out.into()
}

fn space(out: &mut String) {
    if !out.ends_with(' ') {
        out.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> String {
        Record::parse(line).to_string()
    }

    #[test]
    fn a_klog_record_is_its_message_its_error_and_its_values() {
        let line = r#"E1201 03:12:20.314514     621 kuberuntime_image.go:55] "Failed to pull image" err="rpc error: code = NotFound desc = failed to pull and unpack image \"docker.io/library/nginx:x\": failed to resolve reference \"docker.io/library/nginx:x\": not found" image="nginx:x" pod="shop/web-0" attempt=3"#;
        let record = Record::parse(line);
        assert_eq!(record.message, "Failed to pull image");
        assert_eq!(
            (record.value("image"), record.value("pod"), record.value("attempt"), record.value("path")),
            (Some("nginx:x"), Some("shop/web-0"), Some("3"), None)
        );
        assert!(record.error().unwrap().ends_with(r#"failed to resolve reference "docker.io/library/nginx:x": not found"#));
        assert_eq!(
            said(line),
            r#"Failed to pull image: rpc error: code = NotFound desc = failed to pull and unpack image "docker.io/library/nginx:x": failed to resolve reference "docker.io/library/nginx:x": not found (image=nginx:x pod=shop/web-0 attempt=3)"#
        );
    }

    #[test]
    fn quotes_within_quotes_within_quotes_are_quotes() {
        let line = r#"E1124 03:12:44.000001    1000 pod_workers.go:1301] "Error syncing pod, skipping" err="failed to \"StartContainer\" for \"etcd\" with CrashLoopBackOff: \"back-off 5m0s restarting failed container=etcd pod=etcd-node1_kube-system(91f2)\"" pod="kube-system/etcd-node1" podUID="91f2""#;
        let record = Record::parse(line);
        assert_eq!(record.value("pod"), Some("kube-system/etcd-node1"));
        assert!(said(line).contains(r#"failed to "StartContainer" for "etcd" with CrashLoopBackOff: "back-off"#), "{}", said(line));
        let deep = r#"E1124 03:12:44.000001    1000 a.go:1] "x" err="a \"b \\\"c \\\\\\\"d\\\\\\\"\\\" \\n e\" caf\u00e9 \x41""#;
        assert_eq!(said(deep), r#"x: a "b "c "d"" e" café A"#);
    }

    #[test]
    fn a_value_of_several_lines_is_one_value_and_others_may_follow() {
        let line = r#"E1124 03:12:44.000001    1000 proxier.go:1] "Failed to execute iptables-restore" err=< exit status 2: iptables-restore v1.8.9 (a > b): line 7 failed > ipFamily="IPv4" rules=17"#;
        let record = Record::parse(line);
        assert_eq!(record.error(), Some("exit status 2: iptables-restore v1.8.9 (a > b): line 7 failed"));
        assert_eq!((record.value("ipFamily"), record.value("rules")), (Some("IPv4"), Some("17")));
        let swap = r#"E1124 03:12:44.000001    1000 swap_util.go:1] "Swap is on" /proc/swaps contents=< Filename Type /swapfile file >"#;
        assert_eq!(Record::parse(swap).value("/proc/swaps contents"), Some("Filename Type /swapfile file"));
        let open = r#"E1124 03:12:44.000001    1000 a.go:1] "x" err=<"#;
        assert_eq!(Record::parse(open).error(), Some(""));
    }

    #[test]
    fn values_without_quotes_end_where_the_next_key_begins() {
        let line =
            r#"I1124 03:12:44.000001    1000 kubelet.go:1] "SyncLoop (PLEG)" event={"ID":"a b","Type":"c]}","D":[1,2]} pod="a/b" old=&{ID:x Type:y z} n=-1"#;
        let record = Record::parse(line);
        assert_eq!(record.value("event"), Some(r#"{"ID":"a b","Type":"c]}","D":[1,2]}"#));
        assert_eq!((record.value("pod"), record.value("old"), record.value("n")), (Some("a/b"), Some("&{ID:x Type:y z}"), Some("-1")));
    }

    #[test]
    fn free_text_is_the_message() {
        let line = "F1124 18:50:25.509082    8670 server.go:269] failed to run Kubelet: unable to load bootstrap kubeconfig: stat /x: no such file";
        assert_eq!(said(line), "failed to run Kubelet: unable to load bootstrap kubeconfig: stat /x: no such file");
        for other in
            ["kubelet.service: Main process exited, code=exited, status=203/EXEC", "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null)", "", "E1", "{"]
        {
            assert_eq!(said(other), other);
        }
    }

    #[test]
    fn logrus_and_json_are_read_too() {
        let line = r#"time="2026-12-01T03:12:44.123Z" level=error msg="RunPodSandbox for &PodSandboxMetadata{Name:web-0,Attempt:0,} failed, error" error="rpc error: failed to get sandbox image \"registry.k8s.io/pause:3.10\": not found" id=7"#;
        let record = Record::parse(line);
        assert_eq!(
            (record.error(), record.value("id")),
            (Some(r#"rpc error: failed to get sandbox image "registry.k8s.io/pause:3.10": not found"#), Some("7"))
        );
        assert!(said(line).starts_with("RunPodSandbox for &PodSandboxMetadata{Name:web-0,Attempt:0,} failed, error: rpc error: "), "{}", said(line));
        let zap = r#"{"level":"warn","ts":"2026-12-01T03:12:44Z","caller":"wal/wal.go:805","msg":"slow fdatasync","took":"1.9s","expected-duration":"1s"}"#;
        assert_eq!(said(zap), "slow fdatasync (took=1.9s expected-duration=1s)");
        let kubelet = r#"{"ts":1.7e12,"caller":"app/run.go:72","msg":"command failed","err":"failed to run Kubelet: \"x\""}"#;
        assert_eq!(said(kubelet), r#"command failed: failed to run Kubelet: "x""#);
    }

    #[test]
    fn what_is_cut_short_is_read_as_far_as_it_goes() {
        let line = r#"E1201 03:12:20.314514     621 a.go:5] "Failed \"x\"" err="a \"b\" \u00e9 c" obj={"a":["b\"]"]} lines=< one > two="y" é="ü" z=\"#;
        for end in (0..line.len()).filter(|end| line.is_char_boundary(*end)) {
            let _ = said(&line[..end]);
            let _ = said(&line[end..]);
        }
        assert!(said(&line[..70]).starts_with("Failed \"x\": a"), "{}", said(&line[..70]));
    }
}
