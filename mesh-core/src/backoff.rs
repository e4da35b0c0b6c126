//! How long to wait before the next attempt.

use std::{fmt, time::Duration};

use crate::Dice;

/// Exponential backoff with jitter.
///
/// Attempt `n`, counted from 0, waits `min(max, min * 2^n)` plus a random part of that times `jitter`, and never
/// more than `max`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    jitter: f64,
}

/// The bounds do not describe a backoff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidBackoff {
    /// The shortest wait is longer than the longest.
    MinAboveMax,
    /// The longest wait is zero.
    ZeroMax,
    /// The jitter is not a number in `0.0..=100.0`.
    Jitter,
}

impl Backoff {
    /// Waits from `min` to `max`, plus up to `jitter` times that. Jitter is a ratio in `0.0..=100.0`.
    ///
    /// # Errors
    /// `min > max`, `max` is zero, or the jitter is out of range.
    pub fn new(min: Duration, max: Duration, jitter: f64) -> Result<Self, InvalidBackoff> {
        if min > max {
            return Err(InvalidBackoff::MinAboveMax);
        }
        if max.is_zero() {
            return Err(InvalidBackoff::ZeroMax);
        }
        if !(0.0..=100.0).contains(&jitter) {
            return Err(InvalidBackoff::Jitter);
        }
        Ok(Self { min, max, jitter })
    }

    /// The shortest wait, without jitter.
    #[must_use]
    pub const fn min(&self) -> Duration {
        self.min
    }

    /// The longest wait.
    #[must_use]
    pub const fn max(&self) -> Duration {
        self.max
    }

    /// The jitter ratio.
    #[must_use]
    pub const fn jitter(&self) -> f64 {
        self.jitter
    }

    /// The wait before attempt `n`, counted from 0.
    #[must_use]
    pub fn delay(&self, n: u32, dice: &Dice) -> Duration {
        let base = self.min.saturating_mul(1u32.checked_shl(n).unwrap_or(u32::MAX)).min(self.max);
        let jitter = Duration::try_from_secs_f64(base.as_secs_f64() * self.jitter * dice.unit());
        base.saturating_add(jitter.unwrap_or(self.max)).min(self.max)
    }
}

impl fmt::Display for InvalidBackoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MinAboveMax => "the shortest backoff is longer than the longest",
            Self::ZeroMax => "the longest backoff must not be zero",
            Self::Jitter => "the jitter must be a number from 0 to 100",
        })
    }
}

impl std::error::Error for InvalidBackoff {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_up_to_the_limit() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1), 0.0).unwrap();
        let dice = Dice::new(0);
        let waits: Vec<_> = (0..6).map(|n| backoff.delay(n, &dice).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000]);
    }

    proptest! {
        #[test]
        fn every_wait_is_within_bounds(min in 0u64..10_000, extra in 1u64..10_000, jitter in 0.0f64..100.0, n in 0u32..100, seed: u64) {
            let (min, max) = (Duration::from_millis(min), Duration::from_millis(min + extra));
            let delay = Backoff::new(min, max, jitter).unwrap().delay(n, &Dice::new(seed));
            prop_assert!(min <= delay && delay <= max);
        }
    }
}
