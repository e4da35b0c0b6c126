use std::{
    convert::Infallible,
    future::{Pending, pending},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use ::http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use meshkit_core::{Cause, Dice, Error, Ratio, grpc::Code};
use tower::{Layer as _, Service, ServiceExt as _, service_fn};

use super::*;
use crate::{
    grpc,
    http::{self, FailureInjector, HeaderModifier, PathModifier, Rewrite},
};

fn set(name: &'static str) -> HeaderModifier {
    let pair = (HeaderName::from_static(name), HeaderValue::from_static("1"));
    HeaderModifier { set: vec![pair], ..HeaderModifier::default() }
}

/// Answers with the path that it was asked for, and with the request's headers.
async fn echo(request: Request<()>) -> Result<Response<String>, Infallible> {
    let mut response = Response::new(request.uri().path().to_owned());
    *response.headers_mut() = request.headers().clone();
    Ok(response)
}

#[tokio::test]
async fn request_and_response_are_changed_on_their_ways() {
    let path = Some(PathModifier::Prefix("/v2".to_owned()));
    let filters = [
        http::Filter::RequestHeaders(set("x-request")),
        http::Filter::ResponseHeaders(set("x-response")),
        http::Filter::Rewrite(Rewrite { host: None, path }),
    ];
    let layer = FilterLayer::new(filters, [http::Match::prefix("/"), http::Match::prefix("/v1")]);
    let response = layer.layer(service_fn(echo)).oneshot(Request::get("/v1/users").body(()).unwrap()).await.unwrap();
    assert_eq!(response.body(), "/v2/users", "the longer prefix is the one that matched");
    assert_eq!((&response.headers()["x-request"], &response.headers()["x-response"]), (&"1".parse().unwrap(), &"1".parse().unwrap()));
}

#[tokio::test]
async fn a_planned_failure_strikes_its_share_of_all_clones_together() {
    let fail = FailureInjector { response: StatusCode::CONFLICT, message: "planned".into(), share: Ratio::new(0.3).unwrap() };
    let layer = FilterLayer::<http::Filter>::new([http::Filter::Fail(fail)], []).dice(Dice::new(5));
    let service = layer.layer(service_fn(echo));
    let mut struck = 0;
    for _ in 0..1000 {
        if let Err(error) = service.clone().oneshot(Request::new(())).await {
            assert_eq!(error.cause(), &Cause::InjectedStatus(StatusCode::CONFLICT));
            struck += 1;
        }
    }
    assert!((240..360).contains(&struck), "{struck}");
}

#[tokio::test]
async fn grpc_filters_answer_with_codes() {
    let fail = FailureInjector { response: Code::ABORTED, message: "planned".into(), share: Ratio::ONE };
    let layer = FilterLayer::<grpc::Filter>::new([grpc::Filter::RequestHeaders(set("x")), grpc::Filter::Fail(fail)], []);
    let error = layer.layer(service_fn(echo)).oneshot(Request::new(())).await.unwrap_err();
    assert_eq!(error.cause(), &Cause::InjectedCode(Code::ABORTED));
}

#[tokio::test]
async fn an_error_of_the_inner_service_is_passed_on_as_it_is() {
    let broken = service_fn(async |_: Request<()>| Err::<Response<()>, _>(Error::new(Cause::FailFast)));
    let error = FilterLayer::<http::Filter>::new([], []).layer(broken).oneshot(Request::new(())).await.unwrap_err();
    assert_eq!(error.cause(), &Cause::FailFast);
}

/// Is ready as often as there are permits, refuses calls that it was not ready for, and hangs. A clone is not ready.
struct Permits(Arc<AtomicUsize>, bool);

impl Permits {
    fn one() -> (Self, Arc<AtomicUsize>) {
        let left = Arc::new(AtomicUsize::new(1));
        (Self(Arc::clone(&left), false), left)
    }
}

impl Clone for Permits {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0), false)
    }
}

impl Drop for Permits {
    fn drop(&mut self) {
        self.0.fetch_add(usize::from(self.1), Ordering::Relaxed);
    }
}

impl Service<Request<()>> for Permits {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Pending<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.1 = self.1 || self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok();
        if self.1 { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(std::mem::take(&mut self.1), "called without being ready");
        self.0.fetch_add(1, Ordering::Relaxed);
        pending()
    }
}

#[test]
fn readiness_is_the_inner_services_and_what_it_reserved_is_given_back() {
    let mut cx = Context::from_waker(Waker::noop());
    let (permits, left) = Permits::one();
    let mut service = FilterLayer::<http::Filter>::new([], []).layer(permits);
    assert!(service.poll_ready(&mut cx).is_ready() && service.poll_ready(&mut cx).is_ready(), "it may be asked again");
    assert!(service.clone().poll_ready(&mut cx).is_pending(), "a clone is not ready");
    let in_flight = service.call(Request::new(()));
    assert_eq!(left.load(Ordering::Relaxed), 1, "the instance that was ready was called");
    drop(in_flight);
    assert!(service.poll_ready(&mut cx).is_ready());
    drop(service);
    assert_eq!(left.load(Ordering::Relaxed), 1, "dropped before the call");
}

#[test]
fn an_answer_in_the_servers_place_leaves_the_server_ready() {
    let mut cx = Context::from_waker(Waker::noop());
    let (permits, left) = Permits::one();
    let mut service = FilterLayer::new([http::Filter::InternalError("no policy".into())], []).layer(permits);
    assert!(service.poll_ready(&mut cx).is_ready());
    let answer = pin!(service.call(Request::new(()))).as_mut().poll(&mut cx);
    assert!(matches!(answer, Poll::Ready(Err(error)) if error.cause() == &Cause::InvalidPolicy));
    assert_eq!(left.load(Ordering::Relaxed), 0, "it was not called");
    drop(service);
    assert_eq!(left.load(Ordering::Relaxed), 1);
}

#[test]
fn services_and_responses_can_be_sent_to_other_threads() {
    fn send<T: Send + 'static>(_: &T) {}
    let service = FilterLayer::<http::Filter>::new([], []).layer(service_fn(echo));
    send(&service);
    send(&service.oneshot(Request::new(())));
}
