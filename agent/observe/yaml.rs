//! YAML as a tree in which every key and value knows its line and column.
//!
//! The positions are the parser's own: nothing is searched for in the text. JSON is YAML, so it is read, too.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Location, Spanned};

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

/// Parses the first document, as the libraries of Kubernetes do (sigs.k8s.io/yaml). `None`: there is nothing in it.
///
/// # Errors
/// Where and why it is no YAML; also for what no configuration needs: nesting beyond 24 levels, 100,000 values.
pub(super) fn parse(bytes: &[u8], file: &str) -> Result<Option<Node>, Fault> {
    std::str::from_utf8(bytes).map_err(|error| not_utf8(bytes, error.valid_up_to()))?;
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 24,
            max_nodes: 100_000,
            max_events: 300_000,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_recorded_anchor_events: 100_000,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    let mut reader = bytes;
    let first = serde_saphyr::read_with_options::<_, Node>(&mut reader, options).next();
    let mut node = first.transpose().map_err(|error| {
        // The first line says what is wrong; the position is given by itself.
        let message = error.to_string();
        let message = message.lines().next().unwrap_or_default();
        let message = message.split_once(" at line ").map_or(message, |(message, _)| message).trim_start_matches("error: ").to_owned();
        match error.location() {
            Some(location) if location.line() > 0 => Fault::at(format!("not YAML: {message}"), location.line(), location.column()),
            _ => Fault::new(format!("not YAML: {message}")),
        }
    })?;
    if let Some(node) = &mut node {
        node.stamp(&Arc::from(file));
    }
    Ok(node.filter(|node| node.tree != Tree::Null))
}

fn not_utf8(bytes: &[u8], at: usize) -> Fault {
    let before = bytes.get(..at).unwrap_or_default();
    let line = before.split(|byte| *byte == b'\n').count();
    let column = before.rsplit(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len) + 1;
    Fault::at("not YAML: a byte that is no UTF-8", line as u64, column as u64)
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

    fn stamp(&mut self, file: &Arc<str>) {
        self.at.file = Arc::clone(file);
        match &mut self.tree {
            Tree::List(items) => items.iter_mut().for_each(|item| item.stamp(file)),
            Tree::Map(entries) => {
                for (key, value) in entries {
                    key.at.file = Arc::clone(file);
                    value.stamp(file);
                }
            }
            _ => {}
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

impl From<Location> for At {
    fn from(location: Location) -> Self {
        Self { file: Arc::from(""), line: location.line(), column: location.column() }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Tree>::deserialize(deserializer)?;
        Ok(Self { tree: spanned.value, at: spanned.referenced.into() })
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Cow<'de, str>>::deserialize(deserializer)?;
        Ok(Self { name: spanned.value.into_owned(), at: spanned.referenced.into() })
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Int(value))
    }

    #[allow(clippy::cast_precision_loss)] // as every JSON decoder
    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(i64::try_from(value).map_or(Tree::Float(value as f64), Tree::Int))
    }

    #[allow(clippy::cast_precision_loss)] // as every JSON decoder
    fn visit_i128<E>(self, value: i128) -> Result<Tree, E> {
        Ok(i64::try_from(value).map_or(Tree::Float(value as f64), Tree::Int))
    }

    #[allow(clippy::cast_precision_loss)] // as every JSON decoder
    fn visit_u128<E>(self, value: u128) -> Result<Tree, E> {
        Ok(i64::try_from(value).map_or(Tree::Float(value as f64), Tree::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        Ok(Tree::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Tree::Map(entries))
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
