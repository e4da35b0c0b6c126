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

use crate::{
    Counts, Fault, Kind, Observe, Rate, ResponseFuture, Throttled,
    layer::{Shared, Source},
};

/// A service with planned trouble before it.
///
/// Fails with a [`meshkit_core::Error`]: planned failures have the causes [`Cause::InjectedStatus`], [`Cause::InjectedCode`] and
/// [`Cause::InjectedReset`], and are never sent to the inner service; an error of the inner service keeps its cause.
pub struct Faulty<S, O = Counts> {
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

impl Trouble {
    const fn is_none(&self) -> bool {
        self.delay.is_none() && self.failure.is_none() && self.rate.is_none()
    }
}

impl<O> Shared<O> {
    fn trouble(&self, extensions: &Extensions) -> Trouble {
        match &self.source {
            Source::Fixed(faults) => self.roll(faults, extensions),
            Source::Watched(faults) => {
                // One snapshot for the request. The guard is dropped before anything else runs.
                let faults = Arc::clone(&faults.borrow());
                self.roll(&faults, extensions)
            }
        }
    }

    fn roll(&self, faults: &[Fault], extensions: &Extensions) -> Trouble {
        let (mut trouble, mut abort, mut reset) = (Trouble::default(), None, false);
        for fault in faults {
            if !fault.from.meant(|| self.caller.of(extensions)) || !self.dice.hit(fault.share) {
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
        trouble.failure = if reset { Some(Cause::InjectedReset) } else { abort.map(crate::Abort::cause) };
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
    type Future = ResponseFuture<S, Request<B>, O>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(|e| Error::from_boxed(e.into()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let trouble = self.shared.trouble(request.extensions());
        if trouble.is_none() {
            return ResponseFuture::untroubled(self.inner.call(request));
        }
        let shared = Arc::clone(&self.shared);
        if let Some(length) = trouble.delay {
            shared.observe.delayed(length);
        } else if trouble.failure.is_none() {
            return ResponseFuture::slow(self.inner.call(request), trouble.rate, shared);
        }
        // The spare has not been polled ready. It stays behind for the next caller; the instance this caller waited for goes with the request.
        let spare = self.inner.clone();
        let ready = mem::replace(&mut self.inner, spare);
        ResponseFuture::held(ready, request, trouble, shared)
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
