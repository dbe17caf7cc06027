//! The kubelet's command line: of the live process, else of its unit as systemd would build it, else kubeadm's.

use std::collections::BTreeMap;
use std::path::Path;

use super::flags::{self, Flag, Holds};
use crate::config::{Config, nearest};
use crate::facts::kubelet::{OddFlag, Oddity};
use crate::facts::units::{Unit, UnitSource};
use crate::facts::{Observed, Sourced, Units};
use crate::observe::host::Host;
use crate::observe::units::from_files;

/// A command line, a unit or an environment file is shorter than this (Linux: 128 KiB a single argument).
const LIMIT: u64 = 1 << 20;
const UNIT: &str = "kubelet.service";

/// What the kubelet is started with where nothing tells: by the mark of the distribution that embeds it.
const DEFAULTS: [(&str, &[(&str, &str)]); 6] = [
    (
        "/var/lib/rancher/k3s/agent",
        &[
            ("config-dir", "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d"),
            ("kubeconfig", "/var/lib/rancher/k3s/agent/kubelet.kubeconfig"),
            ("container-runtime-endpoint", "unix:///run/k3s/containerd/containerd.sock"),
            ("fail-swap-on", "false"),
        ],
    ),
    (
        "/var/lib/rancher/rke2/agent",
        &[
            ("config-dir", "/var/lib/rancher/rke2/agent/etc/kubelet.conf.d"),
            ("kubeconfig", "/var/lib/rancher/rke2/agent/kubelet.kubeconfig"),
            ("container-runtime-endpoint", "unix:///run/k3s/containerd/containerd.sock"),
            ("fail-swap-on", "false"),
        ],
    ),
    (
        "/var/snap/microk8s/current",
        &[
            ("kubeconfig", "/var/snap/microk8s/current/credentials/kubelet.config"),
            ("client-ca-file", "/var/snap/microk8s/current/certs/ca.crt"),
            ("root-dir", "/var/snap/microk8s/common/var/lib/kubelet"),
            ("cert-dir", "/var/snap/microk8s/current/certs"),
            ("container-runtime-endpoint", "unix:///var/snap/microk8s/common/run/containerd.sock"),
            ("fail-swap-on", "false"),
        ],
    ),
    (
        "/var/lib/k0s",
        &[
            ("config", "/var/lib/k0s/kubelet-config.yaml"),
            ("kubeconfig", "/var/lib/k0s/kubelet.conf"),
            ("root-dir", "/var/lib/k0s/kubelet"),
            ("cert-dir", "/var/lib/k0s/kubelet/pki"),
        ],
    ),
    // Bottlerocket's packages/kubernetes-*/kubelet-exec-start-conf.
    (
        "/etc/kubernetes/kubelet/config",
        &[
            ("config", "/etc/kubernetes/kubelet/config"),
            ("kubeconfig", "/etc/kubernetes/kubelet/kubeconfig"),
            ("bootstrap-kubeconfig", "/etc/kubernetes/kubelet/bootstrap-kubeconfig"),
            ("container-runtime-endpoint", "unix:///run/containerd/containerd.sock"),
        ],
    ),
    // kubeadm's drop-in, 10-kubeadm.conf, on every other node.
    (
        "/",
        &[
            ("config", "/var/lib/kubelet/config.yaml"),
            ("kubeconfig", "/etc/kubernetes/kubelet.conf"),
            ("bootstrap-kubeconfig", "/etc/kubernetes/bootstrap-kubelet.conf"),
        ],
    ),
];

/// The kubelet's flags, each with where it was set.
pub(super) struct CommandLine {
    pub flags: BTreeMap<String, Sourced<String>>,
    /// Names only: of flags we do not know, or that may hold a credential.
    pub other_flags: Vec<Sourced<String>>,
    /// Each with the word itself, which may hold a secret.
    pub odd_flags: Vec<(OddFlag, String)>,
    /// The program; absent where nothing tells.
    pub program: Option<String>,
    /// The running process.
    pub pid: Option<u32>,
    pub source: String,
}

/// A word of a command line, and where it was written.
type Word = Sourced<String>;

/// Finds the command line.
pub(super) fn observe(host: &Host, units: &Observed<Units>) -> CommandLine {
    // Where no bus answers, the unit files tell how the kubelet would be started, if not what runs.
    let files = units.blind().and_then(|_| from_files(host, &Config::default()).ok());
    let source = units.known().or(files.as_ref());
    let unit = source.and_then(|units| units.get(UNIT)).filter(|unit| unit.is_installed() && !unit.is_masked());
    let written = source.zip(unit).map(|(units, unit)| kubelets(exec_start(host, unit, units.source), &variables(host, unit, units.source)));
    let written = written.filter(|words| !words.is_empty());
    let next = written.as_ref().map(|words| CommandLine::of(words, format!("{UNIT} ExecStart")));
    if let Some(pid) = main_pid(host, units)
        && let Some(argv) = argv(host, pid)
    {
        let source = format!("/proc/{pid}/cmdline");
        // The process says what holds; the unit's files say where that was written.
        let place = |word: &str| written.iter().flatten().find(|known| known.value == word).map_or_else(|| source.clone(), |known| known.source.clone());
        let words: Vec<Word> = argv.into_iter().map(|word| Sourced::new(word.clone(), place(&word))).collect();
        let mut live = CommandLine { pid: Some(pid), ..CommandLine::of(&kubelets(words.clone(), &BTreeMap::new()), source) };
        live.odd_flags.iter_mut().for_each(|(odd, _)| odd.live = true);
        // And what it would be started with now, which the process does not have yet.
        let later = next.into_iter().flat_map(|next| next.odd_flags).filter(|(_, odd)| !words.iter().any(|word| word.value == *odd));
        live.odd_flags.extend(later);
        return live;
    }
    if let Some(next) = next {
        return next;
    }
    let defaults = DEFAULTS.iter().find(|(mark, _)| host.exists(mark).unwrap_or(false)).map_or(&[][..], |(_, defaults)| *defaults);
    let flags = defaults.iter().map(|(flag, value)| ((*flag).to_owned(), Sourced::default_value((*value).to_owned()))).collect();
    CommandLine { flags, other_flags: Vec::new(), odd_flags: Vec::new(), program: None, pid: None, source: "default".to_owned() }
}

/// Programs that start another one, which follows their own words.
const STARTERS: [&str; 21] = [
    "chroot",
    "chrt",
    "cgexec",
    "env",
    "exec",
    "flock",
    "hyperkube",
    "ionice",
    "nice",
    "nohup",
    "nsenter",
    "numactl",
    "prlimit",
    "setpriv",
    "setsid",
    "stdbuf",
    "sudo",
    "systemd-inhibit",
    "systemd-run",
    "taskset",
    "timeout",
];
const SHELLS: [&str; 6] = ["ash", "bash", "busybox", "dash", "sh", "zsh"];
/// Shells within shells.
const DEEPEST: usize = 4;

/// The kubelet's own words of a command that starts it by way of another program: `/bin/sh -c "exec kubelet --v=2"`, `env A=b nice kubelet`.
/// As they are, where it is not found in them.
fn kubelets(mut words: Vec<Word>, variables: &BTreeMap<String, Word>) -> Vec<Word> {
    for _ in 0..DEEPEST {
        let Some(program) = words.first().map(|word| base_name(&word.value)) else { break };
        if STARTERS.contains(&program) {
            // The name of a unit or of a user may be kubelet, too.
            let named =
                |before: &Word| matches!(before.value.as_str(), "--unit" | "--slice" | "--description" | "--uid" | "--gid" | "--user" | "-u" | "-p" | "-E");
            let starts = |pair: &[Word]| matches!(pair, [before, word] if base_name(&word.value).starts_with("kubelet") && !named(before));
            let shell = |pair: &[Word]| matches!(pair, [_, word] if SHELLS.contains(&base_name(&word.value)));
            let Some(at) = words.windows(2).position(|pair| starts(pair) || shell(pair)) else { break };
            words.drain(..=at);
        } else if SHELLS.contains(&program) {
            let Some(script) = script(&words) else { break };
            let commands = shell_commands(script, variables);
            let is_kubelet = |word: &Word| base_name(&word.value).starts_with("kubelet");
            let starter = |word: &Word| STARTERS.contains(&base_name(&word.value)) || SHELLS.contains(&base_name(&word.value));
            let starts = |command: &&Vec<Word>| command.first().is_some_and(|first| is_kubelet(first) || (starter(first) && command.iter().any(is_kubelet)));
            let Some(command) = commands.iter().rev().find(starts) else { break };
            words.clone_from(command);
        } else {
            break;
        }
    }
    words
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// What `sh -c`, `bash -ec` and the like are given.
fn script(words: &[Word]) -> Option<&Word> {
    let at = words
        .iter()
        .skip(1)
        .take_while(|word| word.value.starts_with(['-', '+']))
        .position(|word| !word.value.starts_with("--") && word.value.ends_with('c'))?;
    words.get(at + 2)
}

/// What stands for a word that only a shell can tell: such a value is not known.
const UNKNOWN: char = '\u{fffd}';

/// The commands of a shell's script, one after the other, each as its words: with quotes removed, and the variables that the unit sets replaced.
fn shell_commands<'a>(script: &'a Word, variables: &'a BTreeMap<String, Word>) -> Vec<Vec<Word>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = script.value.chars().peekable();
    // A word that a variable is a part of was written where that was set.
    let mut place = &script.source;
    let end = |commands: &mut Vec<Vec<Word>>, word: &mut Option<String>, place: &mut &'a String| {
        let word = word.take().map(|word| Sourced::new(word, place.as_str()));
        *place = &script.source;
        commands.last_mut().into_iter().for_each(|command| command.extend(word.clone()));
    };
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            ('\\', None | Some('"')) => match chars.next() {
                Some('\n') | None => {}
                Some(next) => word.get_or_insert_default().push(next),
            },
            ('$', None | Some('"')) => match variable(&mut chars).and_then(|name| variables.get(&name)) {
                Some(value) if quote.is_some() => {
                    place = &value.source;
                    word.get_or_insert_default().push_str(&value.value);
                }
                // Split at blanks, and quotes within it are no quotes any more.
                Some(value) => {
                    let mut parts = value.value.split_ascii_whitespace().peekable();
                    while let Some(part) = parts.next() {
                        place = &value.source;
                        word.get_or_insert_default().push_str(part);
                        if parts.peek().is_some() {
                            end(&mut commands, &mut word, &mut place);
                        }
                    }
                }
                None => word.get_or_insert_default().push(UNKNOWN),
            },
            ('`', None | Some('"')) => {
                let _ = chars.by_ref().find(|c| *c == '`');
                word.get_or_insert_default().push(UNKNOWN);
            }
            (c, Some(_)) => word.get_or_insert_default().push(c),
            (c, None) if c == '\n' || ";&|".contains(c) => {
                end(&mut commands, &mut word, &mut place);
                commands.push(Vec::new());
            }
            (c, None) if c.is_ascii_whitespace() => end(&mut commands, &mut word, &mut place),
            // Where its output goes is no word of it.
            ('>' | '<', None) => {
                if word.as_ref().is_some_and(|word| !word.chars().all(|c| c.is_ascii_digit())) {
                    end(&mut commands, &mut word, &mut place);
                }
                word = None;
                while chars.next_if(|c| matches!(c, '>' | '<' | '&' | ' ')).is_some() {}
                while chars.next_if(|c| !c.is_ascii_whitespace() && !";|&".contains(*c)).is_some() {}
            }
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    end(&mut commands, &mut word, &mut place);
    // `A=b kubelet` sets a variable for it.
    for command in &mut commands {
        let assignments = command.iter().take_while(|word| word.value.split_once('=').is_some_and(|(name, _)| is_name(name))).count();
        command.drain(..assignments);
    }
    commands.retain(|command| !command.is_empty());
    commands
}

/// The name after `$`: `{NAME}`, `NAME`; `None` of what is more than a name, which is passed over.
fn variable(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<String> {
    match chars.peek()? {
        '{' => {
            let inside: String = chars.by_ref().skip(1).take_while(|c| *c != '}').collect();
            Some(inside).filter(|name| is_name(name))
        }
        '(' => {
            let mut depth = 0_usize;
            for c in chars.by_ref() {
                match c {
                    '(' => depth += 1,
                    ')' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
            None
        }
        _ => {
            let mut name = String::new();
            while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
                name.push(c);
            }
            Some(name).filter(|name| !name.is_empty())
        }
    }
}

/// The unit's main process; where systemd does not tell of such a unit, the process that is called kubelet.
fn main_pid(host: &Host, units: &Observed<Units>) -> Option<u32> {
    if !host.is_live() || units.known().is_some_and(|units| units.source == UnitSource::Files) {
        return None;
    }
    if let Some(unit) = units.known().and_then(|units| units.get(UNIT)).filter(|unit| unit.is_installed()) {
        return unit.active.as_ref()?.main_pid;
    }
    let names = host.list("/proc").ok()??;
    let pids = names.iter().filter_map(|name| name.parse::<u32>().ok());
    let is_kubelet = |pid: &u32| host.read_text(&format!("/proc/{pid}/comm"), 64).is_ok_and(|comm| comm.trim_end() == "kubelet");
    pids.into_iter().find(is_kubelet)
}

fn argv(host: &Host, pid: u32) -> Option<Vec<String>> {
    words_of(&host.read_text(&format!("/proc/{pid}/cmdline"), LIMIT).ok()?)
}

/// The words of a command line; `None` if there are none, or if it is systemd's own still: between fork and exec a unit's main process
/// is `(kubelet)`, `systemd-executor` or a copy of PID 1. A program that has renamed itself leaves zeros behind its words.
fn words_of(cmdline: &str) -> Option<Vec<String>> {
    let words: Vec<String> = cmdline.trim_end_matches('\0').split('\0').map(str::to_owned).collect();
    let program = words.first().and_then(|word| word.rsplit('/').next()).filter(|program| !program.is_empty())?;
    let before_exec = program.starts_with('(') || program == "init" || program.starts_with("systemd");
    (!before_exec).then_some(words)
}

/// More flags than the kubelet has.
const MOST_FLAGS: usize = 300;
/// Of odd ones, more than anybody reads.
const MOST_ODD: usize = 20;

impl CommandLine {
    /// The flags as pflag parses them: `--a=b`, `--a b`, `--bool`, `-v=2`, `-v 2`, `-v2`; `--` ends them; `_` is `-`
    /// (`cliflag.WordSepNormalizeFunc`); of a value the last one counts, and lists add up.
    fn of(words: &[Word], source: String) -> Self {
        let program = words.first().map(|word| word.value.clone());
        let mut parsed = Self { flags: BTreeMap::new(), other_flags: Vec::new(), odd_flags: Vec::new(), program, pid: None, source };
        // What is no flag can be told from a flag's value only as long as all are known; and of `hyperkube kubelet` the second is none.
        let mut all_known = parsed.program.as_ref().is_some_and(|program| program.rsplit('/').next().is_some_and(|name| name.starts_with("kubelet")));
        let mut words = words.iter().skip(1).peekable();
        while let Some(word) = words.next() {
            if word.value == "--" {
                break;
            }
            let Some((name, value)) = name_and_value(&word.value) else {
                if all_known && !word.value.contains(UNKNOWN) {
                    let said =
                        format!("{:?} belongs to no flag, and the kubelet takes no other words; a switch is given its value as --flag=false", cut(&word.value));
                    parsed.odd(&cut(&word.value), &word.source, &word.value, Oddity::Refused(said));
                }
                continue;
            };
            let place = format!("{} --{name}", word.source);
            let Some(flag) = flags::find(&name) else {
                all_known = false;
                let did_you_mean = nearest(&name, flags::names()).map(str::to_owned);
                parsed.odd(&name, &place, &word.value, Oddity::Unknown { did_you_mean });
                parsed.other(name, place);
                continue;
            };
            let value = if let Some(value) = value {
                value
            } else if flag.holds == Holds::Bool {
                "true".to_owned()
            } else if let Some(next) = words.next() {
                next.value.clone()
            } else {
                parsed.odd(&name, &place, &word.value, Oddity::Refused(format!("--{name} stands at the end without a value")));
                String::new()
            };
            if value.contains(UNKNOWN) {
                parsed.other(name, place);
                continue;
            }
            if let Some(release) = flag.gone {
                parsed.odd(&name, &place, &word.value, Oddity::Gone { release });
            } else if let Some(expected) = flag.refuses(&value) {
                parsed.odd(&name, &place, &word.value, Oddity::Refused(format!("--{name} is {:?}, {expected}", cut(&value))));
            }
            if flag.holds == Holds::Secret {
                parsed.other(name, place);
            } else {
                parsed.set(flag, &value, place);
            }
        }
        parsed
    }

    fn set(&mut self, flag: &Flag, value: &str, place: String) {
        let before = self.flags.get(flag.name).map(|before| before.value.as_str()).filter(|before| flag.adds_up() && !before.is_empty());
        let value = before.map_or_else(|| value.to_owned(), |before| format!("{before},{value}"));
        self.flags.insert(flag.name.to_owned(), Sourced::new(value, place));
    }

    fn other(&mut self, name: String, place: String) {
        if self.other_flags.len() < MOST_FLAGS {
            self.other_flags.push(Sourced::new(name, place));
        }
    }

    fn odd(&mut self, name: &str, source: &str, word: &str, oddity: Oddity) {
        if self.odd_flags.len() < MOST_ODD {
            self.odd_flags.push((OddFlag { name: name.to_owned(), source: source.to_owned(), oddity, live: false }, word.to_owned()));
        }
    }
}

/// Of `--name=value`, `--name`, `-n`, `-nvalue`; `None`: no flag.
fn name_and_value(word: &str) -> Option<(String, Option<String>)> {
    let split = |flag: &str| flag.split_once('=').map_or((flag.replace('_', "-"), None), |(name, value)| (name.replace('_', "-"), Some(value.to_owned())));
    if let Some(long) = word.strip_prefix("--") {
        return Some(split(long));
    }
    let short = word.strip_prefix('-').filter(|short| !short.is_empty())?;
    // The kubelet has -v and -h; the value may follow at once.
    match short.strip_prefix('v').filter(|level| level.starts_with(|c: char| c.is_ascii_digit())) {
        Some(level) => Some(("v".to_owned(), Some(level.to_owned()))),
        None => Some(split(short)),
    }
}

/// A word as it is shown.
fn cut(word: &str) -> String {
    word.chars().take(60).collect()
}

/// The words of ExecStart with variables replaced, as systemd.service(5) has it. Empty: nothing tells of them.
pub(in crate::observe) fn exec_start(host: &Host, unit: &Unit, source: UnitSource) -> Vec<Word> {
    let variables = variables(host, unit, source);
    let place = format!("{} ExecStart", unit.name);
    unit.exec_start.iter().flat_map(|word| expand(&expanded(host, word, unit, source), &variables, &place)).collect()
}

/// The variables that a unit sets for what it starts, by name; of its own files, and of what of `Environment` is a fact.
pub(in crate::observe) fn variables(host: &Host, unit: &Unit, source: UnitSource) -> BTreeMap<String, Word> {
    let mut variables = BTreeMap::new();
    for variable in &unit.environment {
        if let Some((name, value)) = expanded(host, variable, unit, source).split_once('=') {
            variables.insert(name.to_owned(), Sourced::new(value.to_owned(), format!("{} Environment", unit.name)));
        }
    }
    for file in &unit.environment_files {
        for path in expand_glob(host, &expanded(host, &file.path, unit, source)) {
            if let Ok(text) = host.read_text(&path, LIMIT) {
                variables.extend(environment_file(&text, &path));
            }
        }
    }
    variables
}

/// With the unit's specifiers replaced. Over D-Bus systemd has done that already.
fn expanded(host: &Host, text: &str, unit: &Unit, source: UnitSource) -> String {
    if source == UnitSource::Files { specifiers(host, text, unit) } else { text.to_owned() }
}

/// The specifiers of systemd.unit(5), "Specifiers", of a system's unit without an instance.
fn specifiers(host: &Host, text: &str, unit: &Unit) -> String {
    let line = |path: &str| host.read_text(path, 1 << 12).ok().map(|text| text.trim().to_owned());
    let hostname = || line("/proc/sys/kernel/hostname").filter(|_| host.path() == Path::new("/")).or_else(|| line("/etc/hostname"));
    let entry = |path: &str, key: &str| {
        let text = line(path)?;
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(|value| value.trim_matches('"').to_owned());
        value.filter(|value| !value.is_empty())
    };
    let release = |key: &str| Some(entry("/etc/os-release", key).unwrap_or_default());
    let name = unit.name.strip_suffix(".service").unwrap_or(&unit.name);
    let path = unit.fragment_path.as_deref().unwrap_or_default();
    let meaning = |specifier: char| match specifier {
        '%' => Some("%".to_owned()),
        'n' => Some(unit.name.clone()),
        'N' | 'p' => Some(name.to_owned()),
        'P' => Some(name.replace('-', "/")),
        'j' | 'J' => Some(name.rsplit('-').next().unwrap_or_default().to_owned()),
        'i' | 'I' => Some(String::new()),
        'f' => Some(format!("/{}", name.replace('-', "/"))),
        'y' => Some(path.to_owned()),
        'Y' => Some(path.rsplit_once('/').map_or("", |(dir, _)| dir).to_owned()),
        'S' => Some("/var/lib".to_owned()),
        'C' => Some("/var/cache".to_owned()),
        'L' => Some("/var/log".to_owned()),
        't' => Some("/run".to_owned()),
        'd' => Some(format!("/run/credentials/{}", unit.name)),
        'D' => Some("/usr/share".to_owned()),
        'E' => Some("/etc".to_owned()),
        'T' => Some("/tmp".to_owned()),
        'V' => Some("/var/tmp".to_owned()),
        'h' => Some("/root".to_owned()),
        'u' | 'g' => Some("root".to_owned()),
        'U' | 'G' => Some("0".to_owned()),
        's' => Some("/bin/sh".to_owned()),
        'H' => hostname(),
        'q' => entry("/etc/machine-info", "PRETTY_HOSTNAME").or_else(hostname),
        'l' => hostname().map(|name| name.split('.').next().unwrap_or_default().to_owned()),
        'm' => line("/etc/machine-id"),
        'b' => line("/proc/sys/kernel/random/boot_id").map(|id| id.replace('-', "")),
        'v' => line("/proc/sys/kernel/osrelease"),
        'a' => Some(architecture().to_owned()),
        'o' => release("ID"),
        'w' => release("VERSION_ID"),
        'W' => release("VARIANT_ID"),
        'B' => release("BUILD_ID"),
        'M' => release("IMAGE_ID"),
        'A' => release("IMAGE_VERSION"),
        _ => None,
    };
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match chars.clone().next().filter(|_| c == '%').and_then(meaning) {
            Some(meant) => {
                out.push_str(&meant);
                chars.next();
            }
            None => out.push(c),
        }
    }
    out
}

/// As systemd.unit(5) has it at `ConditionArchitecture=`.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "x86-64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A word of ExecStart: `$NAME` as a word of its own is split at whitespace, and is no word at all where it is empty.
fn expand(word: &str, variables: &BTreeMap<String, Word>, place: &str) -> Vec<Word> {
    match word.strip_prefix('$').filter(|name| is_name(name)) {
        Some(name) => {
            let value = variables.get(name);
            value.into_iter().flat_map(|value| split(&value.value).into_iter().map(|part| Sourced::new(part, value.source.clone()))).collect()
        }
        None => vec![replace(word, variables, place)],
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// `${NAME}` anywhere in a word, and `$$`.
fn replace(word: &str, variables: &BTreeMap<String, Word>, place: &str) -> Word {
    let mut out = String::new();
    let mut place = place.to_owned();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, tail)) = after.strip_prefix('{').and_then(|after| after.split_once('}')).filter(|(name, _)| is_name(name)) {
            if let Some(value) = variables.get(name) {
                out.push_str(&value.value);
                // Of a shell's whole script it is the smallest part.
                if !word.contains(char::is_whitespace) {
                    place.clone_from(&value.source);
                }
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    Sourced::new(out, place)
}

/// A variable's value as words: at blanks, outside of quotes; a backslash takes the next character as it is
/// (`replace_env_argv` of systemd's src/basic/env-util.c).
fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', _) => word.get_or_insert_default().extend(chars.next()),
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_ascii_whitespace() => words.extend(word.take()),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// `NAME=value` lines with quotes and continuation (systemd.exec(5), EnvironmentFile; `src/basic/env-file.c`).
fn environment_file(text: &str, path: &str) -> BTreeMap<String, Word> {
    let mut variables = BTreeMap::new();
    let mut chars = text.chars().peekable();
    let mut line = 1;
    loop {
        while let Some(c) = chars.next_if(char::is_ascii_whitespace) {
            line += usize::from(c == '\n');
        }
        let Some(first) = chars.peek() else { return variables };
        let comment = matches!(first, '#' | ';');
        let start = line;
        let mut name = String::new();
        while let Some(c) = chars.next_if(|c| *c != '\n' && (comment || *c != '=')) {
            name.push(c);
        }
        if comment || chars.next_if_eq(&'=').is_none() {
            continue;
        }
        let value = value(&mut chars, &mut line);
        variables.insert(name.trim().to_owned(), Sourced::new(value, format!("{path}:{start}")));
    }
}

/// A value up to the end of its line; counts the lines that it spans.
fn value(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, line: &mut usize) -> String {
    let mut out = String::new();
    // Quotes mean something only before any bare character; trailing blanks of bare text are dropped.
    let mut bare = false;
    let mut kept = 0;
    while let Some(c) = chars.next_if(|c| *c != '\n') {
        match c {
            '\\' => match chars.next() {
                Some('\n') => *line += 1,
                Some(c) => {
                    out.push(c);
                    (bare, kept) = (true, out.len());
                }
                None => {}
            },
            '"' | '\'' if !bare => {
                while let Some(inner) = chars.next_if(|inner| *inner != c) {
                    *line += usize::from(inner == '\n');
                    match chars.peek() {
                        Some(next) if inner == '\\' && c == '"' && "\"\\`$\n".contains(*next) => {
                            *line += usize::from(*next == '\n');
                            out.extend(chars.next().filter(|next| *next != '\n'));
                        }
                        _ => out.push(inner),
                    }
                }
                chars.next();
                kept = out.len();
            }
            c if c.is_ascii_whitespace() && !bare => {}
            c => {
                out.push(c);
                bare = true;
                if !c.is_ascii_whitespace() {
                    kept = out.len();
                }
            }
        }
    }
    out.truncate(kept);
    out
}

/// An EnvironmentFile may be a pattern: `*` in the last part of the path.
fn expand_glob(host: &Host, path: &str) -> Vec<String> {
    let Some((dir, pattern)) = path.rsplit_once('/').filter(|(_, pattern)| pattern.contains('*')) else { return vec![path.to_owned()] };
    let (before, after) = pattern.split_once('*').unwrap_or((pattern, ""));
    let names = host.list(dir).ok().flatten().unwrap_or_default();
    names
        .iter()
        .filter(|name| name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after))
        .map(|name| format!("{dir}/{name}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), Sourced::new((*value).to_owned(), "env"))).collect();
        line.iter().flat_map(|word| expand(word, &variables, "unit")).map(|word| word.value).collect()
    }

    fn flag(argv: &[&str], name: &str) -> Option<String> {
        let words: Vec<Word> = argv.iter().map(|word| Sourced::new((*word).to_owned(), "p")).collect();
        CommandLine::of(&words, String::new()).flags.get(name).map(|flag| flag.value.clone())
    }

    #[test]
    fn a_process_that_is_not_yet_the_kubelet_has_no_command_line() {
        assert_eq!(words_of("/usr/bin/kubelet\0--v=2\0\0\0\0").unwrap(), ["/usr/bin/kubelet", "--v=2"]);
        for systemds in [
            "(kubelet)\0",
            "/usr/lib/systemd/systemd-executor\0--deserialize\x0012\0",
            "/sbin/init\0splash\0",
            "/usr/lib/systemd/systemd\0--system\0",
            "\0\0",
            "",
        ] {
            assert_eq!(words_of(systemds), None, "{systemds:?}");
        }
    }

    #[test]
    fn flags_in_every_form_of_pflag() {
        let argv =
            ["kubelet", "--config=/a", "--kubeconfig", "/b", "--rotate-certificates", "-v=2", "--fail_swap_on=false", "--token", "secret", "--config", "/c"];
        assert_eq!(flag(&argv, "config").as_deref(), Some("/c"), "the last one counts");
        assert_eq!(flag(&argv, "kubeconfig").as_deref(), Some("/b"));
        assert_eq!(flag(&argv, "rotate-certificates").as_deref(), Some("true"));
        assert_eq!(flag(&argv, "fail-swap-on").as_deref(), Some("false"));
        assert_eq!(flag(&argv, "v").as_deref(), Some("2"));
        assert_eq!(flag(&argv, "token"), None, "only flags that carry no secret are kept");
        assert_eq!(flag(&["kubelet", "-v", "4", "--", "--config=/a"], "config"), None);
        assert_eq!(flag(&["kubelet", "-v", "4"], "v").as_deref(), Some("4"));
        assert_eq!(flag(&["kubelet", "-v4"], "v").as_deref(), Some("4"));
        assert_eq!(flag(&["kubelet", "--config"], "config").as_deref(), Some(""));
        let twice = ["kubelet", "--kube-reserved=cpu=1", "--kube-reserved", "memory=1Gi"];
        assert_eq!(flag(&twice, "kube-reserved").as_deref(), Some("cpu=1,memory=1Gi"), "a map adds up");
        assert_eq!(flag(&["kubelet", "--storage-driver-password=x"], "storage-driver-password"), None);
    }

    /// What the kubelet would say of these words.
    fn odd(argv: &[&str]) -> Vec<String> {
        let words: Vec<Word> = argv.iter().map(|word| Sourced::new((*word).to_owned(), "p")).collect();
        let said = |odd: OddFlag| match odd.oddity {
            Oddity::Unknown { did_you_mean } => format!("{} unknown, {}", odd.name, did_you_mean.as_deref().unwrap_or("-")),
            Oddity::Gone { release } => format!("{} gone in 1.{release}", odd.name),
            Oddity::Refused(message) => message,
        };
        CommandLine::of(&words, String::new()).odd_flags.into_iter().map(|(odd, _)| said(odd)).collect()
    }

    #[test]
    fn what_the_kubelet_refuses_of_a_command_line() {
        assert_eq!(odd(&["/usr/bin/kubelet", "--config=/a", "--rotate-certificates", "-v", "2"]), Vec::<String>::new());
        assert_eq!(odd(&["kubelet", "--conifg=/a", "--token", "secret"]), ["conifg unknown, config", "token unknown, -"]);
        assert_eq!(odd(&["kubelet", "--network-plugin=cni"]), ["network-plugin gone in 1.24"]);
        assert_eq!(odd(&["kubelet", "--v=high"]), ["--v is \"high\", where a whole number is expected"]);
        assert_eq!(odd(&["kubelet", "--kubeconfig"]), ["--kubeconfig stands at the end without a value"]);
        let apart = odd(&["kubelet", "--fail-swap-on", "false"]);
        assert!(apart.len() == 1 && apart[0].starts_with("\"false\" belongs to no flag"), "{apart:?}");
        assert_eq!(odd(&["hyperkube", "kubelet", "--v=2"]), Vec::<String>::new());
        assert_eq!(odd(&["/bin/sh", "/opt/kubelet-start"]), Vec::<String>::new());
    }

    #[test]
    fn a_variable_of_its_own_is_split_and_a_braced_one_is_not() {
        let env = [("ARGS", "--a --b='x y'"), ("EMPTY", "")];
        assert_eq!(words(&["kubelet", "$ARGS", "$EMPTY", "$NONE", "--c"], &env), ["kubelet", "--a", "--b=x y", "--c"]);
        assert_eq!(words(&["kubelet", "${ARGS}", "--d=${EMPTY}x"], &env), ["kubelet", "--a --b='x y'", "--d=x"]);
        assert_eq!(words(&["a$$b", "${no", "$"], &env), ["a$b", "${no", "$"]);
    }

    #[test]
    fn specifiers_of_a_unit_are_systemds() {
        let host = Host::open("/".as_ref()).unwrap();
        let unit = |name: &str| Unit { name: name.to_owned(), fragment_path: Some(format!("/etc/systemd/system/{name}")), ..Unit::default() };
        let replaced = |name: &str, text: &str| specifiers(&host, text, &unit(name));
        assert_eq!(replaced(UNIT, "100%% %n %N %S/%i %x %"), "100% kubelet.service kubelet /var/lib/ %x %");
        assert_eq!(
            replaced("my-kubelet.service", "%p %j %P %f %y %Y %d"),
            "my-kubelet kubelet my/kubelet /my/kubelet /etc/systemd/system/my-kubelet.service /etc/systemd/system /run/credentials/my-kubelet.service"
        );
        assert_eq!(replaced(UNIT, "%t %C %L %E %T %V %h %u %U %s %D"), "/run /var/cache /var/log /etc /tmp /var/tmp /root root 0 /bin/sh /usr/share");
    }

    /// The kubelet's words of a command line.
    fn own(argv: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
        let words = argv.iter().map(|word| Sourced::new((*word).to_owned(), "unit")).collect();
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), Sourced::new((*value).to_owned(), "env"))).collect();
        kubelets(words, &variables).into_iter().map(|word| word.value).collect()
    }

    #[test]
    fn a_kubelet_that_is_started_by_way_of_another_program_has_its_own_words() {
        let plain = ["/usr/bin/kubelet", "--root-dir", "/var/lib/kubelet", "--v=2"];
        assert_eq!(own(&plain, &[]), plain);
        for starter in [
            &["/bin/sh", "-c"][..],
            &["/bin/bash", "-e", "-c"],
            &["bash", "-ec"],
            &["/usr/bin/env", "A=b", "-u", "C", "sh", "-c"],
            &["/usr/bin/systemd-run", "--scope", "--unit", "kubelet", "/bin/sh", "-c"],
        ] {
            for script in [
                "exec /usr/bin/kubelet --root-dir /var/lib/kubelet --v=2",
                "/usr/bin/kubelet --root-dir '/var/lib/kubelet' \\\n  \"--v=2\" >>/var/log/kubelet.log 2>&1",
                "set -e; mkdir -p /var/lib/kubelet && GOMAXPROCS=2 exec nice -n -5 taskset -c 0-3 /usr/bin/kubelet $ROOT --v=${LEVEL} | tee /var/log/kubelet",
            ] {
                let argv: Vec<&str> = starter.iter().copied().chain([script]).collect();
                assert_eq!(own(&argv, &[("ROOT", "--root-dir /var/lib/kubelet"), ("LEVEL", "2")]), plain, "{argv:?}");
            }
        }
        for starter in [
            &["/usr/bin/env", "PATH=/usr/bin"][..],
            &["/usr/bin/nice", "-n", "-5"],
            &["nice"],
            &["/usr/bin/taskset", "-c", "0-3"],
            &["systemd-run", "--scope", "-p", "CPUWeight=200", "--unit", "kubelet"],
            &["numactl", "--cpunodebind=0", "chrt", "-r", "5"],
        ] {
            let argv: Vec<&str> = starter.iter().copied().chain(plain).collect();
            assert_eq!(own(&argv, &[]), plain, "{argv:?}");
        }
        let unknown = ["/bin/sh", "/opt/start-kubelet"];
        assert_eq!(own(&unknown, &[]), unknown);
        assert_eq!(own(&["sh", "-c", "exec /opt/start"], &[]), ["sh", "-c", "exec /opt/start"]);
        let told =
            own(&["sh", "-c", "exec kubelet --v=$(cat /v) --node-ip \"$(ip a | head -1)\" --hostname-override=`hostname` --max-pods=$MOST --port=10250"], &[]);
        let words: Vec<Word> = told.iter().map(|word| Sourced::new(word.clone(), "p")).collect();
        let parsed = CommandLine::of(&words, String::new());
        assert_eq!(parsed.flags.keys().collect::<Vec<_>>(), ["port"], "what only a shell can tell is not known");
        assert!(parsed.odd_flags.is_empty(), "{:?}", parsed.odd_flags);
        assert_eq!(parsed.other_flags.len(), 4);
    }

    #[test]
    fn a_variable_is_split_with_quotes() {
        assert_eq!(split(r#"a "b c" 'd "e' f\ g "h\"i""#), ["a", "b c", "d \"e", "f g", "h\"i"]);
        assert_eq!(split("  "), Vec::<String>::new());
        assert_eq!(split("'' x"), ["", "x"]);
    }

    #[test]
    fn environment_files_as_systemd_reads_them() {
        let text = "# c\nA=plain text  \nB=\"quoted \\\"x\\\"\" \n\n; c\nC='one\ntwo'\nD=a\\\nb\nE=it's\nbroken line\nF=\n";
        let found: Vec<_> = environment_file(text, "/e").into_iter().map(|(name, word)| (name, word.value, word.source)).collect();
        let expected = [
            ("A", "plain text", "/e:2"),
            ("B", "quoted \"x\"", "/e:3"),
            ("C", "one\ntwo", "/e:6"),
            ("D", "ab", "/e:8"),
            ("E", "it's", "/e:10"),
            ("F", "", "/e:12"),
        ];
        assert_eq!(found, expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())));
    }
}
