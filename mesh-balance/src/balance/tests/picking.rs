use super::*;

#[tokio::test(start_paused = true)]
async fn requests_are_spread_evenly() {
    let world = World::default();
    let (mut svc, updates, _driver) = world.balance(Config::default().seed(7));
    updates.send(add(1..=10)).unwrap();
    settle().await;
    world.slow((1..=10).map(|p| (p, 10)));
    let mut running = Vec::new();
    for _ in 0..4_000 {
        running.push(tokio::spawn(svc.ready().await.unwrap().call(())));
        sleep(Duration::from_millis(1)).await;
    }
    for run in running {
        run.await.unwrap().unwrap();
    }
    let chi: f64 = (1..=10).map(|p| (world.served(p) as f64 - 400.0).powi(2) / 400.0).sum();
    // Two choices even out what pure chance would not: far below the bound of chi-square with 9 degrees of freedom.
    assert!(chi < 27.88, "{chi}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_endpoint_among_ten_gets_less_than_two_percent() {
    let world = World::default();
    let (mut svc, updates, _driver) = world.balance(Config::default().seed(1));
    updates.send(add(1..=10)).unwrap();
    settle().await;
    world.slow((1..=10).map(|p| (p, if p == 1 { 100 } else { 10 })));
    for _ in 0..5_000 {
        tokio::spawn(svc.ready().await.unwrap().call(()));
        sleep(Duration::from_millis(2)).await;
    }
    assert!(world.served(1) < 100, "{}", world.served(1));
    assert!(world.served(1) > 0, "it is still tried");
}

#[tokio::test(start_paused = true)]
async fn weights_are_followed_and_zero_takes_none() {
    let world = World::default();
    let (mut svc, updates, _driver) = world.balance(Config::default().seed(3));
    updates.send(Update::Add(vec![endpoint(1).weight(10), endpoint(2).weight(30), endpoint(3).weight(0)])).unwrap();
    settle().await;
    world.slow((1..=3).map(|p| (p, 10)));
    for _ in 0..4_000 {
        tokio::spawn(svc.ready().await.unwrap().call(()));
        sleep(Duration::from_millis(1)).await;
    }
    assert!((850..1_150).contains(&world.served(1)), "{}", world.served(1));
    assert_eq!(world.served(3), 0);
    assert_eq!(svc.endpoints().idle, 1);
}

#[tokio::test(start_paused = true)]
async fn the_local_zone_is_used_until_it_is_gone_or_overloaded() {
    use meshkit_core::endpoint::Locality::{Local, Remote};
    let world = World::default();
    let (mut svc, updates, _driver) = world.balance(Config::default().zone(Preference::default()));
    updates.send(Update::Add(vec![endpoint(1).locality(Local), endpoint(2).locality(Remote)])).unwrap();
    settle().await;
    for _ in 0..100 {
        svc.ready().await.unwrap().call(()).await.unwrap();
    }
    assert_eq!((world.served(1), world.served(2)), (100, 0));
    // Overloaded: what hangs there adds up, until the other zone is less than a quarter as loaded.
    world.with(|w| w.latency.insert(1, Duration::from_secs(60)));
    let hanging: Vec<_> = (0..100).map(|_| tokio::spawn(svc.call(()))).collect();
    settle().await;
    assert!(world.served(2) > 50, "{}", world.served(2));
    drop(hanging);
    updates.send(Update::Remove(vec![endpoint(1).addr])).unwrap();
    settle().await;
    assert_eq!(svc.ready().await.unwrap().call(()).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_slow_endpoint_does_not_hold_up_the_others() {
    let world = World::default();
    world.ready(1, false);
    let (svc, updates, _driver) = world.balance(Config::default());
    updates.send(add([1, 2])).unwrap();
    assert_eq!(svc.oneshot(()).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_push_back_are_passed_over() {
    let world = World::default();
    let (mut svc, updates, _driver) = world.balance(Config::default());
    updates.send(add([1, 2])).unwrap();
    settle().await;
    world.ready(1, false);
    for _ in 0..20 {
        assert_eq!(svc.ready().await.unwrap().call(()).await.unwrap(), 2);
    }
    assert_eq!((svc.endpoints().ready, svc.endpoints().pending), (1, 1));
    world.ready(2, false);
    let waiting = tokio::spawn(svc.call(()));
    settle().await;
    world.ready(1, true);
    assert_eq!(waiting.await.unwrap().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn of_two_endpoints_one_gets_nearly_all_sequential_requests_and_both_get_concurrent_ones() {
    let world = World::default();
    let (mut svc, updates, _driver) = world.balance(Config::default());
    updates.send(add([1, 2])).unwrap();
    settle().await;
    world.slow([(1, 10), (2, 12)]);
    for _ in 0..500 {
        svc.ready().await.unwrap().call(()).await.unwrap();
    }
    let (one, two) = (world.served(1), world.served(2));
    // Both are always drawn, and nothing is pending: the lower average wins.
    assert!(one.max(two) >= 450, "{one} and {two}");
    for _ in 0..500 {
        let calls: Vec<_> = (0..8).map(|_| tokio::spawn(svc.call(()))).collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
    }
    let (one, two) = (world.served(1) - one, world.served(2) - two);
    assert!(one.abs_diff(two) < 800, "{one} and {two} of 4000");
}
