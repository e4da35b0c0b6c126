use std::{fmt, str::FromStr};

use http::StatusCode;
use meshkit_core::grpc::Code;

use super::{
    ABORT, DELAY, InvalidFault, THROTTLE,
    time::{Time, time},
};
use crate::{Abort, Delay, Rate};

const RATES: [(u64, &str); 4] = [(1 << 30, "GiB/s"), (1 << 20, "MiB/s"), (1 << 10, "KiB/s"), (1, "B/s")];

impl FromStr for Delay {
    type Err = InvalidFault;

    /// Reads `300ms`, `normal(300ms,50ms)`, `uniform(100ms,500ms)` or `exponential(300ms)`.
    fn from_str(text: &str) -> Result<Self, InvalidFault> {
        let parsed = match text.strip_suffix(')').and_then(|text| text.split_once('(')) {
            None => time(text).map(Self::Fixed),
            Some(("exponential", mean)) => time(mean.trim()).map(|mean| Self::Exponential { mean }),
            Some((name, pair)) => {
                let pair = pair.split_once(',').and_then(|(one, two)| time(one.trim()).zip(time(two.trim())));
                match (name, pair) {
                    ("normal", Some((mean, deviation))) => Some(Self::Normal { mean, deviation }),
                    ("uniform", Some((min, max))) if min <= max => Some(Self::Uniform { min, max }),
                    ("uniform", Some(_)) => {
                        return Err(InvalidFault::new(DELAY, text, "uniform(min,max) with the shorter time first"));
                    }
                    _ => None,
                }
            }
        };
        let wanted = "a time such as 300ms, normal(300ms,50ms), uniform(100ms,500ms) or exponential(300ms)";
        parsed.ok_or_else(|| InvalidFault::new(DELAY, text, wanted))
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

    /// Reads `503` or `grpc:unavailable`.
    fn from_str(text: &str) -> Result<Self, InvalidFault> {
        let parsed = match text.strip_prefix("grpc:") {
            // A success is not a failure to inject.
            Some(name) => Code::from_dashed(name).filter(|code| *code != Code::OK).map(Self::Code),
            None => text.parse::<StatusCode>().ok().filter(|status| (200..=599).contains(&status.as_u16())).map(Self::Status),
        };
        parsed.ok_or_else(|| InvalidFault::new(ABORT, text, "a status from 200 to 599 or a gRPC code such as grpc:unavailable"))
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

impl FromStr for Rate {
    type Err = InvalidFault;

    /// Reads a number of `B/s`, `KiB/s`, `MiB/s` or `GiB/s`.
    fn from_str(text: &str) -> Result<Self, InvalidFault> {
        let (digits, name) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let unit = RATES.iter().find(|(_, known)| *known == name).map(|(unit, _)| *unit);
        let bytes = digits.parse::<u64>().ok().zip(unit).and_then(|(n, unit)| n.checked_mul(unit));
        bytes.and_then(Self::new).ok_or_else(|| InvalidFault::new(THROTTLE, text, "a rate above zero such as 500B/s, 64KiB/s or 2MiB/s"))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = RATES.into_iter().find(|(unit, _)| self.get().is_multiple_of(*unit)).unwrap_or((1, "B/s"));
        write!(f, "{}{name}", self.get() / unit)
    }
}
