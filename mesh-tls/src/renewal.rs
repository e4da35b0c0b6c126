//! When to ask for the next certificate.

use std::time::{Duration, SystemTime};

/// Bounds of the wait between two requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Never sooner. Default 10 seconds.
    pub min: Duration,
    /// Never later. Default 24 hours.
    pub max: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { min: Duration::from_secs(10), max: Duration::from_secs(24 * 3600) }
    }
}

impl Schedule {
    /// How long to wait at `now` with a certificate that ends at `not_after`: 70 % of what is left, within the bounds. The same rule holds
    /// after a success and after a failure.
    #[must_use]
    pub fn wait(&self, now: SystemTime, not_after: SystemTime) -> Duration {
        let left = not_after.duration_since(now).unwrap_or_default();
        (left * 7 / 10).clamp(self.min, self.max.max(self.min))
    }

    /// How long to wait after a failure with no certificate at hand.
    #[must_use]
    pub const fn wait_without(&self) -> Duration {
        self.min
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn renewal_comes_at_seven_tenths_of_what_is_left() {
        let schedule = Schedule::default();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let left = |secs| schedule.wait(now, now + Duration::from_secs(secs));
        assert_eq!(left(3600), Duration::from_secs(2520));
        assert_eq!(left(5), schedule.min);
        assert_eq!(left(10_000_000), schedule.max);
        assert_eq!(schedule.wait(now, now - Duration::from_secs(5)), schedule.min);
    }

    proptest! {
        #[test]
        fn the_wait_is_always_within_its_bounds(min in 0u64..100, max in 0u64..100, left in 0u64..1000) {
            let schedule = Schedule { min: Duration::from_secs(min), max: Duration::from_secs(max) };
            let wait = schedule.wait(SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_secs(left));
            prop_assert!(schedule.min <= wait && wait <= schedule.max.max(schedule.min));
        }
    }
}
