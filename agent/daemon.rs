//! `nodetriage serve`: observers that put facts on the board, one diagnosis at a time, and a server that reads the last one.
//!
//! One thread runs everything but the journal, which has its own, and blocking looks at the node. A new fact wakes the diagnosis; what is served is the last
//! [`Snapshot`], so that a request costs no look at the node and never waits for one.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::checks;
use crate::config::{Config, Probes};
use crate::diagnose::Report;
use crate::facts::units::{Active, Unit};
use crate::facts::{Blind, Certificates, Cni, Domain, Facts, Kubelet, Node, Observed, Timestamp};
use crate::finding::Severity;
use crate::history::{History, Since};
use crate::listen;
use crate::memory;
use crate::observe::board::Board;
use crate::observe::certificates::Schedule;
use crate::observe::files_watch::{CONFIGURING, FilesWatch, SwapsWatch, changed, directories};
use crate::observe::host::Host;
use crate::observe::journal::{Earlier, Kept};
use crate::observe::look::Look;
use crate::observe::pressure::Past;
use crate::observe::{self, journal, units};
use crate::publish::{Latest, Snapshot, Unwell, http};
use crate::state::{State, StateFile};

/// Longest wait for a look at files: the disk of a node under pressure is slow, a dead mount never answers.
const LOOK: Duration = Duration::from_secs(10);
/// Between two diagnoses, so that a flood of facts costs a bounded share of a core.
const SPACING: Duration = Duration::from_millis(5);
/// A diagnosis without news: certificates end by the clock alone.
const TICK: Duration = Duration::from_secs(30);
/// Files change in bursts (kubeadm writes a dozen); they are read once.
const FILES_BURST: Duration = Duration::from_millis(30);
/// A thread for looks that has nothing to do ends. It stays from one measurement of the pressure, every ten seconds, to the next:
/// to start one costs more than most looks do.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// After this the start is over, the journal's included, and what it needed can go.
const STARTED: Duration = Duration::from_secs(40);
/// From SIGTERM to the end, whatever hangs.
const FAREWELL: Duration = Duration::from_millis(500);

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// If the address cannot be listened on.
pub fn serve(host: Host, config: Config) -> anyhow::Result<()> {
    memory::share_one_heap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(16).thread_keep_alive(KEEP_ALIVE).build()?;
    let served = runtime.block_on(run(Arc::new(host), Arc::new(config)));
    // Not dropped: that would wait for a look that hangs.
    runtime.shutdown_background();
    served
}

async fn run(host: Arc<Host>, config: Arc<Config>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = TcpListener::bind(config.listen).await.with_context(|| format!("cannot listen on {}", config.listen))?;
    let address = listener.local_addr()?;
    tracing::info!("listening on http://{address}/, looking at {}", host.path().display());

    let health = Arc::new(Health::default());
    let board = Arc::new(Board::new(Facts::unobserved(Timestamp::from(SystemTime::now()), observe::node::observe(&host, config.node_name.clone(), None))));
    let (publish, latest) = watch::channel(None);
    let (stop, stopped) = oneshot::channel();
    let (memory, journal) = journal_memory();
    let (measured, pressure) = pressure_memory();
    let diagnosing = tokio::spawn(diagnose(Arc::clone(&board), Arc::clone(&config), Arc::clone(&health), publish, (memory, measured), stopped));
    let mut tasks = JoinSet::new();
    supervise(&mut tasks, &host, &config, &board, journal, pressure);
    let unwell: Unwell = {
        let health = Arc::clone(&health);
        Arc::new(move || health.unwell())
    };
    let router = http::router(latest.clone(), Arc::clone(&unwell));
    tasks.spawn(named("http", listen::serve(listener, router)));
    tasks.spawn(named("systemd", tell_systemd(latest, unwell, address)));
    tasks.spawn(named("memory", give_back(config.intervals.resync)));

    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            Some(ended) = tasks.join_next() => {
                let who = match ended {
                    Ok(who) => who.to_owned(),
                    Err(error) => format!("a task: {error}"),
                };
                tracing::error!("{who} has ended: restart nodetriage");
                health.died(&who);
            }
        }
    }
    tracing::info!("asked to end");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    let _ = stop.send(());
    let _ = timeout(FAREWELL, diagnosing).await;
    Ok(())
}

/// What the start and each resync have freed is no use to us until the next.
async fn give_back(resync: Duration) {
    let mut next = STARTED;
    loop {
        sleep(next).await;
        memory::give_back();
        next = resync;
    }
}

/// The name of a task comes back when it ends, which none of them should.
async fn named(name: &'static str, task: impl Future<Output = ()>) -> &'static str {
    task.await;
    name
}

/// Between the state file and the journal's observer, which runs on a thread of its own: what an earlier process left goes
/// there, what the next one needs comes back.
type JournalMemory = (mpsc::Sender<Earlier>, watch::Receiver<Option<Kept>>);

fn journal_memory() -> (JournalMemory, (mpsc::Receiver<Earlier>, watch::Sender<Option<Kept>>)) {
    let ((give, earlier), (keep, kept)) = (mpsc::channel(), watch::channel(None));
    ((give, kept), (earlier, keep))
}

/// The same with the observer of pressure.
type PressureMemory = (oneshot::Sender<Option<Past>>, watch::Receiver<Option<Past>>);
/// And at the observer's end.
type Measured = (oneshot::Receiver<Option<Past>>, watch::Sender<Option<Past>>);

fn pressure_memory() -> (PressureMemory, Measured) {
    let ((give, earlier), (keep, kept)) = (oneshot::channel(), watch::channel(None));
    ((give, kept), (earlier, keep))
}

/// Starts the observers. Each owns its domains.
fn supervise(
    tasks: &mut JoinSet<&'static str>,
    host: &Arc<Host>,
    config: &Arc<Config>,
    board: &Arc<Board>,
    (earlier, keep): (mpsc::Receiver<Earlier>, watch::Sender<Option<Kept>>),
    (measured, measures): Measured,
) {
    let own = || (Arc::clone(host), Arc::clone(config), Arc::clone(board));
    let (host, config, board) = own();
    tasks.spawn(named("the observer of units", async move { match units::watch(host, config, board).await {} }));
    let (host, config, board) = own();
    // It reads files all the time, so it has a thread of its own; what it holds is dropped when that ends.
    let (alive, dead) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _alive = alive;
        // Nobody sends if the process ends before it has begun.
        let earlier = earlier.recv().unwrap_or_default();
        journal::watch(&host, &config, &checks::signals(), &board, earlier, &|kept| {
            let kept = Some(kept);
            keep.send_if_modified(|last| (*last != kept).then(|| last.clone_from(&kept)).is_some());
        });
    });
    tasks.spawn(named("the observer of the journal", async move { _ = dead.await }));
    let (host, config, board) = own();
    tasks.spawn(named("the observer of files", files(host, config, board)));
    let (host, config, board) = own();
    tasks.spawn(named("the observer of pressure", async move { match observe::pressure::watch(host, config, board, measured, measures).await {} }));
    let (host, config, board) = own();
    let live = host.is_live().then(|| (Arc::clone(&host), config.probes, Arc::clone(&board)));
    tasks.spawn(named("the observer of the runtime", async move { match observe::runtime::watch(host, config, board).await {} }));
    if let Some((host, probes, board)) = live {
        tasks.spawn(named("the observer of servers", servers(host, probes, board)));
    }
    let (host, config, board) = own();
    tasks.spawn(named("the observer of kube-proxy", observe::kube_proxy::watch(host, config, board)));
    let (host, config, board) = own();
    tasks.spawn(named("the observer of health", observe::health::watch(host, config, board)));
}

/// Kubelet configuration, certificates and CNI: read again when a file changes, when the kubelet's unit does, or after the resync.
async fn files(host: Arc<Host>, config: Arc<Config>, board: Arc<Board>) {
    let mut looks = FileLooks { kubelet: Look::new(LOOK), certificates: Look::new(LOOK), cni: Look::new(LOOK) };
    let mut watched = board.read(directories);
    // Where it cannot be polled, swap is seen at the resync.
    let swaps = SwapsWatch::new(&host).ok();
    let mut again = false;
    loop {
        // The watch stands before the files are read: a change in between is not lost.
        let watch = FilesWatch::new(&host, &watched);
        if let Err(error) = &watch {
            tracing::warn!("no inotify ({error}): changed files are seen at the next resync only; raise fs.inotify.max_user_instances");
        }
        let (units, complaint, looked) = (board.read(configuring_units), board.read(complaint_of_networks), tokio::time::Instant::now());
        // What it learns is large, and is not held between two rounds.
        Box::pin(look_at_files(&mut looks, &host, &config, &board)).await;
        let wanted = board.read(directories);
        if wanted != watched {
            watched = wanted;
            // What was read has named other directories: watch those and read once more.
            again = !again;
            if again {
                continue;
            }
        }
        again = false;
        tokio::select! {
            () = changed(watch.as_ref().ok()) => sleep(FILES_BURST).await,
            () = unit_changed(&board, units) => {}
            () = swapped(swaps.as_ref()) => {}
            () = networks_complained_of(&board, complaint, looked) => {}
            () = sleep(jittered(config.intervals.resync)) => {}
        }
    }
}

async fn swapped(swaps: Option<&SwapsWatch>) {
    match swaps {
        Some(swaps) => swaps.changed().await,
        None => std::future::pending().await,
    }
}

/// What of the units decides how the kubelet and a control plane that runs as units are configured: without what changes as they run.
fn configuring_units(facts: &Facts) -> Vec<Unit> {
    let units = facts.units.known().into_iter().flat_map(|units| CONFIGURING.iter().filter_map(|name| units.get(name)));
    units.cloned().map(|unit| Unit { active: unit.active.as_ref().map(|active| Active { main_pid: active.main_pid, ..Active::default() }), ..unit }).collect()
}

async fn unit_changed(board: &Board, before: Vec<Unit>) {
    let mut news = board.news();
    while board.read(configuring_units) == before && news.changed().await.is_ok() {}
}

/// When a pod last got no address, and whether the runtime calls its network unready: which addresses are given out is watched only
/// where they are scarce.
fn complaint_of_networks(facts: &Facts) -> (Option<Timestamp>, bool) {
    let no_address = facts.journal.known().and_then(|journal| journal.signals.get(checks::cni_addresses_exhausted::CHECK.code));
    let ready = || facts.runtime.known()?.answer()?.conditions.iter().find(|condition| condition.kind == "NetworkReady");
    (no_address.map(|seen| seen.last), ready().is_some_and(|ready| !ready.status))
}

/// A kubelet goes on trying: not more often than this after the last look.
const COMPLAINT: Duration = Duration::from_secs(10);

async fn networks_complained_of(board: &Board, before: (Option<Timestamp>, bool), looked: tokio::time::Instant) {
    let mut news = board.news();
    while board.read(complaint_of_networks) == before && news.changed().await.is_ok() {}
    tokio::time::sleep_until(looked + COMPLAINT).await;
}

/// What is read from files; each look can hang without the others.
struct FileLooks {
    /// The node's name hangs on the kubelet's configuration.
    kubelet: Look<((Node, Kubelet), Duration)>,
    certificates: Look<(Certificates, Duration)>,
    cni: Look<(Result<Cni, Blind>, Duration)>,
}

async fn look_at_files(looks: &mut FileLooks, host: &Arc<Host>, config: &Arc<Config>, board: &Arc<Board>) {
    let (at, name) = (Arc::clone(host), config.node_name.clone());
    let units = board.read(|facts| facts.units.clone());
    let look = move || {
        let kubelet = observe::kubelet::observe(&at, &units);
        (observe::node::observe(&at, name, Some(&kubelet)), kubelet)
    };
    let seen = looks.kubelet.at(move || timed(look));
    let kubelet = match seen.await {
        Ok(((node, kubelet), took)) => {
            let known = kubelet.clone();
            board.put(Domain::Kubelet, took, |facts| {
                facts.node = node;
                facts.kubelet = Observed::Known(kubelet);
            });
            Some(known)
        }
        Err(blind) => {
            board.put(Domain::Kubelet, LOOK, |facts| facts.kubelet = Observed::Unknown(blind));
            None
        }
    };
    tokio::join!(look_at_cni(&mut looks.cni, host, board, kubelet.clone()), look_at_certificates(&mut looks.certificates, host, config, board, kubelet));
}

async fn look_at_cni(look: &mut Look<(Result<Cni, Blind>, Duration)>, host: &Arc<Host>, board: &Board, kubelet: Option<Kubelet>) {
    let (at, units) = (Arc::clone(host), board.read(|facts| facts.units.clone()));
    match look.at(move || timed(|| observe::cni::observe(&at, kubelet.as_ref(), &units))).await {
        Ok((cni, took)) => board.put(Domain::Cni, took, |facts| facts.cni = cni.into()),
        Err(blind) => board.put(Domain::Cni, LOOK, |facts| facts.cni = Observed::Unknown(blind)),
    }
}

async fn look_at_certificates(look: &mut Look<(Certificates, Duration)>, host: &Arc<Host>, config: &Arc<Config>, board: &Board, kubelet: Option<Kubelet>) {
    let (at, config) = (Arc::clone(host), Arc::clone(config));
    let units = board.read(|facts| facts.units.clone());
    let seen = match kubelet {
        Some(kubelet) => look.at(move || timed(|| observe::certificates::observe(&at, &kubelet, &units, &config.certificates.paths))).await,
        None => Err(Blind::new("which certificates are in use is in the kubelet's configuration, which cannot be seen")),
    };
    match seen {
        Ok((mut certificates, took)) => board.put(Domain::Certificates, took, |facts| {
            if let Some(before) = facts.certificates.known() {
                certificates.keep_presented(before);
            }
            facts.certificates = Observed::Known(certificates);
        }),
        Err(blind) => board.put(Domain::Certificates, LOOK, |facts| facts.certificates = Observed::Unknown(blind)),
    }
}

/// Which certificates the servers of this node present: asked when a file of theirs has changed, and else rarely.
async fn servers(host: Arc<Host>, probes: Probes, board: Arc<Board>) {
    let mut schedule = Schedule::default();
    let mut news = board.news();
    loop {
        news.mark_unchanged();
        let due = board.read(|facts| facts.certificates.known().map_or_else(Vec::new, |certificates| schedule.due(certificates, Instant::now().into())));
        for mut server in due {
            server.presents = observe::certificates::ask(&host, &server, probes).await;
            board.add(|facts| {
                let Observed::Known(certificates) = &mut facts.certificates else { return };
                schedule.asked(certificates, &server, Instant::now().into());
                if let Some(same) = certificates.servers.iter_mut().find(|other| other.path == server.path && other.address == server.address) {
                    same.presents.clone_from(&server.presents);
                }
            });
        }
        tokio::select! {
            changed = news.changed() => if changed.is_err() { return },
            () = until(schedule.next()) => {}
        }
    }
}

async fn until(instant: Option<tokio::time::Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

fn timed<T>(look: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let seen = look();
    (seen, start.elapsed())
}

/// Ten percent more or less, so that ten thousand agents started together do not work together.
fn jittered(interval: Duration) -> Duration {
    use std::hash::{BuildHasher as _, RandomState};
    let random = RandomState::new().hash_one(0_u8);
    #[allow(clippy::cast_precision_loss)] // a share of a tenth needs no precision
    let share = 0.9 + 0.2 * (random as f64 / u64::MAX as f64);
    interval.mul_f64(share)
}

/// Diagnoses whenever there is news, publishes, and remembers; until it is told to stop.
async fn diagnose(
    board: Arc<Board>,
    config: Arc<Config>,
    health: Arc<Health>,
    publish: watch::Sender<Option<Arc<Snapshot>>>,
    ((resume, journal), (resume_pressure, pressure)): (JournalMemory, PressureMemory),
    mut stopped: oneshot::Receiver<()>,
) {
    let boot_id = board.read(|facts| facts.node.boot_id.clone());
    let (earlier, keep, kept) = remembered(&config, boot_id.clone(), journal, pressure).await;
    let State { findings, journal: kept_before, boot_id: booted, stopped: in_order, pressure: measured, .. } = earlier;
    let _ = resume_pressure.send(measured.filter(|_| boot_id.is_some() && boot_id == booted));
    // Its thread has ended only if this process does, too.
    let _ = resume.send(Earlier { kept: kept_before, boot_id: booted, stopped: in_order });
    let mut history = History::resume(findings);
    let mut news = board.all_news();
    loop {
        let facts = board.facts();
        let now = facts.now;
        // Before every domain has been looked at, nothing is said, or what is not known yet would look healthy.
        if Domain::ALL.iter().all(|domain| facts.observed.contains_key(domain)) {
            let report = history.diagnose(&facts, &config);
            log_changes(publish.borrow().as_deref().map(|last| &last.report), &report);
            let findings = history.remember();
            keep.send_if_modified(|last| std::mem::replace(last, findings.clone()) != findings);
            publish.send_replace(Some(Arc::new(Snapshot::new(report, facts).with_x509_names(config.certificates.x509_names))));
        }
        health.beat();
        tokio::select! {
            _ = &mut stopped => break,
            changed = news.changed() => if changed.is_err() { break },
            () = sleep(history.settles_in(now).map_or(TICK, |soon| soon.min(TICK))) => {}
        }
        // Facts that come together are judged together.
        tokio::select! {
            _ = &mut stopped => break,
            () = sleep(SPACING.saturating_sub(health.since_beat())) => {}
        }
        news.mark_unchanged();
    }
    drop(keep);
    let _ = kept.await;
}

/// What an earlier process left behind, if there is a place to keep it, and the task that keeps it from now on. That is the
/// last one to write once nobody sends findings any more.
async fn remembered(
    config: &Config,
    boot_id: Option<String>,
    journal: watch::Receiver<Option<Kept>>,
    pressure: watch::Receiver<Option<Past>>,
) -> (State, watch::Sender<Vec<Since>>, JoinHandle<()>) {
    let (keep, findings) = watch::channel(Vec::new());
    let nothing = |keep| (State::default(), keep, tokio::spawn(async {}));
    let Some(directory) = config.state_dir.clone() else { return nothing(keep) };
    let path = directory.join("state.json");
    match Look::new(LOOK).at(move || directory.is_dir().then(|| StateFile::open(&directory))).await {
        // So it is when started from a shell.
        Ok(None) => {
            tracing::info!("no directory for {}: after a restart, findings count from then", path.display());
            nothing(keep)
        }
        Ok(Some((file, state, error))) => {
            if let Some(error) = error {
                tracing::warn!("{}: {error}; starting without it: findings count from now", path.display());
            }
            let keeper = Keeper { findings, journal, pressure, boot_id, file: Arc::new(Mutex::new(file)), look: Look::new(LOOK), told: false };
            (state, keep, tokio::spawn(keeper.run()))
        }
        Err(blind) => {
            tracing::warn!("{}: {blind}; nothing is kept over a restart", path.display());
            nothing(keep)
        }
    }
}

/// Keeps what the next process needs, as it comes.
struct Keeper {
    findings: watch::Receiver<Vec<Since>>,
    journal: watch::Receiver<Option<Kept>>,
    pressure: watch::Receiver<Option<Past>>,
    boot_id: Option<String>,
    file: Arc<Mutex<StateFile>>,
    look: Look<io::Result<()>>,
    told: bool,
}

impl Keeper {
    async fn run(mut self) {
        let (mut journal_ended, mut pressure_ended) = (false, false);
        loop {
            tokio::select! {
                changed = self.findings.changed() => if changed.is_err() { break },
                changed = self.journal.changed(), if !journal_ended => journal_ended = changed.is_err(),
                changed = self.pressure.changed(), if !pressure_ended => pressure_ended = changed.is_err(),
            }
            self.write(false).await;
        }
        self.write(true).await;
    }

    /// On a thread: the node's disk may hang.
    async fn write(&mut self, stopped: bool) {
        let (findings, journal) = (self.findings.borrow_and_update().clone(), self.journal.borrow_and_update().clone());
        let pressure = self.pressure.borrow_and_update().clone();
        let state = State { findings, boot_id: self.boot_id.clone(), stopped, journal, pressure, ..State::default() };
        let file = Arc::clone(&self.file);
        let written = self.look.at(move || file.lock().unwrap_or_else(PoisonError::into_inner).write(state)).await;
        let error = match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(blind) => Some(blind.to_string()),
        };
        if let Some(error) = error.filter(|_| !self.told) {
            self.told = true;
            tracing::warn!("cannot keep state ({error}): after a restart, findings count from then");
        }
    }
}

/// One line in the log for each finding that appears or clears.
fn log_changes(before: Option<&Report>, now: &Report) {
    let empty = Vec::new();
    let before = before.map_or(&empty, |report| &report.findings);
    for finding in &now.findings {
        if !before.iter().any(|other| other.reference() == finding.reference()) {
            let mut line = format!("{} {}: {}", finding.code, finding.subject, finding.summary);
            if let Some(cause) = finding.explained_by.first() {
                let _ = write!(line, " (because of {} {})", cause.code, cause.subject);
            }
            if finding.severity == Severity::Info { tracing::info!("{line}") } else { tracing::warn!("{line}") }
        }
    }
    for finding in before {
        if !now.findings.iter().any(|other| other.reference() == finding.reference()) {
            tracing::info!("cleared: {} {}", finding.code, finding.subject);
        }
    }
}

/// READY once there is an answer; then the watchdog, for as long as the agent is well.
async fn tell_systemd(mut latest: Latest, unwell: Unwell, address: SocketAddr) {
    if latest.wait_for(Option::is_some).await.is_err() {
        return;
    }
    let status = format!("answering on http://{address}/");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready, sd_notify::NotifyState::Status(&status)]);
    let Some(period) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    loop {
        if unwell().is_none() {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        }
        sleep(period / 3).await;
    }
}

/// Whether the agent itself is well. It says nothing about the node.
struct Health {
    started: Instant,
    /// Milliseconds from `started` to the end of the last diagnosis.
    beat: AtomicU64,
    dead: Mutex<Option<String>>,
}

impl Default for Health {
    fn default() -> Self {
        Self { started: Instant::now(), beat: AtomicU64::new(0), dead: Mutex::new(None) }
    }
}

impl Health {
    fn beat(&self) {
        self.beat.store(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn since_beat(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.beat.load(Ordering::Relaxed)))
    }

    fn died(&self, who: &str) {
        *self.dead.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{who} has died"));
    }

    fn unwell(&self) -> Option<String> {
        let dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let late = self.since_beat();
        dead.or_else(|| (late > 3 * TICK).then(|| format!("the last diagnosis was {} s ago", late.as_secs())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_whose_observer_died_or_whose_diagnosis_hangs_is_unwell() {
        let health = Health::default();
        health.beat();
        assert_eq!(health.unwell(), None);
        health.died("the observer of units");
        assert_eq!(health.unwell().unwrap(), "the observer of units has died");
        let late = Health { started: Instant::now().checked_sub(4 * TICK).unwrap(), ..Health::default() };
        assert_eq!(late.unwell().unwrap(), "the last diagnosis was 120 s ago");
    }
}
