use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use tokio::sync::Semaphore;
use tower_service::Service;

use super::Validator;

/// The longest body, in bytes: the API server takes no larger objects.
pub const BODY_MAX: usize = 3 << 20;
/// So many bodies are read at once: with [`BODY_MAX`], what the webhook holds is bounded.
const BODIES_MAX: usize = 64;

type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A [`Validator`] behind HTTP: `POST /` is answered, anything else is not found. Clones share the bound on bodies that are read at once; who
/// serves it sets a limit on the time of a request.
#[derive(Clone, Debug)]
pub struct Webhook {
    validator: Validator,
    places: Arc<Semaphore>,
}

/// Response of a [`Webhook`].
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture(Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send>>);

impl Webhook {
    /// Answers with what a validator says.
    #[must_use]
    pub fn new(validator: Validator) -> Self {
        Self { validator, places: Arc::new(Semaphore::new(BODIES_MAX)) }
    }
}

impl<B> Service<Request<B>> for Webhook
where
    B: Body<Data: Send, Error: Into<BodyError>> + Send + 'static,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        let Self { validator, places } = self.clone();
        ResponseFuture(Box::pin(async move {
            if request.method() != Method::POST || request.uri().path() != "/" {
                return text(StatusCode::NOT_FOUND, String::new());
            }
            // It is never closed.
            let _place = places.acquire().await;
            match Limited::new(request.into_body(), BODY_MAX).collect().await {
                Ok(body) => {
                    let mut response = Response::new(Full::from(validator.review(&body.to_bytes())));
                    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
                    response
                }
                Err(error) if error.is::<LengthLimitError>() => {
                    text(StatusCode::PAYLOAD_TOO_LARGE, format!("a body of more than {BODY_MAX} bytes (BODY_MAX) is not read\n"))
                }
                Err(error) => text(StatusCode::BAD_REQUEST, format!("the body was not read: {error}\n")),
            }
        }))
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response<Full<Bytes>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map(Ok)
    }
}

fn text(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}
