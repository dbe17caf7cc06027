//! The runtimes' TOML, files over files, each value with its line.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use crate::facts::kubelet::{Fault, File, FileState};
use crate::facts::{Blind, Sourced};
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

/// TOML files laid over each other: the last one that sets a key wins.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub files: Vec<File>,
    /// The main file's `version`; containerd refuses imports of a higher one.
    pub version: u64,
    /// containerd's generation, 1 or 2, where anything tells it.
    pub generation: Option<u8>,
    values: BTreeMap<Vec<String>, (Leaf, String)>,
}

#[derive(Clone, Debug)]
enum Leaf {
    Text(String),
    Number(u64),
    Bool(bool),
    List(Vec<String>),
    Other(&'static str),
}

/// The newest version of containerd's configuration (2.3; `cmd/containerd/server/config/config.go`).
const NEWEST: u64 = 4;
/// containerd makes it from 2.0 on, below its root; 1.x makes the other.
const GENERATION_2: &str = "io.containerd.sandbox.controller.v1.shim";
const GENERATION_1: &str = "io.containerd.runtime.v1.linux";

/// Keys of containerd's that have one type only; the last part of their path, in a table whose path ends so.
const TYPES: [(&[&str], &str); 10] = [
    (&["root"], "a string"),
    (&["state"], "a string"),
    (&["version"], "a number"),
    (&["cni", "bin_dir"], "a string"),
    (&["cni", "bin_dirs"], "a list"),
    (&["cni", "conf_dir"], "a string"),
    (&["cni", "max_conf_num"], "a number"),
    (&["sandbox_image"], "a string"),
    (&["pinned_images", "sandbox"], "a string"),
    (&["options", "SystemdCgroup"], "true or false"),
];

impl Settings {
    /// The file and its `imports`, which may import in turn; a file is read once. `root` is where containerd keeps its data.
    pub fn containerd(host: &Host, path: Sourced<String>, root: &str) -> Self {
        let mut settings = Self { generation: generation(host, root), ..Self::default() };
        let mut pending = vec![path];
        while let Some(path) = (!pending.is_empty()).then(|| pending.remove(0)) {
            if settings.files.len() >= MOST || settings.files.iter().any(|file| file.path.value == path.value) {
                continue;
            }
            let (parent, before) = (path.value.clone(), settings.list(&["disabled_plugins"]));
            settings.values.remove(["imports".to_owned()].as_slice());
            let mut own = Self { version: settings.version, generation: settings.generation, ..Self::default() };
            own.read(host, path);
            own.judge(settings.files.is_empty());
            if settings.files.is_empty() {
                settings.version = own.number(&["version"]).map_or(1, |version| version.value);
                settings.generation = if settings.version >= 3 { Some(2) } else { settings.generation };
            }
            settings.merge(own);
            if let Some(before) = before {
                settings.append("disabled_plugins", &before);
            }
            for import in settings.list(&["imports"]).unwrap_or_default() {
                let path = clean(&kubeconfig::beside(&parent, &import.value));
                if !path.contains('*') && host.exists(&path) == Ok(false) {
                    settings.add_fault(&import.source, format!("imports {path}, which does not exist"));
                    continue;
                }
                match glob(host, &path) {
                    Ok(paths) => pending.extend(paths.into_iter().map(|path| Sourced::new(path, import.source.clone()))),
                    Err(blind) => settings.hidden(&path, &import.source, blind),
                }
            }
        }
        settings
    }

    /// containerd 2 merges a file key by key (`mergeConfig`), after it has brought it to the main file's version; containerd 1
    /// replaced whole plugins' sections.
    fn merge(&mut self, mut own: Self) {
        let older = own.number(&["version"]).map_or(1, |version| version.value) < 3 && self.version >= 3;
        for (mut path, value) in std::mem::take(&mut own.values) {
            if let Some(plugin) = path.get_mut(1).filter(|plugin| older && *plugin == "io.containerd.grpc.v1.cri") {
                "io.containerd.cri.v1.runtime".clone_into(plugin);
            }
            own.values.insert(path, value);
        }
        if self.generation == Some(1) {
            let replaced: Vec<Vec<String>> = own
                .values
                .keys()
                .filter_map(|path| path.get(..2))
                .filter(|path| path.first().is_some_and(|first| first == "plugins"))
                .map(<[_]>::to_vec)
                .collect();
            self.values.retain(|path, _| !path.get(..2).is_some_and(|section| replaced.iter().any(|replaced| replaced == section)));
        }
        own.values.remove(["version".to_owned()].as_slice());
        self.values.append(&mut own.values);
        self.files.append(&mut own.files);
    }

    /// At `/etc/containerd/config.toml:3`.
    fn add_fault(&mut self, place: &str, message: String) {
        let Some((path, line)) = place.rsplit_once(':') else { return };
        let fault = Fault { message, line: line.parse().ok(), column: None };
        match self.files.iter_mut().find(|file| file.path.value == path).map(|file| &mut file.state) {
            Some(FileState::Invalid(faults)) => {
                faults.push(fault);
                faults.sort_by_key(|fault| fault.line);
            }
            Some(state) => *state = FileState::Invalid(vec![fault]),
            None => {}
        }
    }

    /// Lists are added to, not replaced.
    fn append(&mut self, key: &str, before: &[Sourced<String>]) {
        let path = vec![key.to_owned()];
        let source = before.first().map(|item| item.source.clone()).unwrap_or_default();
        let (leaf, _) = self.values.entry(path).or_insert_with(|| (Leaf::List(Vec::new()), source));
        if let Leaf::List(list) = leaf {
            let more: Vec<String> = before.iter().map(|item| item.value.clone()).filter(|item| !list.contains(item)).collect();
            list.extend(more);
        }
    }

    /// What containerd refuses to start with, beside what is no TOML. Tried with 1.7.24 and 2.1.9.
    fn judge(&mut self, main: bool) {
        let Some(file) = self.files.first() else { return };
        if file.state != FileState::Valid {
            return;
        }
        let mut faults: Vec<(String, String)> = Vec::new();
        let mut fault = |source: &str, message: String| faults.push((source.to_owned(), message));
        let version = self.number(&["version"]);
        let newest = if self.generation == Some(1) { 2 } else { NEWEST };
        match &version {
            Some(version) if version.value > newest => {
                fault(&version.source, format!("version {} is newer than this containerd knows, {newest} at most", version.value));
            }
            Some(version) if !main && version.value > self.version && self.generation == Some(2) => {
                fault(&version.source, format!("version {} is higher than that of the file that imports it, {}", version.value, self.version));
            }
            _ => {}
        }
        if version.as_ref().is_some_and(|version| version.value >= 2) {
            for key in ["disabled_plugins", "required_plugins"] {
                for plugin in self.list(&[key]).unwrap_or_default().into_iter().filter(|plugin| !plugin.value.contains('.')) {
                    fault(
                        &plugin.source,
                        format!("{key} names {:?}: from version 2 on a plugin has its long name, as io.containerd.grpc.v1.cri", plugin.value),
                    );
                }
            }
        }
        for (path, (leaf, source)) in &self.values {
            let typed = TYPES.iter().find(|(tail, _)| {
                path.ends_with(&tail.iter().map(|&part| part.to_owned()).collect::<Vec<_>>())
                    && (tail.len() > 1 || path.len() == 1 || tail == &["sandbox_image"])
            });
            if let Some((tail, expected)) = typed.filter(|(_, expected)| *expected != leaf.kind()) {
                fault(source, format!("{} is {}, where {expected} is expected", tail.last().unwrap_or(&""), leaf.kind()));
            }
        }
        for (source, message) in faults {
            self.add_fault(&source, message);
        }
    }

    /// Files that may lie there cannot be seen.
    pub fn hidden(&mut self, path: &str, source: &str, blind: Blind) {
        self.files.push(File { path: Sourced::new(path.to_owned(), source), state: FileState::Unreadable(blind) });
    }

    /// Lays a file over what was read before. One that is not there is left out.
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
            // The runtime may take it; here it is not read.
            Err(error @ ReadError::TooLarge(_)) => FileState::Unreadable(Blind::new(format!("{} {error}", path.value))),
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
        DeValue::Float(_) => Leaf::Other("a number with a fraction"),
        DeValue::Datetime(_) => Leaf::Other("a date"),
        DeValue::Table(_) => Leaf::Other("a table"),
    })
}

impl Leaf {
    fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Number(_) => "a number",
            Self::Bool(_) => "true or false",
            Self::List(_) => "a list",
            Self::Other(kind) => kind,
        }
    }
}

fn generation(host: &Host, root: &str) -> Option<u8> {
    let made = |name: &str| host.exists(&format!("{root}/{name}")).unwrap_or(false);
    if made(GENERATION_2) { Some(2) } else { made(GENERATION_1).then_some(1) }
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
fn glob(host: &Host, pattern: &str) -> Result<Vec<String>, Blind> {
    let Some((dir, name)) = pattern.rsplit_once('/') else { return Ok(Vec::new()) };
    if !name.contains('*') {
        return Ok(vec![pattern.to_owned()]);
    }
    let names = host.list(dir)?.unwrap_or_default();
    Ok(names.into_iter().filter(|candidate| matches_glob(name, candidate)).map(|name| format!("{dir}/{name}")).take(MOST).collect())
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
