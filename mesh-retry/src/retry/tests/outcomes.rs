//! Which outcomes are tried again.

use http_body_util::Collected;
use meshkit_core::grpc::GRPC_STATUS;

use super::*;
use crate::{Allow, Refused};

/// Is a try that ends like this followed by another one?
async fn is_tried_again(request: Request<Empty<Bytes>>, first: Try) -> bool {
    let server = Server::new([first]);
    drop(send(layer(params(1)), &server, request).await);
    server.count() == 2
}

async fn whole(response: Response<PeekBody<Reply>>) -> Collected<Bytes> {
    response.into_body().collect().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn statuses_of_the_conditions_are_tried_again() {
    assert!(is_tried_again(get(), Try::status(500)).await);
    assert!(is_tried_again(get(), Try::status(599)).await);
    assert!(!is_tried_again(get(), Try::status(499)).await);
    assert!(!is_tried_again(get(), Try::status(200)).await);
}

#[tokio::test(start_paused = true)]
async fn the_last_try_allowed_is_the_answer() {
    let server = Server::new([500, 501, 502, 503].map(Try::status));
    let (answer, heard) = send(layer(params(2)), &server, get()).await;
    assert_eq!(answer.unwrap().status(), 502);
    assert_eq!(heard, ["retry 1", "retry 2", "limit exceeded"]);
    let server = Server::new([Try::status(500)]);
    let (answer, heard) = send(layer(params(2)), &server, get()).await;
    assert_eq!(answer.unwrap().status(), 200);
    assert_eq!(heard, ["retry 1", "success"]);
}

#[tokio::test(start_paused = true)]
async fn without_a_plan_there_is_one_try() {
    let server = Server::new([Try::status(500)]);
    assert_eq!(status(layer(Plan::new()), &server).await, 500);
    let (answer, heard) = send(layer(Plan::new()), &Server::new([Try::fails(Cause::FailFast)]), get()).await;
    assert_eq!((answer.unwrap_err().cause(), heard.len()), (&Cause::FailFast, 0));
}

#[tokio::test(start_paused = true)]
async fn a_code_in_the_head_is_enough() {
    let only = |code: Code| Try::frames([]).map(|response| drop(response.headers_mut().insert(GRPC_STATUS, code.header_value())));
    assert!(is_tried_again(grpc(None), only(Code::UNAVAILABLE)).await);
    assert!(!is_tried_again(grpc(None), only(Code::INTERNAL)).await);
    // It says so whatever else may follow.
    assert!(is_tried_again(grpc(None), only(Code::UNAVAILABLE).stays_open()).await);
}

#[tokio::test(start_paused = true)]
async fn a_code_in_trailers_counts_if_they_come_with_the_first_frame() {
    assert!(is_tried_again(grpc(None), Try::frames([trailers(Code::UNAVAILABLE)])).await);
    assert!(is_tried_again(grpc(None), Try::frames([data("x"), trailers(Code::UNAVAILABLE)])).await);
    assert!(!is_tried_again(grpc(None), Try::frames([trailers(Code::OK)])).await);
    assert!(!is_tried_again(grpc(None), Try::frames([data("x"), data("y"), trailers(Code::UNAVAILABLE)])).await);
    assert!(!is_tried_again(grpc(None), Try::frames([data("x")]).stays_open()).await, "what is not there is not waited for");
    let old = Try::frames([trailers(Code::UNAVAILABLE)]).map(|response| *response.version_mut() = Version::HTTP_11);
    assert!(!is_tried_again(grpc(None), old).await, "HTTP/1 has no trailers worth waiting for");
}

#[tokio::test(start_paused = true)]
async fn frames_that_were_read_ahead_arrive_in_order() {
    let server = Server::new([Try::frames([data("one "), data("two "), data("three"), trailers(Code::OK)])]);
    let (answer, _) = send(layer(params(1)), &server, grpc(None)).await;
    let body = whole(answer.unwrap()).await;
    assert_eq!(body.trailers().and_then(Code::from_headers), Some(Code::OK));
    assert_eq!(body.to_bytes(), "one two three");
    for frames in [vec![data("one"), trailers(Code::OK)], vec![trailers(Code::OK)], vec![data("one")]] {
        let expected = frames.iter().filter(|frame| frame.is_data()).count() * 3;
        let (answer, _) = send(layer(params(1)), &Server::new([Try::frames(frames)]), grpc(None)).await;
        assert_eq!(whole(answer.unwrap()).await.to_bytes().len(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_is_held_back_only_where_its_frames_may_decide() {
    let head_arrives = async |layer: RetryLayer, request: Request<Empty<Bytes>>| {
        let server = Server::new([Try::frames([]).stays_open()]);
        tokio::time::timeout(Duration::from_secs(9), send(layer, &server, request)).await.is_ok()
    };
    assert!(!head_arrives(layer(params(1)), grpc(None)).await);
    let failed = Server::new([Try::frames([]).stays_open().map(|response| *response.status_mut() = StatusCode::BAD_GATEWAY)]);
    let (answer, heard) = send(layer(params(1)), &failed, grpc(None)).await;
    assert_eq!((answer.unwrap().status().as_u16(), heard.len()), (200, 2), "where the status decides, no frame is waited for");
    let by_status = Params { conditions: Conditions { codes: CodeSet::EMPTY, ..params(1).conditions }, ..params(1) };
    assert!(head_arrives(layer(by_status), grpc(None)).await);
    assert!(head_arrives(layer(Plan::new()).resend_unsent(), grpc(None)).await);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_for_the_head_before_it_sends_more_gets_it() {
    let server = Server::new([Try::frames([]).stays_open().read(Read::Later)]);
    let request = Request::post("http://web.ns/a.B/C").body(Reply { stays_open: true, ..Reply::default() }).unwrap();
    let (answer, _) = send(layer(params(1)), &server, request).await;
    assert_eq!((answer.unwrap().status(), server.count()), (StatusCode::OK, 1));
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again_if_no_server_has_done_anything_about_the_request() {
    let second = Duration::from_secs(1);
    assert!(is_tried_again(get(), Try::fails(Cause::FailFast)).await);
    assert!(is_tried_again(get(), Try::fails(Cause::HeadersTimeout(second))).await);
    assert!(is_tried_again(get(), Try::new(Err(Error::new(Cause::Unexpected).caused_by(Refused)))).await);
    for cause in [Cause::LoadShed, Cause::RequestTimeout(second), Cause::ResponseTimeout(second), Cause::NoBackend, Cause::Denied] {
        assert!(!is_tried_again(get(), Try::fails(cause)).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_a_failure_to_connect_and_a_planned_failure_follow_the_conditions() {
    for cause in [
        Cause::Io,
        Cause::Downgraded,
        Cause::ConnectTimeout(Duration::from_secs(1)),
        Cause::InjectedReset,
        Cause::InjectedStatus(StatusCode::BAD_GATEWAY),
    ] {
        let server = Server::new([Try::fails(cause.clone())]);
        assert_eq!(status(layer(params(1)), &server).await, 200, "{cause}");
        let unless = Params { conditions: Conditions::default(), ..params(1) };
        let (answer, _) = send(layer(unless), &Server::new([Try::fails(cause.clone())]), get()).await;
        assert_eq!(answer.unwrap_err().cause(), &cause);
    }
    assert!(!is_tried_again(get(), Try::fails(Cause::InjectedStatus(StatusCode::NOT_FOUND))).await);
    assert!(is_tried_again(grpc(None), Try::fails(Cause::Io)).await, "UNAVAILABLE to a gRPC client");
    assert!(is_tried_again(grpc(None), Try::fails(Cause::InjectedCode(Code::UNAVAILABLE))).await);
    assert!(!is_tried_again(grpc(None), Try::fails(Cause::InjectedCode(Code::INTERNAL))).await);
}

#[tokio::test(start_paused = true)]
async fn a_judge_replaces_the_conditions() {
    let server = Server::new([Try::status(404), Try::status(500)]);
    let judged = layer(params(5)).judge(|status: StatusCode, _: Option<Code>| status == StatusCode::NOT_FOUND);
    let answer = judged.layer(server.clone()).oneshot(get()).await.unwrap();
    assert_eq!((answer.status().as_u16(), server.count()), (500, 2));
}

#[tokio::test(start_paused = true)]
async fn where_nothing_else_is_ready_the_failure_is_the_answer() {
    let server = Server::new([Try::status(503)]).busy_after(1);
    let (answer, heard) = send(layer(params(3)), &server, get()).await;
    assert_eq!(answer.unwrap().status(), 503);
    assert_eq!(heard, ["overflow"]);
}

#[tokio::test(start_paused = true)]
async fn a_request_asks_for_retries_where_it_may() {
    let asking = || {
        let mut request = get();
        request.headers_mut().insert("l5d-retry-http", HeaderValue::from_static("5xx"));
        request.headers_mut().insert("l5d-retry-limit", HeaderValue::from_static("2"));
        request
    };
    let script = || Server::new([Try::status(500), Try::status(501)]);
    let server = script();
    let (answer, _) = send(layer(Plan::new().overrides(Allow::Yes)), &server, asking()).await;
    assert_eq!(answer.unwrap().status(), 200);
    assert!(server.seen().iter().all(|seen| seen.headers.is_empty()), "what was read is gone, from every try");
    let server = script();
    let (answer, _) = send(layer(Plan::new()), &server, asking()).await;
    assert_eq!(answer.unwrap().status(), 500);
    assert_eq!(server.seen()[0].headers.len(), 2, "and where it may not, nothing is touched");
}
