//! One connection to the bus, from the first call to its end.
//!
//! Calls are written out and answers are matched to them by serial number in the one stream that also brings the signals, so that
//! what systemd says is applied in the order in which it was said: an answer never overwrites a later signal. The stream is
//! read without a pause, for an unread one stops the connection.

use std::collections::{HashMap, VecDeque};
use std::fmt::Display;
use std::future::poll_fn;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;
use tokio::time::{Instant, timeout_at};
use zbus::message::{Header, Type};
use zbus::names::OwnedUniqueName;
use zbus::{Connection, Message, MessageStream, ObjectPath, Variant};

use super::DEADLINE;
use super::dial::{Way, bus_hangs, dial};
use super::properties::{self, Properties};
use super::watches::{Watches, Why};
use crate::config::matches_pattern;
use crate::facts::{Blind, Units};
use crate::observe::host::Host;

const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";
const SYSTEMD: &str = "org.freedesktop.systemd1";
const SYSTEMD_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// Calls that wait for an answer at a time. dbus-daemon refuses more than 128 and its users see replies go missing (`max_replies_per_connection`).
const IN_FLIGHT: usize = 32;
/// A reload answers nothing until it is done; on a node with thousands of units that takes a while.
const RELOAD: Duration = Duration::from_secs(30);

/// Why a session has ended.
#[derive(Debug)]
pub(super) enum End {
    /// What bars us from seeing, and since when.
    Blind { blind: Blind, since: Instant, of: Bars },
    /// systemd has left the bus or come back to it (`daemon-reexec`), or the bus may be back: begin again.
    Again,
}

/// Whose fault it is that nothing is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bars {
    /// The way to systemd; there may be another.
    Way,
    /// systemd itself.
    Systemd,
}

impl From<Blind> for End {
    fn from(blind: Blind) -> Self {
        Self::Blind { blind, since: Instant::now(), of: Bars::Way }
    }
}

/// What a message has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    None,
    /// A unit, perhaps.
    Changed,
    /// A unit has failed that may be restarted: systemd 252 says so of each run of a crash loop, and that it will be restarted in
    /// the same breath.
    Failed,
}

/// What was asked by a call that waits for its answer.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Rule,
    Subscribe,
    /// The bus itself, to tell whose silence it is.
    Bus,
    Systemd,
    /// Whether there is such a unit: most watched ones are not there, and are asked no more.
    LoadState(usize),
    Unit(usize),
    /// What only units of its type have: `Result` and what goes with it.
    Type(usize),
    /// The units that are loaded, and those that are installed, of those that the patterns find.
    Loaded,
    Installed,
}

pub(super) struct Session<'a> {
    way: Way,
    connection: Connection,
    stream: MessageStream,
    watches: &'a mut Watches,
    /// By object path, the unit of a signal.
    paths: HashMap<String, usize>,
    queue: VecDeque<(Asked, Message)>,
    pending: HashMap<NonZeroU32, Asked>,
    /// When the oldest silence began.
    asked: Instant,
    /// The bus was asked whether the silence is its own.
    doubted: bool,
    /// systemd's unique name on the bus: signals of others are forgeries.
    systemd: Option<OwnedUniqueName>,
    reloading: Option<Instant>,
    /// Something that only a new look tells has changed.
    stale: bool,
}

impl<'a> Session<'a> {
    pub(super) async fn open(host: &Host, watches: &'a mut Watches, way: Way) -> Result<Self, Blind> {
        let connection = dial(host, way, Instant::now() + DEADLINE).await?;
        let stream = MessageStream::from(&connection);
        watches.tidy();
        let paths = watches.all.iter().enumerate().map(|(index, watched)| (unit_path(&watched.name), index)).collect();
        for watched in &mut watches.all {
            watched.id.clone_from(&watched.name);
        }
        Ok(Self {
            way,
            connection,
            stream,
            watches,
            paths,
            queue: VecDeque::new(),
            pending: HashMap::new(),
            asked: Instant::now(),
            doubted: false,
            systemd: None,
            reloading: None,
            stale: false,
        })
    }

    pub(super) fn facts(&self) -> Units {
        self.watches.facts()
    }

    /// Asks for the signals of the watched units and of the manager, and of nothing else.
    ///
    /// `UnitNew` is asked for where a pattern waits for units that nobody knows yet. Else it is not, nor is `UnitRemoved`: our own question
    /// for a unit that is not loaded makes systemd send both, a unit's path is known without them, and what is installed or
    /// removed shows as a reload.
    pub(super) fn subscribe(&mut self) -> Result<(), Blind> {
        let paths: Vec<String> = self.paths.keys().cloned().collect();
        for path in paths {
            self.rule(&path, PROPERTIES, "PropertiesChanged")?;
        }
        self.rule(SYSTEMD_PATH, MANAGER, "UnitFilesChanged")?;
        self.rule(SYSTEMD_PATH, MANAGER, "Reloading")?;
        if !self.watches.patterns.is_empty() {
            self.rule(SYSTEMD_PATH, MANAGER, "UnitNew")?;
        }
        self.ask_bus(Asked::Rule, "AddMatch", &(format!("type='signal',sender='{BUS}',member='NameOwnerChanged',arg0='{SYSTEMD}'"),))?;
        self.ask(Asked::Subscribe, SYSTEMD, SYSTEMD_PATH, MANAGER, "Subscribe", &())
    }

    fn rule(&mut self, path: &str, interface: &str, member: &str) -> Result<(), Blind> {
        let rule = format!("type='signal',sender='{SYSTEMD}',path='{path}',interface='{interface}',member='{member}'");
        self.ask_bus(Asked::Rule, "AddMatch", &(rule,))
    }

    /// Asks for everything.
    pub(super) fn look(&mut self) -> Result<(), Blind> {
        self.stale = false;
        self.ask_bus(Asked::Bus, "GetId", &())?;
        for index in 0..self.watches.all.len() {
            let path = self.path(index);
            self.ask(Asked::LoadState(index), SYSTEMD, &path, PROPERTIES, "Get", &(UNIT, "LoadState"))?;
        }
        if !self.watches.patterns.is_empty() {
            let (any, patterns) = (Vec::<String>::new(), self.watches.patterns.clone());
            self.ask(Asked::Loaded, SYSTEMD, SYSTEMD_PATH, MANAGER, "ListUnitsByPatterns", &(&any, &patterns))?;
            self.ask(Asked::Installed, SYSTEMD, SYSTEMD_PATH, MANAGER, "ListUnitFilesByPatterns", &(&any, &patterns))?;
        }
        Ok(())
    }

    /// Asks only whether anybody is there: who answers is systemd, through the bus.
    pub(super) fn ping(&mut self) -> Result<(), Blind> {
        self.doubted = false;
        self.ask(Asked::Systemd, SYSTEMD, SYSTEMD_PATH, "org.freedesktop.DBus.Peer", "Ping", &())
    }

    /// systemd has not answered for half of the time it has, and whose silence that is has not been asked.
    pub(super) fn is_unsure(&self) -> bool {
        let waits_for_systemd = self.queue.is_empty() && self.pending.values().all(|asked| matches!(asked, Asked::Systemd));
        self.way == Way::Bus && !self.doubted && self.reloading.is_none() && waits_for_systemd
    }

    /// Asks the bus itself, which has the other half.
    pub(super) fn doubt(&mut self) -> Result<(), Blind> {
        self.doubted = true;
        self.ask_bus(Asked::Bus, "GetId", &())
    }

    /// Of its name: no `LoadUnit` is needed, for systemd loads what it is asked for.
    fn path(&self, index: usize) -> String {
        unit_path(self.watches.all.get(index).map_or("", |watched| watched.id.as_str()))
    }

    /// On systemd's private socket there is no bus: every signal comes, and whose silence it is needs no asking.
    fn ask_bus<B: serde::Serialize + zbus::DynamicType>(&mut self, asked: Asked, call: &str, body: &B) -> Result<(), Blind> {
        match self.way {
            Way::Bus => self.ask(asked, BUS, BUS_PATH, BUS, call, body),
            Way::Private => Ok(()),
        }
    }

    fn ask<B: serde::Serialize + zbus::DynamicType>(&mut self, asked: Asked, to: &str, path: &str, interface: &str, call: &str, body: &B) -> Result<(), Blind> {
        let message = Message::method_call(path, call).destination(to).interface(interface).build(body);
        let message = message.map_err(|error| Blind::new(format!("cannot ask for {path}: {error}")))?;
        self.queue.push_back((asked, message));
        Ok(())
    }

    /// Writes as many calls as may be in flight.
    pub(super) async fn send(&mut self) -> Result<(), Blind> {
        if self.pending.is_empty() {
            self.asked = Instant::now();
        }
        let mut batch = Vec::new();
        while self.pending.len() < IN_FLIGHT
            && let Some((asked, message)) = self.queue.pop_front()
        {
            self.pending.insert(message.primary_header().serial_num(), asked);
            batch.push(message);
        }
        // A socket that takes no more bytes belongs to a bus that reads none.
        match timeout_at(Instant::now() + DEADLINE, self.connection.send_all(&batch)).await {
            Ok(sent) => sent.map_err(|error| lost(&error)),
            Err(_) => Err(bus_hangs()),
        }
    }

    pub(super) fn is_private(&self) -> bool {
        self.way == Way::Private
    }

    /// Everything that was asked has been answered.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.queue.is_empty()
    }

    /// A reload or a change of unit files calls for a new look.
    pub(super) fn is_stale(&self) -> bool {
        self.stale && self.reloading.is_none_or(|since| since.elapsed() > RELOAD)
    }

    /// When an answer is overdue.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let patience = match self.reloading {
            Some(since) => (since + RELOAD).saturating_duration_since(self.asked).max(DEADLINE),
            None if self.is_unsure() => DEADLINE / 2,
            None => DEADLINE,
        };
        (!self.pending.is_empty()).then(|| self.asked + patience)
    }

    /// Whose silence it is: [`Asked::Bus`] tells.
    pub(super) fn silence(&self) -> End {
        let bus = self.pending.values().any(|asked| matches!(asked, Asked::Bus | Asked::Rule));
        let (blind, of) = if bus { (bus_hangs(), Bars::Way) } else { (systemd_hangs(), Bars::Systemd) };
        End::Blind { blind, since: self.asked, of }
    }

    /// The next message, applied.
    pub(super) async fn next(&mut self) -> Result<News, End> {
        match poll_fn(|context| Pin::new(&mut self.stream).poll_next(context)).await {
            Some(Ok(message)) => self.take(&message),
            Some(Err(error)) => Err(lost(&error).into()),
            None => Err(lost(&"closed").into()),
        }
    }

    fn take(&mut self, message: &Message) -> Result<News, End> {
        let header = message.header();
        match message.message_type() {
            Type::Signal => self.signal(&header, message),
            Type::MethodReturn | Type::Error => {
                let Some(asked) = header.reply_serial().and_then(|serial| self.pending.remove(&serial)) else { return Ok(News::None) };
                // That the bus speaks is no word of systemd's.
                if !matches!(asked, Asked::Bus) {
                    self.asked = Instant::now();
                }
                if message.message_type() == Type::Error { self.refused(asked, &header, message) } else { self.answered(asked, &header, message) }
            }
            Type::MethodCall => Ok(News::None),
        }
    }

    fn answered(&mut self, asked: Asked, header: &Header<'_>, message: &Message) -> Result<News, End> {
        let body = message.body();
        match asked {
            Asked::Rule | Asked::Bus | Asked::Systemd => Ok(News::None),
            Asked::Subscribe => {
                self.systemd = header.sender().map(|name| name.to_owned().into());
                Ok(News::None)
            }
            Asked::LoadState(index) => {
                let value: Variant = body.deserialize().map_err(|error| not_understood(&error))?;
                self.loaded(index, &value.downcast::<String>().unwrap_or_default())
            }
            Asked::Unit(index) => {
                let all: Properties = body.deserialize().map_err(|error| not_understood(&error))?;
                let Some(watched) = self.watches.get_mut(index) else { return Ok(News::None) };
                properties::replace_unit(&mut watched.unit, &mut watched.memory, &all);
                let dependencies = watched.hangs_on();
                self.known_as(index, properties::text(&all, "Id"))?;
                for name in dependencies {
                    self.add(&name, Why::Dependency)?;
                }
                Ok(News::Changed)
            }
            Asked::Type(index) => {
                let all: Properties = body.deserialize().map_err(|error| not_understood(&error))?;
                let Some(watched) = self.watches.get_mut(index) else { return Ok(News::None) };
                properties::update(&mut watched.unit, &mut watched.memory, &all);
                Ok(News::Changed)
            }
            Asked::Loaded => {
                // Name, description, load, active and sub state, the unit it follows, path, job, job's type, job's path.
                type Row<'m> = (&'m str, &'m str, &'m str, &'m str, &'m str, &'m str, ObjectPath<'m>, u32, &'m str, ObjectPath<'m>);
                let rows: Vec<Row> = body.deserialize().map_err(|error| not_understood(&error))?;
                rows.iter().try_for_each(|row| self.add(row.0, Why::Pattern))?;
                Ok(News::None)
            }
            Asked::Installed => {
                let rows: Vec<(&str, &str)> = body.deserialize().map_err(|error| not_understood(&error))?;
                let names = rows.iter().filter_map(|(path, _)| path.rsplit('/').next());
                // A template is no unit.
                names.filter(|name| !name.contains("@.")).try_for_each(|name| self.add(name, Why::Pattern))?;
                Ok(News::None)
            }
        }
    }

    /// Watches one more unit, from now on.
    fn add(&mut self, name: &str, why: Why) -> Result<(), Blind> {
        let Some(index) = self.watches.add(name, why) else { return Ok(()) };
        let path = unit_path(name);
        if self.systemd.is_some() {
            self.rule(&path, PROPERTIES, "PropertiesChanged")?;
        }
        self.ask(Asked::LoadState(index), SYSTEMD, &path, PROPERTIES, "Get", &(UNIT, "LoadState"))?;
        self.paths.insert(path, index);
        Ok(())
    }

    fn loaded(&mut self, index: usize, load_state: &str) -> Result<News, End> {
        let path = self.path(index);
        let Some(watched) = self.watches.get_mut(index) else { return Ok(News::None) };
        let id = watched.id.clone();
        if load_state == "not-found" {
            watched.unit = properties::not_found(&watched.name);
            return Ok(News::Changed);
        }
        // A masked unit may run still. As in signals, the count of restarts comes before the run that it counts.
        if let Some(interface) = type_interface(&id) {
            self.ask(Asked::Type(index), SYSTEMD, &path, PROPERTIES, "GetAll", &(interface,))?;
        }
        self.ask(Asked::Unit(index), SYSTEMD, &path, PROPERTIES, "GetAll", &(UNIT,))?;
        Ok(News::None)
    }

    /// An alias: the signals come from its own path.
    fn known_as(&mut self, index: usize, id: Option<String>) -> Result<(), Blind> {
        let Some((watched, id)) = self.watches.get_mut(index).zip(id) else { return Ok(()) };
        let path = unit_path(&id);
        watched.id = id;
        if self.systemd.is_some() && !self.paths.contains_key(&path) {
            self.rule(&path, PROPERTIES, "PropertiesChanged")?;
            self.paths.insert(path, index);
        }
        Ok(())
    }

    fn refused(&mut self, asked: Asked, header: &Header<'_>, message: &Message) -> Result<News, End> {
        let name = header.error_name().map_or("an error", |name| name.as_str());
        let body = message.body();
        let reason: &str = body.deserialize().unwrap_or_default();
        if let ("org.freedesktop.DBus.Error.AccessDenied", _) = (name, asked) {
            let blind = Blind::new(format!("the bus forbids to ask systemd: {reason}"));
            return Err(blind.grant("run as root, or allow it in a file of /etc/dbus-1/system.d").into());
        }
        let is_of_the_unit = matches!(
            name,
            "org.freedesktop.DBus.Error.UnknownObject" | "org.freedesktop.DBus.Error.UnknownInterface" | "org.freedesktop.DBus.Error.InvalidArgs"
        );
        match asked {
            // One odd name in the configuration must not hide all the others.
            Asked::LoadState(index) | Asked::Unit(index) | Asked::Type(index) if is_of_the_unit => {
                if let Some(watched) = self.watches.get_mut(index) {
                    watched.unit.load_error = Some(reason.to_owned());
                }
                Ok(News::Changed)
            }
            _ if matches!(name, "org.freedesktop.DBus.Error.NameHasNoOwner" | "org.freedesktop.DBus.Error.ServiceUnknown") => {
                Err(Blind::new("systemd is not on the system bus").grant("systemctl daemon-reexec; or this node's init is not systemd").into())
            }
            _ => Err(Blind::new(format!("systemd refused over D-Bus: {name}: {reason}")).into()),
        }
    }

    fn signal(&mut self, header: &Header<'_>, message: &Message) -> Result<News, End> {
        let sender = header.sender().map_or("", |name| name.as_str());
        let member = header.member().map_or("", |name| name.as_str());
        if sender == BUS {
            return if member == "NameOwnerChanged" { Err(End::Again) } else { Ok(News::None) };
        }
        if self.way == Way::Bus && self.systemd.as_ref().is_none_or(|systemd| systemd.as_str() != sender) {
            return Ok(News::None);
        }
        let body = message.body();
        match member {
            "UnitFilesChanged" => self.stale = true,
            "UnitNew" => {
                let (name, _): (&str, ObjectPath) = body.deserialize().map_err(|error| not_understood(&error))?;
                if self.watches.patterns.iter().any(|pattern| matches_pattern(pattern, name)) {
                    self.add(name, Why::Pattern)?;
                }
            }
            "Reloading" => {
                let begins: bool = body.deserialize().map_err(|error| not_understood(&error))?;
                self.reloading = begins.then(Instant::now);
                self.stale = true;
            }
            "PropertiesChanged" => {
                let index = header.path().and_then(|path| self.paths.get(path.as_str())).copied();
                let Some(watched) = index.and_then(|index| self.watches.get_mut(index)) else { return Ok(News::None) };
                let (_, changed, _): (&str, Properties, Vec<&str>) = body.deserialize().map_err(|error| not_understood(&error))?;
                properties::update(&mut watched.unit, &mut watched.memory, &changed);
                let for_a_moment = watched.memory.may_fail_for_a_moment(&watched.unit);
                if watched.why == Why::Dependency {
                    for name in watched.hangs_on() {
                        self.add(&name, Why::Dependency)?;
                    }
                }
                return Ok(if for_a_moment { News::Failed } else { News::Changed });
            }
            _ => {}
        }
        Ok(News::None)
    }
}

fn systemd_hangs() -> Blind {
    Blind::new("systemd (PID 1) gives no answer in 2 s, though the bus does: it hangs")
        .grant("cat /proc/1/status /proc/1/stack  # SIGSTOPped, or stuck in the kernel?")
}

fn lost(error: &dyn Display) -> Blind {
    Blind::new(format!("the connection to systemd was lost: {error}"))
}

fn not_understood(error: &dyn Display) -> Blind {
    Blind::new(format!("systemd's answer over D-Bus is not understood: {error}"))
}

/// The interface of a unit's type, for the types that have a `Result`.
fn type_interface(name: &str) -> Option<&'static str> {
    Some(match name.rsplit_once('.')?.1 {
        "service" => "org.freedesktop.systemd1.Service",
        "socket" => "org.freedesktop.systemd1.Socket",
        "mount" => "org.freedesktop.systemd1.Mount",
        "automount" => "org.freedesktop.systemd1.Automount",
        "swap" => "org.freedesktop.systemd1.Swap",
        "path" => "org.freedesktop.systemd1.Path",
        "timer" => "org.freedesktop.systemd1.Timer",
        "scope" => "org.freedesktop.systemd1.Scope",
        _ => return None,
    })
}

/// `sd_bus_path_encode(3)`: what is no letter or digit is written in hex, and so is a digit that comes first.
fn unit_path(name: &str) -> String {
    let mut path = format!("{SYSTEMD_PATH}/unit/");
    if name.is_empty() {
        path.push('_');
    }
    for (index, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (byte.is_ascii_digit() && index > 0) {
            path.push(byte.into());
        } else {
            path += &format!("_{byte:02x}");
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_units_path_is_made_of_its_name() {
        assert_eq!(unit_path("kubelet.service"), "/org/freedesktop/systemd1/unit/kubelet_2eservice");
        assert_eq!(unit_path("snap.microk8s.daemon-kubelite.service"), "/org/freedesktop/systemd1/unit/snap_2emicrok8s_2edaemon_2dkubelite_2eservice");
        assert_eq!(unit_path("2fast"), "/org/freedesktop/systemd1/unit/_32fast");
        assert_eq!(unit_path(""), "/org/freedesktop/systemd1/unit/_");
    }
}
