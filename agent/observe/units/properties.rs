//! systemd's properties, put into a [`Unit`]. A property of an unexpected type, or one that an older systemd lacks, changes nothing.

use std::collections::HashMap;

use zbus::Variant;

use super::{keep_argv, keep_variable};
use crate::facts::Timestamp;
use crate::facts::units::{Active, EnvironmentFile, Unit};

/// The properties that name units which pull this one in.
const WANTED_BY: [&str; 5] = ["WantedBy", "RequiredBy", "BoundBy", "UpheldBy", "TriggeredBy"];

/// Everything an interface has (`GetAll`), or what of it changed (`PropertiesChanged`).
pub(super) type Properties<'a> = HashMap<&'a str, Variant<'a>>;

/// A unit that is not installed.
pub(super) fn not_found(name: &str) -> Unit {
    let active = Active { state: "inactive".to_owned(), sub_state: "dead".to_owned(), ..Active::default() };
    Unit { name: name.to_owned(), load_state: "not-found".to_owned(), active: Some(active), ..Unit::default() }
}

/// All of `org.freedesktop.systemd1.Unit`.
pub(super) fn replace_unit(unit: &mut Unit, properties: &Properties) {
    unit.wanted_by = WANTED_BY.into_iter().filter_map(|key| get::<Vec<String>>(properties, key)).flatten().collect();
    update(unit, properties);
}

/// What a signal or a reply says, of either interface.
pub(super) fn update(unit: &mut Unit, properties: &Properties) {
    let before = unit.active.clone().unwrap_or_default();
    for (key, value) in properties {
        if set(unit, key, value).is_none() {
            tracing::debug!("{}.{key} is not of the type that is expected", unit.name);
        }
    }
    let after = unit.active.get_or_insert_default();
    note_restart(&before, after);
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

/// Remembers an automatic restart: one that systemd counts, or before systemd 235, which does not count, a new invocation after `auto-restart`.
fn note_restart(before: &Active, after: &mut Active) {
    let restarted = match (before.restarts, after.restarts) {
        (Some(before), Some(after)) => after > before,
        (None, None) => before.sub_state.contains("auto-restart") && before.invocation_id != after.invocation_id,
        _ => false,
    };
    if after.restarts == Some(0) && !after.sub_state.contains("auto-restart") {
        after.restarts_seen.clear();
        after.last_failure = None;
    }
    if !matches!(after.result.as_str(), "" | "success") {
        after.last_failure = after.ending();
    }
    if let (true, Some(time)) = (restarted, after.since) {
        after.restarts_seen.push(time);
        let surplus = after.restarts_seen.len().saturating_sub(Active::RESTARTS_SEEN);
        after.restarts_seen.drain(..surplus);
    }
}
