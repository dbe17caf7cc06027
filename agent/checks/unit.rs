//! What the unit checks share: which units this node needs, what state they are in, and how their program ended.

use crate::config::Config;
use crate::facts::units::{Active, EMBEDDED, Ending, KNOWN, Unit};
use crate::facts::{Blind, Facts, Timestamp};
use crate::finding::{Check, Component, Finding};

/// What keeps a unit from being started: its own file, or the runtime it needs.
pub(super) static KEEPS_A_UNIT_STOPPED: &[&Check] = units_that_do_not_run![];

/// Every check whose finding can make a unit's program exit, or keep it from being started. Whoever adds a check of that kind
/// adds it here.
pub(super) static STOPS_A_UNIT: &[&Check] = units_that_do_not_run![
    super::kubelet_config_missing::CHECK,
    super::node_not_joined::CHECK,
    super::kubelet_config_invalid::CHECK,
    super::kubelet_client_ca_missing::CHECK,
    super::kubelet_kubeconfig_missing::CHECK,
    super::kubelet_kubeconfig_invalid::CHECK,
    super::kubelet_flag_unknown::CHECK,
    super::kubelet_flag_invalid::CHECK,
    super::kubelet_port_in_use::CHECK,
    super::kubelet_reservation_exceeds_capacity::CHECK,
    super::kubelet_swap_blocks::CHECK,
    super::cgroup_v1_refused::CHECK,
    super::runtime_config_invalid::CHECK,
    super::runtime_cri_missing::CHECK,
    super::runtime_endpoint_mismatch::CHECK,
    super::oom_kill_system::CHECK,
    super::certificate_expired::CHECK,
    super::certificate_not_yet_valid::CHECK,
    super::certificate_wrong_group::CHECK,
    super::certificate_wrong_user::CHECK,
    super::certificate_untrusted_issuer::CHECK,
    super::certificate_invalid::CHECK,
    super::certificate_key_mismatch::CHECK,
    super::filesystem_read_only::CHECK,
    super::disk_pressure::CHECK,
    super::inode_pressure::CHECK,
    super::pid_pressure::CHECK,
    super::kube_proxy_config_missing::CHECK,
    super::kube_proxy_config_invalid::CHECK,
];

const KUBELET: &str = "kubelet.service";
/// A unit that was restarted automatically counts as mended once it has run this long.
const HOLD_SECONDS: i64 = 60;
/// One that exits again after longer runs counts as mended once it has run twice as long as it last did, if that was no longer than this.
const RECURS_SECONDS: i64 = 1800;
/// How long a queued job may take to begin, before a unit that waits for it counts as stopped.
const QUEUED_SECONDS: i64 = 10;
/// What a unit without a timeout is given to start or stop.
const PATIENCE_SECONDS: u64 = 300;
/// systemd acts on a timeout itself; it is given this long to.
const SLACK_SECONDS: i64 = 10;

/// The units whose state matters: the kubelet and its runtime, what else of Kubernetes is there to be run as a unit, and
/// what the configuration names. A runtime that the kubelet does not use is not judged. Of the node's own network, and of what a
/// pattern finds, nothing is amiss that is stopped: not all of it is meant to run. Whether the clock is right, the clock tells.
pub(super) fn needed<'a>(facts: &'a Facts, config: &Config) -> Result<Vec<&'a Unit>, Blind> {
    let units = facts.units.ok()?;
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let embedded = units.units.iter().any(|unit| EMBEDDED.contains(&unit.name.as_str()) && unit.is_installed());
    let runtimes = runtimes(facts, embedded);
    let is_needed = |unit: &&Unit| match unit.name.as_str() {
        name if config.units.names().any(|watched| watched == name) => true,
        KUBELET if !embedded => true,
        name if component(name) == Component::Runtime => runtimes.contains(&name),
        "systemd-networkd.service" | "systemd-resolved.service" => is_started(unit) && unit.unit_file_state == "enabled",
        "systemd-timesyncd.service" | "chronyd.service" | "chrony.service" => false,
        name if KNOWN.contains(&name) => is_wanted(unit),
        name => config.units.finds(name) && is_started(unit),
    };
    Ok(units.units.iter().filter(is_needed).collect())
}

/// [`needed`], where what runs is known.
pub(super) fn needed_running<'a>(facts: &'a Facts, config: &Config) -> Result<Vec<(&'a Unit, &'a Active)>, Blind> {
    facts.units.ok()?.running()?;
    Ok(needed(facts, config)?.into_iter().filter_map(|unit| Some((unit, unit.active.as_ref()?))).collect())
}

/// Somebody means it to run: it starts at boot, or has run since. A package may bring a kube-proxy.service that nobody uses.
fn is_wanted(unit: &Unit) -> bool {
    let enabled = unit.unit_file_state.starts_with("enabled") || !unit.wanted_by.is_empty();
    let has_run = unit.active.as_ref().is_some_and(|active| active.active_enter.is_some() || active.state != "inactive");
    unit.is_installed() && !unit.is_masked() && (enabled || has_run)
}

/// It runs, or it failed to.
fn is_started(unit: &Unit) -> bool {
    unit.active.as_ref().is_some_and(|active| active.state != "inactive")
}

/// The runtime's units, by the kubelet's endpoint; where that is unknown, the one that runs, or is meant to.
fn runtimes(facts: &Facts, embedded: bool) -> Vec<&'static str> {
    let endpoint = facts.kubelet.known().and_then(|kubelet| kubelet.container_runtime_endpoint.as_ref()).map_or("", |endpoint| endpoint.value.as_str());
    let unit = |name: &str| facts.units.known().and_then(|units| units.get(name));
    let named = match endpoint {
        e if e.contains("crio") => vec!["crio.service"],
        e if e.contains("dockerd") => vec!["cri-docker.service", "docker.service"],
        e if e.contains("/run/containerd/containerd.sock") => vec!["containerd.service"],
        _ if embedded => ["snap.microk8s.daemon-containerd.service"].into_iter().filter(|name| unit(name).is_some_and(is_wanted)).collect(),
        _ => {
            let runs = |name: &&str| unit(name).and_then(|unit| unit.active.as_ref()).is_some_and(|active| active.state == "active");
            let installed = ["containerd.service", "crio.service", "cri-docker.service"].into_iter().filter(|name| unit(name).is_some_and(Unit::is_installed));
            installed.clone().find(runs).or_else(|| installed.clone().next()).into_iter().collect()
        }
    };
    // The distributions bring their own runtime.
    named.into_iter().filter(|name| !embedded || unit(name).is_some_and(Unit::is_installed)).collect()
}

/// The unit of the runtime that the kubelet uses, or the usual one where nothing tells.
pub(super) fn runtime(facts: &Facts, config: &Config) -> String {
    let units = needed(facts, config).unwrap_or_default();
    units.iter().find(|unit| component(&unit.name) == Component::Runtime).map_or("containerd.service", |unit| &unit.name).to_owned()
}

pub(super) fn component(name: &str) -> Component {
    match name {
        KUBELET => Component::Kubelet,
        name if EMBEDDED.contains(&name) => Component::Kubelet,
        "kube-proxy.service" => Component::KubeProxy,
        "containerd.service" | "crio.service" | "docker.service" | "cri-docker.service" | "snap.microk8s.daemon-containerd.service" => Component::Runtime,
        "systemd-networkd.service" | "systemd-resolved.service" => Component::Network,
        "kube-apiserver.service" | "kube-controller-manager.service" | "kube-scheduler.service" | "etcd.service" => Component::ControlPlane,
        _ => Component::Other,
    }
}

/// What is the matter with a unit; at most one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It runs, or is on its way to.
    Well,
    Inactive,
    Failed,
    CrashLooping,
    /// On its way for longer than it may take: since when, and how many seconds it may take.
    Stuck(Timestamp, i64),
}

/// The words for one state differ by version: 252 passes through `failed` and `dead` between two starts, 257 and 262 have names
/// for that (`failed-before-auto-restart`, `dead-before-auto-restart`, `auto-restart-queued`).
pub(super) fn state(unit: &Unit, active: &Active, now: Timestamp) -> State {
    let since = |time: Option<Timestamp>| time.map(|time| now.seconds_since(time));
    let queued = active.job.is_some() && since(active.since.max(active.job_since)).is_none_or(|since| since < QUEUED_SECONDS);
    if !unit.is_installed() {
        return State::Well;
    }
    if active.sub_state.contains("auto-restart") {
        return State::CrashLooping;
    }
    match active.state.as_str() {
        "inactive" | "failed" if queued => {
            if was_restarted(active) {
                State::CrashLooping
            } else {
                State::Well
            }
        }
        "inactive" => State::Inactive,
        "failed" => State::Failed,
        _ if was_restarted(active) && began(active).is_some_and(|began| now.seconds_since(began) < hold(active)) => State::CrashLooping,
        "activating" => stuck(active.inactive_exit, active.start_timeout.unwrap_or(PATIENCE_SECONDS), now),
        "reloading" | "refreshing" => stuck(active.since, active.start_timeout.unwrap_or(PATIENCE_SECONDS), now),
        // SIGTERM and SIGKILL have a timeout each.
        "deactivating" => stuck(active.active_exit.or(active.since), active.stop_timeout.unwrap_or(PATIENCE_SECONDS).saturating_mul(2), now),
        _ => State::Well,
    }
}

/// What keeps a stopped unit from being started, if another unit does: it waits, or cannot be.
pub(super) struct HeldUp<'a> {
    pub by: &'a Unit,
    pub state: &'a Active,
    /// Its start is queued behind the other's; else it requires the other, which does not run.
    pub waits: bool,
    /// What holds up that one in its turn, and so on.
    pub because: Vec<(&'a Unit, &'a Active)>,
}

/// A chain of units that hold each other up is followed no further.
const LINKS: usize = 8;

/// The units that hold up a stopped one. What it is only ordered after and does not run is in nobody's way.
pub(super) fn held_up<'a>(facts: &'a Facts, unit: &'a Unit, active: &Active) -> Vec<HeldUp<'a>> {
    let all = facts.units.known();
    let of = |name: &String| all.and_then(|units| units.get(name)).and_then(|unit| Some((unit, unit.active.as_ref()?)));
    let waits = active.job.is_some();
    let holders = |unit: &'a Unit| -> Vec<(&'a Unit, &'a Active)> {
        let names = if waits { &unit.after } else { &unit.requires };
        names.iter().filter_map(of).filter(|(_, state)| if waits { is_coming(state) } else { !is_up(state) }).collect()
    };
    let because = |first: &'a Unit, state: &Active| {
        let (mut chain, mut last, mut runs): (Vec<(&Unit, &Active)>, _, _) = (Vec::new(), first, state.state == "activating");
        // One whose own start has begun waits for nobody.
        while let Some(next) = holders(last).into_iter().find(|(unit, _)| unit.name != first.name && chain.iter().all(|(known, _)| known.name != unit.name))
            && !runs
            && chain.len() < LINKS
        {
            (last, runs) = (next.0, next.1.state == "activating");
            chain.push(next);
        }
        chain
    };
    holders(unit).into_iter().map(|(by, state)| HeldUp { by, state, waits, because: because(by, state) }).collect()
}

fn is_up(state: &Active) -> bool {
    !matches!(state.state.as_str(), "inactive" | "failed")
}

fn is_coming(state: &Active) -> bool {
    state.state == "activating" || state.job.is_some()
}

/// For how many seconds a unit that was restarted automatically is not yet mended.
fn hold(active: &Active) -> i64 {
    let [.., before, last] = active.restarts_seen.as_slice() else { return HOLD_SECONDS };
    let ran = last.seconds_since(*before);
    if ran <= RECURS_SECONDS { ran.saturating_mul(2).max(HOLD_SECONDS) } else { HOLD_SECONDS }
}

fn was_restarted(active: &Active) -> bool {
    active.restarts() > 0
}

/// When the present run began.
fn began(active: &Active) -> Option<Timestamp> {
    active.active_enter.max(active.inactive_exit)
}

fn stuck(since: Option<Timestamp>, limit: u64, now: Timestamp) -> State {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    match since {
        Some(since) if now.seconds_since(since) > limit.saturating_add(SLACK_SECONDS) => State::Stuck(since, limit),
        _ => State::Well,
    }
}

/// `exit code 1`, `killed by signal 9 (SIGKILL)`, `started too often in a row (start-limit-hit), last exit code 1`.
pub(super) fn ending(unit: &Unit, ending: &Ending) -> String {
    let status = ending.status;
    let exit = match ending.code {
        1 => exit_code(unit, status),
        2 | 3 => signal(status).map_or_else(|| format!("killed by signal {status}"), |name| format!("killed by signal {status} ({name})")),
        _ => String::new(),
    };
    let why = match ending.result.as_str() {
        "oom-kill" => "killed by the kernel, which was out of memory (oom-kill)",
        "timeout" => "not started or stopped in time (timeout)",
        "watchdog" => "its watchdog got no answer (watchdog)",
        "start-limit-hit" => "started too often in a row (start-limit-hit)",
        "resources" => "systemd lacked a resource to start it (resources)",
        "protocol" => "it did not say that it is ready (protocol)",
        "core-dump" => "core dumped",
        "exec-condition" => "its ExecCondition= was not met (exec-condition)",
        "" | "success" | "exit-code" | "signal" => "",
        other => other,
    };
    match (why, exit.as_str()) {
        ("", "") => format!("result {}", ending.result),
        ("", exit) => exit.to_owned(),
        (why, exit) if ending.result == "start-limit-hit" && !exit.is_empty() => format!("{why}, last {exit}"),
        (why, exit) if ending.result == "core-dump" => format!("{exit}, {why}"),
        (why, _) => why.to_owned(),
    }
}

/// systemd's names of exit codes (systemd.exec(5), "Process Exit Codes"): with one of these the program was not even started.
const NOT_STARTED: [(i32, &str); 43] = [
    (200, "CHDIR"),
    (201, "NICE"),
    (202, "FDS"),
    (203, "EXEC"),
    (204, "MEMORY"),
    (205, "LIMITS"),
    (206, "OOM_ADJUST"),
    (207, "SIGNAL_MASK"),
    (208, "STDIN"),
    (209, "STDOUT"),
    (210, "CHROOT"),
    (211, "IOPRIO"),
    (212, "TIMERSLACK"),
    (213, "SECUREBITS"),
    (214, "SETSCHEDULER"),
    (215, "CPUAFFINITY"),
    (216, "GROUP"),
    (217, "USER"),
    (218, "CAPABILITIES"),
    (219, "CGROUP"),
    (220, "SETSID"),
    (221, "CONFIRM"),
    (222, "STDERR"),
    (224, "PAM"),
    (225, "NETWORK"),
    (226, "NAMESPACE"),
    (227, "NO_NEW_PRIVILEGES"),
    (228, "SECCOMP"),
    (229, "SELINUX_CONTEXT"),
    (230, "PERSONALITY"),
    (231, "APPARMOR_PROFILE"),
    (232, "ADDRESS_FAMILIES"),
    (233, "RUNTIME_DIRECTORY"),
    (235, "CHOWN"),
    (236, "SMACK_PROCESS_LABEL"),
    (237, "KEYRING"),
    (238, "STATE_DIRECTORY"),
    (239, "CACHE_DIRECTORY"),
    (240, "LOGS_DIRECTORY"),
    (241, "CONFIGURATION_DIRECTORY"),
    (242, "NUMA_POLICY"),
    (243, "CREDENTIALS"),
    (245, "BPF"),
];

fn exit_code(unit: &Unit, status: i32) -> String {
    let name = NOT_STARTED.iter().find(|(code, _)| *code == status).map(|(_, name)| name);
    match (name, unit.exec_start.first()) {
        (Some(_), Some(program)) if status == 203 => format!("exit code 203/EXEC: {program} cannot be executed"),
        (Some(name), _) => format!("exit code {status}/{name}"),
        (None, _) if status == 255 => "exit code 255, as after a fatal log line".to_owned(),
        (None, _) => format!("exit code {status}"),
    }
}

/// signal(7), the ones that end services.
fn signal(number: i32) -> Option<&'static str> {
    Some(match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        31 => "SIGSYS",
        _ => return None,
    })
}

/// The last words of the run that ended, as evidence, if the journal has them: those of this invocation, or where the unit has been
/// started again, those spoken shortly before.
pub(super) fn last_words(facts: &Facts, unit: &Unit, active: &Active, finding: Finding) -> Finding {
    let words = facts.journal.known().and_then(|journal| journal.last_words.get(&unit.name));
    let Some((words, line)) = words.and_then(|words| Some((words, words.last()?))) else { return finding };
    let same_run = words.invocation_id.is_some() && words.invocation_id == active.invocation_id;
    let run_before = was_restarted(active) && began(active).is_some_and(|began| (0..2 * HOLD_SECONDS).contains(&began.seconds_since(line.time)));
    if same_run || run_before { finding.evidence(format!("{}, last {}", unit.name, line.time.clock()), line.said()) } else { finding }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_unix_seconds(1_764_000_000 + second).unwrap()
    }

    /// A unit that has been so since second 0, seen at second `now`.
    fn seen(active_state: &str, sub_state: &str, now: i64, more: impl FnOnce(&mut Active)) -> State {
        let mut active = Active { state: active_state.to_owned(), sub_state: sub_state.to_owned(), since: Some(at(0)), ..Active::default() };
        active.active_enter = Some(at(0)).filter(|_| active_state == "active");
        active.inactive_exit = Some(at(0)).filter(|_| active_state == "activating");
        more(&mut active);
        let unit = Unit { name: KUBELET.to_owned(), load_state: "loaded".to_owned(), ..Unit::default() };
        state(&unit, &active, at(now))
    }

    #[test]
    fn each_versions_words_between_two_runs_are_a_crash_loop() {
        let restarts = |active: &mut Active| active.restarts = Some(3);
        for (active, sub) in [
            ("activating", "auto-restart"),
            ("activating", "auto-restart-queued"),
            ("failed", "failed-before-auto-restart"),
            ("inactive", "dead-before-auto-restart"),
        ] {
            assert_eq!(seen(active, sub, 3600, restarts), State::CrashLooping, "{sub}");
        }
        // 252 is dead for a moment, with the job of its start queued.
        assert_eq!(seen("inactive", "dead", 0, |active| (active.restarts, active.job) = (Some(3), Some(77))), State::CrashLooping);
        assert_eq!(seen("activating", "start", 5, restarts), State::CrashLooping);
        assert_eq!(seen("active", "running", 59, restarts), State::CrashLooping);
        assert_eq!(seen("active", "running", 60, restarts), State::Well);
        let by_hand = |active: &mut Active| (active.restarts, active.restarts_forgiven) = (Some(3), Some(3));
        assert_eq!(seen("active", "running", 5, by_hand), State::Well);
        // Before systemd 235 nothing counts restarts but who watches.
        assert_eq!(seen("active", "running", 5, |active| active.restarts_seen = vec![at(0)]), State::CrashLooping);
    }

    #[test]
    fn a_unit_has_one_state_at_a_time() {
        assert_eq!(seen("active", "running", 5, |_| ()), State::Well);
        assert_eq!(seen("inactive", "dead", 5, |_| ()), State::Inactive);
        assert_eq!(seen("failed", "failed", 5, |active| active.restarts = Some(5)), State::Failed);
        // About to be started; and still not.
        assert_eq!(seen("inactive", "dead", 5, |active| active.job = Some(7)), State::Well);
        assert_eq!(seen("inactive", "dead", 10, |active| active.job = Some(7)), State::Inactive);
        assert_eq!(seen("some-new-state", "of-systemd-300", 5, |_| ()), State::Well);
    }

    #[test]
    fn a_unit_is_stuck_once_its_own_timeout_has_passed() {
        let timeout = |active: &mut Active| (active.start_timeout, active.stop_timeout) = (Some(90), Some(90));
        assert_eq!(seen("activating", "start", 100, timeout), State::Well);
        assert_eq!(seen("activating", "start", 101, timeout), State::Stuck(at(0), 90));
        assert_eq!(seen("activating", "start", 300, |_| ()), State::Well);
        assert_eq!(seen("activating", "start", 311, |_| ()), State::Stuck(at(0), 300));
        assert_eq!(seen("reloading", "reload", 101, timeout), State::Stuck(at(0), 90));
        assert_eq!(seen("deactivating", "final-sigkill", 190, timeout), State::Well);
        assert_eq!(seen("deactivating", "final-sigkill", 191, timeout), State::Stuck(at(0), 180));
        assert_eq!(seen("activating", "start", i64::MAX / 2_000_000_000, |active| active.start_timeout = Some(u64::MAX)), State::Well);
    }

    #[test]
    fn an_ending_is_named_as_systemd_names_it() {
        let unit = Unit { exec_start: vec!["/usr/bin/kubelet".to_owned()], ..Unit::default() };
        let named = |result: &str, code, status| ending(&unit, &Ending { result: result.to_owned(), code, status });
        assert_eq!(named("exit-code", 1, 1), "exit code 1");
        assert_eq!(named("exit-code", 1, 203), "exit code 203/EXEC: /usr/bin/kubelet cannot be executed");
        assert_eq!(named("exit-code", 1, 217), "exit code 217/USER");
        assert_eq!(named("exit-code", 1, 255), "exit code 255, as after a fatal log line");
        assert_eq!(named("signal", 2, 9), "killed by signal 9 (SIGKILL)");
        assert_eq!(named("signal", 2, 63), "killed by signal 63");
        assert_eq!(named("core-dump", 3, 6), "killed by signal 6 (SIGABRT), core dumped");
        assert_eq!(named("oom-kill", 2, 9), "killed by the kernel, which was out of memory (oom-kill)");
        assert_eq!(named("start-limit-hit", 1, 1), "started too often in a row (start-limit-hit), last exit code 1");
        assert_eq!(named("resources", 0, 0), "systemd lacked a resource to start it (resources)");
        assert_eq!(named("brand-new-result", 0, 0), "brand-new-result");
    }
}
