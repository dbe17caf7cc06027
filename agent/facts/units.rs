use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::{Blind, Timestamp};

/// What unit files do not tell.
static WHAT_RUNS: LazyLock<Blind> = LazyLock::new(|| Blind::new("what runs: this is a disk, and only its unit files were read"));

/// The units a node may live by.
pub const KNOWN: [&str; 24] = [
    "kubelet.service",
    "kube-proxy.service",
    "containerd.service",
    "crio.service",
    "docker.service",
    "cri-docker.service",
    "kube-apiserver.service",
    "kube-controller-manager.service",
    "kube-scheduler.service",
    "etcd.service",
    "k3s.service",
    "k3s-agent.service",
    "rke2-server.service",
    "rke2-agent.service",
    "k0scontroller.service",
    "k0sworker.service",
    "snap.microk8s.daemon-kubelite.service",
    "snap.microk8s.daemon-kubelet.service",
    "snap.microk8s.daemon-containerd.service",
    "systemd-networkd.service",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
    "chronyd.service",
    "chrony.service",
];
/// What a kubelet that kubeadm installed is ordered after.
pub const NETWORK_ONLINE: &str = "network-online.target";
/// Those of which the kubelet is a part: where one is, there is no kubelet.service, and none is missed.
pub const EMBEDDED: &[&str] = KNOWN.split_at(10).1.split_at(8).0;

/// The watched systemd units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Units {
    pub source: UnitSource,
    /// In the order they are watched; the ones that are not installed are here too, with `LoadState=not-found`.
    pub units: Vec<Unit>,
}

/// Who told us about the units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitSource {
    /// systemd itself, over D-Bus.
    Systemd,
    /// Unit files of a tree that is not running: what runs there is unknown.
    Files,
}

impl Units {
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Unit> {
        self.units.iter().find(|unit| unit.name == name)
    }

    /// Whether systemd itself told, so that what runs is known.
    ///
    /// # Errors
    /// Blind, if it was read from unit files.
    pub fn running(&self) -> Result<(), Blind> {
        match self.source {
            UnitSource::Systemd => Ok(()),
            UnitSource::Files => Err(WHAT_RUNS.clone()),
        }
    }

    pub(super) fn blind_spots(&self) -> Vec<&Blind> {
        match self.source {
            UnitSource::Systemd => Vec::new(),
            UnitSource::Files => vec![&WHAT_RUNS],
        }
    }
}

/// A systemd unit, in systemd's own words (`org.freedesktop.systemd1(5)`); strings we do not know are kept as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    pub name: String,
    /// `LoadState`: `loaded`, `not-found`, `masked`, `error`, `bad-setting`…
    pub load_state: String,
    /// The message of `LoadError`, if loading failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_error: Option<String>,
    /// What runs; absent when the unit was read from files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<Active>,
    /// `UnitFileState`: `enabled`, `disabled`, `static`, `masked`…; empty if systemd has no word for it.
    #[serde(default)]
    pub unit_file_state: String,
    /// Units that pull it in: `WantedBy`, `RequiredBy`, `BoundBy`, `UpheldBy`, `TriggeredBy`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wanted_by: Vec<String>,
    /// Units that must be active for it to be started, or it is stopped with them: `Requires`, `Requisite`, `BindsTo`. Services, sockets,
    /// mounts and devices only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
    /// `After`: units whose start its own start waits for. Services, sockets, mounts, devices, and `network-online.target`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    #[serde(default)]
    pub need_daemon_reload: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fragment_path: Option<String>,
    #[serde(default)]
    pub drop_in_paths: Vec<String>,
    /// The argv of `ExecStart`, with `$VARIABLES` as they are written. Of programs whose flags may carry secrets
    /// (k3s' `--token`) and of units watched by configuration, only the program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exec_start: Vec<String>,
    /// `Environment`, as `NAME=value`: only `KUBELET_*` and `KUBE_*` of the kubelet and kube-proxy. Others may be secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<String>,
    /// `EnvironmentFile`, in the order they are read; a later one wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment_files: Vec<EnvironmentFile>,
    /// `StandardError`: `inherit`, `journal`, `null`, `file`…; empty where nothing tells.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub standard_error: String,
}

/// A file of variables that systemd reads before it starts the unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentFile {
    /// As written; may be a pattern.
    pub path: String,
    /// It may be missing (`-` before the path).
    pub optional: bool,
}

/// The running side of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Active {
    /// `ActiveState`: `active`, `inactive`, `failed`, `activating`, `deactivating`, `reloading`…
    pub state: String,
    /// `SubState`: `running`, `dead`, `auto-restart`…
    pub sub_state: String,
    /// `StateChangeTimestamp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// `ActiveEnterTimestamp`: the last time it became active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_enter: Option<Timestamp>,
    /// `ActiveExitTimestamp`: the last time it began to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_exit: Option<Timestamp>,
    /// `InactiveExitTimestamp`: the last time it began to start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inactive_exit: Option<Timestamp>,
    /// `TimeoutStartUSec` in seconds; absent if it may take for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timeout: Option<u64>,
    /// `TimeoutStopUSec` in seconds; absent if it may take for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<u64>,
    /// `Job`: the number of the job that is queued for it: systemd is about to start or stop it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<u32>,
    /// When that job was first seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_since: Option<Timestamp>,
    /// `Result` of the last run: `success`, `exit-code`, `signal`, `oom-kill`, `start-limit-hit`…
    #[serde(default)]
    pub result: String,
    /// `ExecMainCode`: how the last main process ended (`CLD_EXITED`=1, `CLD_KILLED`=2, `CLD_DUMPED`=3; 0 while it runs).
    #[serde(default)]
    pub exec_main_code: i32,
    /// `ExecMainStatus`: exit status, or the signal's number.
    #[serde(default)]
    pub exec_main_status: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main_pid: Option<u32>,
    /// `NRestarts`: automatic restarts since the unit was last started by hand. Absent before systemd 235.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u32>,
    /// The part of `NRestarts` that a start by hand has put behind, as it was seen while the unit was watched: systemd itself does
    /// not set it back if somebody restarts a unit that waits to be restarted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts_forgiven: Option<u32>,
    /// How the last run that failed ended, as it was seen while the unit was watched; forgotten when it is started by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Ending>,
    /// When it was seen to be restarted automatically while it was watched, oldest first; at most [`Active::RESTARTS_SEEN`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restarts_seen: Vec<Timestamp>,
    /// `InvocationID` as 32 hex digits: names this run, also in the journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocation_id: Option<String>,
}

/// How a run of a unit ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// As [`Active::result`].
    pub result: String,
    /// As [`Active::exec_main_code`].
    pub code: i32,
    /// As [`Active::exec_main_status`].
    pub status: i32,
}

impl Active {
    /// Automatic restarts that led to the present run.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        match self.restarts {
            Some(restarts) => restarts.saturating_sub(self.restarts_forgiven.unwrap_or(0)).into(),
            None => self.restarts_seen.len() as u64,
        }
    }

    /// How the last run ended: this one, if it has ended, else the last that was seen to fail.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        let current = Ending { result: self.result.clone(), code: self.exec_main_code, status: self.exec_main_status };
        if current.code != 0 || !matches!(self.result.as_str(), "" | "success") { Some(current) } else { self.last_failure.clone() }
    }

    /// How many restarts are remembered.
    pub const RESTARTS_SEEN: usize = 16;
}

impl Unit {
    /// There is a unit file, whatever its state (a masked unit counts: somebody masked it).
    #[must_use]
    pub fn is_installed(&self) -> bool {
        self.load_state != "not-found" && !self.load_state.is_empty()
    }

    #[must_use]
    pub fn is_masked(&self) -> bool {
        self.load_state == "masked" || self.unit_file_state.starts_with("masked")
    }

    /// It will be started at boot, by its own `[Install]` section or by another unit that wants it.
    #[must_use]
    pub fn starts_at_boot(&self) -> bool {
        !matches!(self.unit_file_state.as_str(), "disabled" | "masked" | "masked-runtime")
    }
}
