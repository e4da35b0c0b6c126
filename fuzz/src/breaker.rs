//! The breaker of an endpoint, against a count of failures.

use std::time::Duration;

use meshkit_balance::accrual::{Admission, Config, Machine, Pass, Transition, Verdict as Response};
use meshkit_core::{Backoff, Dice, Ratio};
use tokio::time::Instant;

use crate::{Input, Verdict};

/// What is known of the breaker from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    Closed,
    /// Nothing passes until then; the first request after it is the probe.
    Open(Instant),
    /// The probe is out; another one may go then.
    Probed(Instant),
}

/// A request under way: its pass, and how often the breaker had changed when it was sent.
type Sent = (Pass, usize);

struct Model {
    machine: Machine,
    max_failures: Option<u32>,
    backoff: Backoff,
    retry_limit: Option<Duration>,
    position: Position,
    /// Failures in a row since the breaker closed.
    failures: u32,
    /// Openings in a row.
    trips: u32,
    changes: usize,
}

/// Three bytes are the settings, then each byte is an event: a request, a response of some kind, or a request that is given up. While it is closed
/// all pass; it opens when it has to, for as long as it has to; then one at a time is let through.
#[must_use]
pub fn run(data: &[u8]) -> Verdict {
    let mut input = Input::new(data);
    let (max_failures, kind, jitter) = (u32::from(input.byte() % 8), input.byte(), f64::from(input.byte() % 2));
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), jitter).expect("one second is less than sixty");
    let consecutive = kind & 1 == 0;
    let config = match consecutive {
        true => Config::consecutive(max_failures, backoff),
        false => Config::unified(Duration::from_secs(10), Ratio::new(0.5).expect("a half"), 4, max_failures, backoff),
    };
    let retry_limit = (kind & 2 != 0).then(|| Duration::from_secs(30));
    let config = retry_limit.into_iter().fold(config, Config::honor_retry_after);
    let mut now = Instant::now();
    let machine = Machine::new(config, now);
    let max_failures = consecutive.then_some(max_failures);
    let mut model = Model { machine, max_failures, backoff, retry_limit, position: Position::Closed, failures: 0, trips: 0, changes: 0 };
    let mut sent: Vec<Sent> = Vec::new();
    while !input.is_empty() {
        let event = input.byte();
        now += Duration::from_millis(u64::from(event >> 3) * 100);
        match event & 7 {
            0..=2 => sent.extend(model.admit(now)),
            _ if sent.is_empty() => {}
            7 => {
                let index = input.below(sent.len());
                model.abandon(sent.swap_remove(index), now);
            }
            response => {
                let index = input.below(sent.len());
                let hint = Duration::from_secs(u64::from(input.byte()));
                let response = match response {
                    3 => Response::SUCCESS,
                    4 => Response::FAILURE,
                    5 => Response::LIMITED,
                    _ => Response::FAILURE.retry_after(Some(hint)),
                };
                model.record(sent.swap_remove(index), response, now);
            }
        }
    }
    Verdict::when(model.changes > 0)
}

/// Zero is no limit.
const fn reached(failures: u32, max: u32) -> bool {
    max != 0 && failures >= max
}

impl Model {
    fn admit(&mut self, now: Instant) -> Option<Sent> {
        let admission = self.machine.admit(now);
        match self.position {
            Position::Closed => assert!(matches!(admission, Admission::Admitted(pass) if !pass.is_probe()), "closed, and {admission:?}"),
            Position::Open(until) | Position::Probed(until) if now < until => assert_eq!(admission, Admission::Refused(until)),
            Position::Open(_) | Position::Probed(_) => {
                assert!(matches!(admission, Admission::Admitted(pass) if pass.is_probe()), "time is up, and {admission:?}");
                self.position = Position::Probed(now + self.backoff.max());
            }
        }
        match admission {
            Admission::Admitted(pass) => Some((pass, self.changes)),
            Admission::Refused(_) => None,
        }
    }

    fn record(&mut self, (pass, changes): Sent, response: Response, now: Instant) {
        let failed = response.outcome.is_failure();
        let counts = self.position == Position::Closed && !pass.is_probe() && changes == self.changes;
        if counts {
            self.failures = if failed { self.failures.saturating_add(1) } else { 0 };
        }
        let current_probe = matches!(self.position, Position::Probed(_)) && pass.is_probe() && changes == self.changes;
        match self.machine.record(pass, response, now, &Dice::new(0)) {
            None => {
                assert!(!current_probe, "the probe was answered");
                let tripped = self.max_failures.is_some_and(|max| counts && failed && reached(self.failures, max));
                assert!(!tripped, "closed after {} failures", self.failures);
            }
            Some(Transition::Closed) => {
                assert!(current_probe && !failed, "closed by {response:?}");
                (self.position, self.failures, self.trips) = (Position::Closed, 0, 0);
                self.changes += 1;
            }
            Some(Transition::Opened { until, .. }) => {
                assert!(counts || current_probe, "opened by a request of the past");
                // By a share of successes it opens once there are enough responses, whatever the last one is.
                assert!(self.max_failures.is_none() || failed, "opened by a success");
                if let (Some(max), false) = (self.max_failures, current_probe) {
                    assert!(reached(self.failures, max), "opened after {} failures of {max}", self.failures);
                }
                let pause = self.backoff.delay(self.trips, &Dice::new(0));
                let asked = response.retry_after.zip(self.retry_limit).map(|(hint, limit)| hint.min(limit));
                assert_eq!(until - now, pause.max(asked.unwrap_or_default()));
                (self.position, self.failures, self.trips) = (Position::Open(until), 0, self.trips + 1);
                self.changes += 1;
            }
        }
    }

    fn abandon(&mut self, (pass, changes): Sent, now: Instant) {
        let current = matches!(self.position, Position::Probed(_)) && pass.is_probe() && changes == self.changes;
        assert_eq!(self.machine.abandon(pass, now), current);
        if current {
            self.position = Position::Open(now);
        }
    }
}
