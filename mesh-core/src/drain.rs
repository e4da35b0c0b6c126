//! Shutdown that waits for what is in flight.
//!
//! One [`Signal`] starts it; every task that must finish first holds a [`Watch`]. When the signal is given, tasks stop taking
//! new work, and [`Signal::drain`] returns once the last watch is dropped.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let (signal, watch) = meshkit_core::drain::channel();
//! let task = tokio::spawn(async move {
//!     let held = watch.signaled().await; // stop accepting here
//!     drop(held);                        // the last request is done
//! });
//! signal.drain().await;
//! task.await.unwrap();
//! # }
//! ```

use tokio::sync::{mpsc, watch};

/// Starts the drain, and waits for its end.
#[derive(Debug)]
pub struct Signal {
    start: watch::Sender<bool>,
    // Never receives anything: it is closed when the last `Watch` is gone.
    done: mpsc::Receiver<()>,
}

/// Holds the drain up until it is dropped.
#[derive(Clone, Debug)]
#[must_use = "the drain does not wait for a watch that was dropped"]
pub struct Watch {
    started: watch::Receiver<bool>,
    _hold: mpsc::Sender<()>,
}

/// A signal and the first of its watches; further ones are clones.
pub fn channel() -> (Signal, Watch) {
    let (start, started) = watch::channel(false);
    let (hold, done) = mpsc::channel(1);
    (Signal { start, done }, Watch { started, _hold: hold })
}

impl Signal {
    /// Tells every watch to finish, and returns when all of them are dropped.
    ///
    /// # Cancel safety
    /// A dropped wait cannot be resumed; the watches stay signaled.
    pub async fn drain(mut self) {
        self.start.send_replace(true);
        while self.done.recv().await.is_some() {}
    }
}

impl Watch {
    /// Waits for the signal, and returns the watch, to be held until the work in flight is done.
    ///
    /// A signal that is dropped instead of given counts as given: nobody is left to wait for.
    ///
    /// # Cancel safety
    /// Dropping the wait drops the watch.
    pub async fn signaled(mut self) -> Self {
        let _ = self.started.wait_for(|started| *started).await;
        self
    }

    /// Has the signal been given?
    #[must_use]
    pub fn is_signaled(&self) -> bool {
        *self.started.borrow() || self.started.has_changed().is_err()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn draining_waits_for_the_last_watch() {
        let (signal, watch) = channel();
        let begun = Instant::now();
        for secs in [1, 5, 3] {
            let watch = watch.clone();
            tokio::spawn(async move {
                let _held = watch.signaled().await;
                sleep(Duration::from_secs(secs)).await;
            });
        }
        drop(watch);
        signal.drain().await;
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
    }

    #[tokio::test]
    async fn a_lost_signal_is_a_signal() {
        let (signal, watch) = channel();
        assert!(!watch.is_signaled());
        drop(signal);
        assert!(watch.is_signaled());
        let _held = watch.signaled().await;
    }
}
