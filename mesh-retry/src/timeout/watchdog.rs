use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use meshkit_core::{Cause, Error};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Limits, flow::Flow};

/// Where an exchange stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Headers,
    Stream,
}

/// The timer of an exchange. It is boxed, since it moves from the response's future to its body; nobody has one without limits.
#[derive(Debug)]
pub(super) struct Watchdog {
    limits: Limits,
    flow: Flow,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Watchdog {
    pub(super) fn new(limits: Limits, flow: Flow) -> Self {
        Self { limits, flow, sleep: None }
    }

    pub(super) fn active(&self, now: Instant) {
        if self.limits.idle.is_some() {
            self.flow.active(now);
        }
    }

    /// Ready when the first of the limits is reached.
    pub(super) fn poll(&mut self, phase: Phase, cx: &mut Context<'_>) -> Poll<Error> {
        loop {
            let (sent_at, active_at) = self.flow.read(cx.waker());
            let Some((at, cause)) = next(&self.limits, phase, sent_at, active_at) else {
                return Poll::Pending;
            };
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
            // A timer that rings early finds the limit further away and is set again; one that would ring late is set now.
            if at < sleep.deadline() {
                sleep.as_mut().reset(at);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if sleep.deadline() >= at {
                return Poll::Ready(Error::new(cause).within(match phase {
                    Phase::Headers => "timed out waiting for response headers",
                    Phase::Stream => "timed out processing response stream",
                }));
            }
            sleep.as_mut().reset(at);
        }
    }
}

/// The first limit to be reached, if nothing else happens.
fn next(limits: &Limits, phase: Phase, sent_at: Option<Instant>, active_at: Instant) -> Option<(Instant, Cause)> {
    let after = |start: Option<Instant>, length: Option<Duration>, cause: fn(Duration) -> Cause| {
        let length = length?;
        Some((start?.checked_add(length)?, cause(length)))
    };
    let headers = limits.headers.filter(|_| phase == Phase::Headers);
    [
        limits.request.map(|limit| (limit.at(), Cause::RequestTimeout(limit.length()))),
        after(sent_at, limits.response, Cause::ResponseTimeout),
        after(sent_at, headers, Cause::HeadersTimeout),
        after(Some(active_at), limits.idle, Cause::IdleTimeout),
    ]
    .into_iter()
    .flatten()
    .min_by_key(|(at, _)| *at)
}
