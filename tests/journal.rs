//! The journal reader against what journalctl read from the same files.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nodetriage::observe::journal::export;
use nodetriage::observe::journal::file::Direction;
use nodetriage::observe::journal::reader::{Filter, Reader};

/// Unpacks tests/data/journal/NAME.tar.xz, with the crate that the reader itself uses.
fn sample(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("journal-{name}-{}-{:?}", std::process::id(), std::thread::current().id()));
    fs::create_dir_all(&dir).unwrap();
    let packed = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/journal/{name}.tar.xz"))).unwrap();
    let mut tar = Command::new("tar").args(["xSf", "-", "-C"]).arg(&dir).stdin(Stdio::piped()).spawn().unwrap();
    let mut unpacked = Vec::new();
    lzma_rs::xz_decompress(&mut packed.as_slice(), &mut unpacked).unwrap();
    tar.stdin.take().unwrap().write_all(&unpacked).unwrap();
    assert!(tar.wait().unwrap().success());
    dir
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    files.sort();
    files
}

fn reader(paths: &[PathBuf]) -> Reader {
    let mut reader = Reader::default();
    for path in paths {
        reader.add(File::open(path).unwrap(), path.display().to_string()).unwrap();
    }
    reader
}

fn export(reader: &mut Reader, filter: &Filter, direction: Direction) -> Vec<Vec<u8>> {
    let mut walk = reader.walk(filter, direction);
    let mut entries = Vec::new();
    while let Some(file) = walk.next(reader) {
        let mut out = Vec::new();
        export::entry(reader, file, &walk.entry, &mut out).unwrap();
        entries.push(out);
    }
    entries
}

#[test]
fn every_variant_reads_exactly_as_journalctl_reads_it() {
    let dir = sample("variants");
    let samples = files(&dir, "journal");
    assert!(samples.len() >= 8, "{samples:?}");
    for path in samples {
        let golden = fs::read(path.with_extension("export")).unwrap();
        let mut reader = reader(std::slice::from_ref(&path));
        let forward = export(&mut reader, &Filter::All, Direction::Forward);
        assert_same(&forward.concat(), &golden, &path);
        let mut backward = export(&mut reader, &Filter::All, Direction::Backward);
        backward.reverse();
        assert!(backward == forward, "{}: backward differs", path.display());
        assert_eq!(reader.damaged, 0, "{}", path.display());
    }
}

fn assert_same(ours: &[u8], golden: &[u8], path: &Path) {
    if ours != golden {
        let at = ours.iter().zip(golden).position(|(a, b)| a != b).unwrap_or(ours.len().min(golden.len()));
        let around = |bytes: &[u8]| String::from_utf8_lossy(&bytes[at.saturating_sub(80).min(bytes.len())..(at + 80).min(bytes.len())]).into_owned();
        panic!("{} differs at byte {at}:\n  ours       {}\n  journalctl {}", path.display(), around(ours), around(golden));
    }
}
