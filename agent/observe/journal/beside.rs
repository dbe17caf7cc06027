//! What else tells what is logged: the kernel's own log where the journal has none of it, containers' log files, and syslog's
//! files where there is no journal.

use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::unix::AsyncFd;

use super::format::Id;
use super::kmsg::{self, Kmsg};
use super::look::Look;
use super::tail::Tail;
use crate::facts::{Blind, Journal, Timestamp};
use crate::observe::host::Host;

/// How soon a log file that is about to come is looked for.
pub(super) const SOON: Duration = Duration::from_millis(250);

/// The sources beside the journal that are read.
#[derive(Debug)]
pub(super) struct Beside<'a> {
    kmsg: Option<Kmsg>,
    tail: Tail<'a>,
}

/// Their events. A source that is not there never has any.
#[derive(Debug)]
pub(super) struct Events {
    kmsg: Option<AsyncFd<OwnedFd>>,
    tail: Option<AsyncFd<OwnedFd>>,
}

impl Events {
    /// Waits for one; true if it is of the log files.
    pub async fn next(&self) -> bool {
        tokio::select! {
            () = readable(self.kmsg.as_ref()) => false,
            () = readable(self.tail.as_ref()) => true,
        }
    }
}

async fn readable(fd: Option<&AsyncFd<OwnedFd>>) {
    match fd {
        Some(fd) => {
            if let Ok(mut guard) = fd.readable().await {
                guard.clear_ready();
            }
        }
        None => std::future::pending().await,
    }
}

impl<'a> Beside<'a> {
    /// Opens what is needed beside the journal, which `has_kernel` lines, or instead of it: then that is `None`.
    pub fn start(host: &'a Host, look: &mut Look, has_kernel: Option<bool>) -> Self {
        let running = || host.read_text("/proc/sys/kernel/random/boot_id", 4096).ok().and_then(|text| Id::parse(text.trim()));
        // Lines of another boot would make the tally forget what it has.
        let boot = look.tally.sum().boot().or_else(running).unwrap_or_default();
        let kmsg = (host.is_live() && has_kernel != Some(true)).then(|| Kmsg::open(host, boot).ok()).flatten();
        if kmsg.is_some() {
            look.tally.forget_kernel();
        }
        let instead = has_kernel.is_none();
        let tail = Tail::start(host, look, boot, instead, instead && kmsg.is_none());
        Self { kmsg, tail }
    }

    /// What wakes; call it within a runtime.
    pub fn events(&self) -> Events {
        Events { kmsg: self.kmsg.as_ref().and_then(Kmsg::events), tail: self.tail.events() }
    }

    /// Takes in what was written since, a batch. True if there is more.
    pub fn read(&mut self, look: &mut Look) -> bool {
        let more = self.kmsg.as_mut().is_some_and(|kmsg| kmsg.read(look));
        self.tail.read(look) || more
    }

    /// After an event of the log files.
    pub fn drain(&mut self, look: &Look) {
        if self.tail.drain() {
            self.tail.scan(look);
        }
    }

    /// Whether something is about to come that no event may tell of.
    pub fn is_restless(&self) -> bool {
        self.tail.is_restless()
    }

    /// Looks for files that no event told of.
    pub fn scan(&mut self, look: &Look) {
        self.tail.scan(look);
    }

    /// Runs for a while instead of the journal; `told` is called after each look.
    pub async fn run(&mut self, look: &mut Look, span: Duration, mut told: impl FnMut(&Self, &Look)) {
        let events = self.events();
        self.scan(look);
        let end = tokio::time::Instant::now() + span;
        loop {
            while self.read(look) {}
            told(self, look);
            tokio::select! {
                () = tokio::time::sleep_until(end) => return,
                () = tokio::time::sleep(SOON), if self.is_restless() => {}
                files = events.next() => if files { self.drain(look) },
            }
        }
    }

    /// What is known without the journal, which cannot be read because of `blind`.
    ///
    /// # Errors
    /// Blind, if nothing else tells anything either.
    pub fn facts(&self, look: &Look, now: u64, blind: Blind) -> Result<Journal, Blind> {
        let syslog = self.tail.has_syslog();
        if self.kmsg.is_none() && !syslog {
            return Err(blind);
        }
        let mut sources = Vec::new();
        sources.extend(self.kmsg.as_ref().map(|_| kmsg::PATH.to_owned()));
        sources.extend(self.tail.syslog_files());
        Ok(Journal {
            instead: sources,
            unseen: (!syslog).then_some(blind),
            until: Timestamp::from_unix_micros(look.tally.newest()),
            last_words: look.tally.last_words(now),
            signals: look.tally.signals(now),
            past: look.past.clone(),
            ..Journal::default()
        })
    }
}
