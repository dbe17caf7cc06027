//! Watches the units for as long as the agent runs.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::files::UNIT_DIRS;
use super::session::{End, News, Session, Watches};
use crate::config::Config;
use crate::facts::{Domain, Observed, Units};
use crate::observe::board::Board;
use crate::observe::files_watch::FilesWatch;
use crate::observe::host::Host;

/// Behind the signals: what an event missed.
const RESYNC: Duration = Duration::from_mins(1);
/// How often a quiet connection is asked whether anybody is there.
const PING: Duration = Duration::from_secs(10);
/// systemd tells a change in two signals, of the service and of the unit.
const SETTLE: Duration = Duration::from_millis(1);
/// What systemd may take back in the same breath.
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
    loop {
        let mut session = Progress { began: Instant::now(), seen: false };
        let Err(end) = session.run(&host, &mut watches, &board).await;
        if session.seen {
            retry = FIRST_RETRY;
            lost_since = None;
        }
        if let End::Blind { blind, since } = end {
            let since = *lost_since.get_or_insert(since);
            if since.elapsed() >= GRACE || board.read(|facts| facts.units.known().is_none()) {
                board.put(Domain::Units, since.elapsed(), |facts| facts.units = Observed::Unknown(blind));
            }
        }
        sleep(jittered(retry)).await;
        retry = (retry * 2).min(LAST_RETRY);
    }
}

/// One session, as far as it has come.
struct Progress {
    began: Instant,
    /// Everything has been seen once.
    seen: bool,
}

impl Progress {
    async fn run(&mut self, host: &Host, watches: &mut Watches, board: &Board) -> Result<Infallible, End> {
        let mut session = Session::open(host, watches).await.map_err(|blind| End::Blind { blind, since: self.began })?;
        session.subscribe()?;
        let mut looking = None;
        let mut next_look = Instant::now();
        let mut last_look = next_look;
        let mut next_ping = next_look;
        let mut took = Duration::ZERO;
        let mut files: Option<FilesWatch> = None;
        let mut changed_since = None;
        let mut put_at: Option<Instant> = None;
        let mut last_put = next_look;
        loop {
            let now = Instant::now();
            if session.is_idle() {
                if let Some(began) = looking.take() {
                    took = now.saturating_duration_since(began);
                    self.seen = true;
                    put_at = Some(now);
                }
                if session.is_stale() {
                    next_look = next_look.min(last_look + LOOKS);
                }
                if now >= next_look {
                    // It stands before systemd is asked, so that no change in between is lost.
                    files = FilesWatch::new(host, &unit_directories(&session.facts())).ok();
                    session.look()?;
                    looking = Some(now);
                    last_look = now;
                    next_look = now + jittered(RESYNC);
                    next_ping = now + PING;
                } else if now >= next_ping {
                    session.ping()?;
                    next_ping = now + PING;
                }
            }
            session.send().await?;
            if self.seen && put_at.is_some_and(|at| now >= at) {
                let units = session.facts();
                board.put(Domain::Units, took, |facts| facts.units = Observed::Known(units));
                put_at = None;
                changed_since = None;
                last_put = now;
            }
            let overdue = session.deadline();
            if overdue.is_some_and(|overdue| now >= overdue) {
                return Err(session.silence());
            }
            let wake = [Some(next_look.min(next_ping)).filter(|_| session.is_idle()), overdue, put_at.filter(|_| self.seen)];
            let wake = wake.into_iter().flatten().min().unwrap_or(now + PING);
            tokio::select! {
                news = session.next() => {
                    let settle = match news? {
                        News::None => continue,
                        News::Changed => SETTLE,
                        News::Failed => BREATH,
                    };
                    let now = Instant::now();
                    let since = *changed_since.get_or_insert(now);
                    // A flood of changes cannot put it off for ever.
                    put_at = Some((now + settle).min(since + BREATH).max(last_put + SPACING));
                }
                // No signal tells that a unit's file was edited, and `NeedDaemonReload` with it.
                () = changed(files.as_ref()) => {
                    files = None;
                    next_look = next_look.min((Instant::now() + FILES_BURST).max(last_look + LOOKS));
                }
                () = sleep_until(wake) => {}
            }
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
fn jittered(interval: Duration) -> Duration {
    let random = RandomState::new().hash_one(0_u8);
    let share = u32::try_from(random % 200).unwrap_or(100);
    interval * (900 + share) / 1000
}
