//! Watches the units for as long as the agent runs.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::dial::Way;
use super::files::UNIT_DIRS;
use super::session::{Bars, End, News, Session};
use super::watches::Watches;
use crate::config::Config;
use crate::facts::{Domain, Observed, Units};
use crate::observe::board::Board;
use crate::observe::files_watch::FilesWatch;
use crate::observe::host::Host;

/// How often a quiet connection is asked whether anybody is there. With [`super::DEADLINE`] a bus or a systemd that hangs is known
/// as such within 5 s, which is less than the kubelet's own period of 10 s. It is one call: 1,200 times an hour.
const PING: Duration = Duration::from_secs(3);
/// How long systemd's private socket is used before the bus is tried again.
const BUS_BACK: Duration = Duration::from_mins(1);
/// systemd tells a change in two signals, of the service and of the unit.
const SETTLE: Duration = Duration::from_millis(1);
/// A change is put off by further ones no longer than this.
const BREATH: Duration = Duration::from_millis(20);
/// Between two puts: a flood of changes costs a bounded share of a core.
const SPACING: Duration = Duration::from_millis(5);
/// Between two looks that signals call for.
const LOOKS: Duration = Duration::from_millis(100);
/// Files change in bursts; they are looked at once.
const FILES_BURST: Duration = Duration::from_millis(30);
/// A connection lost for no longer than this (dbus restarted, systemd re-executed) is no blindness.
const GRACE: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_millis(20);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Keeps the units on the board up to date: each change within milliseconds of its signal, and blind with the reason while
/// nobody answers. Connects again for ever.
pub async fn watch(host: Arc<Host>, config: Arc<Config>, board: Arc<Board>) -> Infallible {
    let mut watches = Watches::new(&config);
    let mut retry = FIRST_RETRY;
    let mut lost_since = None;
    let mut privately = false;
    loop {
        let (mut end, mut seen) = attend(&host, &config, &board, &mut watches, Way::Bus).await;
        if seen {
            privately = false;
        }
        if let End::Blind { blind, of: Bars::Way, .. } = &end {
            let reason = blind.to_string();
            let (private_end, seen_privately) = attend(&host, &config, &board, &mut watches, Way::Private).await;
            if seen_privately {
                if !std::mem::replace(&mut privately, true) {
                    tracing::warn!("systemd was asked over its private socket: {reason}");
                }
                (end, seen) = (private_end, true);
            }
        }
        if seen {
            retry = FIRST_RETRY;
            lost_since = None;
        }
        if let End::Blind { blind, since, .. } = end {
            let since = *lost_since.get_or_insert(since);
            if since.elapsed() >= GRACE || board.read(|facts| facts.units.known().is_none()) {
                board.put(Domain::Units, since.elapsed(), |facts| facts.units = Observed::Unknown(blind));
            }
        }
        sleep(jittered(retry)).await;
        retry = (retry * 2).min(LAST_RETRY);
    }
}

/// One session from its beginning to its end; whether all units were seen in it.
async fn attend(host: &Host, config: &Config, board: &Board, watches: &mut Watches, way: Way) -> (End, bool) {
    let began = Instant::now();
    match Session::open(host, watches, way).await {
        Ok(session) => {
            let mut follower = Follower::new(host, board, session, config.intervals.resync);
            let Err(end) = follower.run().await;
            (end, follower.seen)
        }
        Err(blind) => (End::Blind { blind, since: began, of: Bars::Way }, false),
    }
}

/// Follows the units through one session.
struct Follower<'a> {
    host: &'a Host,
    board: &'a Board,
    session: Session<'a>,
    /// Between two looks that nothing calls for: what an event missed.
    resync: Duration,
    /// When the bus is to be tried again, if this is not it.
    until: Option<Instant>,
    /// Everything has been seen once.
    seen: bool,
    /// When the look began that is under way.
    looking: Option<Instant>,
    last_look: Instant,
    next_look: Instant,
    next_ping: Instant,
    took: Duration,
    /// The unit files, until one of them changes.
    files: Option<FilesWatch>,
    changed_since: Option<Instant>,
    put_at: Option<Instant>,
    /// systemd may take back what it has said; once it answers, it has said all of it.
    unsure: bool,
    last_put: Instant,
}

impl<'a> Follower<'a> {
    fn new(host: &'a Host, board: &'a Board, session: Session<'a>, resync: Duration) -> Self {
        let now = Instant::now();
        let until = session.is_private().then(|| now + jittered(BUS_BACK));
        Self {
            host,
            board,
            session,
            resync,
            until,
            seen: false,
            looking: None,
            last_look: now,
            next_look: now,
            next_ping: now + PING,
            took: Duration::ZERO,
            files: None,
            changed_since: None,
            put_at: None,
            unsure: false,
            last_put: now,
        }
    }

    async fn run(&mut self) -> Result<Infallible, End> {
        self.session.subscribe()?;
        loop {
            let now = Instant::now();
            self.unsure &= !self.session.is_idle();
            if self.session.is_idle() {
                self.ask(now)?;
            }
            self.session.send().await?;
            self.put(now);
            let overdue = self.session.deadline();
            if overdue.is_some_and(|overdue| now >= overdue) {
                if !self.session.is_unsure() {
                    return Err(self.session.silence());
                }
                self.session.doubt()?;
                continue;
            }
            let next = [Some(self.next_look), Some(self.next_ping), self.until].into_iter().flatten().min().filter(|_| self.session.is_idle());
            let wake = [next, overdue, self.put_at.filter(|_| self.seen && !self.unsure)].into_iter().flatten().min().unwrap_or(now + PING);
            tokio::select! {
                news = self.session.next() => self.note(news?)?,
                // No signal tells that a unit's file was edited, and `NeedDaemonReload` with it.
                () = changed(self.files.as_ref()) => {
                    self.files = None;
                    self.next_look = self.next_look.min((Instant::now() + FILES_BURST).max(self.last_look + LOOKS));
                }
                () = sleep_until(wake) => {}
            }
        }
    }

    /// All answers are there: asks for what is due next.
    fn ask(&mut self, now: Instant) -> Result<(), End> {
        if let Some(began) = self.looking.take() {
            self.took = now.saturating_duration_since(began);
            self.seen = true;
            self.put_at = Some(now);
        } else if self.until.is_some_and(|until| now >= until) {
            return Err(End::Again);
        }
        if self.session.is_stale() {
            self.next_look = self.next_look.min(self.last_look + LOOKS);
        }
        if now >= self.next_look {
            // It stands before systemd is asked, so that no change in between is lost.
            self.files = FilesWatch::new(self.host, &unit_directories(&self.session.facts())).ok();
            self.looking = Some(now);
            self.last_look = now;
            self.next_look = now + jittered(self.resync);
            self.next_ping = now + PING;
            self.session.look()?;
        } else if now >= self.next_ping {
            self.next_ping = now + PING;
            self.session.ping()?;
        }
        Ok(())
    }

    /// Something has changed: it will be put when systemd has said all of it.
    fn note(&mut self, news: News) -> Result<(), End> {
        if news == News::None {
            return Ok(());
        }
        if news == News::Failed && !self.unsure {
            self.unsure = true;
            self.session.ping()?;
        }
        let now = Instant::now();
        let since = *self.changed_since.get_or_insert(now);
        // A flood of changes cannot put it off for ever.
        self.put_at = Some((now + SETTLE).min(since + BREATH).max(self.last_put + SPACING));
        Ok(())
    }

    fn put(&mut self, now: Instant) {
        if self.seen && !self.unsure && self.put_at.is_some_and(|at| now >= at) {
            let units = self.session.facts();
            self.board.put(Domain::Units, self.took, |facts| facts.units = Observed::Known(units));
            self.put_at = None;
            self.changed_since = None;
            self.last_put = now;
        }
    }
}

async fn changed(files: Option<&FilesWatch>) {
    match files {
        Some(files) => files.changed().await,
        None => std::future::pending().await,
    }
}

/// Where the files of the installed units lie or may come to lie.
fn unit_directories(units: &Units) -> BTreeSet<String> {
    let installed = units.units.iter().filter(|unit| unit.is_installed());
    let drop_ins = installed.flat_map(|unit| UNIT_DIRS.map(|dir| format!("{dir}/{}.d", unit.name)));
    UNIT_DIRS.into_iter().map(str::to_owned).chain(drop_ins).collect()
}

/// Ten percent more or less, so that ten thousand agents do not ask together.
pub(in crate::observe) fn jittered(interval: Duration) -> Duration {
    let random = RandomState::new().hash_one(0_u8);
    let share = u32::try_from(random % 200).unwrap_or(100);
    interval * (900 + share) / 1000
}
