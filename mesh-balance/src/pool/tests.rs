use std::{collections::BTreeMap, time::Duration};

use proptest::{collection::vec, prelude::*};

use super::*;

fn addr(port: u16) -> SocketAddr {
    ([10, 0, 0, 1], port).into()
}

fn entry(endpoint: Endpoint, id: u64, now: Instant) -> Arc<Entry<u64>> {
    let estimate = Arc::new(Estimate::new(Duration::from_millis(30), Duration::from_secs(10), now));
    Arc::new(Entry::new(Member { endpoint: Arc::new(endpoint), estimate, breaker: None, penalty: None }, id, id))
}

fn endpoints() -> impl Strategy<Value = Vec<Endpoint>> {
    vec((1u16..12, 0u32..3).prop_map(|(port, weight)| Endpoint::new(addr(port)).weight(weight)), 0..6)
}

fn updates() -> impl Strategy<Value = Update> {
    prop_oneof![
        4 => endpoints().prop_map(Update::Add),
        3 => vec((1u16..12).prop_map(addr), 0..6).prop_map(Update::Remove),
        1 => endpoints().prop_map(Update::Reset),
        1 => Just(Update::DoesNotExist),
    ]
}

/// What discovery means, written down as plainly as possible.
fn model(set: &mut BTreeMap<SocketAddr, Endpoint>, update: &Update) {
    match update {
        Update::Add(endpoints) => set.extend(endpoints.iter().map(|e| (e.addr, e.clone()))),
        Update::Remove(addrs) => addrs.iter().for_each(|a| drop(set.remove(a))),
        Update::Reset(endpoints) => *set = endpoints.iter().map(|e| (e.addr, e.clone())).collect(),
        Update::DoesNotExist => set.clear(),
    }
}

fn apply(pool: &mut Pool<u64>, update: &Update, next: &mut u64, now: Instant) -> Plan {
    let plan = pool.plan(update);
    for gone in &plan.remove {
        assert!(pool.remove(*gone).is_some());
    }
    for endpoint in &plan.add {
        *next += 1;
        pool.insert(entry(endpoint.clone(), *next, now));
    }
    plan
}

proptest! {
    #[test]
    fn any_sequence_of_updates_leaves_the_pool_equal_to_the_set(updates in vec((updates(), any::<u64>()), 0..40), zoned: bool) {
        let now = Instant::now();
        let (mut pool, mut set, mut next) = (Pool::new(zoned.then(Preference::default)), BTreeMap::new(), 0);
        for (update, chance) in updates {
            model(&mut set, &update);
            apply(&mut pool, &update, &mut next, now);
            prop_assert_eq!(apply(&mut pool, &update, &mut next, now), Plan::default(), "an update applied twice changes nothing");
            let held: BTreeMap<_, _> = pool.iter().map(|(e, _)| (e.addr(), Endpoint::clone(e.endpoint()))).collect();
            prop_assert_eq!(&held, &set);
            // States move at random in between.
            let entries: Vec<_> = pool.iter().map(|(e, _)| Arc::clone(e)).collect();
            for (i, entry) in entries.iter().enumerate() {
                let state = match (chance >> (2 * (i % 32))) & 3 { 0 => State::Pending, 1 => State::Ejected(now), _ => State::Ready };
                pool.set(entry, state);
            }
            let count = |wanted: fn(State) -> bool| pool.iter().filter(|(_, s)| wanted(*s)).count();
            let counts = pool.counts();
            prop_assert_eq!(counts.ready, count(|s| s == State::Ready));
            prop_assert_eq!(counts.pending, count(|s| s == State::Pending));
            prop_assert_eq!(counts.ejected, count(|s| matches!(s, State::Ejected(_))));
            prop_assert_eq!(counts.idle, count(|s| s == State::Idle));
            // A pick yields what is ready, and something if anything is.
            let picked = pool.pick(now, &Dice::new(chance));
            prop_assert_eq!(picked.is_some(), counts.ready > 0);
            if let Some((entry, _pending)) = picked {
                prop_assert_eq!(pool.state(&entry), Some(State::Ready));
                prop_assert!(entry.endpoint().weight > 0);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pick_is_held_by_identity() {
    let now = Instant::now();
    let (mut pool, mut next) = (Pool::new(None), 0);
    apply(&mut pool, &Update::Add(vec![Endpoint::new(addr(1))]), &mut next, now);
    let held = Arc::clone(pool.get(addr(1)).unwrap());
    assert!(pool.set(&held, State::Ready));
    let (picked, pending) = pool.pick(now, &Dice::new(0)).unwrap();
    // The address goes and comes back while the request is under way.
    apply(&mut pool, &Update::DoesNotExist, &mut next, now);
    apply(&mut pool, &Update::Add(vec![Endpoint::new(addr(1))]), &mut next, now);
    assert!(!pool.set(&picked, State::Ready), "the old entry cannot speak for the new one");
    assert_eq!(picked.pending_count(), 1);
    drop(pending);
    assert_eq!(picked.pending_count(), 0);
    assert_eq!(pool.counts().pending, 1);
}

#[tokio::test(start_paused = true)]
async fn a_pending_request_counts_until_its_guard_is_dropped() {
    let now = Instant::now();
    let one = entry(Endpoint::new(addr(1)), 1, now);
    let idle = one.load(now);
    let pending = one.member.begin(None, now);
    assert_eq!(one.load(now), idle * 2.0);
    pending.cancel();
    assert_eq!(one.load(now), idle);
}
