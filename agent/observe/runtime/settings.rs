//! The runtimes' TOML, files over files, each value with its line.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use crate::facts::Sourced;
use crate::facts::kubelet::{Fault, File, FileState};
use crate::observe::host::{Host, ReadError};
use crate::observe::kubeconfig;

pub(super) const LIMIT: u64 = 1 << 20;
/// Files read at most, imports and drop-ins included.
pub(super) const MOST: usize = 100;

/// A path as it is joined to.
pub(super) fn trim(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" => path.to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

/// TOML files laid over each other: the last one that sets a key wins. containerd 2 merges its imports so; containerd 1
/// replaced whole plugin sections, which gives the same unless an import repeats a section without the key.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub files: Vec<File>,
    /// The main file's `version`; containerd refuses imports of a higher one.
    pub version: u64,
    values: BTreeMap<Vec<String>, (Leaf, String)>,
}

#[derive(Clone, Debug)]
enum Leaf {
    Text(String),
    Number(u64),
    Bool(bool),
    List(Vec<String>),
}

impl Settings {
    /// The file and its `imports`, which may import in turn; a file is read once.
    pub fn containerd(host: &Host, path: Sourced<String>) -> Self {
        let mut settings = Self::default();
        let mut pending = vec![path];
        while let Some(path) = (!pending.is_empty()).then(|| pending.remove(0)) {
            if settings.files.len() >= MOST || settings.files.iter().any(|file| file.path.value == path.value) {
                continue;
            }
            let parent = path.value.clone();
            settings.values.remove(["imports".to_owned()].as_slice());
            settings.read(host, path);
            if settings.files.len() == 1 {
                settings.version = settings.number(&["version"]).map_or(1, |version| version.value);
            }
            for import in settings.list(&["imports"]).unwrap_or_default() {
                let path = clean(&kubeconfig::beside(&parent, &import.value));
                pending.extend(glob(host, &path).into_iter().map(|path| Sourced::new(path, import.source.clone())));
            }
        }
        settings
    }

    /// Lays a file over what was read before. One that is not there is left out, as the runtimes do.
    pub fn read(&mut self, host: &Host, path: Sourced<String>) {
        let state = match host.read_text(&path.value, LIMIT) {
            Ok(text) => match DeTable::parse(&text) {
                Ok(table) => {
                    self.lay(&path.value, &text, table.get_ref());
                    FileState::Valid
                }
                Err(error) => {
                    let (line, column) = place(&text, error.span().map_or(0, |span| span.start));
                    FileState::Invalid(vec![Fault::at(format!("not TOML: {}", error.message()), line, column)])
                }
            },
            Err(ReadError::Missing) => return,
            Err(ReadError::Blind(blind)) => FileState::Unreadable(blind),
            Err(error) => FileState::Invalid(vec![Fault::new(error.to_string())]),
        };
        self.files.push(File { path, state });
    }

    fn lay(&mut self, file: &str, text: &str, table: &DeTable) {
        let mut tables = vec![(Vec::new(), table)];
        while let Some((path, table)) = tables.pop() {
            for (key, value) in table {
                let name = key.get_ref().as_ref();
                // containerd's version 1 names its plugins shortly.
                let name = if name == "cri" && path == ["plugins"] { "io.containerd.grpc.v1.cri" } else { name };
                let path: Vec<String> = path.iter().cloned().chain([name.to_owned()]).collect();
                if let DeValue::Table(table) = value.get_ref() {
                    tables.push((path, table));
                } else if let Some(leaf) = leaf(value.get_ref()) {
                    let (line, _) = place(text, key.span().start);
                    self.values.insert(path, (leaf, format!("{file}:{line}")));
                }
            }
        }
    }

    fn get(&self, path: &[&str]) -> Option<&(Leaf, String)> {
        let path: Vec<String> = path.iter().map(|&key| key.to_owned()).collect();
        self.values.get(&path)
    }

    /// A path or a name; an empty one is as good as none.
    pub fn text(&self, path: &[&str]) -> Option<Sourced<String>> {
        match self.get(path)? {
            (Leaf::Text(text), source) if !text.is_empty() => Some(Sourced::new(trim(text), source)),
            _ => None,
        }
    }

    pub fn list(&self, path: &[&str]) -> Option<Vec<Sourced<String>>> {
        match self.get(path)? {
            (Leaf::List(list), source) if !list.is_empty() => Some(list.iter().map(|text| Sourced::new(trim(text), source)).collect()),
            _ => None,
        }
    }

    pub fn number(&self, path: &[&str]) -> Option<Sourced<u64>> {
        match self.get(path)? {
            (Leaf::Number(number), source) => Some(Sourced::new(*number, source)),
            _ => None,
        }
    }

    pub fn truth(&self, path: &[&str]) -> Option<Sourced<bool>> {
        match self.get(path)? {
            (Leaf::Bool(truth), source) => Some(Sourced::new(*truth, source)),
            _ => None,
        }
    }

    pub fn is_true(&self, path: &[&str]) -> bool {
        self.truth(path).is_some_and(|set| set.value)
    }
}

fn leaf(value: &DeValue) -> Option<Leaf> {
    Some(match value {
        DeValue::String(text) => Leaf::Text(text.to_string()),
        DeValue::Integer(number) => Leaf::Number(u64::from_str_radix(number.as_str(), number.radix()).ok()?),
        DeValue::Boolean(truth) => Leaf::Bool(*truth),
        DeValue::Array(items) => Leaf::List(items.iter().filter_map(|item| item.get_ref().as_str().map(str::to_owned)).collect()),
        _ => return None,
    })
}

/// Line and column of a byte, from 1.
fn place(text: &str, at: usize) -> (u64, u64) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() as u64 + 1, before[line_start..].chars().count() as u64 + 1)
}

/// As Go's `filepath.Clean`: without `.` and `..`, so that one file has one name.
fn clean(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    format!("/{}", parts.join("/"))
}

/// The files a pattern names, sorted; `*` in the last part only, which is where imports have it.
fn glob(host: &Host, pattern: &str) -> Vec<String> {
    let Some((dir, name)) = pattern.rsplit_once('/') else { return Vec::new() };
    if !name.contains('*') {
        return vec![pattern.to_owned()];
    }
    let names = host.list(dir).ok().flatten().unwrap_or_default();
    names.into_iter().filter(|candidate| matches_glob(name, candidate)).map(|name| format!("{dir}/{name}")).take(MOST).collect()
}

/// `*` stands for any characters.
fn matches_glob(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut parts: Vec<_> = parts.collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, matches) in [
            ("*.toml", "a.toml", true),
            ("*.toml", "a.tom", false),
            ("10-*-x*.toml", "10-a-xyz.toml", true),
            ("a*b", "ab", true),
            ("*", "any", true),
            ("a*", "b", false),
        ] {
            assert_eq!(matches_glob(pattern, name), matches, "{pattern} {name}");
        }
    }
}
