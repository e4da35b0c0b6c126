//! Limits in time: of each try, of all of them, and those that a gRPC client gives.

use tower::service_fn;

use super::*;
use crate::{TimeoutLayer, Timeouts, contract::probe};

const SECOND: Duration = Duration::from_secs(1);

fn per_try(max_retries: u32) -> Params {
    Params { per_try_timeout: Some(SECOND), ..params(max_retries) }
}

fn total(length: Duration) -> Timeouts {
    Timeouts { request: Some(length), ..Timeouts::default() }
}

/// As a proxy has it: timeouts at the endpoint, beneath the retries. Tells what was answered, when, and how often it was sent.
async fn timed(layer: RetryLayer, server: &Server, request: Request<Empty<Bytes>>) -> (Result<u16, Error>, Duration, usize) {
    let begun = Instant::now();
    let answer = layer.layer(TimeoutLayer::default().layer(server.clone())).oneshot(request).await;
    (answer.map(|response| response.status().as_u16()), begun.elapsed(), server.count())
}

#[tokio::test(start_paused = true)]
async fn a_try_that_takes_too_long_is_followed_by_another() {
    let server = Server::new([Try::status(200).after(5 * SECOND), Try::status(204).after(SECOND / 2)]);
    let (status, took, count) = timed(layer(per_try(2)), &server, get()).await;
    assert_eq!((status.unwrap(), took, count), (204, SECOND * 3 / 2, 2));
}

#[tokio::test(start_paused = true)]
async fn the_last_try_may_take_as_long_as_it_likes() {
    let server = Server::new([Try::status(200).after(5 * SECOND), Try::status(204).after(7 * SECOND)]);
    let (status, took, count) = timed(layer(per_try(1)), &server, get()).await;
    assert_eq!((status.unwrap(), took, count), (204, 8 * SECOND, 2));
    let headers: Vec<_> = server.seen().iter().map(|seen| seen.limits.and_then(|limits| limits.headers)).collect();
    assert_eq!(headers, [Some(SECOND), None]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_cannot_be_sent_again_has_all_the_time_there_is() {
    let server = Server::new([Try::status(200).after(5 * SECOND)]);
    let plan = Params { max_request_bytes: 1, ..per_try(3) };
    let long = get().map(|_| http_body_util::Full::new(Bytes::from_static(b"long")));
    let stack = layer(plan).layer(TimeoutLayer::default().layer(server.clone()));
    assert_eq!(stack.oneshot(long).await.unwrap().status(), 200);
    assert_eq!(server.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_try_that_took_too_long_is_over_before_the_next_one_is_sent() {
    let (inner, hand) = probe();
    let stack = layer(Plan::from(per_try(3)).timeouts(total(5 * SECOND))).layer(TimeoutLayer::default().layer(inner));
    let error = stack.oneshot(get()).await.unwrap_err();
    assert_eq!(error.cause(), &Cause::RequestTimeout(5 * SECOND));
    assert_eq!((hand.most_in_flight(), hand.held()), (1, (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn all_tries_and_the_waits_between_them_share_one_limit() {
    let tries = || Server::new((0..9).map(|_| Try::status(500).after(SECOND)));
    let wait = meshkit_core::Backoff::new(10 * SECOND, 10 * SECOND, 0.0).unwrap();
    let in_a_try = Plan::from(params(9)).timeouts(total(SECOND * 5 / 2));
    let in_a_wait = Plan::from(Params { backoff: Some(wait), ..params(9) }).timeouts(total(SECOND * 5 / 2));
    for (plan, sent) in [(in_a_try, 3), (in_a_wait, 1)] {
        // With and without somebody at the endpoint who minds the limit, too.
        let (answer, took, count) = timed(layer(plan.clone()), &tries(), get()).await;
        assert_eq!((took, count), (SECOND * 5 / 2, sent));
        assert_eq!(answer.unwrap_err().to_string(), "timed out waiting for response headers: request timeout: 2.5s");
        let (begun, server) = (Instant::now(), tries());
        let error = send(layer(plan), &server, get()).await.0.unwrap_err();
        assert_eq!((error.cause(), begun.elapsed()), (&Cause::RequestTimeout(SECOND * 5 / 2), SECOND * 5 / 2));
    }
}

#[tokio::test(start_paused = true)]
async fn the_limit_holds_for_routes_without_retries_and_while_frames_are_waited_for() {
    let hanging = || Server::new([Try::status(200).after(9 * SECOND)]);
    let (answer, took, _) = timed(layer(Plan::new().timeouts(total(SECOND))), &hanging(), get()).await;
    assert_eq!((answer.unwrap_err().cause(), took), (&Cause::RequestTimeout(SECOND), SECOND));
    let peeking = Server::new([Try::frames([]).stays_open()]);
    let (answer, took, _) = timed(layer(Plan::from(params(1)).timeouts(total(SECOND))), &peeking, grpc(None)).await;
    assert_eq!((answer.unwrap_err().cause(), took), (&Cause::RequestTimeout(SECOND), SECOND));
}

#[tokio::test(start_paused = true)]
async fn an_answer_just_in_time_is_in_time() {
    let server = Server::new([Try::status(204).after(SECOND)]);
    let (status, took, _) = timed(layer(Plan::from(params(1)).timeouts(total(SECOND))), &server, get()).await;
    assert_eq!((status.unwrap(), took), (204, SECOND));
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_grpc_client_is_a_limit_and_each_server_is_told_what_is_left() {
    let server = Server::new([Try::fails(Cause::FailFast).after(SECOND), Try::fails(Cause::FailFast).after(SECOND)]);
    let (status, _, count) = timed(layer(params(9)).hand_on_deadlines(), &server, grpc(Some("10S"))).await;
    assert_eq!((status.unwrap(), count), (200, 3));
    let told: Vec<_> = server.seen().iter().map(|seen| crate::deadline::grpc_timeout(&seen.headers).unwrap()).collect();
    assert_eq!(told, [10 * SECOND, 9 * SECOND, 8 * SECOND]);

    let server = Server::new([Try::fails(Cause::FailFast).after(2 * SECOND), Try::status(200).after(2 * SECOND)]);
    let (answer, took, count) = timed(layer(params(9)).hand_on_deadlines(), &server, grpc(Some("3S"))).await;
    assert_eq!((took, count), (3 * SECOND, 2));
    let error = answer.unwrap_err();
    assert_eq!((error.cause(), error.cause().answer().code), (&Cause::RequestTimeout(3 * SECOND), Code::DEADLINE_EXCEEDED));
}

#[tokio::test(start_paused = true)]
async fn the_shorter_of_two_limits_counts_and_a_server_learns_of_it() {
    let told = async |planned: u64, given: &'static str| {
        let server = Server::default();
        let plan = Plan::new().timeouts(total(Duration::from_secs(planned)));
        timed(layer(plan).hand_on_deadlines(), &server, grpc(Some(given))).await.0.unwrap();
        let seen = server.seen().remove(0);
        (seen.limits.unwrap().request.unwrap().length().as_secs(), crate::deadline::grpc_timeout(&seen.headers).unwrap().as_secs())
    };
    assert_eq!(told(5, "9S").await, (5, 5));
    assert_eq!(told(9, "5S").await, (5, 5));
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_client_is_passed_on_untouched_where_it_is_not_asked_for() {
    for (layer, request) in [
        (layer(Plan::new().timeouts(total(20 * SECOND))), grpc(Some("9S"))),
        // Not a gRPC request, whatever it says.
        (layer(Plan::new().timeouts(total(20 * SECOND))).hand_on_deadlines(), {
            let mut request = grpc(Some("9S"));
            request.headers_mut().remove("content-type");
            request
        }),
    ] {
        let server = Server::default();
        timed(layer, &server, request).await.0.unwrap();
        let seen = server.seen().remove(0);
        assert_eq!((seen.headers["grpc-timeout"].as_bytes(), seen.limits.unwrap().request.unwrap().length()), (&b"9S"[..], 20 * SECOND));
    }
    // A limit of the route is not told to a client that gave none: it may have its reasons.
    let server = Server::default();
    timed(layer(Plan::new().timeouts(total(SECOND))).hand_on_deadlines(), &server, grpc(None)).await.0.unwrap();
    assert!(!server.seen()[0].headers.contains_key("grpc-timeout"));
}

#[tokio::test(start_paused = true)]
async fn no_time_at_all_is_a_failure_at_once() {
    let server = Server::new([Try::status(200).after(SECOND)]);
    let (answer, took, _) = timed(layer(Plan::new()).hand_on_deadlines(), &server, grpc(Some("0n"))).await;
    assert_eq!((answer.unwrap_err().cause(), took < SECOND), (&Cause::RequestTimeout(Duration::ZERO), true));
}

#[test]
fn a_request_in_flight_is_small() {
    // The head to be sent again, the response that is looked at or kept through a wait, and two timers.
    let service =
        service_fn(|_: Request<crate::ReplayBody<Empty<Bytes>>>| std::future::ready(Ok::<_, Error>(Response::new(Reply::default()))));
    let size = size_of_val(&layer(params(1)).layer(service).call(get()));
    assert!(size <= 1024, "{size}");
}
