use std::{fmt, time::Duration};

/// The units, coarsest first, with their nanoseconds.
const UNITS: [(u64, &str); 6] =
    [(3_600_000_000_000, "h"), (60_000_000_000, "m"), (1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns")];

/// In the coarsest unit that loses nothing.
pub(super) struct Time(pub(super) Duration);

/// Numbers with units, added up.
pub(super) fn time(text: &str) -> Option<Duration> {
    let (mut sum, mut rest) = (Duration::ZERO, text);
    loop {
        let (digits, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (name, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        let (nanos, _) = UNITS.iter().find(|(_, known)| *known == name)?;
        let number: u64 = digits.parse().ok()?;
        let per_second = 1_000_000_000;
        // Seconds and what is left of one, so that the longest time of each unit fits.
        let part = match nanos / per_second {
            0 => Duration::from_nanos_u128(u128::from(number) * u128::from(*nanos)),
            seconds => Duration::from_secs(number.checked_mul(seconds)?),
        };
        sum = sum.checked_add(part)?;
        if tail.is_empty() {
            return Some(sum);
        }
        rest = tail;
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let exact = |unit: u64| nanos != 0 && nanos.is_multiple_of(u128::from(unit));
        match UNITS.into_iter().find(|(unit, _)| exact(*unit)) {
            // Whole nanoseconds of more than 584 years are more than a number holds.
            Some((unit, name)) if nanos / u128::from(unit) <= u128::from(u64::MAX) => write!(f, "{}{name}", nanos / u128::from(unit)),
            Some(_) => write!(f, "{}s{}ns", self.0.as_secs(), self.0.subsec_nanos()),
            None => f.write_str("0ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_written_as_people_do() {
        for (nanos, text) in
            [(0, "0ms"), (5, "5ns"), (1_500, "1500ns"), (300_000_000, "300ms"), (90_000_000_000, "90s"), (7_200_000_000_000, "2h")]
        {
            assert_eq!(Time(Duration::from_nanos(nanos)).to_string(), text);
            assert_eq!(time(text), Some(Duration::from_nanos(nanos)));
        }
        assert_eq!(time("1h2m3s4ms5us6ns"), Some(Duration::from_nanos(3_723_004_005_006)));
        assert_eq!(time("1m30s"), time("90s"));
    }

    #[test]
    fn only_numbers_with_units_are_times() {
        for bad in
            ["", "1", "s", "1.5s", "-1s", "1 s", "1s ", "1s2", "1sec", "1S", "1s,2s", "99999999999999999999s", "18446744073709551615h"]
        {
            assert_eq!(time(bad), None, "{bad:?}");
        }
        assert_eq!(time("18446744073709551615s1000ms"), None);
    }

    proptest! {
        #[test]
        fn every_time_is_read_back(seconds: u64, nanos in 0u32..1_000_000_000, short: u64) {
            for length in [Duration::new(seconds, nanos), Duration::from_secs(seconds), Duration::from_nanos(short), Duration::from_millis(short)] {
                prop_assert_eq!(time(&Time(length).to_string()), Some(length));
            }
        }
    }
}
