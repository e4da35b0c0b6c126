//! One stop, heard by every server of a component.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tracing::warn;

/// Hears the stop.
#[derive(Clone, Debug)]
pub(crate) struct Stop(watch::Receiver<bool>);

pub(crate) fn channel() -> (watch::Sender<bool>, Stop) {
    let (tell, told) = watch::channel(false);
    (tell, Stop(told))
}

impl Stop {
    /// Waits for the stop. A teller that is gone counts as one.
    pub(crate) async fn given(&mut self) {
        let _ = self.0.wait_for(|given| *given).await;
    }
}

/// Waits for SIGTERM or SIGINT.
pub(crate) async fn signaled() {
    let (mut term, mut int) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(term), Ok(int)) => (term, int),
        (Err(error), _) | (_, Err(error)) => {
            warn!(%error, "signals cannot be heard; only a kill ends this process");
            return std::future::pending().await;
        }
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
