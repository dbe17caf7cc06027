//! YAML as a tree in which every key and value knows its line and column.
//!
//! The positions are the parser's own: nothing is searched for in the text. JSON is YAML, so it is read, too.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput};
use zeroize::Zeroize as _;

use crate::facts::Sourced;
use crate::facts::kubelet::Fault;

/// A value, and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub tree: Tree,
    pub at: At,
}

/// A place in a file; line and column count from 1. Line 0: `file` is a place that has no lines.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct At {
    pub file: Arc<str>,
    pub line: u64,
    pub column: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tree {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file, with the keys that stand there twice.
    Map(Vec<(Key, Node)>),
}

/// A mapping's key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Key {
    pub name: String,
    pub at: At,
}

/// No configuration nests deeper, or holds more values, what its aliases stand for included.
const DEEPEST: usize = 24;
const VALUES: usize = 20_000;

/// Parses the first document, as the libraries of Kubernetes do (sigs.k8s.io/yaml). `None`: there is nothing in it.
///
/// # Errors
/// Where and why it is no YAML; also for what no configuration needs: nesting beyond 24 levels, 20,000 values.
pub(super) fn parse(bytes: &[u8], file: &str) -> Result<Option<Node>, Fault> {
    parsed(bytes, file).map_err(|fault| tab(bytes, &fault).unwrap_or(fault))
}

/// The parser tells where the value begins that a tab ends; a person looks for the tab.
fn tab(bytes: &[u8], fault: &Fault) -> Option<Fault> {
    let from = usize::try_from(fault.line?.saturating_sub(1)).ok().filter(|_| fault.message.contains("tab"))?;
    let indented = |line: &[u8]| line.iter().position(|byte| *byte != b' ').filter(|at| line.get(*at) == Some(&b'\t'));
    let (line, column) = bytes.split(|byte| *byte == b'\n').enumerate().skip(from).find_map(|(line, text)| Some((line, indented(text)?)))?;
    Some(Fault::at("not YAML: a tab, where only spaces indent", line as u64 + 1, column as u64 + 1))
}

fn parsed(bytes: &[u8], file: &str) -> Result<Option<Node>, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|error| no_character(bytes, error.valid_up_to(), "a byte that is no UTF-8"))?;
    if let Some(at) = text.find(|c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}')) {
        return Err(no_character(bytes, at, "a control character"));
    }
    let mut builder = Builder { events: Parser::new_from_str(text), file: Arc::from(file), anchors: HashMap::new(), left: VALUES };
    loop {
        match builder.next()? {
            (Event::StreamStart | Event::DocumentStart(..), _) => {}
            (Event::StreamEnd | Event::DocumentEnd, _) => return Ok(None),
            (event, span) => return Ok(Some(builder.node(event, span, 0)?).filter(|node| node.tree != Tree::Null)),
        }
    }
}

/// Makes the tree of the parser's events.
struct Builder<'a> {
    events: Parser<'a, StrInput<'a>>,
    file: Arc<str>,
    /// What an alias stands for, with the number of values in it.
    anchors: HashMap<usize, (Node, usize)>,
    /// How many values more there may be.
    left: usize,
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Fault> {
        match self.events.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let place = error.marker();
                Err(Fault::at(format!("not YAML: {}", error.info()), place.line() as u64, place.col() as u64 + 1))
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn at(&self, span: Span) -> At {
        At { file: Arc::clone(&self.file), line: span.start.line() as u64, column: span.start.col() as u64 + 1 }
    }

    fn take(&mut self, values: usize, at: &At) -> Result<(), Fault> {
        self.left = self.left.checked_sub(values).ok_or_else(|| at.fault("not YAML: more than 20,000 values"))?;
        Ok(())
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Fault> {
        let at = self.at(span);
        if depth > DEEPEST {
            return Err(at.fault("not YAML: nested more than 24 levels deep"));
        }
        let before = self.left;
        self.take(1, &at)?;
        let (tree, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none_or(|tag| tag.suffix() != "str");
                (if plain { resolved(&text) } else { Tree::Text(text.into_owned()) }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => (self.list(depth)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.map(depth)?, anchor),
            Event::Alias(id) => {
                let (node, values) = self.anchors.get(&id).cloned().ok_or_else(|| at.fault("not YAML: an alias of what it stands in"))?;
                self.take(values, &at)?;
                (node.tree, 0)
            }
            _ => return Err(at.fault("not YAML: a value is missing")),
        };
        let node = Node { tree, at };
        if anchor != 0 {
            let values = before - self.left;
            self.take(values, &node.at)?;
            self.anchors.insert(anchor, (node.clone(), values));
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Tree, Fault> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Tree::List(items)),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Tree, Fault> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let merges = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            let key = self.key(event, span, depth)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            if merges {
                merged.push(value);
            } else {
                entries.push((key, value));
            }
        }
        // What is merged stands behind what is written here.
        for (key, value) in merged.iter().flat_map(|node| [node].into_iter().chain(node.items())).flat_map(Node::entries) {
            if !entries.iter().any(|(name, _)| name.name == key.name) {
                entries.push((key.clone(), value.clone()));
            }
        }
        Ok(Tree::Map(entries))
    }

    fn key(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Key, Fault> {
        if let Event::Scalar(name, _, 0, _) = event {
            return Ok(Key { name: name.into_owned(), at: self.at(span) });
        }
        let Node { tree, at } = self.node(event, span, depth + 1)?;
        match tree {
            Tree::Text(name) => Ok(Key { name, at }),
            _ => Err(at.fault("not YAML: a key that is no word")),
        }
    }
}

/// What a plain word means: sigs.k8s.io/yaml's goyaml.v2, `resolve.go`, as JSON then knows it (a date is text).
fn resolved(text: &str) -> Tree {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Tree::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Tree::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return Tree::Bool(false),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
        return Tree::Text(text.to_owned());
    }
    let digits = text.replace('_', "");
    let number = integer(&digits).map(Tree::Int).or_else(|| {
        let decimal = digits.chars().all(|c| c.is_ascii_digit() || "+-.eE".contains(c));
        digits.parse().ok().filter(|_| decimal).map(Tree::Float)
    });
    number.unwrap_or_else(|| Tree::Text(text.to_owned()))
}

/// As Go's `strconv.ParseInt` reads it with base 0.
fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let (base, digits) = match digits.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => (16, digits.get(2..)?),
        Some("0b") => (2, digits.get(2..)?),
        Some("0o") => (8, digits.get(2..)?),
        Some(two) if two.starts_with('0') => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    // A second sign is no digit.
    digits.starts_with(|c: char| c.is_digit(base)).then_some(())?;
    let value = i128::from_str_radix(digits, base).ok()?;
    i64::try_from(if negative { -value } else { value }).ok()
}

fn no_character(bytes: &[u8], at: usize, what: &str) -> Fault {
    let before = bytes.get(..at).unwrap_or_default();
    let line = before.split(|byte| *byte == b'\n').count();
    let column = before.rsplit(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len) + 1;
    Fault::at(format!("not YAML: {what}"), line as u64, column as u64)
}

impl Node {
    /// The value of a key; of the last one, if there are several, as Go's decoders take it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().rev().find(|(name, _)| name.name == key).map(|(_, value)| value)
    }

    /// The value at a path of keys.
    pub(super) fn find(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| node.get(key)).filter(|node| node.tree != Tree::Null)
    }

    /// The entries of a mapping; none for anything else.
    pub(super) fn entries(&self) -> &[(Key, Node)] {
        match &self.tree {
            Tree::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none for anything else.
    pub(super) fn items(&self) -> &[Node] {
        match &self.tree {
            Tree::List(items) => items,
            _ => &[],
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.tree {
            Tree::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn bool(&self) -> Option<bool> {
        match self.tree {
            Tree::Bool(value) => Some(value),
            _ => None,
        }
    }

    pub(super) fn int(&self) -> Option<i64> {
        match self.tree {
            Tree::Int(value) => Some(value),
            // JSON knows one kind of number: 110.0 is 110 to Go's decoder.
            #[allow(clippy::cast_possible_truncation)] // a whole number within 2^53
            Tree::Float(value) if value.fract() == 0.0 && value.abs() < 9e15 => Some(value as i64),
            _ => None,
        }
    }

    /// A number of either kind.
    pub(super) fn number(&self) -> Option<f64> {
        match self.tree {
            #[allow(clippy::cast_precision_loss)] // as every JSON decoder
            Tree::Int(value) => Some(value as f64),
            Tree::Float(value) => Some(value),
            _ => None,
        }
    }

    /// Wipes every text in it: some may be secrets.
    pub(super) fn wipe(&mut self) {
        match &mut self.tree {
            Tree::Text(text) => text.zeroize(),
            Tree::List(items) => items.iter_mut().for_each(Self::wipe),
            Tree::Map(entries) => entries.iter_mut().for_each(|(_, value)| value.wipe()),
            Tree::Null | Tree::Bool(_) | Tree::Int(_) | Tree::Float(_) => {}
        }
    }

    /// `value` with this node's place as its source.
    pub(super) fn sourced<T>(&self, value: T) -> Sourced<T> {
        Sourced::new(value, self.at.to_string())
    }

    /// Lays `patch` over this node as RFC 7396 does: mappings merge, null removes, anything else replaces.
    pub(super) fn merge(&mut self, patch: &Node) {
        let (Tree::Map(entries), Tree::Map(changes)) = (&mut self.tree, &patch.tree) else {
            *self = patch.clone();
            return;
        };
        for (key, change) in changes {
            let found = entries.iter_mut().rev().find(|(name, _)| name.name == key.name);
            match found {
                _ if change.tree == Tree::Null => entries.retain(|(name, _)| name.name != key.name),
                Some((_, value)) => value.merge(change),
                None => entries.push((key.clone(), change.clone())),
            }
        }
    }

    /// Puts a value at a path of keys, in the place of what is there.
    pub(super) fn set(&mut self, path: &[&str], value: Node) {
        let Some((key, rest)) = path.split_first() else {
            *self = value;
            return;
        };
        if !matches!(self.tree, Tree::Map(_)) {
            self.tree = Tree::Map(Vec::new());
        }
        let Tree::Map(entries) = &mut self.tree else { return };
        if let Some((_, inner)) = entries.iter_mut().rev().find(|(name, _)| name.name == *key) {
            inner.set(rest, value);
        } else {
            let key = Key { name: (*key).to_owned(), at: value.at.clone() };
            let mut inner = Node { tree: Tree::Null, at: value.at.clone() };
            inner.set(rest, value);
            entries.push((key, inner));
        }
    }
}

impl At {
    /// A fault here.
    pub(super) fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::at(message, self.line, self.column)
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 { f.write_str(&self.file) } else { write!(f, "{}:{}", self.file, self.line) }
    }
}

/// The value as a person would write it, cut where it is long.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tree {
            Tree::Null => f.write_str("null"),
            Tree::Bool(value) => value.fmt(f),
            Tree::Int(value) => value.fmt(f),
            Tree::Float(value) => value.fmt(f),
            Tree::Text(text) if text.chars().count() > 60 => write!(f, "{:?}…", text.chars().take(60).collect::<String>()),
            Tree::Text(text) => write!(f, "{text:?}"),
            Tree::List(_) => f.write_str("a list"),
            Tree::Map(_) => f.write_str("a mapping"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(text: &str) -> Node {
        parse(text.as_bytes(), "/f").unwrap().unwrap()
    }

    fn fault(bytes: &[u8]) -> Fault {
        parse(bytes, "/f").unwrap_err()
    }

    #[test]
    fn every_value_knows_its_place() {
        let node = yaml("# a comment\na:\n  b: [1, two, 3.5]\n  c: true\nclientCAFile: decoy\nx509:\n  clientCAFile: /ca\n");
        assert_eq!(node.find(&["x509", "clientCAFile"]).unwrap().at.to_string(), "/f:7");
        assert_eq!(node.find(&["x509", "clientCAFile"]).unwrap().at.column, 17);
        let items = node.find(&["a", "b"]).unwrap().items();
        assert_eq!((items[1].text(), items[1].at.line, items[1].at.column), (Some("two"), 3, 10));
        assert_eq!(node.find(&["a", "c"]).unwrap().bool(), Some(true));
        assert_eq!(node.entries()[2].0.at.line, 6);
    }

    #[test]
    fn json_is_read_with_places() {
        let node = yaml("{\n  \"kind\": \"Config\",\n  \"n\": 110.0, \"e\": null\n}");
        assert_eq!(node.find(&["kind"]).unwrap().at.to_string(), "/f:2");
        assert_eq!(node.find(&["n"]).unwrap().int(), Some(110));
        assert!(node.find(&["e"]).is_none());
    }

    #[test]
    fn duplicate_keys_are_kept_and_the_last_counts() {
        let node = yaml("a: 1\nb: 2\na: 3\n");
        assert_eq!(node.entries().len(), 3);
        assert_eq!(node.get("a").unwrap().int(), Some(3));
        assert_eq!(node.entries()[2].0.at.line, 3);
    }

    #[test]
    fn keys_and_booleans_as_go_yaml_reads_them() {
        let node = yaml("1: x\ntrue: y\nno: z\non: yes\noctal: 0644\n");
        assert_eq!(node.get("1").unwrap().text(), Some("x"));
        assert_eq!(node.get("on").unwrap().bool(), Some(true));
        assert_eq!(node.get("octal").unwrap().int(), Some(0o644));
        let node = yaml("a: 0x1F\nb: -1_000\nc: 1e3\nd: 100Mi\ne: 2026-11-24\nf: \"1\"\ng: !!str 1\nh: +-1\ni: 08\nj: .inf\n");
        let tree = |key| node.get(key).unwrap().tree.clone();
        assert_eq!((tree("a"), tree("b"), tree("c"), tree("i")), (Tree::Int(31), Tree::Int(-1000), Tree::Float(1e3), Tree::Float(8.0)));
        for (key, text) in [("d", "100Mi"), ("e", "2026-11-24"), ("f", "1"), ("g", "1"), ("h", "+-1"), ("j", ".inf")] {
            assert_eq!(tree(key), Tree::Text(text.to_owned()));
        }
    }

    #[test]
    fn an_alias_cannot_stand_in_what_it_names() {
        assert!(fault(b"a: &a [*a]\n").message.starts_with("not YAML: "));
        assert!(fault(b"? [a]\n: b\n").message.contains("key"));
    }

    #[test]
    fn merge_keys_and_aliases_resolve() {
        let node = yaml("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\nagain: *b\n");
        assert_eq!(node.find(&["use", "x"]).unwrap().int(), Some(1));
        assert_eq!(node.find(&["use", "y"]).unwrap().int(), Some(3));
        assert_eq!(node.find(&["again", "y"]).unwrap().int(), Some(2));
    }

    #[test]
    fn only_the_first_document_counts() {
        assert_eq!(yaml("---\na: 1\n---\na: [\n").get("a").unwrap().int(), Some(1));
        assert_eq!(parse(b"", "/f").unwrap(), None);
        assert_eq!(parse(b"# nothing\n", "/f").unwrap(), None);
        assert_eq!(parse(b"---\n", "/f").unwrap(), None);
    }

    #[test]
    fn what_is_no_yaml_is_told_with_its_place() {
        let broken = fault(b"a: 1\nb: [1, 2\nc: 3\n");
        assert!(broken.message.starts_with("not YAML: "), "{broken:?}");
        assert!(broken.line.is_some_and(|line| line >= 2), "{broken:?}");
        let tab = Fault::at("not YAML: a tab, where only spaces indent", 3, 1);
        assert_eq!(fault(b"a:\n  b: true\n\tc: 2\n"), tab, "and not the value before it");
        assert_eq!(fault(b"a:\n\tb: 2\n").line, Some(2));
        let bytes = fault(b"a: 1\nb: \xff\xfe\n");
        assert_eq!((bytes.line, bytes.column), (Some(2), Some(4)));
        assert!(fault(b"a: \x00\n").message.starts_with("not YAML: "));
    }

    #[test]
    fn alias_bombs_are_refused_quickly() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let alias = format!("*a{}", level - 1);
            bomb += &format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 10].join(", "));
        }
        assert!(fault(bomb.as_bytes()).message.len() < 300);
    }

    #[test]
    fn flow_towers_are_refused_quickly() {
        assert!(fault("[".repeat(5_000).as_bytes()).message.len() < 300);
    }

    #[test]
    fn block_towers_are_refused_quickly() {
        let tower: String = (0..2_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
        assert!(fault(tower.as_bytes()).message.len() < 300);
    }

    #[test]
    fn long_lists_are_refused_quickly() {
        assert!(fault("- 1\n".repeat(200_000).as_bytes()).message.len() < 300);
    }

    #[test]
    fn merging_is_rfc_7396() {
        let mut base = yaml("a: {x: 1, y: 2}\nl: [1, 2]\nd: 4\n");
        base.merge(&parse(b"a: {y: 3, z: 4}\nl: [9]\nd: null\n", "/g").unwrap().unwrap());
        assert_eq!(base.find(&["a", "x"]).unwrap().at.to_string(), "/f:1");
        assert_eq!(base.find(&["a", "y"]).unwrap().at.to_string(), "/g:1");
        assert_eq!(base.find(&["l"]).unwrap().items().len(), 1);
        assert!(base.find(&["d"]).is_none());
    }
}
