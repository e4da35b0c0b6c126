use std::{
    error::Error as StdError,
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Extensions, Request, Response};
use meshkit_core::{Cause, Error};
use tower_service::Service;

use crate::{Fault, Kind, Observe, Rate, ResponseFuture, Source, Throttled, layer::Shared};

/// A service with planned trouble before it.
pub struct Faulty<S, O = crate::Counts> {
    pub(crate) inner: S,
    pub(crate) shared: Arc<Shared<O>>,
}

/// What happens to one request.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    pub(crate) delay: Option<Duration>,
    pub(crate) failure: Option<Cause>,
    pub(crate) rate: Option<Rate>,
}

impl<O: Observe> Shared<O> {
    fn trouble(&self, extensions: &Extensions) -> Trouble {
        match &self.source {
            Source::Fixed(faults) => self.roll(faults, extensions),
            // One snapshot for the request; the guard goes before anything else runs.
            Source::Watched(faults) => self.roll(&faults.borrow(), extensions),
        }
    }

    fn roll(&self, faults: &[Fault], extensions: &Extensions) -> Trouble {
        let (mut trouble, mut reset, mut abort) = (Trouble::default(), false, None);
        for fault in faults {
            if !fault.from.contains((self.caller)(extensions)) || !self.dice.hit(fault.share) {
                continue;
            }
            match fault.kind {
                Kind::Delay(delay) => {
                    let length = delay.sample(&self.dice);
                    trouble.delay = Some(trouble.delay.unwrap_or_default().saturating_add(length));
                }
                Kind::Reset => reset = true,
                Kind::Abort(planned) => abort = abort.or(Some(planned)),
                Kind::Throttle(rate) => trouble.rate = Some(trouble.rate.map_or(rate, |slowest| slowest.min(rate))),
            }
        }
        if let Some(length) = trouble.delay {
            self.observe.delayed(length);
        }
        // There is no response to slow down if there is none.
        if reset {
            self.observe.reset();
            (trouble.failure, trouble.rate) = (Some(Cause::InjectedReset), None);
        } else if let Some(abort) = abort {
            self.observe.aborted();
            (trouble.failure, trouble.rate) = (Some(abort.cause()), None);
        } else if trouble.rate.is_some() {
            self.observe.throttled();
        }
        trouble
    }
}

impl<S, B, RB, O> Service<Request<B>> for Faulty<S, O>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    RB: http_body::Body,
    O: Observe,
{
    type Response = Response<Throttled<RB>>;
    type Error = Error;
    type Future = ResponseFuture<S, Request<B>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(|e| Error::from_boxed(e.into()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let trouble = self.shared.trouble(request.extensions());
        if trouble.delay.is_none() && trouble.failure.is_none() {
            return ResponseFuture::sent(self.inner.call(request), trouble.rate);
        }
        // The spare has not been polled ready. It stays behind for the next caller; the instance this caller waited for goes with the request.
        let spare = self.inner.clone();
        let ready = mem::replace(&mut self.inner, spare);
        ResponseFuture::held(trouble, ready, request)
    }
}

impl<S: Clone, O> Clone for Faulty<S, O> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<S: fmt::Debug, O> fmt::Debug for Faulty<S, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").field("inner", &self.inner).field("source", &self.shared.source).finish_non_exhaustive()
    }
}
