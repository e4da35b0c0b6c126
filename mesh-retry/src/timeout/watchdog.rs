use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use meshkit_core::{Cause, Error};
use tokio::time::{Instant, Sleep};

use super::{
    Limits,
    flow::{Flow, Progress},
};

/// Where an exchange stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Headers,
    Stream,
}

/// Knows which limit is reached next. The timer is its owner's: it cannot move from the response's future to its body.
#[derive(Debug)]
pub(super) struct Watchdog {
    limits: Limits,
    flow: Flow,
}

impl Watchdog {
    pub(super) const fn new(limits: Limits, flow: Flow) -> Self {
        Self { limits, flow }
    }

    pub(super) fn active(&mut self, now: Instant) {
        if self.limits.idle.is_some() {
            self.flow.active(now);
        }
    }

    /// When the first of the limits will be reached. The task is woken when that may have changed.
    pub(super) fn next(&self, phase: Phase, cx: &Context<'_>) -> Option<Instant> {
        next(&self.limits, phase, self.flow.read(cx.waker())).map(|(at, _)| at)
    }

    /// Ready when the first of the limits is reached.
    pub(super) fn poll(&self, phase: Phase, mut sleep: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<Error> {
        loop {
            let Some((at, cause)) = next(&self.limits, phase, self.flow.read(cx.waker())) else {
                return Poll::Pending;
            };
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
fn next(limits: &Limits, phase: Phase, progress: Progress) -> Option<(Instant, Cause)> {
    let Progress { sent_at, active_at } = progress;
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::timeout::Limit;

    proptest! {
        #[test]
        fn the_first_limit_counts_and_only_those_that_have_started(
            request in proptest::option::of(1u64..100),
            response in proptest::option::of(1u64..100),
            headers in proptest::option::of(1u64..100),
            idle in proptest::option::of(1u64..100),
            sent in proptest::option::of(0u64..100),
            active in 0u64..100,
            streaming: bool,
        ) {
            let start = Instant::now();
            let secs = |n: Option<u64>| n.map(Duration::from_secs);
            let at = |n: u64| start + Duration::from_secs(n);
            let limits = Limits {
                request: secs(request).and_then(|length| Limit::after(start, length)),
                response: secs(response),
                headers: secs(headers),
                idle: secs(idle),
            };
            let phase = if streaming { Phase::Stream } else { Phase::Headers };
            let after = |n: Option<u64>| Some(n? + sent?);
            let expected = [request, after(response), after(headers.filter(|_| !streaming)), idle.map(|n| n + active)];
            let found = next(&limits, phase, Progress { sent_at: sent.map(at), active_at: at(active) });
            prop_assert_eq!(found.map(|(at, _)| at), expected.into_iter().flatten().min().map(at));
        }
    }
}
