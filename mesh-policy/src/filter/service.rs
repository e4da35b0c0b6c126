use std::{
    error::Error as StdError,
    sync::Arc,
    task::{Context, Poll},
};

use ::http::{Request, Response};
use meshkit_core::{Dice, Error};
use tower_service::Service;

use super::{Kind, ResponseFuture};

/// Changes requests and responses, or answers in the server's place with a [`meshkit_core::Error`].
#[derive(Debug)]
pub struct Filter<S, F: Kind> {
    pub(super) inner: S,
    pub(super) filters: Arc<[F]>,
    pub(super) matches: Arc<[F::Match]>,
    pub(super) dice: Dice,
}

impl<S: Clone, F: Kind> Clone for Filter<S, F> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), filters: Arc::clone(&self.filters), matches: Arc::clone(&self.matches), dice: self.dice.clone() }
    }
}

impl<S, F, B, R> Service<Request<B>> for Filter<S, F>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    F: Kind,
{
    type Response = Response<R>;
    type Error = Error;
    type Future = ResponseFuture<S::Future, F>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(|e| Error::from_boxed(e.into()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        match F::apply(&self.filters, &self.matches, &mut parts, &self.dice) {
            Ok(()) => ResponseFuture::sent(self.inner.call(Request::from_parts(parts, body)), Arc::clone(&self.filters)),
            Err(error) => ResponseFuture::refused(error),
        }
    }
}
