//! The house rules that no compiler checks. clippy.toml bans calls in the pure half; here are the imports, the files that
//! belong together, and what is derived from the catalogue. `UPDATE=1` rewrites what is derived.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use nodetriage::checks;

fn agent() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("agent")
}

/// Every .rs file below, with its code: comments and tests cut off.
fn sources(path: &Path) -> Vec<(PathBuf, String)> {
    if path.is_file() {
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let code: Vec<_> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        return vec![(path.to_owned(), code.join("\n"))];
    }
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir() || path.extension().is_some_and(|extension| extension == "rs")).flat_map(|path| sources(&path)).collect()
}

fn reject(paths: &[&str], words: &[&str], why: &str) {
    for (path, code) in paths.iter().flat_map(|path| sources(&agent().join(path))) {
        for word in words {
            assert!(!code.contains(word), "{} uses {word}: {why}", path.display());
        }
    }
}

#[test]
fn what_is_judged_does_not_touch_the_world() {
    let world = [
        "tokio",
        "zbus",
        "nix::",
        "std::fs",
        "TcpStream",
        "UdpSocket",
        "ToSocketAddrs",
        "std::process",
        "std::env",
        "std::os",
        "Instant",
        "SystemTime",
        "crate::observe",
        "crate::publish",
    ];
    reject(&["facts", "checks", "diagnose.rs", "history.rs", "finding.rs"], &world[..9], "facts are plain data and judgements are pure");
    reject(&["checks", "diagnose.rs", "history.rs", "finding.rs"], &world[9..], "facts are plain data and judgements are pure");
    reject(&["facts"], &["crate::checks", "crate::diagnose", "crate::observe", "crate::publish", "crate::finding"], "facts are states: they know no verdict");
    reject(&["observe"], &["crate::checks", "crate::diagnose", "crate::publish"], "an observer sees and does not judge");
    reject(&["publish"], &["crate::observe", "std::fs", "zbus"], "what is published is read from a report, never from the node");
}

#[test]
fn nothing_is_spawned_and_nothing_is_unsafe() {
    reject(&["."], &["Command::new", "process::Command"], "the image holds no program but this one");
    let journal = sources(&agent().with_file_name("journal"));
    for (path, code) in sources(&agent()).into_iter().chain(journal).filter(|(path, _)| !path.ends_with("memory.rs")) {
        assert!(!code.contains("unsafe {") && !code.contains("unsafe fn") && !code.contains("unsafe_code"), "{} is unsafe; see Cargo.toml", path.display());
    }
}

#[test]
fn the_node_is_reached_through_its_root_alone() {
    for (path, code) in sources(&agent().join("observe")) {
        if !path.ends_with("host.rs") {
            for word in ["fs::read(", "fs::read_to_string", "fs::read_dir", "File::open"] {
                let used = code.match_indices(word).any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric()));
                assert!(!used, "{} uses {word}: a path of the node is resolved inside its root, by Host", path.display());
            }
        }
    }
}

fn module(code: &str) -> String {
    code.replace('-', "_")
}

#[test]
fn a_check_is_one_file_one_article_and_a_fixture_node() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nodes");
    let mut fired = BTreeSet::new();
    for case in fs::read_dir(cases).unwrap().map(|entry| entry.unwrap().path()) {
        let report = case.join("report.json");
        if report.is_file() {
            let report: serde_json::Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
            fired.extend(report["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap().to_owned()));
        }
    }
    let mut files: BTreeSet<String> = fs::read_dir(agent().join("checks")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let mut silent = Vec::new();
    for check in checks::ALL {
        let name = module(check.code);
        assert!(files.remove(&format!("{name}.rs")), "{} is not declared in agent/checks/{name}.rs", check.code);
        assert!(files.remove(&format!("{name}.md")), "{} has no article agent/checks/{name}.md", check.code);
        if !fired.contains(check.code) {
            silent.push(check.code);
        }
    }
    assert!(silent.is_empty(), "no fixture node of tests/nodes fires {silent:?}");
    // What is left is shared by checks, or the list itself.
    let articles: Vec<_> = files.iter().filter(|file| Path::new(file).extension().is_some_and(|kind| kind == "md") && *file != "README.md").collect();
    assert!(articles.is_empty(), "articles without a check: {articles:?}");
}

#[test]
fn an_article_says_what_a_tired_engineer_asks() {
    for check in checks::ALL {
        let mut rest = check.article;
        assert!(rest.starts_with(&format!("# {}\n", check.code)), "{}: the article begins with the code", check.code);
        for part in ["\n## Meaning\n", "\n## Impact\n", "\n## Verify\n", "\n## Remedy\n", "\n## False alarms\n"] {
            let Some((_, after)) = rest.split_once(part) else { panic!("{}: no {} in its place", check.code, part.trim()) };
            let text = after.split("\n## ").next().unwrap().trim();
            assert!(text.len() > 20, "{}: {} says nothing", check.code, part.trim());
            rest = after;
        }
    }
}

#[test]
fn codes_and_titles_read_alike() {
    let mut seen = BTreeSet::new();
    for check in checks::ALL {
        assert!(seen.insert(check.code), "{} is there twice", check.code);
        assert!(check.code.chars().all(|c| c.is_ascii_lowercase() || c == '-' || c.is_ascii_digit()), "{} is not kebab-case", check.code);
        let title = check.title;
        assert!(!title.ends_with('.'), "{}: a title has no full stop", check.code);
        let first = title.split([' ', '\'']).next().unwrap();
        assert!(
            first.chars().next().unwrap().is_lowercase() || first.chars().filter(|c| c.is_uppercase()).count() > 1,
            "{}: {title:?} begins in lower case",
            check.code
        );
    }
}

#[test]
fn the_index_of_findings_is_up_to_date() {
    let mut index = String::from(
        "# Findings\n\nWhat nodetriage can say of a node. Written from the catalogue by `UPDATE=1 cargo test --test tidy`.\n\n| code | severity | true when | explained by |\n|---|---|---|---|\n",
    );
    for check in checks::ALL {
        let causes: Vec<_> = check.explained_by.iter().map(|cause| cause.code).collect();
        index.push_str(&format!("| [{0}]({1}.md) | {2} | {3} | {4} |\n", check.code, module(check.code), check.severity, check.title, causes.join(", ")));
    }
    let path = agent().join("checks/README.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &index).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), index, "UPDATE=1 cargo test --test tidy");
}

/// The report in the README is a golden of a fixture node, word for word.
#[test]
fn the_readme_shows_a_real_report() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(home.join("README.md")).unwrap();
    let (before, rest) = readme.split_once("<!-- report: ").unwrap();
    let (case, rest) = rest.split_once(" -->\n```text\n").unwrap();
    let (_, after) = rest.split_once("```\n").unwrap();
    let report = fs::read_to_string(home.join("tests/nodes").join(case).join("report.txt")).unwrap();
    let expected = format!("{before}<!-- report: {case} -->\n```text\n{report}```\n{after}");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(home.join("README.md"), &expected).unwrap();
        return;
    }
    assert_eq!(readme, expected, "UPDATE=1 cargo test --test tidy");
}
