//! How many retries the requests of the last seconds allow.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Slots that the window is divided into: what leaves it, leaves by slots.
const SLOTS: usize = 10;
/// Retries stay one slot longer than requests do: the newest slot is not full yet, and without it a retry at the end of its slot would be
/// forgotten before the window has passed.
const RETRY_SLOTS: usize = SLOTS + 1;

/// What a budget allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    ttl: Duration,
    ratio: f64,
    min_per_second: u32,
}

/// The numbers do not describe a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidBudget {
    /// The window is not from 1 to 60 seconds.
    Ttl,
    /// The ratio is not a number from 0 to 1000.
    Ratio,
}

impl Params {
    /// Retries for `ratio` of the requests of the last `ttl`, and `min_per_second` on top.
    ///
    /// # Errors
    /// The window is not in `1s..=60s`, or the ratio not in `0.0..=1000.0`.
    pub fn new(ttl: Duration, ratio: f64, min_per_second: u32) -> Result<Self, InvalidBudget> {
        if !(Duration::from_secs(1)..=Duration::from_secs(60)).contains(&ttl) {
            return Err(InvalidBudget::Ttl);
        }
        if !(0.0..=1000.0).contains(&ratio) {
            return Err(InvalidBudget::Ratio);
        }
        Ok(Self { ttl, ratio, min_per_second })
    }

    /// The window.
    #[must_use]
    pub const fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Retries for each request.
    #[must_use]
    pub const fn ratio(&self) -> f64 {
        self.ratio
    }

    /// Retries a second that are always allowed.
    #[must_use]
    pub const fn min_per_second(&self) -> u32 {
        self.min_per_second
    }
}

impl Default for Params {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(10), ratio: 0.2, min_per_second: 10 }
    }
}

/// Counts requests and retries. Clones share the count.
///
/// Exact: whenever a retry is granted, no more retries have been granted within the window, this one included, than `ratio` times the requests
/// deposited in it plus `min_per_second` times its length. Where it rounds, by a tenth of the window, it grants less.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    params: Params,
    start: Instant,
    slot_nanos: u64,
    /// What is allowed without any request.
    reserve: f64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Number of the newest slot, counted from the start.
    slot: u64,
    requests: Window<SLOTS>,
    retries: Window<RETRY_SLOTS>,
}

/// Counts by slot, and their sum, which is kept so that no request has to add them up.
#[derive(Debug)]
struct Window<const N: usize> {
    slots: [u32; N],
    sum: u64,
}

impl Budget {
    /// Starts counting at `now`.
    #[must_use]
    pub fn new(params: Params, now: Instant) -> Self {
        // From a tenth of a second to six seconds.
        let slot_nanos = nanos(params.ttl / u32::try_from(SLOTS).expect("a small number")).max(1);
        let reserve = f64::from(params.min_per_second) * params.ttl.as_secs_f64();
        Self(Arc::new(Inner { params, start: now, slot_nanos, reserve, state: Mutex::new(State::default()) }))
    }

    /// Counts a request.
    pub fn deposit(&self, now: Instant) {
        self.with(now, |state| state.requests.count(state.slot));
    }

    /// Takes a retry, if there is one left.
    #[must_use]
    pub fn withdraw(&self, now: Instant) -> bool {
        self.with(now, |state| {
            let allowed = state.requests.sum as f64 * self.0.params.ratio + self.0.reserve;
            let left = state.retries.sum as f64 + 1.0 <= allowed;
            if left {
                state.retries.count(state.slot);
            }
            left
        })
    }

    fn with<T>(&self, now: Instant, then: impl FnOnce(&mut State) -> T) -> T {
        // In 64 bits, which are enough for five hundred years: a division of 128 bits took as long as all the rest.
        let slot = nanos(now.saturating_duration_since(self.0.start)) / self.0.slot_nanos;
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have read a later clock: then its slot counts.
        let slot = slot.max(state.slot);
        let passed = (slot - state.slot).min(RETRY_SLOTS as u64);
        for n in slot - passed + 1..=slot {
            state.requests.clear(n);
            state.retries.clear(n);
        }
        state.slot = slot;
        then(&mut state)
    }

    /// What it allows.
    #[must_use]
    pub fn params(&self) -> &Params {
        &self.0.params
    }
}

fn nanos(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(time.subsec_nanos()))
}

impl<const N: usize> Default for Window<N> {
    fn default() -> Self {
        Self { slots: [0; N], sum: 0 }
    }
}

impl<const N: usize> Window<N> {
    fn count(&mut self, slot: u64) {
        let count = self.at(slot);
        if let Some(more) = count.checked_add(1) {
            *count = more;
            self.sum += 1;
        }
    }

    fn clear(&mut self, slot: u64) {
        self.sum -= u64::from(std::mem::take(self.at(slot)));
    }

    fn at(&mut self, slot: u64) -> &mut u32 {
        &mut self.slots[usize::try_from(slot % N as u64).expect("less than the number of slots")]
    }
}

impl fmt::Display for InvalidBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ttl => "a retry budget's ttl must be from 1s to 60s",
            Self::Ratio => "a retry budget's ratio must be from 0 to 1000",
        })
    }
}

impl std::error::Error for InvalidBudget {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn params(ratio: f64, min: u32) -> Params {
        Params::new(Duration::from_secs(10), ratio, min).unwrap()
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        assert_eq!(Params::new(Duration::from_millis(999), 0.2, 10), Err(InvalidBudget::Ttl));
        assert_eq!(Params::new(Duration::from_secs(61), 0.2, 10), Err(InvalidBudget::Ttl));
        assert_eq!(Params::new(Duration::from_secs(10), f64::NAN, 10), Err(InvalidBudget::Ratio));
    }

    #[test]
    fn what_leaves_the_window_no_longer_counts() {
        let start = Instant::now();
        let budget = Budget::new(params(0.5, 0), start);
        (0..4).for_each(|_| budget.deposit(start));
        assert!(budget.withdraw(start) && budget.withdraw(start) && !budget.withdraw(start));
        let later = start + Duration::from_secs(11);
        assert!(!budget.withdraw(later));
        budget.deposit(later);
        budget.deposit(later);
        assert!(budget.withdraw(later));
    }

    #[test]
    fn a_retry_is_remembered_for_the_whole_window() {
        let start = Instant::now();
        let budget = Budget::new(params(0.0, 1), start);
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!((0..20).filter(|_| budget.withdraw(at(999))).count(), 10);
        assert!(!budget.withdraw(at(10_000)), "these ten were nine seconds ago");
        assert!(!budget.withdraw(at(10_998)));
        assert!(budget.withdraw(at(11_000)));
    }

    proptest! {
        #[test]
        fn no_window_sees_more_retries_than_its_requests_allow(ratio in 0.0f64..2.0, min in 0u32..5, steps in proptest::collection::vec((0u64..2_000, any::<bool>()), 1..300)) {
            let start = Instant::now();
            let budget = Budget::new(params(ratio, min), start);
            let (mut now, mut requests, mut retries) = (start, Vec::new(), Vec::new());
            for (gap, retry) in steps {
                now += Duration::from_millis(gap);
                if !retry {
                    budget.deposit(now);
                    requests.push(now);
                } else if budget.withdraw(now) {
                    retries.push(now);
                    let within = |times: &[Instant], window| times.iter().filter(|t| now - **t < window).count() as f64;
                    let window = Duration::from_secs(10);
                    prop_assert!(within(&retries, window) <= within(&requests, window) * ratio + f64::from(min) * 10.0 + 1e-9);
                }
            }
        }
    }

    proptest! {
        /// Rounding costs a tenth of the window at most: what a shorter window would allow, and a longer one has not used up, is granted.
        #[test]
        fn a_retry_that_every_window_allows_is_granted(ratio in 0.0f64..2.0, min in 0u32..5, steps in proptest::collection::vec((0u64..2_000, any::<bool>()), 1..300)) {
            let start = Instant::now();
            let budget = Budget::new(params(ratio, min), start);
            let (mut now, mut requests, mut retries) = (start, Vec::new(), Vec::new());
            for (gap, retry) in steps {
                now += Duration::from_millis(gap);
                if !retry {
                    budget.deposit(now);
                    requests.push(now);
                    continue;
                }
                let within = |times: &[Instant], secs| times.iter().filter(|t| now - **t < Duration::from_secs(secs)).count() as f64;
                let sure = within(&retries, 11) + 1.0 <= within(&requests, 9) * ratio + f64::from(min) * 10.0 - 1e-9;
                let granted = budget.withdraw(now);
                prop_assert!(granted || !sure);
                if granted {
                    retries.push(now);
                }
            }
        }
    }

    #[test]
    fn requests_and_retries_at_once_stay_within_what_was_paid_in() {
        const EACH: usize = 2_000;
        let now = Instant::now();
        let budget = Budget::new(params(0.5, 0), now);
        let taken: usize = std::thread::scope(|scope| {
            let pay_and_take = || {
                let one = || {
                    budget.deposit(now);
                    usize::from(budget.withdraw(now))
                };
                (0..EACH).map(|_| one()).sum::<usize>()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(pay_and_take)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert!(taken <= 4 * EACH / 2, "{taken}");
        // What was refused on the way is still there.
        assert_eq!(taken + (0..4 * EACH).filter(|_| budget.withdraw(now)).count(), 4 * EACH / 2);
    }

    #[test]
    fn a_clock_that_another_thread_has_passed_forgets_nothing() {
        let start = Instant::now();
        let budget = Budget::new(params(1.0, 0), start);
        let later = start + Duration::from_secs(5);
        budget.deposit(later);
        assert!(budget.withdraw(start));
        assert!(!budget.withdraw(start) && !budget.withdraw(later));
        assert!(!budget.withdraw(start + Duration::from_secs(1_000_000_000)), "however much time has passed");
    }

    #[test]
    fn threads_together_get_no_more_than_one_would() {
        let now = Instant::now();
        let budget = Budget::new(params(0.1, 0), now);
        (0..1000).for_each(|_| budget.deposit(now));
        let taken: usize = std::thread::scope(|scope| {
            let take = || (0..200).filter(|_| budget.withdraw(now)).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(taken, 100);
    }
}
