use std::time::Duration;

use meshkit_core::Dice;
use tokio::time::Instant;

use super::{Config, Consecutive, Criteria, Reason, Unified, Verdict};

/// The state machine of one breaker.
#[derive(Clone, Debug)]
pub struct Machine {
    config: Config,
    counts: Counts,
    state: State,
    // How often it opened since it was last closed; every time gets a number of its own.
    trips: u32,
    epoch: u64,
}

#[derive(Clone, Debug)]
enum Counts {
    Consecutive(Consecutive),
    Unified(Unified),
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed,
    Open { until: Instant },
    // One probe is out. If nothing is heard of it until then, another one may go.
    Probation { until: Instant },
}

/// Whether a request may go to the endpoint now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // It may or it may not.
pub enum Admission {
    /// It may; the pass comes back with the response.
    Admitted(Pass),
    /// It may not, and asking before this time is of no use, unless the breaker closes meanwhile.
    Refused(Instant),
}

/// What a request was admitted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    probe: Option<u64>,
    epoch: u64,
}

/// What an event changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // A breaker has two positions; probation is part of being open.
pub enum Transition {
    /// Nothing gets through until then.
    Opened {
        /// Why.
        reason: Reason,
        /// When the next probe may go.
        until: Instant,
    },
    /// Requests get through again.
    Closed,
}

impl Pass {
    /// Is the request the one that finds out whether the endpoint has recovered?
    #[must_use]
    pub const fn is_probe(&self) -> bool {
        self.probe.is_some()
    }
}

impl Machine {
    /// Starts closed.
    #[must_use]
    pub fn new(config: Config, now: Instant) -> Self {
        let counts = match config.criteria {
            Criteria::Consecutive { max_failures } => Counts::Consecutive(Consecutive::new(max_failures)),
            Criteria::Unified { window, success_rate, min_requests, max_failures } => {
                Counts::Unified(Unified::new(window, success_rate, min_requests, max_failures, now))
            }
        };
        Self { config, counts, state: State::Closed, trips: 0, epoch: 0 }
    }

    /// Does it let everything through?
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// When the next probe may go; `None` while closed.
    #[must_use]
    pub const fn probe_at(&self) -> Option<Instant> {
        match self.state {
            State::Closed => None,
            State::Open { until } | State::Probation { until } => Some(until),
        }
    }

    /// Asks for one request. The first one after the backoff is the probe.
    pub fn admit(&mut self, now: Instant) -> Admission {
        match self.state {
            State::Closed => Admission::Admitted(Pass { probe: None, epoch: self.epoch }),
            State::Open { until } | State::Probation { until } if now < until => Admission::Refused(until),
            State::Open { .. } | State::Probation { .. } => {
                // An answer may be a long time coming. Only a probe that is never heard of again must not hold the endpoint for ever.
                self.state = State::Probation { until: now + self.config.backoff.max().max(Duration::from_secs(1)) };
                Admission::Admitted(Pass { probe: Some(self.epoch), epoch: self.epoch })
            }
        }
    }

    /// Takes in the response to an admitted request. What was sent before the breaker opened counts for nothing afterwards.
    pub fn record(&mut self, pass: Pass, verdict: Verdict, now: Instant, dice: &Dice) -> Option<Transition> {
        match (self.state, pass.probe) {
            (State::Closed, None) if pass.epoch == self.epoch => {
                let reason = match &mut self.counts {
                    Counts::Consecutive(counts) => counts.record(verdict).then_some(Reason::Consecutive),
                    Counts::Unified(counts) => counts.record(verdict, now),
                };
                reason.map(|reason| self.open(reason, verdict, now, dice))
            }
            (State::Probation { .. }, Some(epoch)) if epoch == self.epoch => {
                let limited = verdict.limited && matches!(self.counts, Counts::Unified(_));
                if verdict.outcome.is_failure() || limited {
                    return Some(self.open(Reason::Probe, verdict, now, dice));
                }
                self.close(now);
                Some(Transition::Closed)
            }
            _ => None,
        }
    }

    /// An admitted request was given up before its response could be judged: a probe's place goes to the next request.
    pub fn abandon(&mut self, pass: Pass, now: Instant) -> bool {
        let probing = matches!(self.state, State::Probation { .. }) && pass.probe == Some(self.epoch);
        if probing {
            self.state = State::Open { until: now };
        }
        probing
    }

    fn open(&mut self, reason: Reason, verdict: Verdict, now: Instant, dice: &Dice) -> Transition {
        let mut pause = self.config.backoff.delay(self.trips, dice);
        if let (Some(limit), Some(hint)) = (self.config.max_retry_after, verdict.retry_after) {
            pause = pause.max(hint.min(limit));
        }
        let until = now + pause;
        self.state = State::Open { until };
        self.trips = self.trips.saturating_add(1);
        self.epoch += 1;
        Transition::Opened { reason, until }
    }

    fn close(&mut self, now: Instant) {
        self.state = State::Closed;
        self.trips = 0;
        self.epoch += 1;
        match &mut self.counts {
            Counts::Consecutive(counts) => counts.clear(),
            Counts::Unified(counts) => counts.clear(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use meshkit_core::{Backoff, Ratio};

    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    fn backoff() -> Backoff {
        Backoff::new(SEC, SEC * 60, 0.0).unwrap()
    }

    fn consecutive(max: u32, now: Instant) -> Machine {
        Machine::new(Config::consecutive(max, backoff()), now)
    }

    fn pass(machine: &mut Machine, now: Instant) -> Pass {
        match machine.admit(now) {
            Admission::Admitted(pass) => pass,
            Admission::Refused(until) => panic!("refused until {until:?}"),
        }
    }

    fn run(machine: &mut Machine, verdict: Verdict, now: Instant) -> Option<Transition> {
        let pass = pass(machine, now);
        machine.record(pass, verdict, now, &Dice::new(0))
    }

    fn opened(reason: Reason, until: Instant) -> Option<Transition> {
        Some(Transition::Opened { reason, until })
    }

    #[tokio::test(start_paused = true)]
    async fn trips_on_consecutive_failures() {
        let now = Instant::now();
        let mut machine = consecutive(3, now);
        for verdict in [Verdict::FAILURE, Verdict::FAILURE, Verdict::SUCCESS, Verdict::FAILURE, Verdict::FAILURE] {
            assert_eq!(run(&mut machine, verdict, now), None);
        }
        assert_eq!(run(&mut machine, Verdict::FAILURE, now), opened(Reason::Consecutive, now + SEC));
        assert_eq!(machine.admit(now + SEC / 2), Admission::Refused(now + SEC));
    }

    #[tokio::test(start_paused = true)]
    async fn probation_admits_single_probe() {
        let now = Instant::now();
        let mut machine = consecutive(1, now);
        run(&mut machine, Verdict::FAILURE, now);
        let later = now + SEC;
        let probe = pass(&mut machine, later);
        assert!(probe.is_probe());
        assert!(matches!(machine.admit(later), Admission::Refused(_)));
        assert_eq!(machine.record(probe, Verdict::SUCCESS, later, &Dice::new(0)), Some(Transition::Closed));
        assert!(!pass(&mut machine, later).is_probe());
    }

    #[tokio::test(start_paused = true)]
    async fn backoff_resets_to_base_on_retrip() {
        let now = Instant::now();
        let mut machine = consecutive(1, now);
        run(&mut machine, Verdict::FAILURE, now);
        // Each failed probe doubles the rest.
        let mut at = now + SEC;
        for wait in [2, 4, 8] {
            assert_eq!(run(&mut machine, Verdict::FAILURE, at), opened(Reason::Probe, at + SEC * wait));
            at += SEC * wait;
        }
        assert_eq!(run(&mut machine, Verdict::SUCCESS, at), Some(Transition::Closed));
        assert_eq!(run(&mut machine, Verdict::FAILURE, at), opened(Reason::Consecutive, at + SEC));
    }

    #[tokio::test(start_paused = true)]
    async fn probation_failure_on_429() {
        let now = Instant::now();
        let unified = Config::unified(SEC * 10, Ratio::ZERO, 0, 1, backoff());
        let mut machine = Machine::new(unified, now);
        assert_eq!(run(&mut machine, Verdict::LIMITED, now), None);
        run(&mut machine, Verdict::FAILURE, now);
        assert_eq!(run(&mut machine, Verdict::LIMITED, now + SEC), opened(Reason::Probe, now + SEC * 3));
        // To the plain breaker, the same answer is a success.
        let mut machine = consecutive(1, now);
        run(&mut machine, Verdict::FAILURE, now);
        assert_eq!(run(&mut machine, Verdict::LIMITED, now + SEC), Some(Transition::Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn responses_to_what_was_sent_before_the_trip_are_discarded() {
        let now = Instant::now();
        let dice = Dice::new(0);
        let mut machine = consecutive(1, now);
        let late = [pass(&mut machine, now), pass(&mut machine, now), pass(&mut machine, now)];
        run(&mut machine, Verdict::FAILURE, now);
        assert_eq!(machine.record(late[0], Verdict::SUCCESS, now, &dice), None);
        let probe = pass(&mut machine, now + SEC);
        assert_eq!(machine.record(late[1], Verdict::SUCCESS, now + SEC, &dice), None, "only the probe decides");
        machine.record(probe, Verdict::SUCCESS, now + SEC, &dice);
        assert_eq!(machine.record(late[2], Verdict::FAILURE, now + SEC, &dice), None, "the count has begun anew");
    }

    #[tokio::test(start_paused = true)]
    async fn an_abandoned_probe_makes_room_and_a_lost_one_does_in_time() {
        let now = Instant::now();
        let mut machine = consecutive(1, now);
        run(&mut machine, Verdict::FAILURE, now);
        let later = now + SEC;
        let probe = pass(&mut machine, later);
        assert!(machine.abandon(probe, later));
        let probe = pass(&mut machine, later);
        assert!(probe.is_probe());
        // Nothing is ever heard of this one.
        assert_eq!(machine.admit(later + SEC), Admission::Refused(later + SEC * 60));
        let another = pass(&mut machine, later + SEC * 60);
        assert!(another.is_probe());
        // Whichever of them answers first decides.
        assert_eq!(machine.record(probe, Verdict::SUCCESS, later + SEC * 61, &Dice::new(0)), Some(Transition::Closed));
        assert!(!machine.abandon(another, later + SEC * 61));
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_honored_up_to_the_limit_if_asked_for() {
        let now = Instant::now();
        let hinted = Verdict::FAILURE.retry_after(Some(SEC * 100));
        assert_eq!(run(&mut consecutive(1, now), hinted, now), opened(Reason::Consecutive, now + SEC));
        let mut machine = Machine::new(Config::consecutive(1, backoff()).honor_retry_after(SEC * 30), now);
        assert_eq!(run(&mut machine, hinted, now), opened(Reason::Consecutive, now + SEC * 30));
    }
}
