//! Which statuses wait to be written. No socket, no clock.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use meshkit_core::{Backoff, Dice};
use meshkit_manifest::Key;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Change;

/// What the API server does not take is tried again after so long: a person has to act first, or the object has to change.
const SLOW: Duration = Duration::from_secs(30);
/// The longest wait that a server may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(120);

/// Writes that wait, at most one for each object. What is wanted now replaces what was wanted before: a slow server never gets what is not
/// wanted any more.
#[derive(Debug)]
pub(super) struct Pending {
    max: usize,
    writes: BTreeMap<Key, Waiting>,
    in_flight: HashSet<Key>,
    /// What was written and is not seen yet: it is not written again.
    said: HashMap<Key, Write>,
    /// Failures of the server in a row.
    failures: u32,
    paused_until: Option<Instant>,
    backoff: Backoff,
    dice: Dice,
}

#[derive(Debug)]
struct Waiting {
    write: Write,
    not_before: Option<Instant>,
}

/// A status to be written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Write {
    /// The version of the object that it was worked out from. Without one, whatever is there is overwritten.
    pub(super) version: Option<String>,
    /// The status that the object is to have.
    pub(super) status: Value,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Written,
    /// The object has changed or is gone; there will be news of it.
    Superseded,
    /// The server does not take it.
    Refused,
    /// The server is in trouble, and may say when it wants to be asked again.
    Trouble(Option<Duration>),
}

/// What is next.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Next {
    Write(Key, Write),
    /// Nothing until then; `None`: until something happens.
    Wait(Option<Instant>),
}

/// What came of new wishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Queued {
    pub(super) added: u64,
    pub(super) overflowed: u64,
}

impl Write {
    /// The merge patch. With a version in it, it is refused if somebody wrote in the meantime.
    pub(super) fn patch(&self) -> Value {
        match &self.version {
            Some(version) => json!({"metadata": {"resourceVersion": version}, "status": self.status}),
            None => json!({"status": self.status}),
        }
    }

    /// Does it say the same of the same version? The time of saying does not count.
    fn is_same(&self, other: &Self) -> bool {
        self.version == other.version && is_same(&self.status, &other.status)
    }
}

fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| key == "lastTransitionTime" || other.get(key).is_some_and(|other| is_same(value, other)))
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (one, other) => one == other,
    }
}

impl Pending {
    pub(super) fn new(max: usize, backoff: Backoff, dice: Dice) -> Self {
        let (writes, in_flight, said) = (BTreeMap::new(), HashSet::new(), HashMap::new());
        Self { max, writes, in_flight, said, failures: 0, paused_until: None, backoff, dice }
    }

    /// Everything that is to be written now. `version` is that of an object as it is seen.
    pub(super) fn replace<'a>(&mut self, wanted: Vec<Change>, version: impl Fn(&Key) -> Option<&'a str>) -> Queued {
        // Whoever sees another version sees what was written, or what somebody else wrote.
        self.said.retain(|key, said| said.version.as_deref() == version(key));
        let mut before = std::mem::take(&mut self.writes);
        let mut queued = Queued::default();
        for Change { key, status } in wanted {
            let write = Write { version: version(&key).map(str::to_owned), status };
            if self.said.get(&key).is_some_and(|said| said.is_same(&write)) {
                continue;
            }
            if self.writes.len() >= self.max {
                queued.overflowed += 1;
                continue;
            }
            let waiting = match before.remove(&key) {
                Some(known) if known.write.is_same(&write) => known,
                _ => {
                    queued.added += 1;
                    Waiting { write, not_before: None }
                }
            };
            self.writes.insert(key, waiting);
        }
        queued
    }

    /// What to write now. It has to be [`Pending::ended`] before the object is written again.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        if let Some(until) = self.paused_until.filter(|until| now < *until) {
            return Next::Wait(Some(until));
        }
        let mut at: Option<Instant> = None;
        for (key, waiting) in &self.writes {
            if self.in_flight.contains(key) {
                continue;
            }
            match waiting.not_before.filter(|not_before| now < *not_before) {
                Some(not_before) => at = Some(at.map_or(not_before, |at| at.min(not_before))),
                None => {
                    self.in_flight.insert(key.clone());
                    return Next::Write(key.clone(), waiting.write.clone());
                }
            }
        }
        Next::Wait(at)
    }

    /// A write has ended. Is it the first failure in a row?
    pub(super) fn ended(&mut self, key: &Key, write: &Write, outcome: Outcome, now: Instant) -> bool {
        self.in_flight.remove(key);
        let is_first_failure = self.failures == 0;
        if let Outcome::Trouble(retry_after) = outcome {
            let wait = self.backoff.delay(self.failures, &self.dice).max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER));
            self.failures = self.failures.saturating_add(1);
            let until = now + wait;
            self.paused_until = Some(self.paused_until.map_or(until, |known| known.max(until)));
            return is_first_failure;
        }
        self.failures = 0;
        // Something else may be wanted by now: it stays.
        let is_wanted = self.writes.get(key).is_some_and(|waiting| waiting.write.is_same(write));
        if outcome == Outcome::Refused {
            let known = self.writes.get_mut(key).filter(|_| is_wanted);
            return known.is_some_and(|waiting| waiting.not_before.replace(now + SLOW).is_none());
        }
        if is_wanted {
            self.writes.remove(key);
        }
        if outcome == Outcome::Written && write.version.is_some() {
            self.said.insert(key.clone(), write.clone());
        }
        false
    }

    /// Somebody else writes now: nothing waits any more. How much was dropped?
    pub(super) fn clear(&mut self) -> u64 {
        let dropped = self.writes.len();
        self.writes.clear();
        self.in_flight.clear();
        self.said.clear();
        (self.failures, self.paused_until) = (0, None);
        dropped.try_into().unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests;
