use std::collections::BTreeMap;

use meshkit_manifest::Kind;
use proptest::{collection::vec, prelude::*};

use super::*;

fn queue(max: usize) -> Pending {
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8), 0.0).unwrap();
    Pending::new(max, backoff, Dice::new(7))
}

fn key(name: &str) -> Key {
    Key { kind: Kind::HTTPRoute, namespace: "ns".to_owned(), name: name.to_owned() }
}

fn change(name: &str, says: &str, at: &str) -> Change {
    Change { key: key(name), status: json!({"parents": [{"says": says, "conditions": [{"lastTransitionTime": at}]}]}) }
}

fn taken(pending: &mut Pending, now: Instant) -> (Key, Write) {
    match pending.next(now) {
        Next::Write(key, write) => (key, write),
        Next::Wait(at) => panic!("nothing is to be written until {at:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_written_is_not_written_again_before_it_is_seen() {
    let (mut pending, now) = (queue(9), Instant::now());
    assert_eq!(pending.replace(vec![change("a", "yes", "1")], |_| Some("1")), Queued { added: 1, overflowed: 0 });
    let (written, write) = taken(&mut pending, now);
    assert_eq!(write.patch()["metadata"]["resourceVersion"], "1");
    assert_eq!(pending.next(now), Next::Wait(None), "one write of an object at a time");
    pending.ended(&written, &write, Outcome::Written, now);
    // The snapshot is the one from before the write, whatever else has changed.
    assert_eq!(pending.replace(vec![change("a", "yes", "2")], |_| Some("1")).added, 0);
    assert_eq!(pending.replace(vec![change("a", "no", "2")], |_| Some("1")).added, 1, "something else is wanted");
    // Somebody has taken it away again.
    assert_eq!(pending.replace(vec![change("a", "yes", "3")], |_| Some("3")).added, 1);
    assert_eq!(taken(&mut pending, now).1.version.as_deref(), Some("3"));
}

#[tokio::test(start_paused = true)]
async fn what_is_wanted_now_replaces_what_was_wanted_before() {
    let (mut pending, now) = (queue(9), Instant::now());
    pending.replace(vec![change("a", "yes", "1"), change("b", "yes", "1")], |_| Some("1"));
    let (first, write) = taken(&mut pending, now);
    assert_eq!(first, key("a"));
    assert_eq!(pending.replace(vec![change("a", "no", "2")], |_| Some("1")).added, 1);
    assert_eq!(pending.next(now), Next::Wait(None), "b is not wanted any more, and a is under way");
    pending.ended(&first, &write, Outcome::Written, now);
    assert_eq!(taken(&mut pending, now).1.status["parents"][0]["says"], "no");
}

#[tokio::test(start_paused = true)]
async fn a_server_in_trouble_is_left_alone_for_longer_and_longer() {
    let mut pending = queue(9);
    let mut now = Instant::now();
    pending.replace(vec![change("a", "yes", "1"), change("b", "yes", "1")], |_| Some("1"));
    for (nth, secs) in [1, 2, 4, 8, 8].into_iter().enumerate() {
        let (key, write) = taken(&mut pending, now);
        assert_eq!(pending.ended(&key, &write, Outcome::Trouble(None), now), nth == 0, "only the first is news");
        let until = now + Duration::from_secs(secs);
        assert_eq!(pending.next(now), Next::Wait(Some(until)));
        now = until;
    }
    let (key, write) = taken(&mut pending, now);
    let asked = Duration::from_secs(77);
    pending.ended(&key, &write, Outcome::Trouble(Some(asked)), now);
    assert_eq!(pending.next(now), Next::Wait(Some(now + asked)), "it says when");
    now += asked;
    let (key, write) = taken(&mut pending, now);
    pending.ended(&key, &write, Outcome::Written, now);
    let (key, write) = taken(&mut pending, now);
    assert!(pending.ended(&key, &write, Outcome::Trouble(None), now), "it was well in the meantime");
    assert_eq!(pending.next(now), Next::Wait(Some(now + Duration::from_secs(1))));
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_waits_alone_and_starts_anew_when_its_object_changes() {
    let (mut pending, now) = (queue(9), Instant::now());
    let wanted = || vec![change("a", "yes", "1"), change("b", "yes", "1")];
    pending.replace(wanted(), |_| Some("1"));
    let (refused, write) = taken(&mut pending, now);
    assert!(pending.ended(&refused, &write, Outcome::Refused, now));
    assert_eq!(pending.replace(wanted(), |_| Some("1")).added, 0);
    let (other, write) = taken(&mut pending, now);
    assert_eq!(other, key("b"));
    pending.ended(&other, &write, Outcome::Superseded, now);
    assert_eq!(pending.next(now), Next::Wait(Some(now + SLOW)));
    pending.replace(wanted(), |key| Some(if key.name == "a" { "2" } else { "1" }));
    assert_eq!(taken(&mut pending, now).0, key("a"));
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded_and_goes_with_the_lease() {
    let (mut pending, now) = (queue(2), Instant::now());
    let wanted = || ["a", "b", "c"].map(|name| change(name, "yes", "1")).into();
    assert_eq!(pending.replace(wanted(), |_| None), Queued { added: 2, overflowed: 1 });
    let (first, write) = taken(&mut pending, now);
    pending.ended(&first, &write, Outcome::Trouble(None), now);
    assert_eq!(pending.clear(), 2);
    assert_eq!(pending.next(now), Next::Wait(None));
    assert_eq!(pending.replace(wanted(), |_| None).added, 2);
    assert_eq!(taken(&mut pending, now).0, key("a"), "the pause is over, too");
}

/// A server with versions, and a writer that sees it late: whatever happens, in the end every object says what is wanted.
#[derive(Clone, Debug)]
enum Step {
    Want(u8, u8),
    See,
    Send,
    Foreign(u8),
    Trouble,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4u8, 0..3u8).prop_map(|(name, says)| Step::Want(name, says)),
        Just(Step::See),
        Just(Step::Send),
        (0..4u8).prop_map(Step::Foreign),
        Just(Step::Trouble),
    ]
}

#[derive(Default)]
struct World {
    /// Version and text of each object.
    server: BTreeMap<String, (u64, String)>,
    seen: BTreeMap<String, (u64, String)>,
    wanted: BTreeMap<String, String>,
}

impl World {
    fn look(&self, pending: &mut Pending) {
        let versions: BTreeMap<_, _> = self.seen.iter().map(|(name, (version, _))| (name.clone(), version.to_string())).collect();
        let differs = |name: &&String| self.seen.get(*name).is_none_or(|(_, says)| Some(says) != self.wanted.get(*name));
        let changes = self.wanted.keys().filter(differs).map(|name| change(name, &self.wanted[name], "1")).collect();
        pending.replace(changes, |key| versions.get(&key.name).map(String::as_str));
    }

    fn send(&mut self, key: &Key, write: &Write) -> Outcome {
        let (version, says) = self.server.get_mut(&key.name).unwrap();
        if write.version.as_deref() != Some(&*version.to_string()) {
            return Outcome::Superseded;
        }
        let text = write.status["parents"][0]["says"].as_str().unwrap().to_owned();
        assert!(text != *says, "a write that changes nothing");
        (*version, *says) = (*version + 1, text);
        Outcome::Written
    }
}

proptest! {
    #[test]
    fn nothing_is_written_twice_and_all_is_written_in_the_end(steps in vec(step(), 0..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _time = runtime.enter();
        let (mut pending, mut now, mut world) = (queue(3), Instant::now(), World::default());
        for name in ["0", "1", "2", "3"] {
            world.server.insert(name.to_owned(), (1, "nothing".to_owned()));
            world.wanted.insert(name.to_owned(), "0".to_owned());
        }
        world.seen = world.server.clone();
        for step in steps {
            match step {
                Step::Want(name, says) => drop(world.wanted.insert(name.to_string(), says.to_string())),
                Step::See => world.seen = world.server.clone(),
                Step::Foreign(name) => {
                    let (version, says) = world.server.get_mut(&name.to_string()).unwrap();
                    (*version, *says) = (*version + 1, "foreign".to_owned());
                }
                Step::Send => if let Next::Write(key, write) = pending.next(now) {
                    let outcome = world.send(&key, &write);
                    pending.ended(&key, &write, outcome, now);
                },
                Step::Trouble => if let Next::Write(key, write) = pending.next(now) {
                    pending.ended(&key, &write, Outcome::Trouble(None), now);
                },
            }
            world.look(&mut pending);
        }
        for _ in 0..9 {
            world.seen = world.server.clone();
            world.look(&mut pending);
            now += Duration::from_secs(60);
            while let Next::Write(key, write) = pending.next(now) {
                let outcome = world.send(&key, &write);
                pending.ended(&key, &write, outcome, now);
            }
        }
        let says: BTreeMap<_, _> = world.server.into_iter().map(|(name, (_, says))| (name, says)).collect();
        prop_assert_eq!(says, world.wanted);
    }
}
