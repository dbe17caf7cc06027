//! Every threshold, path and interval that can be set, in one table.
//!
//! A value comes from a flag, else from the environment (`NODETRIAGE_LOG_LEVEL`), else from the file, else it is the default.
//! To add a setting: a field in [`Config`] with its default, and one row in [`SETTINGS`]; the file's key, the variable, the
//! messages and `nodetriage config` follow from the row. A flag is one more line in the command line.

mod file;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use file::{Fault, Value};

/// Read when neither `--config` nor `NODETRIAGE_CONFIG` names a file; it need not exist.
pub const DEFAULT_FILE: &str = "/etc/nodetriage/config.yaml";

/// The effective configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where HTTP is answered.
    pub listen: SocketAddr,
    /// Where the node's file system is seen.
    pub root: PathBuf,
    /// The node's name in the cluster; `None`: it is found on the node.
    pub node_name: Option<String>,
    /// Where what must survive a restart is kept; `None`: nothing is.
    pub state_dir: Option<PathBuf>,
    pub log: Log,
    pub certificates: Certificates,
    pub units: Units,
    pub runtime: Runtime,
    pub pressure: Pressure,
    /// Who may be asked over the network.
    pub probes: Probes,
    pub intervals: Intervals,
}

/// Who is asked over the network whether he answers. Nothing but what the node's own configuration names ever is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probes {
    /// The kubelet and kube-proxy on this node, the API server, and what serves certificates on a control-plane node.
    All,
    /// Loopback addresses alone.
    Loopback,
    /// Nobody.
    None,
}

impl Probes {
    /// Whether whoever listens there may be asked.
    #[must_use]
    pub fn allow(self, ip: IpAddr) -> bool {
        match self {
            Self::All => true,
            Self::Loopback => ip.is_loopback(),
            Self::None => false,
        }
    }
}

/// What the daemon writes to stderr.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub level: LogLevel,
    pub format: LogFormat,
}

/// The least urgent messages that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    /// One object a line.
    Json,
}

/// How certificates are judged, and which others there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificates {
    /// Days left at which a certificate is `certificate-expiring`.
    pub expiring_days: u32,
    /// Days left at which a certificate is `certificate-expiring-soon`.
    pub expiring_soon_days: u32,
    /// Further certificate files of the node.
    pub paths: Vec<String>,
    /// Metrics under x509-certificate-exporter's names as well, for the dashboards that are made for it.
    pub x509_names: bool,
}

/// Which systemd units are watched, besides those a Kubernetes node lives by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Units {
    /// Names, as systemd knows them, and patterns of names: `my-runtime.service`, `backup-*.service`.
    pub watch: Vec<String>,
}

impl Units {
    /// The units that are named. They are meant to run.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.watch.iter().map(String::as_str).filter(|name| !is_pattern(name))
    }

    /// The patterns, in the words of glob(7). Not all that they find need run.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.watch.iter().map(String::as_str).filter(|name| is_pattern(name))
    }

    /// Whether a pattern finds the unit of this name.
    #[must_use]
    pub fn finds(&self, name: &str) -> bool {
        self.patterns().any(|pattern| matches_pattern(pattern, name))
    }
}

fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?', '['])
}

/// glob(7): `*`, `?` and `[…]`, with ranges and `!` or `^`. A bracket that is never closed stands for itself. Bytes, for units have ASCII names.
#[must_use]
pub fn matches_pattern(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut seen) = (0, 0);
    // Where the last star stands, and what it has swallowed so far: only that one can be taken back.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = name.get(seen) {
        let next = pattern.get(at..).unwrap_or_default();
        let matched = match next.first() {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
                continue;
            }
            Some(b'?') => Some(1),
            Some(b'[') => bracket(next, *byte),
            other => (other == Some(byte)).then_some(1),
        };
        match (matched, &mut star) {
            (Some(length), _) => (at, seen) = (at + length, seen + 1),
            (None, Some((place, swallowed))) => {
                *swallowed += 1;
                (at, seen) = (*place + 1, *swallowed);
            }
            (None, None) => return false,
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|left| *left == b'*')
}

/// How long the bracket is that a pattern begins with, if it has this byte.
fn bracket(pattern: &[u8], byte: u8) -> Option<usize> {
    let Some(end) = pattern.iter().skip(2).position(|byte| *byte == b']').map(|at| at + 2) else { return (byte == b'[').then_some(1) };
    let mut inside = pattern.get(1..end)?;
    let negated = matches!(inside, [b'!' | b'^', _, ..]);
    if negated {
        inside = inside.get(1..)?;
    }
    let mut found = false;
    while let Some(first) = inside.first() {
        if let [low, b'-', high, ..] = inside {
            found |= (low..=high).contains(&&byte);
            inside = inside.get(3..)?;
        } else {
            found |= *first == byte;
            inside = inside.get(1..)?;
        }
    }
    (found != negated).then_some(end + 1)
}

/// How the container runtime is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// Ask it over its socket (CRI). Without, it is judged by its unit, its files and its log.
    pub ask: bool,
}

/// How memory, disks and PIDs are judged, beside the kubelet's own thresholds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pressure {
    /// How long before a threshold is crossed it is told, at the measured rate.
    pub forecast: Duration,
    /// Percent of a minute in which some task waited for a processor, from which it is `cpu-starved`.
    pub cpu_some_percent: u32,
    /// Percent of a minute in which all work waited for memory, from which it is `memory-stalled`.
    pub memory_full_percent: u32,
    /// Percent of a minute in which all work waited for the disks, from which it is `io-stalled`.
    pub io_full_percent: u32,
    /// Where it is measured who fills a disk.
    pub places: Places,
}

/// On which file systems the usual places (logs, images, emptyDirs) are measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Places {
    None,
    /// Not on a server's: there a look is slow for everybody.
    #[default]
    Local,
    All,
}

impl Places {
    const ALL: [Self; 3] = [Self::None, Self::Local, Self::All];

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Local => "local",
            Self::All => "all",
        }
    }
}

impl Default for Pressure {
    fn default() -> Self {
        Self { forecast: Duration::from_hours(4), cpu_some_percent: 80, memory_full_percent: 10, io_full_percent: 40, places: Places::default() }
    }
}

/// How often the daemon looks without being woken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intervals {
    /// Between two looks at everything that is otherwise watched by events.
    pub resync: Duration,
    /// Between two measurements of memory, disks and PIDs. The kubelet's own is 10 s (`evictionMonitoringPeriod`).
    pub pressure: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 20258)),
            root: PathBuf::from("/"),
            node_name: None,
            state_dir: Some(PathBuf::from("/var/lib/nodetriage")),
            log: Log { level: LogLevel::Info, format: LogFormat::Text },
            certificates: Certificates { expiring_days: 30, expiring_soon_days: 7, paths: Vec::new(), x509_names: false },
            units: Units::default(),
            runtime: Runtime { ask: true },
            pressure: Pressure::default(),
            probes: Probes::All,
            intervals: Intervals { resync: Duration::from_mins(5), pressure: Duration::from_secs(10) },
        }
    }
}

/// One thing that can be set.
pub struct Setting {
    /// Dotted, as the file nests it: `log.level`.
    pub key: &'static str,
    /// What is expected, for messages.
    pub expected: &'static str,
    /// Sets it, or says by `None` that the value is not what is expected.
    set: fn(&mut Config, &Value) -> Option<()>,
    get: fn(&Config) -> Value,
}

/// Every setting, in the order in which they are printed; those of a section stand together.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "listen",
        expected: "an address and a port, as 127.0.0.1:20258 or [::]:20258",
        set: |config, value| value.parse().map(|listen| config.listen = listen),
        get: |config| Value::text(config.listen),
    },
    Setting {
        key: "root",
        expected: "the absolute path of a directory",
        set: |config, value| absolute(value.scalar()?).map(|path| config.root = path.into()),
        get: |config| Value::text(config.root.display()),
    },
    Setting {
        key: "node_name",
        expected: "the node's name as kubectl get nodes prints it: lower-case letters, digits, - and .",
        set: |config, value| node_name(value.scalar()?).map(|name| config.node_name = Some(name.to_owned())),
        get: |config| config.node_name.as_ref().map_or(Value::Null, Value::text),
    },
    Setting {
        key: "state_dir",
        expected: "the absolute path of a directory, or none to keep no state",
        set: |config, value| {
            config.state_dir = if value.scalar()? == "none" { None } else { Some(absolute(value.scalar()?)?.into()) };
            Some(())
        },
        get: |config| config.state_dir.as_ref().map_or(Value::text("none"), |dir| Value::text(dir.display())),
    },
    Setting {
        key: "log.level",
        expected: "error, warn, info, debug or trace",
        set: |config, value| LogLevel::ALL.into_iter().find(|level| level.name() == value.scalar().unwrap_or_default()).map(|level| config.log.level = level),
        get: |config| Value::text(config.log.level.name()),
    },
    Setting {
        key: "log.format",
        expected: "text or json",
        set: |config, value| {
            config.log.format = match value.scalar()? {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => return None,
            };
            Some(())
        },
        get: |config| {
            Value::text(match config.log.format {
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            })
        },
    },
    Setting {
        key: "certificates.expiring_days",
        expected: "a whole number of days, 1 to 3650",
        set: |config, value| value.within(1, 3650).map(|days| config.certificates.expiring_days = days),
        get: |config| Value::text(config.certificates.expiring_days),
    },
    Setting {
        key: "certificates.expiring_soon_days",
        expected: "a whole number of days, 1 to 3650",
        set: |config, value| value.within(1, 3650).map(|days| config.certificates.expiring_soon_days = days),
        get: |config| Value::text(config.certificates.expiring_soon_days),
    },
    Setting {
        key: "certificates.paths",
        expected: "a list of absolute paths",
        set: |config, value| value.list(absolute).map(|paths| config.certificates.paths = paths),
        get: |config| Value::List(config.certificates.paths.clone()),
    },
    Setting {
        key: "certificates.x509_names",
        expected: "true or false",
        set: |config, value| value.parse().map(|names| config.certificates.x509_names = names),
        get: |config| Value::text(config.certificates.x509_names),
    },
    Setting {
        key: "units.watch",
        expected: "a list of systemd units' names or patterns, as [my-runtime.service, 'backup-*.service']",
        set: |config, value| value.list(unit_name).map(|units| config.units.watch = units),
        get: |config| Value::List(config.units.watch.clone()),
    },
    Setting {
        key: "runtime.ask",
        expected: "true or false",
        set: |config, value| value.parse().map(|ask| config.runtime.ask = ask),
        get: |config| Value::text(config.runtime.ask),
    },
    Setting {
        key: "pressure.forecast",
        expected: "a duration of 30m to 24h, as 4h",
        set: |config, value| value.span(1800, 86_400).map(|span| config.pressure.forecast = span),
        get: |config| Value::text(show_duration(config.pressure.forecast)),
    },
    Setting {
        key: "pressure.cpu_some_percent",
        expected: "a percentage, 1 to 100",
        set: |config, value| value.within(1, 100).map(|percent| config.pressure.cpu_some_percent = percent),
        get: |config| Value::text(config.pressure.cpu_some_percent),
    },
    Setting {
        key: "pressure.memory_full_percent",
        expected: "a percentage, 1 to 100",
        set: |config, value| value.within(1, 100).map(|percent| config.pressure.memory_full_percent = percent),
        get: |config| Value::text(config.pressure.memory_full_percent),
    },
    Setting {
        key: "pressure.io_full_percent",
        expected: "a percentage, 1 to 100",
        set: |config, value| value.within(1, 100).map(|percent| config.pressure.io_full_percent = percent),
        get: |config| Value::text(config.pressure.io_full_percent),
    },
    Setting {
        key: "pressure.places",
        expected: "none, local or all: the file systems on which it is measured who fills them",
        set: |config, value| Places::ALL.into_iter().find(|places| Some(places.name()) == value.scalar()).map(|places| config.pressure.places = places),
        get: |config| Value::text(config.pressure.places.name()),
    },
    Setting {
        key: "probes",
        expected: "all, loopback or none",
        set: |config, value| {
            config.probes = match value.scalar()? {
                "all" => Probes::All,
                "loopback" => Probes::Loopback,
                "none" => Probes::None,
                _ => return None,
            };
            Some(())
        },
        get: |config| {
            Value::text(match config.probes {
                Probes::All => "all",
                Probes::Loopback => "loopback",
                Probes::None => "none",
            })
        },
    },
    Setting {
        key: "intervals.resync",
        expected: "a duration of 10s to 24h, as 5m",
        set: |config, value| value.span(10, 86_400).map(|span| config.intervals.resync = span),
        get: |config| Value::text(show_duration(config.intervals.resync)),
    },
    Setting {
        key: "intervals.pressure",
        expected: "a duration of 1s to 10m, as 10s",
        set: |config, value| value.span(1, 600).map(|span| config.intervals.pressure = span),
        get: |config| Value::text(show_duration(config.intervals.pressure)),
    },
];

/// What must hold between settings: the keys, and what is wrong if it does not.
fn contradictions(config: &Config) -> Vec<(&'static str, String)> {
    let certificates = &config.certificates;
    let mut found = Vec::new();
    if certificates.expiring_soon_days >= certificates.expiring_days {
        found.push((
            "certificates.expiring_soon_days",
            format!("{} is not less than certificates.expiring_days, {}", certificates.expiring_soon_days, certificates.expiring_days),
        ));
    }
    found
}

impl Setting {
    /// The environment variable: `NODETRIAGE_LOG_LEVEL`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("NODETRIAGE_{}", self.key.replace('.', "_").to_uppercase())
    }

    /// What its flag is called where it has one: `--log-level`.
    #[must_use]
    pub fn flag(&self) -> String {
        format!("--{}", self.key.replace(['.', '_'], "-"))
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key)
    }
}

/// Where settings may come from, besides the defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// By key, what the command line says.
    pub flags: BTreeMap<&'static str, String>,
    /// The environment's variables; only those of nodetriage and `STATE_DIRECTORY` are looked at.
    pub environment: BTreeMap<String, String>,
}

/// The effective configuration, with where each value came from.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// By key: `/etc/nodetriage/config.yaml:3`, `NODETRIAGE_LISTEN`, `--listen`; what is not here is the default.
    origins: BTreeMap<&'static str, String>,
    /// What looks like a mistake and is none for sure.
    pub warnings: Vec<String>,
}

/// Everything that is wrong with the configuration, a line each: where, and what was expected.
#[derive(Debug, PartialEq, Eq)]
pub struct Invalid(pub Vec<String>);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Invalid {}

/// Puts the configuration together.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(sources: &Sources) -> Result<Loaded, Invalid> {
    let mut loaded = Loaded { config: Config::default(), origins: BTreeMap::new(), warnings: Vec::new() };
    let mut wrong = Vec::new();
    // systemd's StateDirectory= names it so (systemd.exec(5)); of several, the first is ours.
    if let Some(dir) = sources.variable("STATE_DIRECTORY") {
        let first = dir.split(':').next().unwrap_or_default();
        wrong.extend(loaded.set("state_dir", &Value::text(first), "STATE_DIRECTORY", "STATE_DIRECTORY"));
    }
    wrong.extend(loaded.take_file(sources));
    for setting in SETTINGS {
        let variable = setting.variable();
        if let Some(text) = sources.variable(&variable) {
            wrong.extend(loaded.set(setting.key, &Value::Scalar(text.to_owned()), &variable, &variable));
        }
    }
    for (key, text) in &sources.flags {
        let flag = format!("--{}", key.replace(['.', '_'], "-"));
        wrong.extend(loaded.set(key, &Value::Scalar(text.clone()), &flag, &flag));
    }
    if wrong.is_empty() {
        wrong = contradictions(&loaded.config).into_iter().map(|(key, what)| format!("{}: {key}: {what}", loaded.origin(key))).collect();
    }
    loaded.warnings = sources.misspelt_variables();
    if wrong.is_empty() { Ok(loaded) } else { Err(Invalid(wrong)) }
}

impl Sources {
    /// A variable's value; an empty one is as good as none, as manifests and EnvironmentFile= write "unset".
    fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Variables that resemble one of ours. Others are nobody's mistake: Kubernetes itself sets NODETRIAGE_SERVICE_HOST
    /// where a Service has our name.
    fn misspelt_variables(&self) -> Vec<String> {
        let known: Vec<String> = SETTINGS.iter().map(Setting::variable).chain(["NODETRIAGE_CONFIG".to_owned()]).collect();
        let unknown = self.environment.keys().filter(|name| name.starts_with("NODETRIAGE_") && !known.contains(name));
        unknown
            .filter_map(|name| nearest(name, known.iter().map(String::as_str)).map(|near| format!("{name} is not a setting; did you mean {near}?")))
            .collect()
    }
}

impl Loaded {
    /// Where the value of `key` came from.
    #[must_use]
    pub fn origin(&self, key: &str) -> &str {
        self.origins.get(key).map_or("default", String::as_str)
    }

    /// As YAML, each value with its origin as a comment; loading it again gives the same configuration.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut lines: Vec<(String, Option<&str>)> = Vec::new();
        let mut section = "";
        for setting in SETTINGS {
            let (parent, name) = setting.key.rsplit_once('.').unwrap_or(("", setting.key));
            if parent != section && !parent.is_empty() {
                lines.push((format!("{parent}:"), None));
            }
            section = parent;
            let indent = if parent.is_empty() { "" } else { "  " };
            lines.push((format!("{indent}{name}: {}", (setting.get)(&self.config)), Some(self.origin(setting.key))));
        }
        let width = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or_default();
        lines
            .into_iter()
            .map(|(line, origin)| match origin {
                Some(origin) => format!("{line:width$}  # {origin}\n"),
                None => line + "\n",
            })
            .collect()
    }

    fn take_file(&mut self, sources: &Sources) -> Vec<String> {
        let named = sources.file.clone().or_else(|| sources.variable("NODETRIAGE_CONFIG").map(PathBuf::from));
        let path = named.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
        let text = match file::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => return Vec::new(),
            Err(error) => return vec![format!("{}: {error}", path.display())],
        };
        let (entries, faults) = file::parse(&text);
        let mut wrong: Vec<String> = faults.iter().map(|fault| fault.at(&path)).collect();
        for entry in entries {
            let place = format!("{}:{}:{}", path.display(), entry.line, entry.column);
            let origin = format!("{}:{}", path.display(), entry.line);
            wrong.extend(self.set(entry.key, &entry.value, &origin, &format!("{place}: {}", entry.key)));
        }
        wrong
    }

    /// Sets a value, or says where it is wrong and what was expected.
    fn set(&mut self, key: &'static str, value: &Value, origin: &str, place: &str) -> Option<String> {
        let setting = SETTINGS.iter().find(|setting| setting.key == key)?;
        if *value == Value::Null {
            return None;
        }
        if (setting.set)(&mut self.config, value).is_none() {
            return Some(format!("{place}: {value} is not {}", setting.expected));
        }
        self.origins.insert(setting.key, origin.to_owned());
        None
    }
}

/// Whether `text` would do for the setting `key`; used by the command line.
///
/// # Errors
/// What was expected.
pub fn check(key: &str, text: &str) -> Result<(), String> {
    let setting = SETTINGS.iter().find(|setting| setting.key == key).ok_or_else(|| format!("no setting is called {key}"))?;
    let value = Value::Scalar(text.to_owned());
    (setting.set)(&mut Config::default(), &value).ok_or_else(|| format!("expected {}", setting.expected))
}

impl LogLevel {
    const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

fn absolute(path: &str) -> Option<String> {
    (path.starts_with('/') && !path.contains('\0')).then(|| path.to_owned())
}

/// RFC 1123 subdomain, as `ValidateNodeName` of Kubernetes' pkg/apis/core/validation has it.
fn node_name(name: &str) -> Option<&str> {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    (name.len() <= 253 && name.split('.').all(label)).then_some(name)
}

/// systemd.unit(5): the characters of a name, and the types that can run or fail. glob(7): those of a pattern.
fn unit_name(name: &str) -> Option<String> {
    let (stem, kind) = name.rsplit_once('.')?;
    let character = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@*?[]!^".contains(c);
    let kinds = ["service", "socket", "mount", "automount", "swap", "target", "path", "timer", "slice", "scope"];
    (!stem.is_empty() && name.len() <= 255 && name.chars().all(character) && kinds.contains(&kind)).then(|| name.to_owned())
}

/// `90s`, `5m`, `1h30m`, `30d`. `None` if it is none, or more than a century.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0)?;
        let (number, unit) = rest.split_at(digits);
        let seconds = match unit.chars().next()? {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(seconds)?)?;
        rest = unit.get(1..)?;
    }
    (!text.is_empty() && total <= 36_525 * 86_400).then(|| Duration::from_secs(total))
}

/// The inverse of [`parse_duration`], whole seconds.
fn show_duration(span: Duration) -> String {
    let mut left = span.as_secs();
    let mut text = String::new();
    for (unit, seconds) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        if left >= seconds {
            text.push_str(&format!("{}{unit}", left / seconds));
            left %= seconds;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// What was probably meant by a word that is none of the candidates.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let budget = word.chars().count().div_ceil(4).min(3);
    let distances = candidates.map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate));
    distances.filter(|(distance, _)| *distance <= budget).min().map(|(_, candidate)| candidate)
}

/// The variables of this process. Names and values that are no UTF-8 cannot be ours.
#[must_use]
pub fn environment() -> BTreeMap<String, String> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}

impl Fault {
    fn at(&self, path: &Path) -> String {
        format!("{}:{}:{}: {}", path.display(), self.line, self.column, self.message)
    }
}
