use std::sync::atomic::{AtomicU64, Ordering};

use super::Limit;

const SECOND: u64 = 1_000_000_000;

/// The generic cell rate algorithm: when the next request would be due if requests came evenly, in nanoseconds since some start.
/// Source: ITU-T I.371, virtual scheduling algorithm.
///
/// A single word, changed by compare-and-swap: threads together get exactly what one would get.
#[derive(Debug, Default)]
pub(super) struct Cell(AtomicU64);

impl Cell {
    /// Counts a request at `now`, unless it comes too early.
    pub(super) fn take(&self, limit: Limit, now: u64) -> bool {
        let per_second = u64::from(limit.0.get());
        // Rounded up: rather a request in a million too few than one too many.
        let gap = SECOND.div_ceil(per_second);
        let burst = gap * (per_second - 1);
        // Nothing else is published through the word, so relaxed is enough.
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| {
            let due = due.max(now);
            (due - now <= burst).then(|| due.saturating_add(gap))
        });
        taken.is_ok()
    }

    /// Until when requests of the past count.
    pub(super) fn due(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    fn limit(rps: u32) -> Limit {
        Limit(NonZeroU32::new(rps).unwrap())
    }

    proptest! {
        #[test]
        fn no_window_sees_more_than_a_burst_and_what_becomes_due_in_it(
            rps in 1u32..2_000, gaps in proptest::collection::vec(0u64..SECOND / 50, 1..300),
        ) {
            let cell = Cell::default();
            let mut now = 0;
            let mut passed = Vec::new();
            for gap in gaps {
                now += gap;
                if cell.take(limit(rps), now) {
                    passed.push(now);
                }
            }
            for (first, from) in passed.iter().enumerate() {
                for (count, to) in passed[first..].iter().enumerate() {
                    let due = u128::from(to - from) * u128::from(rps) / u128::from(SECOND);
                    prop_assert!(count as u128 <= u128::from(rps - 1) + due + 1, "{} in {} ns at {rps}", count + 1, to - from);
                }
            }
        }

        #[test]
        fn who_keeps_to_the_rate_is_never_refused(rps in 1u32..2_000, slack in proptest::collection::vec(0u64..1_000, 1..200)) {
            let cell = Cell::default();
            let mut now = 0;
            for extra in slack {
                prop_assert!(cell.take(limit(rps), now));
                now += SECOND.div_ceil(u64::from(rps)) + extra;
            }
        }
    }

    #[test]
    fn as_many_as_the_rate_may_come_at_once_even_at_the_ends_of_the_range() {
        for rps in [1, 3, 1000] {
            let cell = Cell::default();
            assert_eq!((0..2 * rps).filter(|_| cell.take(limit(rps), 5)).count(), rps as usize);
        }
        let cell = Cell::default();
        assert!(cell.take(limit(u32::MAX), u64::MAX) && !cell.take(limit(u32::MAX), 0), "time does not go back");
    }
}
