//! Faults as annotations.
//!
//! ```text
//! fault.mesh/abort     = ( status | "grpc:" code )                 [ blank share ]
//! fault.mesh/delay     = ( time | "normal(" mean "," deviation ")"
//!                        | "uniform(" min "," max ")"
//!                        | "exponential(" mean ")" )               [ blank share ]
//! fault.mesh/throttle  = rate                                      [ blank share ]
//! fault.mesh/reset     = share
//! fault.mesh/from      = peer { "," peer }
//!
//! status = 200 ... 599
//! code   = a gRPC code other than ok, in lower case with dashes: "unavailable", "deadline-exceeded"
//! time   = number unit { number unit }, such as "300ms" or "1m30s"; mean, deviation, min and max likewise
//! unit   = "h" | "m" | "s" | "ms" | "us" | "ns"
//! rate   = number ( "B/s" | "KiB/s" | "MiB/s" | "GiB/s" ), above zero; a KiB is 1024 bytes
//! share  = number [ "." number ] "%", at most 100%
//! peer   = identity | "*." suffix | "*" | namespace "/" serviceaccount
//! ```
//!
//! Numbers are decimal and without a sign. There may be blanks around a value, and around the items inside of parentheses and of a list.
//! Without a share, every request is hit. The peers of `fault.mesh/from` are meant by all of the other annotations; without it, everybody is.

mod invalid;
mod share;
mod time;
mod value;

#[cfg(test)]
mod tests;

use meshkit_core::Ratio;

pub use self::invalid::{InvalidFault, InvalidFaults};
use self::share::{percentage, share};
use crate::{Fault, Faults, Kind, Peers, peers};

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

/// All of the annotations, for whoever wants to find misspelled ones: others with this prefix mean nothing.
pub const ANNOTATIONS: [&str; 5] = [ABORT, DELAY, THROTTLE, RESET, FROM];

/// Reads the value of one annotation.
type Read = fn(&str) -> Result<(Kind, Ratio), InvalidFault>;

impl Faults {
    /// Reads the annotations, given a way to look one up. Without any, there are no faults.
    ///
    /// # Errors
    /// All that is wrong with them, one [`InvalidFault`] for each annotation.
    pub fn from_annotations<'a>(annotation: impl Fn(&str) -> Option<&'a str>) -> Result<Self, InvalidFaults> {
        let (mut faults, mut errors) = (Vec::new(), Vec::new());
        let from = annotation(FROM).map_or(Ok(Peers::Everybody), from).unwrap_or_else(|error| {
            errors.push(error);
            Peers::Everybody
        });
        let readers: [(&str, Read); 4] = [(DELAY, delay), (RESET, reset), (ABORT, abort), (THROTTLE, throttle)];
        for (field, read) in readers {
            match annotation(field).map(read) {
                Some(Ok((kind, share))) => faults.push(Fault::new(kind).share(share).from(from.clone())),
                Some(Err(error)) => errors.push(error),
                None => {}
            }
        }
        if errors.is_empty() { Ok(faults.into()) } else { Err(InvalidFaults::new(errors)) }
    }

    /// The annotations that say the same; faults of one kind after the first, and peers that differ, cannot be said.
    #[must_use]
    pub fn to_annotations(&self) -> Vec<(&'static str, String)> {
        let mut annotations: Vec<(_, String)> = Vec::new();
        for fault in self.iter() {
            let (field, value) = fault.to_annotation();
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

impl Fault {
    /// The annotation that says the same, but for the peers, and its value.
    fn to_annotation(&self) -> (&'static str, String) {
        let share = if self.share == Ratio::ONE { String::new() } else { format!(" {}", percentage(self.share)) };
        match self.kind {
            Kind::Delay(delay) => (DELAY, format!("{delay}{share}")),
            Kind::Abort(abort) => (ABORT, format!("{abort}{share}")),
            Kind::Throttle(rate) => (THROTTLE, format!("{rate}{share}")),
            Kind::Reset => (RESET, percentage(self.share)),
        }
    }
}

fn delay(value: &str) -> Result<(Kind, Ratio), InvalidFault> {
    with_share(DELAY, value, |text| text.parse().map(Kind::Delay))
}

fn abort(value: &str) -> Result<(Kind, Ratio), InvalidFault> {
    with_share(ABORT, value, |text| text.parse().map(Kind::Abort))
}

fn throttle(value: &str) -> Result<(Kind, Ratio), InvalidFault> {
    with_share(THROTTLE, value, |text| text.parse().map(Kind::Throttle))
}

fn reset(value: &str) -> Result<(Kind, Ratio), InvalidFault> {
    share(value.trim()).map(|share| (Kind::Reset, share)).ok_or_else(|| InvalidFault::new(RESET, value, share::WANTED))
}

fn from(list: &str) -> Result<Peers, InvalidFault> {
    list.parse().map_err(|error: crate::InvalidPeer| InvalidFault::new(FROM, error.value(), peers::WANTED).within(list))
}

fn with_share(field: &'static str, value: &str, read: impl Fn(&str) -> Result<Kind, InvalidFault>) -> Result<(Kind, Ratio), InvalidFault> {
    let text = value.trim();
    let (first, rest) = text.split_at(end_of_first(text));
    let kind = read(first).map_err(|error| error.within(value))?;
    let rest = rest.trim_start();
    let share = if rest.is_empty() { Some(Ratio::ONE) } else { share(rest) };
    share.map(|share| (kind, share)).ok_or_else(|| InvalidFault::new(field, rest, share::WANTED).within(value))
}

/// Where the first word ends: at a blank that is not inside of parentheses.
fn end_of_first(text: &str) -> usize {
    let (mut depth, mut end) = (0u32, text.len());
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth = depth.saturating_add(1),
            ')' => depth = depth.saturating_sub(1),
            c if c.is_whitespace() && depth == 0 => {
                end = at;
                break;
            }
            _ => {}
        }
    }
    end
}
