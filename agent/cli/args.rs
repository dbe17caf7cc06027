//! The arguments, as clap reads them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use nodetriage::config::{self, Sources};
use nodetriage::facts::Timestamp;
use nodetriage::finding::Severity;

/// Says what is wrong with this Kubernetes node, why, and what to run to fix it.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
#[command(after_help = "Exit status: 0 nothing above info, 1 warnings, 2 critical, 3 it could not do its job.")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub check: Check,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look once, diagnose, print (the default).
    Check(Check),
    /// Watch the node, and answer over HTTP.
    Serve(ServeSettings),
    /// Print the facts as JSON, without any secret.
    Observe(Look),
    /// Diagnose facts that observe printed, on this machine or another.
    Diagnose {
        /// The file, or - for stdin.
        #[arg(long, value_name = "FILE")]
        facts: PathBuf,
        /// The configuration [default: /etc/nodetriage/config.yaml, if it exists].
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Judge certificates as of then: RFC 3339, or +30d, +12h after the facts were observed.
        #[arg(long, value_name = "TIME", value_parser = parse_at)]
        at: Option<At>,
        #[command(flatten)]
        show: Show,
    },
    /// Print the node's journal, as journalctl does, where there is no journalctl or the disk is another's.
    Logs(super::logs::Logs),
    /// Print the article of a finding's code.
    Explain { code: String },
    /// List every finding there is.
    List {
        #[arg(long, value_enum, default_value = "text")]
        output: ListOutput,
    },
    /// Print the effective configuration, with where each value came from.
    Config(ServeSettings),
}

#[derive(Args, Debug)]
pub struct Check {
    #[command(flatten)]
    pub look: Look,
    #[command(flatten)]
    pub show: Show,
}

#[derive(Args, Debug)]
pub struct Look {
    #[command(flatten)]
    pub settings: Settings,
    /// Judge certificates as of then: RFC 3339, or +30d, +12h.
    #[arg(long, value_name = "TIME", value_parser = parse_at)]
    pub at: Option<At>,
}

#[derive(Args, Debug)]
pub struct Show {
    #[arg(long, value_enum, default_value = "text")]
    pub output: Output,
    /// Leave out findings below this, unless they explain one that is shown. The exit status stays the whole node's.
    #[arg(long, value_enum, default_value = "info", value_name = "LEAST")]
    pub severity: Least,
    /// Colour in text; auto is only on a terminal, and not if NO_COLOR is set.
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    pub color: Color,
    /// In text, also show how the runtime reads its networks (CNI) where nothing is wrong with them.
    #[arg(long, short)]
    pub verbose: bool,
}

/// Settings that every look at a node has.
#[derive(Args, Clone, Debug, Default)]
pub struct Settings {
    /// The configuration [default: /etc/nodetriage/config.yaml, if it exists].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the node's file system is [default: /].
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// The node's name in the cluster.
    #[arg(long, value_name = "NAME", value_parser = setting("node_name"))]
    node_name: Option<String>,
    #[arg(skip)]
    more: BTreeMap<&'static str, String>,
}

/// Settings of the daemon.
#[derive(Args, Debug)]
pub struct ServeSettings {
    #[command(flatten)]
    settings: Settings,
    /// Where HTTP is answered [default: 127.0.0.1:20258].
    #[arg(long, value_name = "ADDRESS", value_parser = setting("listen"))]
    listen: Option<String>,
    /// Where what must survive a restart is kept [default: /var/lib/nodetriage].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", value_parser = setting("log.level"))]
    log_level: Option<String>,
    /// text or json.
    #[arg(long, value_name = "FORMAT", value_parser = setting("log.format"))]
    log_format: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Output {
    Text,
    Json,
    Prometheus,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ListOutput {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Least {
    Info,
    Warning,
    Critical,
}

impl From<Least> for Severity {
    fn from(least: Least) -> Self {
        match least {
            Least::Info => Self::Info,
            Least::Warning => Self::Warning,
            Least::Critical => Self::Critical,
        }
    }
}

/// The instant at which certificates are judged.
#[derive(Clone, Copy, Debug)]
pub enum At {
    Time(Timestamp),
    In(Duration),
}

impl At {
    pub fn after(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Time(time) => time,
            Self::In(span) => now.plus(span),
        }
    }
}

fn parse_at(text: &str) -> Result<At, String> {
    if let Some(span) = text.strip_prefix('+') {
        return config::parse_duration(span).map(At::In).ok_or_else(|| "expected a number with d, h, m or s after the +, as +30d".to_owned());
    }
    text.parse().map(At::Time).map_err(|_| "expected an RFC 3339 time, as 2026-12-24T00:00:00Z, or a duration from now, as +30d".to_owned())
}

/// A value that the setting of this key takes.
fn setting(key: &'static str) -> impl Fn(&str) -> Result<String, String> + Clone {
    move |text| config::check(key, text).map(|()| text.to_owned())
}

impl Settings {
    /// Of a command that looks at no node: a file alone.
    pub fn file(config: Option<PathBuf>) -> Self {
        Self { config, ..Self::default() }
    }

    /// # Errors
    /// A path that is no UTF-8 text, or relative to a directory that is gone.
    pub fn sources(&self, environment: BTreeMap<String, String>) -> anyhow::Result<Sources> {
        let mut flags = self.more.clone();
        if let Some(root) = &self.root {
            flags.insert("root", absolute(root)?);
        }
        flags.extend(self.node_name.clone().map(|name| ("node_name", name)));
        Ok(Sources { file: self.config.clone(), flags, environment })
    }
}

impl ServeSettings {
    /// These and the ones of every look.
    pub fn all(&self) -> Settings {
        let state_dir = self.state_dir.as_ref().map(|path| path.display().to_string());
        let flags = [("listen", &self.listen), ("state_dir", &state_dir), ("log.level", &self.log_level), ("log.format", &self.log_format)];
        let more = flags.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect();
        Settings { more, ..self.settings.clone() }
    }
}

/// Relative paths of the command line are relative to where it is typed.
fn absolute(path: &std::path::Path) -> anyhow::Result<String> {
    let path = std::path::absolute(path)?;
    path.into_os_string().into_string().map_err(|path| anyhow::anyhow!("{}: the path is no UTF-8 text", path.display()))
}
