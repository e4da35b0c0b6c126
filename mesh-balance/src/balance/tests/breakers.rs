use super::*;

#[tokio::test(start_paused = true)]
async fn the_balancer_does_not_select_tripped_breakers() {
    let world = World::default();
    world.with(|w| w.failing.insert(1));
    let (mut svc, updates, _driver) = world.balance(Config::default().seed(2).accrual(consecutive(3)));
    updates.send(add([1, 2])).unwrap();
    settle().await;
    for _ in 0..200 {
        let _ = svc.ready().await.unwrap().call(()).await;
    }
    settle().await;
    assert_eq!(world.served(1), 3);
    assert_eq!((svc.endpoints().ready, svc.endpoints().ejected), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn probation_admits_a_single_probe_and_recovery_lets_all_in() {
    let world = World::default();
    world.with(|w| w.failing.insert(1));
    let (mut svc, updates, _driver) = world.balance(Config::default().failfast(Duration::from_secs(30)).accrual(consecutive(1)));
    updates.send(add([1])).unwrap();
    settle().await;
    assert!(svc.call(()).await.is_err());
    settle().await;
    assert_eq!(svc.endpoints().ejected, 1);
    world.with(|w| {
        w.failing.clear();
        w.latency.insert(1, Duration::from_secs(1));
    });
    let start = Instant::now();
    let waiting: Vec<_> = (0..5).map(|_| tokio::spawn(svc.call(()))).collect();
    sleep(Duration::from_millis(1_500)).await;
    assert_eq!(world.served(1), 2, "one failure and one probe");
    for run in waiting {
        run.await.unwrap().unwrap();
    }
    // A second of backoff, a second of probe, a second for the others at once.
    assert!(start.elapsed() >= Duration::from_secs(3) && start.elapsed() < Duration::from_millis(3_100), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_canceled_probe_lets_the_next_one_go() {
    let world = World::default();
    world.with(|w| w.failing.insert(1));
    let (mut svc, updates, _driver) = world.balance(Config::default().failfast(Duration::from_secs(30)).accrual(consecutive(1)));
    updates.send(add([1])).unwrap();
    settle().await;
    assert!(svc.call(()).await.is_err());
    world.with(|w| {
        w.failing.clear();
        w.latency.insert(1, Duration::from_secs(3600));
    });
    assert!(timeout(Duration::from_secs(2), svc.call(())).await.is_err());
    world.with(|w| w.latency.clear());
    assert_eq!(svc.call(()).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn workers_that_share_breakers_act_on_what_one_of_them_learns() {
    let world = World::default();
    world.with(|w| w.failing.insert(1));
    let breakers = accrual::Breakers::new(consecutive(1), 0);
    let config = Config::default().breakers(breakers).failfast(Duration::from_secs(30));
    let (mut one, updates, _driver) = world.balance(config.clone());
    let (mut two, updates2, _driver2) = world.balance(config);
    updates.send(add([1])).unwrap();
    updates2.send(add([1])).unwrap();
    settle().await;
    assert!(one.call(()).await.is_err());
    settle().await;
    assert_eq!(two.endpoints().ejected, 1);
    world.with(|w| w.failing.clear());
    // The probe of one closes the breaker for both.
    assert!(one.call(()).await.is_ok());
    settle().await;
    assert_eq!((one.endpoints().ready, two.endpoints().ready), (1, 1));
    assert!(two.call(()).await.is_ok());
}
