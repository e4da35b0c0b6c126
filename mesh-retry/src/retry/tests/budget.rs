//! Retries come out of a budget, and no more of them than it has.

use super::*;
use crate::{Budget, budget};

fn budget(ratio: f64, min_per_second: u32) -> Budget {
    Budget::new(budget::Params::new(Duration::from_secs(10), ratio, min_per_second).unwrap(), Instant::now())
}

/// A server that fails whatever it is sent.
fn failing(n: usize) -> Server {
    Server::new((0..n).map(|_| Try::status(503)))
}

#[tokio::test(start_paused = true)]
async fn each_retry_is_paid_for_until_nothing_is_left() {
    let layer = layer(params(u32::MAX)).budget(budget(3.0, 0));
    let server = failing(100);
    let (answer, heard) = send(layer.clone(), &server, get()).await;
    assert_eq!(answer.unwrap().status(), 503);
    assert_eq!(heard, ["retry 1", "retry 2", "retry 3", "over budget"]);
    assert_eq!(server.count(), 4);
    // The next request pays for three more.
    assert_eq!(status(layer, &server).await, 503);
    assert_eq!(server.count(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_waits_is_paid_for_once() {
    let wait = meshkit_core::Backoff::new(Duration::from_millis(1), Duration::from_millis(1), 0.0).unwrap();
    let server = failing(100);
    status(layer(Params { backoff: Some(wait), ..params(99) }).budget(budget(3.0, 0)), &server).await;
    assert_eq!(server.count(), 4);
}

#[tokio::test(start_paused = true)]
async fn routes_that_share_a_budget_share_what_is_left() {
    let shared = budget(0.0, 1);
    let server = failing(100);
    for n in [8, 8] {
        status(layer(params(n)).budget(shared.clone()), &server).await;
    }
    assert_eq!(server.count(), 2 + 10, "ten in ten seconds");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_tried_again_costs_nothing() {
    let shared = budget(0.0, 1);
    for _ in 0..50 {
        let (answer, heard) = send(layer(params(3)).budget(shared.clone()), &Server::new([Try::status(404)]), get()).await;
        assert_eq!((answer.unwrap().status().as_u16(), heard.len()), (404, 0));
    }
    assert_eq!((0..20).filter(|_| shared.withdraw(Instant::now())).count(), 10);
}

#[tokio::test(start_paused = true)]
async fn requests_that_may_not_be_tried_again_do_not_pay_in() {
    let shared = budget(1.0, 0);
    status(layer(Plan::new()).budget(shared.clone()), &failing(1)).await;
    assert!(!shared.withdraw(Instant::now()));
    status(layer(params(0)).budget(shared.clone()), &Server::default()).await;
    assert!(shared.withdraw(Instant::now()));
}

#[test]
fn workers_together_never_send_more_than_the_budget_allows() {
    const WORKERS: usize = 4;
    const EACH: usize = 300;
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let shared = {
        let runtime = runtime();
        let _entered = runtime.enter();
        Budget::new(budget::Params::new(Duration::from_secs(60), 0.5, 0).unwrap(), Instant::now())
    };
    let (layer, heard) = (layer(params(1)).budget(shared), Heard::default());
    let layer = layer.observe(heard.clone());
    let sent: usize = std::thread::scope(|scope| {
        let worker = || {
            let server = failing(2 * EACH);
            let retry = layer.layer(server.clone());
            runtime().block_on(async {
                for _ in 0..EACH {
                    assert_eq!(retry.clone().oneshot(get()).await.unwrap().status(), 503);
                }
            });
            server.count()
        };
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    let retries = sent - WORKERS * EACH;
    assert!(retries <= WORKERS * EACH / 2, "{retries}");
    let told = |what: &str| heard.notes().iter().filter(|note| note.as_str() == what).count();
    assert_eq!((told("retry 1"), told("limit exceeded")), (retries, retries));
    assert_eq!(told("over budget"), WORKERS * EACH - retries, "each request was tried again or told why not");
}
