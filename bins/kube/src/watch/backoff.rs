use std::time::Duration;

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

/// How long to wait before something is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pace {
    /// After the first failure. Default 200 ms.
    pub least: Duration,
    /// It doubles with each failure up to this. Default 30 s.
    pub most: Duration,
    /// Where a person has to act first: a missing right, a kind that is not there. Default 30 s.
    pub slow: Duration,
}

/// Waits that double, with a random part so that many clients do not come back at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    pace: Pace,
    failures: u32,
    dice: SmallRng,
}

/// The longest wait that a server may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(120);

impl Default for Pace {
    fn default() -> Self {
        Self { least: Duration::from_millis(200), most: Duration::from_secs(30), slow: Duration::from_secs(30) }
    }
}

impl Pace {
    /// The same wait always: for tests and impatient tools.
    #[must_use]
    pub const fn every(wait: Duration) -> Self {
        Self { least: wait, most: wait, slow: wait }
    }
}

impl Backoff {
    pub(crate) fn new(pace: Pace, seed: u64) -> Self {
        Self { pace, failures: 0, dice: SmallRng::seed_from_u64(seed) }
    }

    /// Something worked.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The wait after another failure: between a half and the whole of what the failures so far ask for, and not less than what the server asks for.
    pub(crate) fn next(&mut self, is_slow: bool, retry_after: Option<Duration>) -> Duration {
        let doubled = self.pace.least.saturating_mul(1 << self.failures.min(20));
        self.failures = self.failures.saturating_add(1);
        let whole = if is_slow { self.pace.slow } else { doubled.min(self.pace.most) };
        let wait = whole.mul_f64(self.dice.random_range(0.5..=1.0));
        wait.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
    }

    /// A length of time between two others.
    pub(crate) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        least + most.saturating_sub(least).mul_f64(self.dice.random())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_double_up_to_the_most_and_begin_anew_after_success(seed: u64, failures in 0u32..60) {
            let pace = Pace::default();
            let mut backoff = Backoff::new(pace, seed);
            for n in 0..failures {
                let whole = pace.least.saturating_mul(1 << n.min(20)).min(pace.most);
                let wait = backoff.next(false, None);
                prop_assert!(whole.mul_f64(0.499) <= wait && wait <= whole, "{n}: {wait:?}");
            }
            backoff.reset();
            prop_assert!(backoff.next(false, None) <= pace.least);
        }

        #[test]
        fn a_server_is_given_the_time_that_it_asks_for_within_reason(seed: u64, secs in 0u64..10_000) {
            let asked = Duration::from_secs(secs);
            let wait = Backoff::new(Pace::default(), seed).next(false, Some(asked));
            prop_assert!(wait >= asked.min(MAX_RETRY_AFTER) && wait <= MAX_RETRY_AFTER);
        }
    }
}
