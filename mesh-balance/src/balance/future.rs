use std::{
    error::Error as StdError,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use meshkit_core::Error;
use pin_project::pin_project;
use tokio::time::Instant;
use tower_service::Service;

use super::{
    service::Owner,
    shared::{Found, Turn},
};
use crate::{observe::Observe, track, track::Pending};

/// Response of a [`Balance`](super::Balance) service. Dropping it cancels the request, which gives its place in the queue up, and no longer
/// counts as pending.
///
/// An endpoint is picked when it is first polled.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<S: Service<R>, R, T, O: Observe = ()> {
    #[pin]
    state: Stage<S, R, S::Future, O>,
    track: T,
}

#[pin_project(project = StageProj)]
enum Stage<S, R, F, O: Observe> {
    // Not yet sent.
    Picking {
        wait: Wait<S, O>,
        request: Option<R>,
    },
    Sent {
        #[pin]
        response: F,
        pending: Option<Pending>,
    },
    Done,
}

/// A request on its way to an endpoint. Dropping it gives its place in the queue up.
struct Wait<S, O: Observe> {
    owner: Arc<Owner<S, O>>,
    ticket: Option<u64>,
    since: Option<Instant>,
}

impl<S, O: Observe> Drop for Wait<S, O> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.owner.0.leave(ticket);
        }
    }
}

impl<S: Service<R>, R, T, O: Observe> ResponseFuture<S, R, T, O> {
    pub(super) fn new(owner: Arc<Owner<S, O>>, track: T, request: R) -> Self {
        let wait = Wait { owner, ticket: None, since: None };
        Self { state: Stage::Picking { wait, request: Some(request) }, track }
    }
}

impl<S: Clone, O: Observe> Wait<S, O> {
    /// Finds an endpoint, and an instance of its service that is ready on this very task.
    fn poll_pick<R>(&mut self, cx: &mut Context<'_>) -> Poll<Result<(S, Pending), Error>>
    where
        S: Service<R>,
    {
        let shared = &self.owner.0;
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        // Every round takes an endpoint out of the ready set. The driver may put it back meanwhile, so there is a limit to it.
        for _ in 0..64 {
            let (entry, pending) = match shared.turn(self.ticket, now, cx) {
                Turn::Go(entry, pending) => (entry, pending),
                Turn::Wait(ticket) => {
                    self.ticket = Some(ticket);
                    return Poll::Pending;
                }
                Turn::Fail(error) => {
                    return Poll::Ready(Err(error));
                }
            };
            if let Some(ready) = entry.take_primed() {
                shared.observe().request(now.saturating_duration_since(since));
                return Poll::Ready(Ok((ready, pending)));
            }
            let mut service = entry.service();
            let found = match service.poll_ready(cx) {
                Poll::Ready(Ok(())) => {
                    shared.observe().request(now.saturating_duration_since(since));
                    return Poll::Ready(Ok((service, pending)));
                }
                Poll::Pending => Found::Pending,
                Poll::Ready(Err(_)) => Found::Failed,
            };
            pending.cancel();
            shared.not_ready(&entry, found, now);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S, R, T, O> Future for ResponseFuture<S, R, T, O>
where
    S: Service<R> + Clone,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    T: track::Track<S::Response>,
    O: Observe,
{
    type Output = Result<T::Tracked, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut state = this.state;
        loop {
            match state.as_mut().project() {
                StageProj::Picking { wait, request } => match ready!(wait.poll_pick(cx)) {
                    Ok((mut service, pending)) => {
                        let request = request.take().expect("a request leaves this stage once");
                        let response = service.call(request);
                        // Drops the wait, which wakes the next in the queue.
                        state.set(Stage::Sent { response, pending: Some(pending) });
                    }
                    Err(error) => {
                        state.set(Stage::Done);
                        return Poll::Ready(Err(error));
                    }
                },
                StageProj::Sent { response, pending } => {
                    let result = ready!(response.poll(cx));
                    let pending = pending.take().expect("a response comes once");
                    state.set(Stage::Done);
                    return Poll::Ready(match result {
                        Ok(response) => Ok(this.track.track(response, pending)),
                        Err(error) => {
                            pending.fail(Instant::now());
                            Err(Error::from_boxed(error.into()))
                        }
                    });
                }
                StageProj::Done => panic!("polled after completion"),
            }
        }
    }
}

impl<S: Service<R>, R, T, O: Observe> fmt::Debug for ResponseFuture<S, R, T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
