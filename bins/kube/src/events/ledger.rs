use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::{About, Happening};

/// So many happenings are remembered, and so many objects.
const MAX_REMEMBERED: usize = 4096;
/// So many events of an object at once, and then one every [`REFILL`]. Source: `client-go`, `events_cache.go`.
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(300);
/// So many that differ only in their message are told one by one within [`ALIKE_WITHIN`]; further ones are counted as one.
const MAX_ALIKE: u32 = 10;
const ALIKE_WITHIN: Duration = Duration::from_secs(600);

/// What was told before, so that the same is counted and not told anew, and so that nothing is told too often.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    told: HashMap<Happening, Told>,
    alike: HashMap<(About, &'static str), Alike>,
    buckets: HashMap<About, Bucket>,
    names: u64,
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A new event. Its name ends in this.
    New { happening: Happening, suffix: String },
    /// An event of this name happened again.
    Again { happening: Happening, suffix: String, count: u32, first: SystemTime },
    /// Nothing: there were too many.
    Nothing,
}

#[derive(Debug)]
struct Told {
    suffix: String,
    count: u32,
    first: SystemTime,
    at: Instant,
}

#[derive(Debug)]
struct Alike {
    count: u32,
    at: Instant,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

trait Aged {
    fn at(&self) -> Instant;
}

impl Ledger {
    pub(super) fn enter(&mut self, happening: Happening, now: Instant, date: SystemTime) -> Entry {
        let happening = self.combined(happening, now);
        if !self.admits(&happening.about, now) {
            return Entry::Nothing;
        }
        if let Some(told) = self.told.get_mut(&happening) {
            told.count = told.count.saturating_add(1);
            told.at = now;
            return Entry::Again { suffix: told.suffix.clone(), count: told.count, first: told.first, happening };
        }
        make_room(&mut self.told);
        self.names += 1;
        let nanos = date.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let suffix = format!("{:x}", nanos + u128::from(self.names));
        self.told.insert(happening.clone(), Told { suffix: suffix.clone(), count: 1, first: date, at: now });
        Entry::New { happening, suffix }
    }

    /// The event is gone, or was never written.
    pub(super) fn forget(&mut self, happening: &Happening) {
        self.told.remove(happening);
    }

    fn combined(&mut self, mut happening: Happening, now: Instant) -> Happening {
        if self.told.contains_key(&happening) {
            return happening;
        }
        let key = (happening.about.clone(), happening.reason);
        if !self.alike.contains_key(&key) {
            make_room(&mut self.alike);
        }
        let alike = self.alike.entry(key).or_insert(Alike { count: 0, at: now });
        if now.saturating_duration_since(alike.at) > ALIKE_WITHIN {
            alike.count = 0;
        }
        (alike.count, alike.at) = (alike.count.saturating_add(1), now);
        if alike.count > MAX_ALIKE {
            happening.message = "(combined from similar events)".to_owned();
        }
        happening
    }

    fn admits(&mut self, about: &About, now: Instant) -> bool {
        if !self.buckets.contains_key(about) {
            make_room(&mut self.buckets);
        }
        let bucket = self.buckets.entry(about.clone()).or_insert(Bucket { tokens: BURST, at: now });
        let refilled = now.saturating_duration_since(bucket.at).as_secs_f64() / REFILL.as_secs_f64();
        bucket.tokens = (bucket.tokens + refilled).min(BURST);
        bucket.at = now;
        let is_admitted = bucket.tokens >= 1.0;
        if is_admitted {
            bucket.tokens -= 1.0;
        }
        is_admitted
    }
}

/// Forgets the older half where there is no room.
fn make_room<K: Eq + Hash, V: Aged>(map: &mut HashMap<K, V>) {
    if map.len() < MAX_REMEMBERED {
        return;
    }
    let mut ages: Vec<_> = map.values().map(Aged::at).collect();
    let (_, middle, _) = ages.select_nth_unstable(MAX_REMEMBERED / 2);
    let middle = *middle;
    map.retain(|_, value| value.at() > middle);
}

impl Aged for Told {
    fn at(&self) -> Instant {
        self.at
    }
}

impl Aged for Alike {
    fn at(&self) -> Instant {
        self.at
    }
}

impl Aged for Bucket {
    fn at(&self) -> Instant {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skipped(message: &str) -> Happening {
        Happening::warning(About::new("apps/v1", "Deployment", "linkerd", "linkerd-identity"), "IssuerUpdateSkipped", message)
    }

    const DATE: SystemTime = SystemTime::UNIX_EPOCH;

    #[test]
    fn the_same_is_counted_and_more_than_a_few_are_left_out() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        let Entry::New { suffix: name, .. } = ledger.enter(skipped("a"), now, DATE) else { panic!() };
        let Entry::Again { suffix, count, .. } = ledger.enter(skipped("a"), now, DATE) else { panic!() };
        assert_eq!((suffix, count), (name.clone(), 2));
        let Entry::New { suffix, .. } = ledger.enter(skipped("b"), now, DATE) else { panic!() };
        assert_ne!(suffix, name);
        for _ in 3..25 {
            assert!(matches!(ledger.enter(skipped("a"), now, DATE), Entry::Again { .. }));
        }
        assert_eq!(ledger.enter(skipped("a"), now, DATE), Entry::Nothing);
        let other = Happening::normal(About::new("v1", "ServiceAccount", "a", "web"), "IssuedLeafCertificate", "x");
        assert!(matches!(ledger.enter(other, now, DATE), Entry::New { .. }));
        assert!(matches!(ledger.enter(skipped("a"), now + REFILL, DATE), Entry::Again { .. }));
        ledger.forget(&skipped("a"));
        assert!(matches!(ledger.enter(skipped("a"), now + REFILL * 2, DATE), Entry::New { .. }));
    }

    #[test]
    fn many_that_differ_in_the_message_become_one() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        for n in 0..MAX_ALIKE {
            assert!(matches!(ledger.enter(skipped(&n.to_string()), now, DATE), Entry::New { .. }));
        }
        let Entry::New { happening, .. } = ledger.enter(skipped("x"), now, DATE) else { panic!() };
        assert_eq!(happening.message, "(combined from similar events)");
        assert!(matches!(ledger.enter(skipped("y"), now, DATE), Entry::Again { count: 2, .. }));
        assert!(
            matches!(ledger.enter(skipped("z"), now + ALIKE_WITHIN * 2, DATE), Entry::New { happening, .. } if happening.message == "z")
        );
    }

    #[test]
    fn memory_has_a_bound() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        for n in 0..3 * MAX_REMEMBERED {
            let about = About::new("v1", "Pod", "a", &n.to_string());
            ledger.enter(Happening::normal(about, "X", "x"), now + Duration::from_millis(n as u64), DATE);
        }
        assert!(ledger.told.len() <= MAX_REMEMBERED && ledger.alike.len() <= MAX_REMEMBERED && ledger.buckets.len() <= MAX_REMEMBERED);
        assert!(ledger.told.len() >= MAX_REMEMBERED / 2 - 1);
    }
}
