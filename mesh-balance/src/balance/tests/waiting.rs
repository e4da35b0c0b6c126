use super::*;

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_the_first_ready_endpoint() {
    let world = World::default();
    world.ready(1, false);
    let (mut svc, updates, _driver) = world.balance(Config::default());
    let waiting = tokio::spawn(svc.ready().await.unwrap().call(()));
    sleep(Duration::from_secs(1)).await;
    updates.send(add([1])).unwrap();
    sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    world.ready(1, true);
    assert_eq!(waiting.await.unwrap().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn failfast_runs_from_the_first_who_waits_and_fails_all() {
    let world = World::default();
    let (mut svc, updates, _driver) = world.balance(Config::default());
    // An idle balancer without endpoints never trips.
    sleep(FAILFAST * 5).await;
    assert!(svc.is_available());
    let start = Instant::now();
    let first = tokio::spawn(svc.call(()));
    sleep(Duration::from_secs(2)).await;
    let second = tokio::spawn(svc.call(()));
    for waiting in [first, second] {
        assert_eq!(waiting.await.unwrap().unwrap_err().cause(), &Cause::FailFast);
        assert_eq!(start.elapsed(), FAILFAST);
    }
    // From now on it is unavailable, and whoever calls all the same is refused at once.
    assert!(!svc.is_available());
    let mut handle = svc.clone();
    let mut readiness = task::spawn(handle.ready());
    assert_pending!(readiness.poll());
    assert_eq!(svc.call(()).await.unwrap_err().cause(), &Cause::FailFast);
    assert_eq!(start.elapsed(), FAILFAST);
    // One ready endpoint ends it.
    updates.send(add([1])).unwrap();
    settle().await;
    assert!(readiness.is_woken());
    assert_ready!(readiness.poll()).unwrap();
    assert_eq!(svc.oneshot(()).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn failfast_time_stops_when_nobody_waits() {
    let (mut svc, _updates, _driver) = World::default().balance(Config::default());
    assert!(timeout(Duration::from_secs(2), svc.call(())).await.is_err());
    let start = Instant::now();
    assert!(svc.call(()).await.is_err());
    assert_eq!(start.elapsed(), FAILFAST);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_sheds_load_and_names_the_setting() {
    let (mut svc, updates, _driver) = World::default().balance(Config::default().queue_capacity(1));
    let mut first = task::spawn(svc.call(()));
    assert_pending!(first.poll());
    let error = svc.call(()).await.unwrap_err();
    assert_eq!(error.cause(), &Cause::LoadShed);
    assert!(error.to_string().contains("queue_capacity"), "{error}");
    // To those above it is unavailable until a place is free.
    let mut readiness = task::spawn(svc.ready());
    assert_pending!(readiness.poll());
    drop(first);
    assert!(readiness.is_woken());
    assert_ready!(readiness.poll()).unwrap();
    drop(updates);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_served_in_order_and_a_dropped_one_passes_its_turn_on() {
    let world = World::default();
    let (mut svc, updates, _driver) = world.balance(Config::default());
    let mut waiting: Vec<_> = (0..3).map(|_| task::spawn(svc.call(()))).collect();
    waiting.iter_mut().for_each(|w| assert_pending!(w.poll()));
    updates.send(add([1])).unwrap();
    settle().await;
    assert_eq!(waiting.iter().map(|w| w.is_woken()).collect::<Vec<_>>(), [true, false, false]);
    drop(waiting.remove(0));
    assert!(waiting[0].is_woken());
    assert_ready!(waiting[0].poll()).unwrap();
    assert!(waiting[1].is_woken());
    assert_ready!(waiting[1].poll()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_distributor_turns_from_a_backend_in_failfast_to_another_and_back() {
    use crate::distribute::{Backend, Distribute, Strategy};
    let world = World::default();
    let (mut one, updates, _driver) = world.balance(Config::default());
    let (two, updates2, _driver2) = world.balance(Config::default());
    updates2.send(add([2])).unwrap();
    settle().await;
    let backends = vec![Backend::new("one", 1, one.clone()), Backend::new("two", 1, two)];
    let mut split = Distribute::new(Strategy::First, backends, Dice::new(0));
    // Nothing is ready in the first, but it has not been for long: requests wait there.
    let mut waiting = task::spawn(split.ready().await.unwrap().call(()));
    assert_pending!(waiting.poll());
    sleep(FAILFAST + Duration::from_millis(1)).await;
    assert_eq!(assert_ready!(waiting.poll()).unwrap_err().cause(), &Cause::FailFast);
    assert_eq!(split.ready().await.unwrap().call(()).await.unwrap(), 2);
    updates2.send(Update::DoesNotExist).unwrap();
    settle().await;
    // The second is in fail-fast, too: there is nobody to wait for.
    let mut waiting = task::spawn(split.ready().await.unwrap().call(()));
    assert_pending!(waiting.poll());
    sleep(FAILFAST + Duration::from_millis(1)).await;
    assert!(assert_ready!(waiting.poll()).is_err());
    assert_eq!(split.ready().await.unwrap().call(()).await.unwrap_err().cause(), &Cause::LoadShed);
    updates.send(add([1])).unwrap();
    settle().await;
    assert_eq!(split.ready().await.unwrap().call(()).await.unwrap(), 1);
    assert_eq!(one.ready().await.unwrap().call(()).await.unwrap(), 1);
}
