//! When to stop, and how long that may take.
//!
//! ```no_run
//! # async fn run() -> std::io::Result<()> {
//! use std::time::Duration;
//! use meshkit_core::drain;
//! use meshkit_runtime::shutdown;
//!
//! let (trigger, mut requested) = shutdown::listen()?;  // the trigger goes to the admin server
//! let (signal, watch) = drain::channel();               // the watch goes to whatever must finish first
//! let reason = requested.received().await;
//! tracing::info!(%reason, "shutting down");
//! if let Err(elapsed) = shutdown::drain(signal, Duration::from_secs(120)).await {
//!     tracing::warn!(%elapsed, "terminating");
//! }
//! # drop((trigger, watch)); Ok(())
//! # }
//! ```

use std::{fmt, io, time::Duration};

use meshkit_core::drain;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

/// Why the program stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
    /// A [`Trigger`].
    Request,
}

/// Asks the program to stop. Clones ask the same program.
#[derive(Clone, Debug)]
pub struct Trigger(mpsc::Sender<()>);

/// Waits for a reason to stop.
#[derive(Debug)]
pub struct Requested {
    terminate: Signal,
    interrupt: Signal,
    triggered: mpsc::Receiver<()>,
}

/// Nobody waits for a request any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unheard;

/// What was in flight did not finish in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraceElapsed {
    grace: Duration,
}

/// Takes over SIGTERM and SIGINT, which from here on do not end the process by themselves.
///
/// # Errors
/// The handlers cannot be installed.
///
/// # Panics
/// Outside of a Tokio runtime with I/O enabled.
pub fn listen() -> io::Result<(Trigger, Requested)> {
    let (trigger, triggered) = mpsc::channel(1);
    let terminate = signal(SignalKind::terminate())?;
    let interrupt = signal(SignalKind::interrupt())?;
    Ok((Trigger(trigger), Requested { terminate, interrupt, triggered }))
}

/// Gives the signal, and waits until the last watch is dropped, for at most `grace`.
///
/// # Errors
/// The grace period is over; the program ends without what is still in flight.
///
/// # Cancel safety
/// A dropped wait cannot be resumed; the watches stay signaled.
pub async fn drain(signal: drain::Signal, grace: Duration) -> Result<(), GraceElapsed> {
    tokio::time::timeout(grace, signal.drain()).await.map_err(|_| GraceElapsed { grace })
}

impl Trigger {
    /// Asks the program to stop. Asking again changes nothing.
    ///
    /// # Errors
    /// The program does not listen any more.
    pub fn request(&self) -> Result<(), Unheard> {
        match self.0.try_send(()) {
            Err(mpsc::error::TrySendError::Closed(())) => Err(Unheard),
            Ok(()) | Err(mpsc::error::TrySendError::Full(())) => Ok(()),
        }
    }
}

impl Requested {
    /// Waits for the next signal or request.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn received(&mut self) -> Reason {
        tokio::select! {
            Some(()) = self.terminate.recv() => Reason::Terminate,
            Some(()) = self.interrupt.recv() => Reason::Interrupt,
            Some(()) = self.triggered.recv() => Reason::Request,
            // No trigger is left, and the system sends no signals any more.
            else => std::future::pending().await,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::Request => "request",
        })
    }
}

impl fmt::Display for Unheard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("shutdown listener dropped")
    }
}

impl fmt::Display for GraceElapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connections were still open after the shutdown grace period of {:?}", self.grace)
    }
}

impl std::error::Error for Unheard {}
impl std::error::Error for GraceElapsed {}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    const GRACE: Duration = Duration::from_secs(120);

    #[tokio::test]
    async fn a_request_is_heard_once_however_often_it_is_made() {
        let (trigger, mut requested) = listen().unwrap();
        trigger.request().unwrap();
        trigger.clone().request().unwrap();
        assert_eq!(requested.received().await, Reason::Request);
        assert!(requested.triggered.try_recv().is_err());
        drop(requested);
        assert_eq!(trigger.request(), Err(Unheard));
    }

    #[tokio::test]
    async fn a_signal_of_the_system_is_heard_without_any_trigger() {
        let (trigger, mut requested) = listen().unwrap();
        drop(trigger);
        let kill = std::process::Command::new("kill").args(["-INT", &std::process::id().to_string()]).status().unwrap();
        assert!(kill.success());
        assert_eq!(requested.received().await, Reason::Interrupt);
    }

    #[tokio::test(start_paused = true)]
    async fn the_drain_waits_for_what_is_in_flight_and_no_longer_than_the_grace_period() {
        for (secs, wants) in [(5, Ok(())), (500, Err(GraceElapsed { grace: GRACE }))] {
            let (signal, watch) = drain::channel();
            tokio::spawn(async move {
                let _held = watch.signaled().await;
                sleep(Duration::from_secs(secs)).await;
            });
            let start = Instant::now();
            assert_eq!(drain(signal, GRACE).await, wants);
            assert_eq!(start.elapsed(), Duration::from_secs(secs).min(GRACE));
        }
    }
}
