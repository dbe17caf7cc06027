//! Asks the runtime for as long as the agent runs.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};

use super::Runtime as Configured;
use crate::config::Config;
use crate::facts::runtime::Reply;
use crate::facts::{Cni, Domain, Facts, Observed, Runtime, Sourced, Timestamp};
use crate::observe::board::Board;
use crate::observe::cri;
use crate::observe::files_watch::FilesWatch;
use crate::observe::host::Host;
use crate::observe::look::Look;

/// Longest wait for a look at the configuration files.
const LOOK: Duration = Duration::from_secs(10);
/// Between two questions while all is well: what stops without an event (SIGSTOP, a deadlock) is noticed by these alone. The kubelet
/// asks the same every 5 s (`pkg/kubelet/kubelet.go` `updateRuntimeUp`), but for up to 2 minutes.
const PAUSE: Duration = Duration::from_secs(10);
/// After a bad answer, doubled from one to the next, so that what recovers without an event is noticed soon.
const FIRST_AGAIN: Duration = Duration::from_secs(2);
/// containerd needs a moment to load what was just written, and files change in bursts.
const BURST: Duration = Duration::from_millis(200);
const UNITS: [&str; 4] = ["containerd.service", "crio.service", "cri-docker.service", "docker.service"];

/// Keeps the runtime's facts on the board up to date.
pub async fn watch(host: Arc<Host>, config: Arc<Config>, board: Arc<Board>) -> Infallible {
    let mut look = Look::new(LOOK);
    let mut again = FIRST_AGAIN;
    let mut news = board.news();
    // Which runtime it is, the kubelet's configuration and the units tell.
    while board.read(|facts| !facts.observed.contains_key(&Domain::Kubelet)) && news.changed().await.is_ok() {}
    loop {
        let before = board.read(Told::by);
        let start = Instant::now();
        let (kubelet, units) = board.read(|facts| (facts.kubelet.known().cloned(), facts.units.clone()));
        let (at, of) = (Arc::clone(&host), units.clone());
        let configured = look.at(move || super::observe(&at, kubelet.as_ref(), &of)).await;
        // The watch stands before it is asked: a change in between is not lost.
        let changes = configured.as_ref().ok().and_then(|configured| FilesWatch::new(&host, &directories(configured)).ok());
        let runtime = match configured {
            Ok(configured) => Observed::Known(super::ask(&host, &config, &units, configured).await),
            Err(blind) => Observed::Unknown(blind),
        };
        let pause = match runtime.known() {
            Some(runtime) if is_well(runtime) => PAUSE,
            _ => again.min(PAUSE),
        };
        again = if pause == PAUSE { FIRST_AGAIN } else { again * 2 };
        let known = runtime.known().cloned();
        // What is as it was wakes nobody.
        if board.read(|facts| facts.observed.contains_key(&Domain::Runtime) && facts.runtime == runtime) {
            board.confirm(Domain::Runtime, start.elapsed());
        } else {
            board.put(Domain::Runtime, start.elapsed(), |facts| facts.runtime = runtime);
        }
        tokio::select! {
            () = changed(changes.as_ref()) => {}
            () = told_otherwise(&board, &before) => again = FIRST_AGAIN,
            () = otherwise(&host, &board, known.as_ref(), pause) => continue,
        }
        sleep(BURST).await;
    }
}

/// For so long after a pod was refused for want of the sandbox image it is asked whether that is there now.
const IN_QUESTION_SECONDS: i64 = 180;
/// The check whose signals tell of that.
const IMAGE_MISSING: &str = "sandbox-image-missing";

fn is_image_in_question(facts: &Facts) -> bool {
    let refused = facts.journal.known().and_then(|journal| journal.signals.get(IMAGE_MISSING));
    refused.is_some_and(|seen| Timestamp::from(SystemTime::now()).seconds_since(seen.last) <= IN_QUESTION_SECONDS)
}

/// Returns when it is time for all questions again: after the pause, or while all is well once the status is another or the
/// sandbox image is in question.
async fn otherwise(host: &Host, board: &Board, known: Option<&Runtime>, pause: Duration) {
    let answered = known.filter(|runtime| is_well(runtime)).and_then(|runtime| runtime.socket().zip(runtime.answer()));
    loop {
        sleep(jittered(pause)).await;
        let start = Instant::now();
        let Some((socket, answer)) = answered.filter(|_| !board.read(is_image_in_question)) else { return };
        match cri::conditions(host, socket).await {
            Ok(conditions) if conditions == answer.conditions => board.confirm(Domain::Runtime, start.elapsed()),
            // From now on it counts how long it is silent.
            Err(silent @ Reply::NoAnswer { .. }) => {
                return board.put(Domain::Runtime, start.elapsed(), |facts| {
                    if let Observed::Known(runtime) = &mut facts.runtime {
                        runtime.reply = silent;
                    }
                });
            }
            _ => return,
        }
    }
}

/// A tenth more or less, so that many agents do not ask together.
fn jittered(pause: Duration) -> Duration {
    let share = u32::try_from(RandomState::new().hash_one(0_u8) % 21).unwrap_or(10);
    pause * (90 + share) / 100
}

/// What others learned that makes a new question worth while.
#[derive(PartialEq)]
struct Told {
    endpoint: Option<Sourced<String>>,
    /// Of each unit: its state and its process.
    units: Vec<Option<(String, Option<u32>)>>,
    cni: Option<Cni>,
}

impl Told {
    fn by(facts: &Facts) -> Self {
        let unit = |name| {
            let active = facts.units.known()?.get(name)?.active.as_ref()?;
            Some((active.state.clone(), active.main_pid))
        };
        Self {
            endpoint: facts.kubelet.known().and_then(|kubelet| kubelet.container_runtime_endpoint.clone()),
            units: UNITS.into_iter().map(unit).collect(),
            cni: facts.cni.known().cloned(),
        }
    }
}

async fn told_otherwise(board: &Board, before: &Told) {
    let mut news = board.news();
    while board.read(Told::by) == *before && news.changed().await.is_ok() {}
}

async fn changed(watch: Option<&FilesWatch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// Where the socket and the configuration files lie.
fn directories(configured: &Configured) -> BTreeSet<String> {
    let socket = crate::facts::runtime::socket(&configured.endpoint.value);
    let files = configured.config.iter().map(|file| file.path.value.as_str()).chain(socket);
    files.filter_map(|path| Some(path.rsplit_once('/')?.0.to_owned())).filter(|directory| !directory.is_empty()).collect()
}

fn is_well(runtime: &Runtime) -> bool {
    match &runtime.reply {
        Reply::Answered(answer) => answer.conditions.iter().all(|condition| condition.status || !condition.kind.ends_with("Ready")),
        Reply::NotAsked | Reply::Unseen(_) => true,
        _ => false,
    }
}
