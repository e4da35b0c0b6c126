use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper::client::conn::http1::SendRequest;
use tokio::{
    runtime::Handle,
    time::{Instant, sleep_until},
};

use crate::Body;

/// How many connections a request looks at before it opens a new one. The last ones used are the likely ones.
const LOOKS: usize = 8;

/// Bounds of a pool.
#[derive(Clone, Copy, Debug)]
pub struct PoolSettings {
    /// Connections that are kept while nobody uses them. Default 10,000.
    pub max_idle_count: usize,
    /// How long they are kept. Default 3 s.
    pub idle_timeout: Duration,
}

/// The connections that nobody uses.
#[derive(Debug)]
pub(super) struct IdleConnections {
    settings: PoolSettings,
    state: Mutex<State>,
}

/// A connection in use. It returns to its pool when this is dropped or the response has ended; a connection whose response was given up is
/// closed by the library, and is not taken from the pool again.
#[derive(Debug)]
pub struct Lease {
    send: Option<SendRequest<Body>>,
    idle: Arc<IdleConnections>,
}

#[derive(Debug, Default)]
struct State {
    // The oldest one in front.
    connections: VecDeque<Idle>,
    reaping: bool,
}

#[derive(Debug)]
struct Idle {
    send: SendRequest<Body>,
    since: Instant,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self { max_idle_count: 10_000, idle_timeout: Duration::from_secs(3) }
    }
}

impl IdleConnections {
    pub(super) fn new(settings: PoolSettings) -> Self {
        Self { settings, state: Mutex::default() }
    }

    /// The connection that was used last: the others get a chance to grow old.
    pub(super) fn take(&self) -> Option<SendRequest<Body>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = state.connections.len();
        let end = at.saturating_sub(LOOKS);
        while at > end {
            at -= 1;
            let send = &state.connections[at].send;
            if send.is_ready() {
                return state.connections.remove(at).map(|idle| idle.send);
            }
            if send.is_closed() {
                state.connections.remove(at);
            }
            // Else its last response is still on its way.
        }
        None
    }

    fn put(self: &Arc<Self>, send: SendRequest<Body>) {
        if send.is_closed() {
            return;
        }
        // A body may be dropped where no runtime is, when everything ends.
        let Ok(runtime) = Handle::try_current() else { return };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.connections.len() >= self.settings.max_idle_count {
            return;
        }
        state.connections.push_back(Idle { send, since: Instant::now() });
        if !state.reaping {
            state.reaping = true;
            let until = Instant::now() + self.settings.idle_timeout;
            drop(state);
            self.reap(&runtime, until);
        }
    }

    /// One task per pool closes what has been idle for too long. It ends when nothing is left.
    fn reap(self: &Arc<Self>, runtime: &Handle, mut until: Instant) {
        let pool = Arc::downgrade(self);
        runtime.spawn(async move {
            loop {
                sleep_until(until).await;
                let Some(pool) = pool.upgrade() else { return };
                match pool.close_old(Instant::now()) {
                    Some(next) => until = next,
                    None => return,
                }
            }
        });
    }

    /// Returns when the next one is due.
    fn close_old(&self, now: Instant) -> Option<Instant> {
        let limit = self.settings.idle_timeout;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.connections.front().is_some_and(|idle| idle.since + limit <= now || idle.send.is_closed()) {
            state.connections.pop_front();
        }
        let next = state.connections.front().map(|idle| idle.since + limit);
        state.reaping = next.is_some();
        next
    }
}

impl Lease {
    pub(super) const fn new(send: SendRequest<Body>, idle: Arc<IdleConnections>) -> Self {
        Self { send: Some(send), idle }
    }

    /// The response has been read.
    pub(crate) fn give_back(&mut self) {
        if let Some(send) = self.send.take() {
            self.idle.put(send);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.give_back();
    }
}
