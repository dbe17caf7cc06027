//! A blocking look at the node that may never come back.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::facts::Blind;

/// Runs blocking observations on a thread, one at a time, and gives up waiting after a deadline.
///
/// A look at a dead mount can hang for ever and cannot be ended. While it hangs, every further call waits for that same
/// one, so that threads never pile up; what it brings in the end is old and is thrown away.
#[derive(Debug)]
pub struct Look<T> {
    deadline: Duration,
    hung: Option<JoinHandle<T>>,
}

impl<T: Send + 'static> Look<T> {
    #[must_use]
    pub fn new(deadline: Duration) -> Self {
        Self { deadline, hung: None }
    }

    /// What `look` sees.
    ///
    /// # Errors
    /// Blind, if there is no answer within the deadline, or the look itself failed.
    pub async fn at(&mut self, look: impl FnOnce() -> T + Send + 'static) -> Result<T, Blind> {
        if let Some(hung) = &mut self.hung {
            if timeout(self.deadline, hung).await.is_err() {
                return Err(self.no_answer());
            }
            self.hung = None;
        }
        let mut running = tokio::task::spawn_blocking(look);
        match timeout(self.deadline, &mut running).await {
            Ok(Ok(seen)) => Ok(seen),
            Ok(Err(failed)) => Err(Blind::new(format!("the observer failed: {failed}"))),
            Err(_) => {
                self.hung = Some(running);
                Err(self.no_answer())
            }
        }
    }

    fn no_answer(&self) -> Blind {
        Blind::new(format!("the node's files gave no answer in {} s", self.deadline.as_secs()))
            .grant("look for a dead mount: grep -E ' (nfs|cifs|fuse)' /proc/1/mountinfo; ps -eo state,pid,cmd | grep '^D'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, mpsc};

    #[tokio::test]
    async fn a_hanging_look_is_unknown_and_never_started_twice() {
        let (release, hang) = mpsc::channel::<()>();
        let started = Arc::new(AtomicUsize::new(0));
        let mut look = Look::new(Duration::from_millis(20));
        let counter = Arc::clone(&started);
        let first = look.at(move || {
            counter.fetch_add(1, Ordering::SeqCst);
            let _ = hang.recv();
        });
        assert!(first.await.unwrap_err().reason.contains("no answer"));
        for _ in 0..5 {
            let counter = Arc::clone(&started);
            let again = look.at(move || _ = counter.fetch_add(1, Ordering::SeqCst));
            assert!(again.await.is_err(), "it waits for the one that hangs");
        }
        assert_eq!(started.load(Ordering::SeqCst), 1);
        release.send(()).unwrap();
        while look.at(|| ()).await.is_err() {}
    }

    #[tokio::test]
    async fn a_look_that_panics_is_unknown() {
        let mut look = Look::<()>::new(Duration::from_secs(5));
        let blind = look.at(|| panic!("on purpose")).await.unwrap_err();
        assert!(blind.reason.contains("failed"), "{blind}");
        assert!(look.at(|| ()).await.is_ok(), "and the next one is asked again");
    }
}
