//! The daemon's rhythm: the kubelet's own, and at once when something is mounted, unmounted or remounted.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::hash::{BuildHasher as _, RandomState};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant as Time, sleep, sleep_until};

use super::{Past, Probe, mounts, observe};
use crate::config::Config;
use crate::facts::pressure::Mount;
use crate::facts::{Blind, Domain, Facts, Kubelet, Observation, Observed, Pressure, Runtime, Units};
use crate::observe::board::Board;
use crate::observe::host::Host;
use crate::observe::look::Look;

/// Longest wait for a look: the disk of a node under pressure is slow, a dead mount never answers.
const LOOK: Duration = Duration::from_secs(10);
/// Between two looks, however often something is mounted; and mounts come in bursts.
const SPACING: Duration = Duration::from_secs(1);
const BURST: Duration = Duration::from_millis(50);

/// Measures for ever. The kubelet's own rhythm is 10 s (`pkg/kubelet/kubelet.go` `evictionMonitoringPeriod`).
/// `earlier` is what another process of this boot has left; `keep` holds what to leave, and wakes who waits when it is worth writing.
pub async fn watch(
    host: Arc<Host>,
    config: Arc<Config>,
    board: Arc<Board>,
    earlier: oneshot::Receiver<Option<Past>>,
    keep: watch::Sender<Option<Past>>,
) -> Infallible {
    let mut look = Look::new(LOOK);
    let settings = config.pressure.clone();
    // Nobody sends if the process ends before it has begun.
    let mut kept = earlier.await.unwrap_or_default();
    let probe = Arc::new(kept.as_ref().map_or_else(|| Probe::new(settings.clone()), |past| Probe::resume(settings.clone(), past)));
    let mut news = board.news();
    // Which file systems to measure is in the kubelet's configuration.
    while board.read(|facts| !facts.observed.contains_key(&Domain::Kubelet)) && news.changed().await.is_ok() {}
    let events = Events::of(&host);
    let mut basis = Arc::new(Basis::of(&board));
    let mut next = Time::now();
    loop {
        if board.read(|facts| times(&facts.observed)) != basis.times {
            basis = Arc::new(Basis::of(&board));
        }
        let (at, with, remembered) = (Arc::clone(&host), Arc::clone(&basis), Arc::clone(&probe));
        let started = Instant::now();
        let seen = look.at(move || with.observe(&at, &remembered)).await.and_then(|seen| seen);
        let seen = seen.map(|(pressure, past)| {
            let is_news = kept.as_ref().is_none_or(|kept| past.is_news(kept));
            if is_news {
                kept = Some(past.clone());
            }
            keep.send_if_modified(|last| {
                *last = Some(past);
                is_news
            });
            pressure
        });
        let is_due = Time::now() >= next;
        // What was mounted meanwhile is news only if the kubelet needs it.
        if is_due || board.read(|facts| mounts_of(facts.pressure.known()) != mounts_of(seen.as_ref().ok())) {
            board.put(Domain::Pressure, started.elapsed(), |facts| facts.pressure = seen.into());
        }
        if is_due {
            next = Time::now() + jittered(config.intervals.pressure);
        }
        tokio::select! {
            () = sleep_until(next) => {}
            () = events.mounted() => sleep(SPACING.saturating_sub(started.elapsed()).max(BURST)).await,
        }
    }
}

fn mounts_of(pressure: Option<&Pressure>) -> Option<&Observed<Vec<Mount>>> {
    pressure.map(|pressure| &pressure.mounts)
}

/// What other observers have found that decides what is measured: copied only when it is new.
struct Basis {
    times: Times,
    kubelet: Option<Kubelet>,
    units: Observed<Units>,
    runtime: Option<Runtime>,
}

type Times = [Option<Observation>; 3];

fn times(observed: &BTreeMap<Domain, Observation>) -> Times {
    [Domain::Kubelet, Domain::Units, Domain::Runtime].map(|domain| observed.get(&domain).copied())
}

impl Basis {
    fn of(board: &Board) -> Self {
        let copy = |facts: &Facts| Self {
            times: times(&facts.observed),
            kubelet: facts.kubelet.known().cloned(),
            units: facts.units.clone(),
            runtime: facts.runtime.known().cloned(),
        };
        board.read(copy)
    }

    fn observe(&self, host: &Host, probe: &Probe) -> Result<(Pressure, Past), Blind> {
        let unseen = || Blind::new("which file systems count is in the kubelet's configuration, which cannot be seen");
        let kubelet = self.kubelet.as_ref().ok_or_else(unseen)?;
        Ok((observe(host, kubelet, &self.units, self.runtime.as_ref(), probe), probe.past()))
    }
}

/// The kernel's word that the node's table of mounts has changed (proc_pid_mountinfo(5): POLLPRI).
struct Events(Option<AsyncFd<OwnedFd>>);

impl Events {
    /// Where there is no such file to wait on, the next measurement sees it.
    fn of(host: &Host) -> Self {
        let table = host.open_at(mounts::TABLE, OFlag::O_RDONLY | OFlag::O_NONBLOCK).ok().filter(|_| host.is_live());
        #[expect(deprecated, reason = "its successor is unsafe; the descriptor is owned for as long as it is watched, which is what that asks for")]
        Self(table.and_then(|table| AsyncFd::with_interest(table, Interest::PRIORITY).ok()))
    }

    async fn mounted(&self) {
        let Some(table) = &self.0 else { return std::future::pending().await };
        match table.ready(Interest::PRIORITY).await {
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => std::future::pending().await,
        }
    }
}

/// Ten percent more or less, so that ten thousand agents do not measure together.
fn jittered(interval: Duration) -> Duration {
    let random = RandomState::new().hash_one(0_u8);
    let share = u32::try_from(random % 200).unwrap_or(100);
    interval * (900 + share) / 1000
}
