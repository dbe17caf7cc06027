//! What unit files tell of a node that does not run: what is installed, masked and enabled, and how it would be started.

use super::{keep_argv, keep_variable, watched};
use crate::config::Config;
use crate::facts::units::{EnvironmentFile, Unit, UnitSource};
use crate::facts::{Blind, Units};
use crate::observe::host::{Host, ReadError};

/// systemd.unit(5): where unit files lie, the strongest first.
pub(super) const UNIT_DIRS: [&str; 5] =
    ["/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
/// Longest unit file read, in bytes; real ones have a few kilobytes.
const LIMIT: u64 = 1 << 20;
/// systemd follows a chain of aliases no further (`FOLLOW_MAX` of src/shared/unit-file.c).
const ALIASES: usize = 8;

/// Reads the unit files of a tree. Nothing about what is active.
///
/// # Errors
/// Blind, if the tree has no unit files at all, or they may not be read.
pub fn from_files(host: &Host, config: &Config) -> Result<Units, Blind> {
    let mut any = false;
    for dir in UNIT_DIRS {
        any |= host.exists(dir)?;
    }
    if !any {
        return Err(Blind::new("the root holds no systemd unit files, and no systemd runs there"));
    }
    let units = watched(config).into_iter().map(|name| read(host, &name)).collect::<Result<_, _>>()?;
    Ok(Units { source: UnitSource::Files, units })
}

/// What lies at a unit's name.
enum Fragment {
    Missing,
    Masked {
        path: String,
    },
    /// `id` is its own name, which an alias leads to.
    File {
        path: String,
        id: String,
        linked: bool,
    },
}

fn read(host: &Host, name: &str) -> Result<Unit, Blind> {
    let not_found = |name: &str| Unit { name: name.to_owned(), load_state: "not-found".to_owned(), ..Unit::default() };
    let (path, id, linked) = match find(host, name, ALIASES) {
        Fragment::Missing => return Ok(not_found(name)),
        Fragment::Masked { path } => return Ok(masked(name, path)),
        Fragment::File { path, id, linked } => (path, id, linked),
    };
    let text = match host.read_text(&path, LIMIT) {
        Ok(text) if text.is_empty() => return Ok(masked(name, path)),
        Ok(text) => text,
        Err(ReadError::Blind(blind)) => return Err(blind),
        // As systemd 252 and 257 have it: a link that leads nowhere or in a circle is no unit.
        Err(ReadError::Missing | ReadError::SymlinkLoop | ReadError::NotRegular("a directory")) => return Ok(not_found(name)),
        Err(error) => {
            let load_error = Some(format!("{path} {error}"));
            return Ok(Unit { name: name.to_owned(), load_state: "error".to_owned(), load_error, fragment_path: Some(path), ..Unit::default() });
        }
    };
    let mut settings = Settings::default();
    settings.read(&text);
    let drop_in_paths = drop_ins(host, &[name, &id])?;
    for path in &drop_in_paths {
        settings.read(&host.read_text(path, LIMIT).unwrap_or_default());
    }
    let links = Links::to(host, &[name, &id])?;
    let unit_file_state = match () {
        () if links.enabled => "enabled",
        () if links.enabled_runtime => "enabled-runtime",
        () if linked && path.starts_with("/run/") => "linked-runtime",
        () if linked => "linked",
        () if settings.installable => "disabled",
        () => "static",
    };
    Ok(Unit {
        name: name.to_owned(),
        load_state: "loaded".to_owned(),
        unit_file_state: unit_file_state.to_owned(),
        wanted_by: links.wanted_by,
        fragment_path: Some(path),
        drop_in_paths,
        exec_start: keep_argv(name, settings.exec_start.unwrap_or_default()),
        environment: settings.environment.into_iter().filter(|variable| keep_variable(name, variable)).collect(),
        environment_files: settings.environment_files,
        standard_error: settings.standard_error,
        ..Unit::default()
    })
}

fn masked(name: &str, path: String) -> Unit {
    let state = if path.starts_with("/run/") { "masked-runtime" } else { "masked" };
    Unit { name: name.to_owned(), load_state: "masked".to_owned(), unit_file_state: state.to_owned(), fragment_path: Some(path), ..Unit::default() }
}

/// The strongest directory that has an entry of that name decides, even if the entry is a link that leads nowhere.
fn find(host: &Host, name: &str, hops: usize) -> Fragment {
    let present = |path: &String| host.link(path).is_some() || host.exists(path).unwrap_or(true);
    let Some((dir, path)) = UNIT_DIRS.into_iter().map(|dir| (dir, format!("{dir}/{name}"))).find(|(_, path)| present(path)) else { return Fragment::Missing };
    let id = name.to_owned();
    let Some(target) = host.link(&path).map(|target| resolve(dir, &target)) else { return Fragment::File { path, id, linked: false } };
    if target == "/dev/null" {
        return Fragment::Masked { path };
    }
    let (parent, base) = target.rsplit_once('/').unwrap_or(("", &target));
    let outside = !UNIT_DIRS.contains(&parent);
    match (base == name, hops.checked_sub(1)) {
        _ if outside => Fragment::File { path, id, linked: true },
        (true, _) => Fragment::File { path, id, linked: false },
        (false, Some(hops)) => find(host, base, hops),
        (false, None) => Fragment::Missing,
    }
}

/// Where a link in `dir` leads, by its words: the file need not be there (`/dev/null` of a disk).
fn resolve(dir: &str, target: &str) -> String {
    let mut parts: Vec<&str> = if target.starts_with('/') { Vec::new() } else { dir.split('/').filter(|part| !part.is_empty()).collect() };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The drop-ins of a unit in the order they are read: by file name, over all directories; of two of one name the stronger directory's.
fn drop_ins(host: &Host, names: &[&str]) -> Result<Vec<String>, Blind> {
    let mut found: Vec<(String, String)> = Vec::new();
    for owner in names.iter().flat_map(|name| owners(name)) {
        for dir in UNIT_DIRS {
            let dir = format!("{dir}/{owner}.d");
            for file in host.list(&dir)?.unwrap_or_default() {
                if matches!(file.rsplit_once('.'), Some((_, "conf"))) && !found.iter().any(|(known, _)| *known == file) {
                    let path = format!("{dir}/{file}");
                    found.push((file, path));
                }
            }
        }
    }
    found.sort();
    let masked = |path: &String| host.link(path).is_some_and(|target| resolve(path.rsplit_once('/').map_or("", |(dir, _)| dir), &target) == "/dev/null");
    Ok(found.into_iter().map(|(_, path)| path).filter(|path| !masked(path)).collect())
}

/// Whose `.d` directories a unit obeys: its own, those of its dashed prefixes (`kube-.service.d`), those of its type (`service.d`).
fn owners(name: &str) -> Vec<String> {
    let (stem, kind) = name.rsplit_once('.').unwrap_or((name, "service"));
    let mut owners = vec![name.to_owned()];
    let dashes: Vec<usize> = stem.char_indices().filter(|(_, c)| *c == '-').map(|(at, _)| at).collect();
    owners.extend(dashes.into_iter().rev().filter_map(|at| Some(format!("{}.{kind}", stem.get(..=at)?))));
    owners.push(kind.to_owned());
    owners
}

/// Which units pull this one in, by the links in their `.wants` and `.requires` directories.
#[derive(Default)]
struct Links {
    enabled: bool,
    enabled_runtime: bool,
    wanted_by: Vec<String>,
}

impl Links {
    fn to(host: &Host, names: &[&str]) -> Result<Self, Blind> {
        let mut links = Self::default();
        let mut seen = Vec::new();
        for dir in UNIT_DIRS {
            for entry in host.list(dir)?.unwrap_or_default() {
                let Some((owner, "wants" | "requires" | "upholds")) = entry.rsplit_once('.') else { continue };
                let Some(target) = names.iter().find_map(|name| host.link(&format!("{dir}/{entry}/{name}"))) else { continue };
                // A link to /dev/null in a stronger directory takes back a weaker one.
                if seen.contains(&entry) {
                    continue;
                }
                seen.push(entry.clone());
                if resolve(&format!("{dir}/{entry}"), &target) == "/dev/null" {
                    continue;
                }
                links.enabled |= dir.starts_with("/etc/");
                links.enabled_runtime |= dir.starts_with("/run/");
                links.wanted_by.push(owner.to_owned());
            }
        }
        links.wanted_by.sort();
        links.wanted_by.dedup();
        Ok(links)
    }
}

/// What a fragment and its drop-ins say together (systemd.syntax(7), systemd.service(5)): an empty assignment takes back the former ones.
#[derive(Debug, Default, PartialEq)]
struct Settings {
    exec_start: Option<Vec<String>>,
    environment: Vec<String>,
    environment_files: Vec<EnvironmentFile>,
    standard_error: String,
    installable: bool,
}

impl Settings {
    fn read(&mut self, text: &str) {
        let mut section = String::new();
        for line in logical_lines(text) {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                name.clone_into(&mut section);
                self.installable |= section == "Install";
            } else if let ("Service", Some((key, value))) = (section.as_str(), line.split_once('=')) {
                self.set(key.trim(), value.trim());
            }
        }
    }

    fn set(&mut self, key: &str, value: &str) {
        match key {
            "ExecStart" if value.is_empty() => self.exec_start = None,
            // D-Bus lists several commands of a oneshot, and the facts keep the first.
            "ExecStart" => self.exec_start = self.exec_start.take().or_else(|| Some(argv(value))),
            "Environment" if value.is_empty() => self.environment.clear(),
            "Environment" => self.environment.extend(words(value)),
            "EnvironmentFile" if value.is_empty() => self.environment_files.clear(),
            "EnvironmentFile" => {
                let optional = value.starts_with('-');
                self.environment_files.push(EnvironmentFile { path: value.trim_start_matches('-').to_owned(), optional });
            }
            "StandardError" => value.clone_into(&mut self.standard_error),
            _ => {}
        }
    }
}

/// Lines without comments, those that end in a backslash joined with the next.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = String::new();
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(part) = line.strip_suffix('\\') {
            open += part;
            open.push(' ');
            continue;
        }
        open += line;
        let whole = std::mem::take(&mut open);
        if !whole.trim().is_empty() {
            lines.push(whole.trim().to_owned());
        }
    }
    lines.extend(Some(open.trim().to_owned()).filter(|open| !open.is_empty()));
    lines
}

/// The argv of one `ExecStart`, without the prefixes of systemd.service(5); after `@` the second word is argv\[0].
fn argv(value: &str) -> Vec<String> {
    let mut argv: Vec<String> = words(value).into_iter().take_while(|word| word != ";").collect();
    let Some(first) = argv.first_mut() else { return argv };
    let program = first.trim_start_matches(['@', '-', ':', '+', '!', '|']).to_owned();
    let prefix = first.len() - program.len();
    let renamed = first.get(..prefix).is_some_and(|prefix| prefix.contains('@'));
    *first = program;
    if renamed && argv.len() > 1 {
        argv.remove(0);
    }
    argv
}

/// Splits as systemd does: at blanks outside of quotes, with C's escapes.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, '\\') => {
                let escaped = match chars.next() {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some('s') => ' ',
                    Some(other) => other,
                    None => '\\',
                };
                word.get_or_insert_default().push(escaped);
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    /// A tree of unit files, removed when dropped.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("nodetriage-units-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            fs::create_dir_all(root.join("etc/systemd/system")).unwrap();
            Self(root)
        }

        fn write(&self, path: &str, content: &str) -> &Self {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
            self
        }

        fn link(&self, path: &str, target: &str) -> &Self {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink(target, path).unwrap();
            self
        }

        fn unit(&self, name: &str) -> Unit {
            read(&Host::open(&self.0).unwrap(), name).unwrap()
        }

        fn states(&self, name: &str) -> (String, String) {
            let unit = self.unit(name);
            (unit.load_state, unit.unit_file_state)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn both(load_state: &str, unit_file_state: &str) -> (String, String) {
        (load_state.to_owned(), unit_file_state.to_owned())
    }

    const SERVICE: &str = "[Service]\nExecStart=/bin/sleep 1\n[Install]\nWantedBy=multi-user.target\n";

    /// What systemd 252 and 257 say of the same files.
    #[test]
    fn odd_files_are_taken_as_systemd_takes_them() {
        let tree = Tree::new("odd");
        for name in ["dangling", "masked", "away", "plain", "wanted", "aliased"] {
            tree.write(&format!("usr/lib/systemd/system/{name}.service"), SERVICE);
        }
        tree.link("etc/systemd/system/dangling.service", "/nonexistent/x.service")
            .link("etc/systemd/system/loop.service", "loop.service")
            .link("etc/systemd/system/one.service", "two.service")
            .link("etc/systemd/system/two.service", "one.service")
            .link("etc/systemd/system/masked.service", "../../../dev/null")
            .link("etc/systemd/system/not-quite.service", "../../dev/null")
            .link("run/systemd/system/away.service", "/dev/null")
            .link("etc/systemd/system/alias.service", "/usr/lib/systemd/system/aliased.service")
            .write("etc/systemd/system/empty.service", "")
            .write("etc/systemd/system/static.service", "[Service]\nExecStart=/bin/true\n")
            .write("opt/linked.service", SERVICE)
            .link("etc/systemd/system/linked.service", "/opt/linked.service")
            .link("usr/lib/systemd/system/multi-user.target.wants/wanted.service", "../wanted.service");
        fs::create_dir(tree.0.join("etc/systemd/system/directory.service")).unwrap();
        for name in ["dangling", "loop", "one", "not-quite", "directory", "nothing"] {
            assert_eq!(tree.states(&format!("{name}.service")), both("not-found", ""), "{name}");
        }
        assert_eq!(tree.states("masked.service"), both("masked", "masked"));
        assert_eq!(tree.states("empty.service"), both("masked", "masked"));
        assert_eq!(tree.states("away.service"), both("masked", "masked-runtime"));
        assert_eq!(tree.states("alias.service"), both("loaded", "disabled"));
        assert_eq!(tree.states("static.service"), both("loaded", "static"));
        assert_eq!(tree.states("linked.service"), both("loaded", "linked"));
        assert_eq!(tree.states("plain.service"), both("loaded", "disabled"));
        assert_eq!(tree.states("wanted.service"), both("loaded", "disabled"));
        assert_eq!(tree.unit("wanted.service").wanted_by, ["multi-user.target"]);
    }

    #[test]
    fn enablement_is_read_from_every_directory_and_masked_by_a_stronger_one() {
        let tree = Tree::new("enabled");
        tree.write("usr/lib/systemd/system/a.service", SERVICE)
            .write("usr/lib/systemd/system/b.service", SERVICE)
            .write("usr/lib/systemd/system/c.service", SERVICE)
            .link("etc/systemd/system/kubernetes.target.requires/a.service", "/usr/lib/systemd/system/a.service")
            .link("run/systemd/system/multi-user.target.wants/b.service", "/usr/lib/systemd/system/b.service")
            .link("usr/lib/systemd/system/multi-user.target.wants/c.service", "../c.service")
            .link("etc/systemd/system/multi-user.target.wants/c.service", "/dev/null");
        assert_eq!(tree.states("a.service"), both("loaded", "enabled"));
        assert_eq!(tree.states("b.service"), both("loaded", "enabled-runtime"));
        assert_eq!((tree.states("c.service"), tree.unit("c.service").wanted_by), (both("loaded", "disabled"), vec![]));
    }

    #[test]
    fn drop_ins_are_read_in_the_order_of_their_names_and_the_stronger_directory_wins() {
        let tree = Tree::new("drop-ins");
        tree.write(
            "usr/lib/systemd/system/kube-proxy.service",
            "[Unit]\nDescription=x\n[Service]\nEnvironment=KUBE_A=1 \"KUBE_B=2 3\" PASSWORD=x\nEnvironmentFile=/a\nExecStart=/bin/old\n",
        )
        .write("usr/lib/systemd/system/kube-proxy.service.d/10-a.conf", "[Service]\nExecStart=\nExecStart=/bin/lost\n")
        .write(
            "etc/systemd/system/kube-proxy.service.d/10-a.conf",
            "[Service]\nExecStart=\n# not this\nExecStart=-@/bin/new proxy --config=\\\n  /etc/x \"a b\"\n",
        )
        .write("run/systemd/system/kube-.service.d/20-b.conf", "[Service]\nEnvironmentFile=\nEnvironmentFile=-/b\nStandardError=null\n")
        .write("etc/systemd/system/service.d/30-c.conf", "[Service]\nEnvironment=KUBE_C=3\n")
        .write("usr/lib/systemd/system/kube-proxy.service.d/40-d.conf", "[Service]\nStandardError=file:/x\n")
        .link("etc/systemd/system/kube-proxy.service.d/40-d.conf", "/dev/null")
        .write("etc/systemd/system/kube-proxy.service.d/README", "[Service]\nExecStart=/bin/no\n");
        let unit = tree.unit("kube-proxy.service");
        assert_eq!(unit.exec_start, ["proxy", "--config=", "/etc/x", "a b"]);
        assert_eq!(unit.environment, ["KUBE_A=1", "KUBE_B=2 3", "KUBE_C=3"]);
        assert_eq!(unit.environment_files, [EnvironmentFile { path: "/b".to_owned(), optional: true }]);
        assert_eq!(unit.standard_error, "null");
        let expected =
            ["/etc/systemd/system/kube-proxy.service.d/10-a.conf", "/run/systemd/system/kube-.service.d/20-b.conf", "/etc/systemd/system/service.d/30-c.conf"];
        assert_eq!(unit.drop_in_paths, expected);
    }

    #[test]
    fn what_is_no_unit_file_is_an_error_and_no_tree_is_blindness() {
        let tree = Tree::new("bad");
        nix::unistd::mkfifo(&tree.0.join("etc/systemd/system/fifo.service"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        let file = fs::File::create(tree.0.join("etc/systemd/system/large.service")).unwrap();
        file.set_len(2 << 30).unwrap();
        tree.write("etc/systemd/system/bytes.service", "[Service]\nExecStart=\"/bin/x \u{0}\\");
        assert_eq!(tree.states("fifo.service"), both("error", ""));
        assert_eq!(tree.states("large.service"), both("error", ""));
        assert_eq!(tree.states("bytes.service"), both("loaded", "static"));
        fs::remove_dir_all(tree.0.join("etc/systemd")).unwrap();
        assert!(from_files(&Host::open(&tree.0).unwrap(), &Config::default()).is_err());
    }
}
