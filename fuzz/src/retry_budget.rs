//! The retry budget, against a list of all that happened.

use std::time::Duration;

use meshkit_retry::budget::{Budget, Params};
use tokio::time::Instant;

use crate::{Input, Verdict};

/// Four bytes are what the budget allows, then each byte is an event and the time that has passed since the last one. Never more retries than
/// the requests of the window allow; and where one is refused, a tenth of the window more or less must explain it.
#[must_use]
pub fn run(data: &[u8]) -> Verdict {
    let mut input = Input::new(data);
    let ttl = Duration::from_secs(1 + u64::from(input.byte() % 60));
    // Exact in binary, so that the model and the code under test round alike.
    let (ratio, min_per_second) = (f64::from(input.number() % 8_001) / 8.0, u32::from(input.byte() % 8));
    let params = Params::new(ttl, ratio, min_per_second).expect("numbers within the limits");
    let mut now = Instant::now();
    let budget = Budget::new(params, now);
    let (mut requests, mut retries) = (Vec::new(), Vec::new());
    let base = f64::from(min_per_second) * ttl.as_secs_f64();
    while !input.is_empty() {
        let event = input.byte();
        now += ttl * u32::from(event >> 2) / 160;
        if event & 3 != 0 {
            requests.extend(std::iter::repeat_n(now, usize::from(event & 3)));
            (0..event & 3).for_each(|_| budget.deposit(now));
            continue;
        }
        let within = |events: &[Instant], window: Duration| events.iter().filter(|at| now.duration_since(**at) < window).count() as f64;
        if budget.withdraw(now) {
            retries.push(now);
            let (granted, allowed) = (within(&retries, ttl), within(&requests, ttl) * ratio + base);
            assert!(granted <= allowed, "{granted} retries where {allowed} are allowed");
        } else {
            let (granted, allowed) = (within(&retries, ttl * 11 / 10), within(&requests, ttl * 9 / 10) * ratio + base);
            assert!(granted + 1.0 > allowed, "refused after {granted} of {allowed}");
        }
    }
    Verdict::when(!retries.is_empty())
}
