use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use meshkit_core::Update;
use pin_project::pin_project;
use tokio::time::{Sleep, sleep};

use super::Ledger;

/// A source of discovery that can be asked what it amounts to.
pub trait Discovery {
    /// The updates of one subscription. The first of them is complete: an [`Update::Add`] in its place counts as [`Update::Reset`].
    type Updates: Stream<Item = Update>;
    /// The digest of the endpoints as the source knows them: see [`digest`](crate::digest()). `None` if the source cannot tell.
    type Digest: Future<Output = Option<u64>>;

    /// Subscribes, again if need be. The subscription before is dropped.
    fn subscribe(&mut self) -> Self::Updates;

    /// Asks what there is.
    fn digest(&mut self) -> Self::Digest;

    /// An update was lost; the next thing is a new subscription.
    fn lost(&mut self) {}
}

/// When a [`Checked`] stream asks. What was lost is back after the sum of the two, and what it takes to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// From one question to the next, and how long an answer may take. Default 20 seconds.
    pub interval: Duration,
    /// How long updates may be under way: two digests that differ are compared again after this. Default 5 seconds.
    pub grace: Duration,
}

/// The stream of [`checked`].
#[pin_project]
pub struct Checked<D: Discovery> {
    discovery: D,
    #[pin]
    updates: D::Updates,
    /// Has the subscription said nothing yet?
    fresh: bool,
    ledger: Ledger,
    check: Check,
    #[pin]
    state: State<D::Digest>,
}

#[pin_project(project = StateProj)]
enum State<F> {
    Waiting {
        #[pin]
        sleep: Sleep,
        doubt: Doubt,
    },
    Asking {
        #[pin]
        answer: F,
        #[pin]
        limit: Sleep,
        doubt: Doubt,
    },
}

/// Did the digests differ when they were last compared?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    None,
    Some,
}

impl Default for Check {
    fn default() -> Self {
        Self { interval: Duration::from_secs(20), grace: Duration::from_secs(5) }
    }
}

impl Check {
    /// Sets the time from one question to the next.
    #[must_use]
    pub const fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets how long updates may be under way.
    #[must_use]
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }
}

/// Updates of which none is lost for long: what they amount to is compared with what the source has, and if that differs, the source is
/// subscribed to anew. A source that cannot tell is believed. The stream ends with the subscription.
pub fn checked<D: Discovery>(mut discovery: D, check: Check) -> Checked<D> {
    let updates = discovery.subscribe();
    let state = State::waiting(check.interval, Doubt::None);
    Checked { discovery, updates, fresh: true, ledger: Ledger::default(), check, state }
}

impl<F> State<F> {
    fn waiting(time: Duration, doubt: Doubt) -> Self {
        Self::Waiting { sleep: sleep(time), doubt }
    }
}

impl<D: Discovery> Stream for Checked<D> {
    type Item = Update;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Update>> {
        let mut this = self.project();
        loop {
            // Before the digests are compared: an update that is here is not lost.
            if let Poll::Ready(update) = this.updates.as_mut().poll_next(cx) {
                let update = match update {
                    Some(Update::Add(endpoints)) if *this.fresh => Some(Update::Reset(endpoints)),
                    other => other,
                };
                *this.fresh = false;
                update.iter().for_each(|update| this.ledger.apply(update));
                return Poll::Ready(update);
            }
            let next = match this.state.as_mut().project() {
                StateProj::Waiting { sleep: wait, doubt } => {
                    ready!(wait.poll(cx));
                    State::Asking { answer: this.discovery.digest(), limit: sleep(this.check.interval), doubt: *doubt }
                }
                StateProj::Asking { answer, limit, doubt } => match (answer.poll(cx), *doubt) {
                    (Poll::Pending, _) => {
                        ready!(limit.poll(cx));
                        State::waiting(this.check.interval, Doubt::None)
                    }
                    (Poll::Ready(Some(digest)), Doubt::None) if digest != this.ledger.digest() => {
                        State::waiting(this.check.grace, Doubt::Some)
                    }
                    (Poll::Ready(Some(digest)), Doubt::Some) if digest != this.ledger.digest() => {
                        this.discovery.lost();
                        this.updates.set(this.discovery.subscribe());
                        *this.fresh = true;
                        State::waiting(this.check.interval, Doubt::None)
                    }
                    (Poll::Ready(_), _) => State::waiting(this.check.interval, Doubt::None),
                },
            };
            this.state.set(next);
        }
    }
}

impl<D: Discovery> fmt::Debug for Checked<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checked").field("digest", &self.ledger.digest()).field("check", &self.check).finish_non_exhaustive()
    }
}
