//! Waiting, with an end to it.

use std::{thread, time::Duration};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Looks until there is something or the time is over. Looking is taken to cost nothing: `look` must be bounded by itself.
pub(crate) fn until<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let mut left = limit;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        left = left.checked_sub(PAUSE)?;
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "a program without a runtime has no other clock, and this is the one place that waits")]
fn pause() {
    thread::sleep(PAUSE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_found_even_without_time() {
        assert_eq!(until(Duration::ZERO, || Some(1)), Some(1));
    }

    #[test]
    fn the_number_of_looks_is_bounded() {
        let mut looks = 0;
        let found: Option<()> = until(3 * PAUSE, || {
            looks += 1;
            None
        });
        assert_eq!((found, looks), (None, 4));
    }
}
