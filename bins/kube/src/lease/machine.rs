use std::time::Duration;

use tokio::time::Instant;

use super::Record;

/// How long a lease lasts, and when it is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Terms {
    /// Others wait for so long after a renewal that they see. Default 30 s.
    pub duration: Duration,
    /// The holder gives up by itself so much earlier: clocks may run at rates that differ by `grace / duration`. Default 5 s.
    pub grace: Duration,
    /// The holder renews so often. Default 10 s.
    pub renew: Duration,
    /// Others look, and failures are tried again, so often. Default 2 s.
    pub retry: Duration,
}

/// Who of several holds a lease, as one of them sees it. It knows no socket and no clock.
///
/// Dates in the lease are not looked at, for clocks of different machines differ. A candidate takes a lease over when it has *seen* no renewal for the
/// lease's duration by its own clock. The holder counts from before it *sent* its last renewal. So two never hold it at once as long as their clocks run
/// at nearly the same rate, whatever they show. Source: `client-go`, `leaderelection.go`.
#[derive(Debug)]
pub struct Machine {
    identity: String,
    terms: Terms,
    /// What was last seen, and since when it is so.
    seen: Option<(Option<Record>, Instant)>,
    /// Counted from the sending of the last renewal that the server confirmed.
    held_until: Option<Instant>,
    next_at: Option<Instant>,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // A driver must handle all of them.
pub enum Step {
    /// Read the lease, and tell [`Machine::saw`].
    Read,
    /// Write this, if the lease is still of this version, or does not exist where there is none; and tell [`Machine::wrote`] or
    /// [`Machine::failed`].
    Write(Record),
    /// Nothing until then.
    Wait(Instant),
}

impl Default for Terms {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self { duration: secs(30), grace: secs(5), renew: secs(10), retry: secs(2) }
    }
}

impl Machine {
    /// A candidate. `identity` must be its own: a lease that another program of the same name holds is taken over at once.
    #[must_use]
    pub fn new(identity: &str, terms: Terms) -> Self {
        Self { identity: identity.to_owned(), terms, seen: None, held_until: None, next_at: None }
    }

    /// Until when the lease is held, unless it is renewed. `None` if it is not held.
    #[must_use]
    pub fn held_until(&self) -> Option<Instant> {
        self.held_until
    }

    /// Is it held?
    #[must_use]
    pub fn holds(&self, now: Instant) -> bool {
        self.held_until.is_some_and(|until| now < until)
    }

    /// Notes that the lease has ended, if it has.
    pub fn expire(&mut self, now: Instant) {
        self.held_until = self.held_until.filter(|until| now < *until);
    }

    /// What to do now.
    #[must_use]
    pub fn step(&self, now: Instant) -> Step {
        match self.next_at {
            Some(at) if now < at => return Step::Wait(at),
            _ => {}
        }
        let Some((record, since)) = &self.seen else { return Step::Read };
        match record {
            None => Step::Write(self.claim(None)),
            Some(record) if record.holder == self.identity => Step::Write(Record { duration: self.terms.duration, ..record.clone() }),
            Some(record) if record.holder.is_empty() || now >= *since + record.duration => Step::Write(self.claim(Some(record))),
            Some(_) => Step::Read,
        }
    }

    /// The lease is so; `None` if there is none. `now` is a time after the answer came.
    pub fn saw(&mut self, record: Option<Record>, now: Instant) {
        let is_mine = record.as_ref().is_some_and(|record| record.holder == self.identity);
        if !is_mine {
            self.held_until = None;
        }
        let is_known = self.seen.as_ref().is_some_and(|(seen, _)| *seen == record);
        if !is_known {
            self.seen = Some((record, now));
        }
        // A lease that can be had is taken at once; any other is looked at again later.
        let can_be_had = !matches!(self.step_ignoring_pause(now), Step::Read);
        self.next_at = (!can_be_had).then(|| now + self.terms.retry);
    }

    /// A write was confirmed: the lease is now so. `sent` is a time before it was sent.
    pub fn wrote(&mut self, record: Record, sent: Instant, now: Instant) {
        self.held_until = Some(sent + self.terms.duration.saturating_sub(self.terms.grace));
        self.seen = Some((Some(record), now));
        self.next_at = Some(sent + self.terms.renew);
    }

    /// A read or a write failed, or somebody else wrote first. Nothing is known of the lease until it is read again; one that is held is held to its
    /// end.
    pub fn failed(&mut self, now: Instant) {
        // What was seen stays: the waiting for its holder has not to begin anew.
        self.next_at = Some(now + self.terms.retry);
        if let Some((seen, _)) = &self.seen
            && seen.as_ref().is_none_or(|record| record.holder == self.identity || record.holder.is_empty())
        {
            self.seen = None;
        }
    }

    /// Somebody else wrote first: the lease is read again at once.
    pub fn lost_race(&mut self, now: Instant) {
        self.failed(now);
        self.seen = None;
        self.next_at = None;
    }

    /// Gives the lease up: what is to be written, if it is held. From here on it is not held any more.
    pub fn release(&mut self, now: Instant) -> Option<Record> {
        let is_held = self.holds(now);
        self.held_until = None;
        let (record, _) = self.seen.take()?;
        let record = record.filter(|record| is_held && record.holder == self.identity)?;
        Some(Record { holder: String::new(), duration: Duration::from_secs(1), ..record })
    }

    fn step_ignoring_pause(&self, now: Instant) -> Step {
        Self { identity: self.identity.clone(), seen: self.seen.clone(), next_at: None, ..*self }.step(now)
    }

    /// The lease as it is once this candidate has it.
    fn claim(&self, before: Option<&Record>) -> Record {
        let transitions = before.map_or(0, |record| record.transitions.saturating_add(1));
        let version = before.map_or(String::new(), |record| record.version.clone());
        Record { version, holder: self.identity.clone(), duration: self.terms.duration, transitions, acquired: String::new() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A candidate whose clock has its own beginning and rate.
    struct Candidate {
        machine: Machine,
        base: Instant,
        rate: f64,
        /// On its way: when it reaches the server, when the answer comes (never, if lost), by the true clock.
        call: Option<Call>,
    }

    struct Call {
        step: Step,
        sent: Instant,
        reaches_at: u64,
        answer_at: u64,
        answer: Option<Result<Option<Record>, ()>>,
        is_lost: bool,
    }

    impl Candidate {
        fn now(&self, true_ms: u64) -> Instant {
            self.base + Duration::from_secs_f64(true_ms as f64 * self.rate / 1000.0)
        }
    }

    fn serve(server: &mut Option<Record>, version: &mut u64, step: &Step) -> Result<Option<Record>, ()> {
        let Step::Write(wanted) = step else { return Ok(server.clone()) };
        if server.as_ref().map_or("", |record| record.version.as_str()) != wanted.version {
            return Err(());
        }
        *version += 1;
        *server = Some(Record { version: version.to_string(), acquired: "then".into(), ..wanted.clone() });
        Ok(server.clone())
    }

    proptest! {
        #[test]
        fn two_never_hold_it_at_once_and_somebody_holds_it_in_the_end(
            rates in proptest::collection::vec(0.93f64..1.07, 3),
            dice in proptest::collection::vec((0u64..4000, 0u64..4000, 0u8..10), 1..60),
            silent in proptest::collection::vec((0usize..3, 0u64..300_000, 1u64..60_000), 0..4),
        ) {
            let base = Instant::now() + Duration::from_secs(1_000_000);
            let mut candidates: Vec<_> = rates.iter().enumerate().map(|(n, rate)| Candidate {
                machine: Machine::new(&format!("pod-{n}"), Terms::default()),
                base: base + Duration::from_secs(n as u64 * 12_345),
                rate: *rate,
                call: None,
            }).collect();
            let (mut server, mut version) = (None, 0);
            let mut dice = dice.into_iter().cycle();
            let mut holders = 0;
            for now in (0..600_000u64).step_by(100) {
                for (n, candidate) in candidates.iter_mut().enumerate() {
                    // Cut off, as by a stopped process: its clock goes on.
                    if silent.iter().any(|(who, from, len)| *who == n && (*from..from + len).contains(&now)) {
                        continue;
                    }
                    let local = candidate.now(now);
                    if let Some(mut call) = candidate.call.take() {
                        if call.answer.is_none() && now >= call.reaches_at {
                            call.answer = Some(serve(&mut server, &mut version, &call.step));
                        }
                        if now < call.answer_at || call.answer.is_none() {
                            candidate.call = Some(call);
                            continue;
                        }
                        match (call.is_lost, call.step, call.answer) {
                            (true, ..) | (_, _, None) => candidate.machine.failed(local),
                            (_, Step::Write(_), Some(Ok(Some(record)))) => candidate.machine.wrote(record, call.sent, local),
                            (_, Step::Write(_), _) => candidate.machine.lost_race(local),
                            (_, _, Some(answer)) => candidate.machine.saw(answer.unwrap_or_default(), local),
                        }
                    }
                    match candidate.machine.step(local) {
                        Step::Wait(_) => {}
                        step => {
                            let (there, back, fate) = dice.next().unwrap();
                            candidate.call = Some(Call { step, sent: local, reaches_at: now + there, answer_at: now + there + back, answer: None, is_lost: fate == 0 && now < 300_000 });
                        }
                    }
                }
                holders = candidates.iter().filter(|candidate| candidate.machine.holds(candidate.now(now))).count();
                prop_assert!(holders <= 1, "{holders} at {now} ms");
            }
            prop_assert_eq!(holders, 1);
        }
    }

    #[test]
    fn a_free_lease_is_taken_renewed_and_given_back() {
        let (now, terms) = (Instant::now(), Terms::default());
        let mut machine = Machine::new("a", terms);
        assert_eq!(machine.step(now), Step::Read);
        machine.saw(None, now);
        let Step::Write(claim) = machine.step(now) else { panic!() };
        assert_eq!((claim.version.as_str(), claim.holder.as_str(), claim.transitions), ("", "a", 0));
        machine.wrote(Record { version: "1".into(), ..claim }, now, now);
        assert!(machine.holds(now + Duration::from_secs(24)) && !machine.holds(now + Duration::from_secs(25)));
        assert_eq!(machine.step(now), Step::Wait(now + terms.renew));
        let Step::Write(renewal) = machine.step(now + terms.renew) else { panic!() };
        assert_eq!((renewal.version.as_str(), renewal.transitions), ("1", 0));
        let released = machine.release(now + terms.renew).unwrap();
        assert_eq!((released.holder.as_str(), released.version.as_str()), ("", "1"));
        assert!(!machine.holds(now + terms.renew));
    }

    #[test]
    fn anothers_lease_is_taken_over_only_after_nothing_was_seen_of_it_for_its_duration() {
        let (now, terms) = (Instant::now(), Terms::default());
        let other =
            |version: &str| Some(Record { version: version.into(), holder: "b".into(), duration: terms.duration, ..Record::default() });
        let mut machine = Machine::new("a", terms);
        machine.saw(other("1"), now);
        machine.saw(other("2"), now + Duration::from_secs(20));
        let late = now + Duration::from_secs(49);
        machine.saw(other("2"), late);
        assert_eq!(machine.step(late), Step::Wait(late + terms.retry));
        let Step::Write(claim) = machine.step(now + Duration::from_secs(51)) else { panic!() };
        assert_eq!((claim.version.as_str(), claim.transitions), ("2", 1));
        // One that was given up is free at once.
        machine.saw(Some(Record { version: "3".into(), ..Record::default() }), late);
        assert!(matches!(machine.step(late), Step::Write(_)));
    }
}
