//! Faults as annotations.
//!
//! ```text
//! fault.mesh/abort     503 | grpc:unavailable              [share]
//! fault.mesh/delay     300ms | normal(300ms,50ms)
//!                      | uniform(100ms,500ms)
//!                      | exponential(300ms)                [share]
//! fault.mesh/throttle  64KiB/s                             [share]
//! fault.mesh/reset     share
//! fault.mesh/from      identity or namespace/serviceaccount, ...
//! ```
//!
//! A share is a percentage, `12.5%`; without one, everybody is hit. Times are whole numbers of `ns`, `us`, `ms`, `s`, `m` or `h`; rates of
//! `B/s`, `KiB/s`, `MiB/s` or `GiB/s`. A status is from 200 to 599. The peers of `fault.mesh/from` are meant by all other annotations.

use std::{fmt, str::FromStr, time::Duration};

use http::StatusCode;
use meshkit_core::{Ratio, grpc::Code};

use crate::{Abort, Delay, Fault, Faults, Kind, Peers, Rate};

/// The annotation that aborts requests.
pub const ABORT: &str = "fault.mesh/abort";
/// The annotation that delays requests.
pub const DELAY: &str = "fault.mesh/delay";
/// The annotation that slows responses down.
pub const THROTTLE: &str = "fault.mesh/throttle";
/// The annotation that resets requests.
pub const RESET: &str = "fault.mesh/reset";
/// The annotation that says whose requests are meant.
pub const FROM: &str = "fault.mesh/from";

/// An annotation does not describe a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidFault {
    field: &'static str,
    value: String,
    wanted: &'static str,
}

impl InvalidFault {
    fn new(field: &'static str, value: &str, wanted: &'static str) -> Self {
        Self { field, value: value.chars().take(300).collect(), wanted }
    }

    /// The annotation.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        self.field
    }
}

impl Faults {
    /// Reads the annotations, given a way to look one up. Without any, there are no faults.
    ///
    /// # Errors
    /// All that is wrong with them, one error for each annotation.
    pub fn from_annotations<'a>(annotation: impl Fn(&str) -> Option<&'a str>) -> Result<Self, Vec<InvalidFault>> {
        let (mut faults, mut errors) = (Vec::new(), Vec::new());
        let from = annotation(FROM).map_or(Ok(Peers::Everybody), |list| {
            list.parse().map_err(|_| InvalidFault::new(FROM, list, "a list of identities or namespace/serviceaccount"))
        });
        let from = from.unwrap_or_else(|error| {
            errors.push(error);
            Peers::Everybody
        });
        let readers: [(&str, fn(&str) -> Result<(Kind, Ratio), InvalidFault>); 4] =
            [(DELAY, delay), (RESET, reset), (ABORT, abort), (THROTTLE, throttle)];
        for (field, read) in readers {
            match annotation(field).map(read) {
                Some(Ok((kind, share))) => faults.push(Fault::new(kind).share(share).from(from.clone())),
                Some(Err(error)) => errors.push(error),
                None => {}
            }
        }
        if errors.is_empty() { Ok(faults.into()) } else { Err(errors) }
    }

    /// The annotations that say the same; faults of one kind after the first, and peers that differ, cannot be said.
    #[must_use]
    pub fn to_annotations(&self) -> Vec<(&'static str, String)> {
        let mut annotations: Vec<(_, String)> = Vec::new();
        for fault in self.iter() {
            let share = if fault.share == Ratio::ONE { String::new() } else { format!(" {}", percentage(fault.share)) };
            let (field, value) = match fault.kind {
                Kind::Delay(delay) => (DELAY, format!("{delay}{share}")),
                Kind::Abort(abort) => (ABORT, format!("{abort}{share}")),
                Kind::Throttle(rate) => (THROTTLE, format!("{rate}{share}")),
                Kind::Reset => (RESET, percentage(fault.share)),
            };
            if annotations.iter().all(|(known, _)| *known != field) {
                annotations.push((field, value));
            }
        }
        if let Some(Peers::Listed(peers)) = self.first().map(|fault| &fault.from) {
            let list: Vec<_> = peers.iter().map(ToString::to_string).collect();
            annotations.push((FROM, list.join(",")));
        }
        annotations
    }
}

fn delay(value: &str) -> Result<(Kind, Ratio), InvalidFault> {
    with_share(
        DELAY,
        value,
        "a time such as 300ms, normal(300ms,50ms), uniform(1s,2s) or exponential(1s), and a share such as 10%",
        |text| text.parse().ok().map(Kind::Delay),
    )
}

fn abort(value: &str) -> Result<(Kind, Ratio), InvalidFault> {
    with_share(ABORT, value, "a status from 200 to 599 or a code such as grpc:unavailable, and a share such as 10%", |text| {
        text.parse().ok().map(Kind::Abort)
    })
}

fn throttle(value: &str) -> Result<(Kind, Ratio), InvalidFault> {
    with_share(THROTTLE, value, "a rate such as 64KiB/s, and a share such as 10%", |text| text.parse().ok().map(Kind::Throttle))
}

fn reset(value: &str) -> Result<(Kind, Ratio), InvalidFault> {
    let wanted = "a share such as 5%";
    share(value.trim()).map(|share| (Kind::Reset, share)).ok_or_else(|| InvalidFault::new(RESET, value, wanted))
}

fn with_share(
    field: &'static str,
    value: &str,
    wanted: &'static str,
    read: impl Fn(&str) -> Option<Kind>,
) -> Result<(Kind, Ratio), InvalidFault> {
    let text = value.trim();
    let split = text.rsplit_once(' ').filter(|(_, last)| last.ends_with('%'));
    let parsed = match split {
        Some((first, last)) => read(first.trim_end()).zip(share(last)),
        None => read(text).map(|kind| (kind, Ratio::ONE)),
    };
    parsed.ok_or_else(|| InvalidFault::new(field, value, wanted))
}

fn share(text: &str) -> Option<Ratio> {
    let digits = text.strip_suffix('%')?;
    // `f64` would also read signs, exponents and names.
    let legal = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') && digits.starts_with(|c: char| c.is_ascii_digit());
    legal.then(|| digits.parse::<f64>().ok()).flatten().and_then(|percent| Ratio::new(percent / 100.0))
}

/// The shortest text that is read as the same share.
fn percentage(ratio: Ratio) -> String {
    let percent = ratio.get() * 100.0;
    let rounded = (0..=9).map(|decimals| format!("{percent:.decimals$}%")).find(|text| share(text) == Some(ratio));
    rounded.unwrap_or_else(|| format!("{percent}%"))
}

fn time(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let n: u64 = digits.parse().ok()?;
    match unit {
        "ns" => Some(Duration::from_nanos(n)),
        "us" => Some(Duration::from_micros(n)),
        "ms" => Some(Duration::from_millis(n)),
        "s" => Some(Duration::from_secs(n)),
        "m" => n.checked_mul(60).map(Duration::from_secs),
        "h" => n.checked_mul(3_600).map(Duration::from_secs),
        _ => None,
    }
}

/// The coarsest unit that loses nothing.
struct Time(Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let units = [(3_600_000_000_000, "h"), (60_000_000_000, "m"), (1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns")];
        match units.into_iter().find(|(unit, _)| nanos != 0 && nanos % unit == 0) {
            Some((unit, name)) => write!(f, "{}{name}", nanos / unit),
            None => f.write_str("0ms"),
        }
    }
}

impl FromStr for Delay {
    type Err = InvalidFault;

    fn from_str(text: &str) -> Result<Self, InvalidFault> {
        let parsed = match text.strip_suffix(')').and_then(|text| text.split_once('(')) {
            None => time(text).map(Self::Fixed),
            Some(("exponential", mean)) => time(mean.trim()).map(|mean| Self::Exponential { mean }),
            Some((name, pair)) => {
                let pair = pair.split_once(',').and_then(|(one, two)| time(one.trim()).zip(time(two.trim())));
                match (name, pair) {
                    ("normal", Some((mean, deviation))) => Some(Self::Normal { mean, deviation }),
                    ("uniform", Some((min, max))) if min <= max => Some(Self::Uniform { min, max }),
                    _ => None,
                }
            }
        };
        parsed.ok_or_else(|| InvalidFault::new(DELAY, text, "a time or a distribution of times"))
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Fixed(length) => Time(length).fmt(f),
            Self::Normal { mean, deviation } => write!(f, "normal({},{})", Time(mean), Time(deviation)),
            Self::Uniform { min, max } => write!(f, "uniform({},{})", Time(min), Time(max)),
            Self::Exponential { mean } => write!(f, "exponential({})", Time(mean)),
        }
    }
}

impl FromStr for Abort {
    type Err = InvalidFault;

    fn from_str(text: &str) -> Result<Self, InvalidFault> {
        let parsed = match text.strip_prefix("grpc:") {
            // A success is not a failure to inject.
            Some(name) => Code::from_dashed(name).filter(|code| *code != Code::OK).map(Self::Code),
            None => text.parse::<StatusCode>().ok().filter(|status| (200..=599).contains(&status.as_u16())).map(Self::Status),
        };
        parsed.ok_or_else(|| InvalidFault::new(ABORT, text, "a status from 200 to 599 or a gRPC code"))
    }
}

impl fmt::Display for Abort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{}", status.as_u16()),
            Self::Code(code) => write!(f, "grpc:{}", code.name().to_ascii_lowercase().replace('_', "-")),
        }
    }
}

const RATES: [(u64, &str); 4] = [(1 << 30, "GiB/s"), (1 << 20, "MiB/s"), (1 << 10, "KiB/s"), (1, "B/s")];

impl FromStr for Rate {
    type Err = InvalidFault;

    fn from_str(text: &str) -> Result<Self, InvalidFault> {
        let (digits, name) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let unit = RATES.iter().find(|(_, known)| *known == name).map(|(unit, _)| *unit);
        let bytes = digits.parse::<u64>().ok().zip(unit).and_then(|(n, unit)| n.checked_mul(unit));
        bytes.and_then(Self::new).ok_or_else(|| InvalidFault::new(THROTTLE, text, "a rate above zero"))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = RATES.into_iter().find(|(unit, _)| self.get() % unit == 0).unwrap_or((1, "B/s"));
        write!(f, "{}{name}", self.get() / unit)
    }
}

impl fmt::Display for InvalidFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?} is not {}", self.field, self.value, self.wanted)
    }
}

impl std::error::Error for InvalidFault {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn read(pairs: &[(&str, &'static str)]) -> Result<Faults, Vec<InvalidFault>> {
        let map: BTreeMap<_, _> = pairs.iter().copied().collect();
        Faults::from_annotations(|name| map.get(name).copied())
    }

    #[test]
    fn annotations_describe_faults() {
        let pairs =
            [(ABORT, "grpc:unavailable 10%"), (DELAY, "normal(300ms,50ms) 25%"), (THROTTLE, "64KiB/s"), (RESET, "5%"), (FROM, "a/b")];
        let faults = read(&pairs).unwrap();
        let from: Peers = "a/b".parse().unwrap();
        let fault = |kind, share| Fault::new(kind).share(Ratio::new(share).unwrap()).from(from.clone());
        let millis = Duration::from_millis;
        assert_eq!(
            *faults,
            [
                fault(Kind::Delay(Delay::Normal { mean: millis(300), deviation: millis(50) }), 0.25),
                fault(Kind::Reset, 0.05),
                fault(Kind::Abort(Abort::Code(Code::UNAVAILABLE)), 0.1),
                fault(Kind::Throttle(Rate::new(65_536).unwrap()), 1.0),
            ]
        );
        assert!(read(&[]).unwrap().is_empty());
        assert_eq!(*read(&[(ABORT, "503")]).unwrap(), [Fault::new(Kind::Abort(Abort::Status(StatusCode::SERVICE_UNAVAILABLE)))]);
    }

    #[test]
    fn every_wrong_annotation_is_named() {
        let errors = read(&[(ABORT, "700"), (DELAY, "soon"), (THROTTLE, "0B/s"), (RESET, "101%"), (FROM, "?")]).unwrap_err();
        let fields: Vec<_> = errors.iter().map(InvalidFault::field).collect();
        assert_eq!(fields, [FROM, DELAY, RESET, ABORT, THROTTLE]);
        assert_eq!(errors[2].to_string(), r#"fault.mesh/reset: "101%" is not a share such as 5%"#);
        for (field, bad) in [
            (ABORT, "199"),
            (ABORT, "grpc:ok"),
            (ABORT, "grpc:UNAVAILABLE"),
            (ABORT, "503 10"),
            (ABORT, ""),
            (ABORT, "10%"),
            (DELAY, "300"),
            (DELAY, "1.5s"),
            (DELAY, "uniform(2s,1s)"),
            (DELAY, "normal(1s)"),
            (DELAY, "-1s"),
            (DELAY, "1s 1e1%"),
            (THROTTLE, "64KB/s"),
            (THROTTLE, "64"),
            (THROTTLE, "99999999999GiB/s"),
            (RESET, ""),
            (RESET, "5"),
            (RESET, "NaN%"),
        ] {
            assert!(read(&[(field, bad)]).is_err(), "{field}: {bad:?}");
        }
    }

    fn any_delay() -> impl Strategy<Value = Delay> {
        let time = || (0u64..1 << 50).prop_map(Duration::from_nanos);
        prop_oneof![
            time().prop_map(Delay::Fixed),
            (time(), time()).prop_map(|(mean, deviation)| Delay::Normal { mean, deviation }),
            (time(), time()).prop_map(|(a, b)| Delay::Uniform { min: a.min(b), max: a.max(b) }),
            time().prop_map(|mean| Delay::Exponential { mean }),
        ]
    }

    fn any_abort() -> impl Strategy<Value = Abort> {
        let code = (1u8..17).prop_map(|code| Abort::Code(Code::new(code).unwrap()));
        prop_oneof![(200u16..600).prop_map(|status| Abort::Status(StatusCode::from_u16(status).unwrap())), code]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(delay in any_delay(), abort in any_abort(), rate in 1u64.., percent in 0u32..=1_000_000, listed: bool) {
            let share = share(&format!("{}%", f64::from(percent) / 10_000.0)).unwrap();
            let from = if listed { "a/b,c.d".parse().unwrap() } else { Peers::Everybody };
            let kinds = [Kind::Delay(delay), Kind::Reset, Kind::Abort(abort), Kind::Throttle(Rate::new(rate).unwrap())];
            let faults = Faults::from(kinds.map(|kind| Fault::new(kind).share(share).from(from.clone())).to_vec());
            let written = faults.to_annotations();
            let read = Faults::from_annotations(|name| written.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str()));
            prop_assert_eq!(read, Ok(faults));
        }

        #[test]
        fn no_text_makes_a_reader_panic(text in ".{0,40}", near in "(normal|uniform)?\\(?[0-9]{0,21}(ms|s|h|%|KiB/s|GiB/s)?,? ?[0-9.]{0,5}\\)?%?") {
            for text in [&text, &near] {
                let _ = Faults::from_annotations(|_| Some(text));
            }
        }
    }
}
