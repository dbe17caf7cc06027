//! systemd's properties, put into a [`Unit`]. A property of an unexpected type, or one that an older systemd lacks, changes nothing.

use std::collections::HashMap;
use std::time::SystemTime;

use zbus::Variant;

use super::{keep_argv, keep_variable};
use crate::facts::Timestamp;
use crate::facts::units::{Active, EnvironmentFile, NETWORK_ONLINE, Unit};

/// The properties that name units which pull this one in.
const WANTED_BY: [&str; 5] = ["WantedBy", "RequiredBy", "BoundBy", "UpheldBy", "TriggeredBy"];

/// The properties that name units without which this one is not started.
const REQUIRES: [&str; 3] = ["Requires", "Requisite", "BindsTo"];

/// Everything an interface has (`GetAll`), or what of it changed (`PropertiesChanged`).
pub(super) type Properties<'a> = HashMap<&'a str, Variant<'a>>;

/// A unit that is not installed.
pub(super) fn not_found(name: &str) -> Unit {
    let active = Active { state: "inactive".to_owned(), sub_state: "dead".to_owned(), ..Active::default() };
    Unit { name: name.to_owned(), load_state: "not-found".to_owned(), active: Some(active), ..Unit::default() }
}

/// All of `org.freedesktop.systemd1.Unit`.
pub(super) fn replace_unit(unit: &mut Unit, memory: &mut Memory, properties: &Properties) {
    let names = |keys: &[&str]| keys.iter().filter_map(|key| get::<Vec<String>>(properties, key)).flatten().collect::<Vec<String>>();
    unit.wanted_by = names(&WANTED_BY);
    unit.requires = names(&REQUIRES);
    unit.requires.retain(|name| can_fail(name));
    unit.after = names(&["After"]);
    unit.after.retain(|name| can_fail(name) || name == NETWORK_ONLINE);
    // systemd tells them in no order.
    unit.wanted_by.sort();
    unit.requires.sort();
    unit.after.sort();
    update(unit, memory, properties);
}

/// The root and the slices are there or nothing is, and targets only stand for others.
fn can_fail(name: &str) -> bool {
    name != "-.mount" && matches!(name.rsplit_once('.'), Some((_, "service" | "socket" | "mount" | "device")))
}

/// What a signal or a reply says, of either interface.
pub(super) fn update(unit: &mut Unit, memory: &mut Memory, properties: &Properties) {
    let before = unit.active.clone().unwrap_or_default();
    if let Some(restart) = text(properties, "Restart") {
        memory.is_restarted = restart != "no";
    }
    for (key, value) in properties {
        if set(unit, key, value).is_none() {
            tracing::debug!("{}.{key} is not of the type that is expected", unit.name);
        }
    }
    let after = unit.active.get_or_insert_default();
    if after.job != before.job {
        after.job_since = after.job.map(|_| Timestamp::from(SystemTime::now()));
    }
    note_restart(memory, &before, after);
}

/// `None` if the value is not of the property's type.
fn set(unit: &mut Unit, key: &str, value: &Variant) -> Option<()> {
    let active = unit.active.get_or_insert_default();
    match key {
        "LoadState" => unit.load_state = of(value)?,
        "LoadError" => unit.load_error = Some(of::<(String, String)>(value)?.1).filter(|message| !message.is_empty()),
        "UnitFileState" => unit.unit_file_state = of(value)?,
        "NeedDaemonReload" => unit.need_daemon_reload = of(value)?,
        "FragmentPath" => unit.fragment_path = Some(of(value)?).filter(|path: &String| !path.is_empty()),
        "DropInPaths" => unit.drop_in_paths = of(value)?,
        "ExecStart" => unit.exec_start = keep_argv(&unit.name, exec_start(value)?),
        "Environment" => unit.environment = of::<Vec<String>>(value)?.into_iter().filter(|variable| keep_variable(&unit.name, variable)).collect(),
        "EnvironmentFiles" => {
            let files: Vec<(String, bool)> = of(value)?;
            unit.environment_files = files.into_iter().map(|(path, optional)| EnvironmentFile { path, optional }).collect();
        }
        "StandardError" => unit.standard_error = of(value)?,
        "ActiveState" => active.state = of(value)?,
        "SubState" => active.sub_state = of(value)?,
        "StateChangeTimestamp" => active.since = Timestamp::from_unix_micros(of(value)?),
        "ActiveEnterTimestamp" => active.active_enter = Timestamp::from_unix_micros(of(value)?),
        "ActiveExitTimestamp" => active.active_exit = Timestamp::from_unix_micros(of(value)?),
        "InactiveExitTimestamp" => active.inactive_exit = Timestamp::from_unix_micros(of(value)?),
        "TimeoutStartUSec" => active.start_timeout = seconds(of(value)?),
        "TimeoutStopUSec" => active.stop_timeout = seconds(of(value)?),
        "Job" => active.job = Some(of::<(u32, zbus::OwnedObjectPath)>(value)?.0).filter(|id| *id != 0),
        "Result" => active.result = of(value)?,
        "ExecMainCode" => active.exec_main_code = of(value)?,
        "ExecMainStatus" => active.exec_main_status = of(value)?,
        "MainPID" => active.main_pid = Some(of(value)?).filter(|pid| *pid != 0),
        "NRestarts" => active.restarts = Some(of(value)?),
        "InvocationID" => active.invocation_id = Some(of::<Vec<u8>>(value)?).filter(|id| id.len() == 16).map(|id| hex(&id)),
        _ => {}
    }
    Some(())
}

fn of<'a, T: TryFrom<Variant<'a>>>(value: &'a Variant<'a>) -> Option<T> {
    T::try_from(value.try_clone().ok()?).ok()
}

fn get<'a, T: TryFrom<Variant<'a>>>(properties: &'a Properties<'a>, key: &str) -> Option<T> {
    of(properties.get(key)?)
}

pub(super) fn text(properties: &Properties, key: &str) -> Option<String> {
    get(properties, key)
}

/// The argv of the first command.
fn exec_start(value: &Variant) -> Option<Vec<String>> {
    // (path, argv, ignore failure, start and exit times, pid, how it ended)
    type Command = (String, Vec<String>, bool, u64, u64, u64, u64, u32, i32, i32);
    let commands: Vec<Command> = of(value)?;
    Some(commands.into_iter().next().map(|command| command.1).unwrap_or_default())
}

/// `u64::MAX` and 0 mean that there is no end.
fn seconds(micros: u64) -> Option<u64> {
    Some(micros / 1_000_000).filter(|_| micros != 0 && micros != u64::MAX)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is remembered of a unit from one message to the next.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// systemd has counted a restart whose run has not begun yet.
    restarting: bool,
    /// `Restart` is not `no`.
    is_restarted: bool,
}

impl Memory {
    /// systemd before 253 has no word of its own for the moment between the end of a run and the wait for its restart.
    pub(super) fn may_fail_for_a_moment(&self, unit: &Unit) -> bool {
        let failed = |active: &Active| active.sub_state == "failed" && active.result != "start-limit-hit";
        self.is_restarted && unit.active.as_ref().is_some_and(failed)
    }
}

/// Tells automatic starts, which systemd counts (or before systemd 235, which does not count, which follow `auto-restart`), from those
/// by hand. The count and the new invocation come in two messages, the count first.
fn note_restart(memory: &mut Memory, before: &Active, after: &mut Active) {
    let counted = match (before.restarts, after.restarts) {
        (Some(before), Some(after)) => after > before,
        (None, None) => before.sub_state.contains("auto-restart") && !after.sub_state.contains("auto-restart"),
        _ => false,
    };
    // The count is set back by a start by hand only; what was counted before, and seen late, is over.
    let set_back = before.restarts.zip(after.restarts).is_some_and(|(before, after)| after < before);
    memory.restarting = !set_back && (memory.restarting || counted);
    if let (true, Some(time)) = (counted, after.since) {
        after.restarts_seen.push(time);
        let surplus = after.restarts_seen.len().saturating_sub(Active::RESTARTS_SEEN);
        after.restarts_seen.drain(..surplus);
    }
    if !matches!(after.result.as_str(), "" | "success") {
        after.last_failure = after.ending();
    }
    let begun = before.invocation_id.is_some() && after.invocation_id.is_some() && before.invocation_id != after.invocation_id;
    if begun && !std::mem::take(&mut memory.restarting) {
        after.restarts_forgiven = after.restarts.filter(|restarts| *restarts > 0);
        after.restarts_seen.clear();
        after.last_failure = None;
    }
    if after.restarts < after.restarts_forgiven {
        after.restarts_forgiven = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::units::Ending;

    /// A unit to which systemd says one thing after the other.
    #[derive(Default)]
    struct Told {
        unit: Unit,
        memory: Memory,
    }

    impl Told {
        fn service(&mut self, restarts: u32, result: &'static str, status: i32) {
            let code = i32::from(status != 0);
            let properties =
                [("NRestarts", Variant::from(restarts)), ("Result", result.into()), ("ExecMainCode", code.into()), ("ExecMainStatus", status.into())];
            update(&mut self.unit, &mut self.memory, &properties.into());
        }

        fn unit(&mut self, sub_state: &'static str, invocation: u8, second: u64) -> &Active {
            let properties = [
                ("SubState", Variant::from(sub_state)),
                ("InvocationID", vec![invocation; 16].into()),
                ("StateChangeTimestamp", (1_764_000_000_000_000 + second * 1_000_000).into()),
            ];
            update(&mut self.unit, &mut self.memory, &properties.into());
            self.unit.active.as_ref().unwrap()
        }
    }

    #[test]
    fn automatic_restarts_are_told_from_those_by_hand() {
        let mut told = Told::default();
        told.service(0, "success", 0);
        told.unit("running", 1, 0);
        for (restarts, invocation) in [(1, 2), (2, 3)] {
            told.service(restarts - 1, "exit-code", 1);
            told.unit("auto-restart", invocation - 1, 10);
            told.service(restarts, "success", 0);
            let active = told.unit("running", invocation, 20);
            assert_eq!((active.restarts(), active.restarts_seen.len()), (u64::from(restarts), usize::from(invocation) - 1));
            assert_eq!(active.ending(), Some(Ending { result: "exit-code".to_owned(), code: 1, status: 1 }));
        }
        // Mended, and restarted by hand while systemd waits: it starts at once, and the count stays.
        told.service(2, "exit-code", 1);
        told.unit("auto-restart", 3, 30);
        told.service(2, "success", 0);
        let active = told.unit("running", 4, 31);
        assert_eq!((active.restarts(), active.ending(), active.restarts_seen.len()), (0, None, 0));
        // It exits once more.
        told.service(3, "success", 0);
        assert_eq!(told.unit("running", 5, 40).restarts(), 1);
        // A look fell into a restart: it told the run before the count. Then it was started by hand, which sets the count back.
        told.unit("running", 7, 45);
        told.service(4, "success", 0);
        told.service(0, "success", 0);
        assert_eq!(told.unit("running", 8, 46).ending(), None);
        assert_eq!(told.unit("running", 8, 46).restarts_seen.len(), 0);
        // Stopped and started, which sets the count back.
        told.service(0, "success", 0);
        assert_eq!(told.unit("running", 6, 50).restarts(), 0);
    }

    #[test]
    fn a_property_of_another_type_changes_nothing() {
        let mut unit = Unit::default();
        let odd = [("ActiveState", Variant::from(7_u32)), ("ExecStart", "sh".into()), ("NRestarts", "many".into()), ("Job", 1_u64.into())];
        update(&mut unit, &mut Memory::default(), &odd.into());
        assert_eq!(unit, Unit { active: Some(Active::default()), ..Unit::default() });
    }

    #[test]
    fn secrets_are_dropped() {
        let command = |argv: &[&str]| {
            let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
            Variant::from(vec![(argv[0].clone(), argv, false, 0_u64, 0_u64, 0_u64, 0_u64, 0_u32, 0_i32, 0_i32)])
        };
        let environment = || Variant::from(vec!["KUBELET_EXTRA_ARGS=--v=2".to_owned(), "HTTP_PROXY=http://me:secret@proxy".to_owned()]);
        let told = |name: &str, argv: &[&str]| {
            let mut unit = Unit { name: name.to_owned(), ..Unit::default() };
            update(&mut unit, &mut Memory::default(), &[("ExecStart", command(argv)), ("Environment", environment())].into());
            (unit.exec_start, unit.environment)
        };
        let kept = (vec!["/usr/bin/kubelet".to_owned(), "--v=2".to_owned()], vec!["KUBELET_EXTRA_ARGS=--v=2".to_owned()]);
        assert_eq!(told("kubelet.service", &["/usr/bin/kubelet", "--v=2"]), kept);
        assert_eq!(told("k3s.service", &["/usr/local/bin/k3s", "server", "--token", "secret"]), (vec!["/usr/local/bin/k3s".to_owned()], vec![]));
    }
}
