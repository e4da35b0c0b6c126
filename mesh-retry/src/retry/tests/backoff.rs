//! Waits between tries.

use http_body_util::Full;
use meshkit_core::Backoff;
use tokio_test::{assert_pending, assert_ready_ok, task};

use super::*;
use crate::contract::probe;

fn backoff(jitter: f64) -> Backoff {
    Backoff::new(Duration::from_millis(25), Duration::from_millis(250), jitter).unwrap()
}

fn waiting(max_retries: u32, jitter: f64) -> Params {
    Params { backoff: Some(backoff(jitter)), ..params(max_retries) }
}

/// Times between the tries that a request takes.
async fn gaps(layer: RetryLayer, tries: usize) -> Vec<Duration> {
    let server = Server::new((1..tries).map(|_| Try::status(500)));
    assert_eq!(status(layer, &server).await, 200);
    server.seen().windows(2).map(|pair| pair[1].at - pair[0].at).collect()
}

#[tokio::test(start_paused = true)]
async fn waits_grow_up_to_the_longest() {
    let millis = [25, 50, 100, 200, 250, 250].map(Duration::from_millis);
    assert_eq!(gaps(layer(waiting(9, 0.0)), 7).await, millis);
    assert_eq!(gaps(layer(params(9)), 4).await, [Duration::ZERO; 3], "none are planned");
}

#[tokio::test(start_paused = true)]
async fn jitter_spreads_the_waits_and_a_seed_repeats_them() {
    let spread = |seed| RetryLayer::new(Plan::from(waiting(9, 1.0)), Dice::new(seed));
    let waits = gaps(spread(1), 5).await;
    for (wait, least) in waits.iter().zip([25, 50, 100, 200]) {
        let least = Duration::from_millis(least);
        // The clock of a test moves by whole milliseconds.
        assert!(least <= *wait && *wait <= (2 * least).min(Duration::from_millis(250)) + Duration::from_millis(1), "{wait:?}");
    }
    assert_eq!(waits, gaps(spread(1), 5).await);
    assert_ne!(waits, gaps(spread(2), 5).await);
}

#[tokio::test(start_paused = true)]
async fn no_permit_is_held_through_a_wait_and_a_drop_ends_it() {
    let (inner, hand) = probe();
    hand.next(Err(Cause::FailFast));
    hand.next(Err(Cause::FailFast));
    let request = || Request::new(Full::new(Bytes::from_static(b"x")));
    let mut service = layer(waiting(1, 0.0)).layer(inner);
    assert_ready_ok!(task::spawn(()).enter(|cx, _| Service::<Request<Full<Bytes>>>::poll_ready(&mut service, cx)));
    let mut response = task::spawn(service.call(request()));
    assert_pending!(response.poll());
    assert_eq!(hand.held(), (0, 0), "the failed try is over, and the next one has asked for nothing yet");
    tokio::time::advance(Duration::from_millis(24)).await;
    assert_pending!(response.poll());
    drop(response);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(hand.held(), (0, 0));
    assert_eq!(hand.most_in_flight(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_is_no_longer_ready_after_the_wait_answers_with_what_it_has() {
    let server = Server::new([Try::status(503)]);
    let heard = Heard::default();
    let retry = layer(waiting(3, 0.0)).observe(heard.clone()).layer(server.clone());
    let answer = tokio::spawn(retry.oneshot(get()));
    sleep(Duration::from_millis(10)).await;
    drop(server.busy_after(1));
    assert_eq!(answer.await.unwrap().unwrap().status(), 503);
    assert_eq!(heard.notes(), ["overflow"]);
}
