use std::convert::Infallible;

use ::http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use meshkit_core::{Cause, Dice, Error, Ratio, grpc::Code};
use tower::{Layer as _, ServiceExt as _, service_fn};

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

#[test]
fn services_and_responses_can_be_sent_to_other_threads() {
    fn send<T: Send + 'static>(_: &T) {}
    let service = FilterLayer::<http::Filter>::new([], []).layer(service_fn(echo));
    send(&service);
    send(&service.oneshot(Request::new(())));
}
