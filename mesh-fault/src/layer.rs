use std::{
    error::Error as StdError,
    future::Future,
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use meshkit_core::{Dice, Error};
use pin_project::pin_project;
use tokio::time::{Sleep, sleep};
use tower_layer::Layer;
use tower_service::Service;

use crate::{Abort, Fault};

/// Makes a [`Faulty`] of a service. All of them share the dice and the counts.
#[derive(Clone, Debug)]
pub struct FaultLayer {
    fault: Fault,
    dice: Dice,
    counts: Counts,
}

/// A service with planned trouble before it.
#[derive(Clone, Debug)]
pub struct Faulty<S> {
    inner: S,
    layer: FaultLayer,
}

/// How often trouble was made. Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct Counts(Arc<[AtomicU64; 2]>);

impl Counts {
    /// Requests that had to wait.
    #[must_use]
    pub fn delayed(&self) -> u64 {
        self.0[0].load(Ordering::Relaxed)
    }

    /// Requests that were answered with a planned failure.
    #[must_use]
    pub fn aborted(&self) -> u64 {
        self.0[1].load(Ordering::Relaxed)
    }
}

impl FaultLayer {
    /// Makes this trouble, for the requests that the dice say.
    #[must_use]
    pub fn new(fault: Fault, dice: Dice) -> Self {
        Self { fault, dice, counts: Counts::default() }
    }

    /// How often trouble was made.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }
}

impl<S> Layer<S> for FaultLayer {
    type Service = Faulty<S>;

    fn layer(&self, inner: S) -> Faulty<S> {
        Faulty { inner, layer: self.clone() }
    }
}

impl<S, R> Service<R> for Faulty<S>
where
    S: Service<R> + Clone,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    type Response = S::Response;
    type Error = Error;
    type Future = ResponseFuture<S, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(|e| Error::from_boxed(e.into()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let FaultLayer { fault, dice, counts } = &self.layer;
        let delay = fault.delay.filter(|(_, share)| dice.hit(*share)).map(|(length, _)| length);
        let abort = fault.abort.filter(|(_, share)| dice.hit(*share)).map(|(abort, _)| abort);
        counts.0[0].fetch_add(u64::from(delay.is_some()), Ordering::Relaxed);
        counts.0[1].fetch_add(u64::from(abort.is_some()), Ordering::Relaxed);
        let state = match (delay, abort) {
            (None, None) => State::Sent { response: self.inner.call(request) },
            (delay, abort) => {
                // The spare has not been polled ready. It stays behind for the next caller; the instance this caller waited for goes with
                // the request.
                let spare = self.inner.clone();
                let ready = mem::replace(&mut self.inner, spare);
                State::Held { sleep: delay.map(sleep), abort, send: Some((ready, request)) }
            }
        };
        ResponseFuture { state }
    }
}

/// Response of a [`Faulty`] service. Dropping it cancels the request.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<S: Service<R>, R> {
    #[pin]
    state: State<S, R, S::Future>,
}

#[pin_project(project = StateProj)]
enum State<S, R, F> {
    Held {
        #[pin]
        sleep: Option<Sleep>,
        abort: Option<Abort>,
        send: Option<(S, R)>,
    },
    Sent {
        #[pin]
        response: F,
    },
}

impl<S, R> Future for ResponseFuture<S, R>
where
    S: Service<R>,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    type Output = Result<S::Response, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Held { sleep, abort, send } => {
                    if let Some(sleep) = sleep.as_pin_mut() {
                        ready!(sleep.poll(cx));
                    }
                    if let Some(abort) = abort.take() {
                        return Poll::Ready(Err(abort.into_error()));
                    }
                    let (mut inner, request) = send.take().expect("polled after completion");
                    let response = inner.call(request);
                    state.set(State::Sent { response });
                }
                StateProj::Sent { response } => return response.poll(cx).map_err(|e| Error::from_boxed(e.into())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use http::StatusCode;
    use meshkit_core::{Cause, Ratio, grpc::Code};
    use tokio::time::Instant;
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    fn layer(delay: Option<(Duration, Ratio)>, abort: Option<(Abort, Ratio)>) -> FaultLayer {
        FaultLayer::new(Fault { delay, abort }, Dice::new(1))
    }

    async fn ask(layer: &FaultLayer) -> Result<u32, Error> {
        layer.layer(service_fn(async |n: u32| Ok::<_, Infallible>(n))).oneshot(7).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_sampled_request_waits_the_whole_pause_and_no_more() {
        const PAUSE: Duration = Duration::from_secs(3);
        let layer = layer(Some((PAUSE, Ratio::ONE)), None);
        let begun = Instant::now();
        assert_eq!(ask(&layer).await.unwrap(), 7);
        assert_eq!(begun.elapsed(), PAUSE);
        assert_eq!((layer.counts().delayed(), layer.counts().aborted()), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_may_wait_and_fail() {
        let layer = layer(Some((Duration::from_secs(1), Ratio::ONE)), Some((Abort::Code(Code::UNAVAILABLE), Ratio::ONE)));
        let begun = Instant::now();
        assert_eq!(ask(&layer).await.unwrap_err().cause(), &Cause::InjectedCode(Code::UNAVAILABLE));
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test]
    async fn a_seed_repeats_a_run() {
        let abort = Some((Abort::Status(StatusCode::BAD_GATEWAY), Ratio::new(0.3).unwrap()));
        let (one, two) = (layer(None, abort), layer(None, abort));
        for _ in 0..50 {
            assert_eq!(ask(&one).await.is_ok(), ask(&two).await.is_ok());
        }
        assert!(one.counts().aborted() > 0);
    }

    #[tokio::test]
    async fn readiness_is_the_inner_services_and_its_error_is_passed_on() {
        let (mock, mut handle) = tower_test_pair();
        let mut faulty = layer(None, None).layer(mock);
        assert!(std::future::poll_fn(|cx| Poll::Ready(faulty.poll_ready(cx))).await.is_pending());
        handle.allow();
        let failed = faulty.ready().await.unwrap().call(1).await.unwrap_err();
        assert_eq!(failed.cause(), &Cause::Io);
    }

    /// A service that is ready when it is told to be, and then fails.
    fn tower_test_pair() -> (Told, Handle) {
        let ready = Arc::new(AtomicU64::new(0));
        (Told(Arc::clone(&ready)), Handle(ready))
    }

    #[derive(Clone)]
    struct Told(Arc<AtomicU64>);

    struct Handle(Arc<AtomicU64>);

    impl Handle {
        fn allow(&mut self) {
            self.0.store(1, Ordering::Relaxed);
        }
    }

    impl Service<u32> for Told {
        type Response = u32;
        type Error = Error;
        type Future = std::future::Ready<Result<u32, Error>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
            if self.0.load(Ordering::Relaxed) == 1 { Poll::Ready(Ok(())) } else { Poll::Pending }
        }

        fn call(&mut self, _: u32) -> Self::Future {
            std::future::ready(Err(Error::new(Cause::Io)))
        }
    }
}
