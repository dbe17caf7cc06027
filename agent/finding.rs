//! The vocabulary of the diagnosis: [`Check`], [`Finding`], [`Severity`], [`Evidence`], [`Component`].
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::facts::{Blind, Domain, Facts, Timestamp};

/// How bad it is. It belongs to the check: two levels are two checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing, nothing to do.
    Info,
    /// It will stop the node, or has stopped a part of it that can wait for the morning.
    Warning,
    /// The node does not do its work.
    Critical,
}

impl Severity {
    pub const ALL: [Self; 3] = [Self::Critical, Self::Warning, Self::Info];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The part of the node that a finding is about. A cause explains an effect only where the effect's part depends on the cause's.
/// In the order from below: of two causes that weigh the same, the deeper one is told first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Component {
    /// The machine under all of them.
    Node,
    Runtime,
    Kubelet,
    /// API server, controller manager, scheduler, etcd on this node.
    ControlPlane,
    /// Pod networking.
    Network,
    KubeProxy,
    /// The pods: what harms them alone.
    Workloads,
    /// What was asked to be watched besides.
    Other,
}

impl Component {
    /// Whether a fault in `self` can show as a fault of `other`.
    #[must_use]
    pub fn can_break(self, other: Self) -> bool {
        self == other
            || match self {
                Self::Node => true,
                Self::Runtime => matches!(other, Self::Kubelet | Self::Network | Self::ControlPlane | Self::KubeProxy),
                Self::Kubelet => matches!(other, Self::ControlPlane),
                Self::ControlPlane => matches!(other, Self::Kubelet | Self::KubeProxy),
                Self::KubeProxy | Self::Network | Self::Workloads | Self::Other => false,
            }
    }
}

/// A judgement about the node, declared once, in its own file beside its article.
pub struct Check {
    /// Kebab-case; the file's name with dashes. Never renamed, never reused.
    pub code: &'static str,
    /// What is true when it fires, in a few words for lists.
    pub title: &'static str,
    pub severity: Severity,
    /// The domain whose facts decide it.
    pub domain: Domain,
    /// How long it must hold before it is reported by the daemon.
    pub settle: Duration,
    /// The checks whose finding would explain this one.
    pub explained_by: &'static [&'static Check],
    /// Log lines this check counts.
    pub signals: &'static [Signal],
    /// Markdown: Meaning, Impact, Verify, Remedy, False alarms.
    pub article: &'static str,
    /// Pure: no clock, file or bus. Blindness is an error value, never an empty list.
    pub examine: fn(&Facts, &Config) -> Result<Vec<Finding>, Blind>,
}

impl Check {
    /// The condition's reason in Kubernetes' form: `UnitCrashLooping`.
    #[must_use]
    pub fn reason(&self) -> String {
        self.code
            .split('-')
            .map(|word| {
                let mut letters = word.chars();
                letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
            })
            .collect()
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code)
    }
}

/// Log lines worth counting: who writes them, and what they look like.
#[derive(Debug)]
pub struct Signal {
    pub from: LogSource,
    /// A regular expression on MESSAGE. A line counts when any of a check's signals matches.
    pub pattern: &'static str,
}

/// Who writes a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogSource {
    /// A unit's own lines, of its current or last invocation only: a restart that works clears what they said.
    Unit(&'static str),
    /// The kernel, this boot.
    Kernel,
    /// A container of kube-system of that name, its present or last start only.
    Container(&'static str),
}

/// Something that is wrong (or worth knowing), of what, by which evidence, and what to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Set from the check that made it.
    pub code: String,
    /// The check's; info where nothing but infos explain it.
    pub severity: Severity,
    /// What it is about: a unit, a path, a file system. `(code, subject)` is its identity.
    pub subject: String,
    /// One statement, lower case, no full stop.
    pub summary: String,
    /// Since when it has been true, as far as anything tells.
    pub since: Option<Timestamp>,
    pub evidence: Vec<Evidence>,
    /// Commands for this node, in order.
    pub remedy: Vec<String>,
    /// The findings that explain this one. Empty: it is a root cause.
    pub explained_by: Vec<Reference>,
    /// The domain has gone blind since: this is what was last known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// The article that explains the code.
    pub article: String,
    /// The part of the node it is about.
    pub component: Component,
    /// Where it is set, the subjects of the only findings that can explain this one.
    #[serde(skip)]
    pub hangs_on: Option<Vec<String>>,
}

/// Where it was seen, and what was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// A path with its line, `unit.Property`, a log's unit.
    pub source: String,
    pub saw: String,
}

/// A finding's identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Reference {
    pub code: String,
    pub subject: String,
}

impl Finding {
    /// A finding of the check that calls this; the diagnosis fills in code, severity and article.
    #[must_use]
    pub fn new(component: Component, subject: impl Into<String>, summary: impl Into<String>) -> Self {
        Self {
            code: String::new(),
            severity: Severity::Info,
            subject: subject.into(),
            summary: summary.into(),
            since: None,
            evidence: Vec::new(),
            remedy: Vec::new(),
            explained_by: Vec::new(),
            stale: false,
            article: String::new(),
            component,
            hangs_on: None,
        }
    }

    #[must_use]
    pub fn since(mut self, since: Option<Timestamp>) -> Self {
        self.since = since;
        self
    }

    #[must_use]
    pub fn evidence(mut self, source: impl Into<String>, saw: impl Into<String>) -> Self {
        self.evidence.push(Evidence { source: source.into(), saw: saw.into() });
        self
    }

    #[must_use]
    pub fn remedy(mut self, command: impl Into<String>) -> Self {
        self.remedy.push(command.into());
        self
    }

    /// Nothing explains it but findings of these subjects.
    #[must_use]
    pub fn hangs_on(mut self, subjects: Vec<String>) -> Self {
        self.hangs_on = Some(subjects);
        self
    }

    #[must_use]
    pub fn reference(&self) -> Reference {
        Reference { code: self.code.clone(), subject: self.subject.clone() }
    }
}
