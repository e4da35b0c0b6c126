//! What is asked of a tap, and what it tells, as protobuf messages; and requests held against a match.

use std::fmt;

use http::Method;
use meshkit_wire::{
    Invalid,
    tap::{Headers, Labels, Match, Seen, event, event_to, observe_to, read_observe},
};
use prost::Message;

use crate::{Input, Verdict};

/// The first byte says which message the last bytes are. What is understood is written, and understood the same again. A match is tried on a
/// request that the bytes before describe, and so is its opposite.
#[must_use]
pub fn run(data: &[u8]) -> Verdict {
    let mut input = Input::new(data);
    match input.below(2) {
        0 => observe(&mut input),
        _ => Verdict::when(round_trip(input.rest(), event, |told| event_to(told, Headers::Shown)).is_some()),
    }
}

fn observe(input: &mut Input<'_>) -> Verdict {
    let request = Request::take(input);
    let Some(observe) = round_trip(input.rest(), read_observe, observe_to) else { return Verdict::Refused };
    assert!(observe.limit > 0);
    let fits = observe.matches.fits(&request.seen());
    assert_eq!(opposite(&observe.matches).fits(&request.seen()), !fits);
    Verdict::when(fits)
}

fn round_trip<M, T>(bytes: &[u8], read: impl Fn(M) -> Result<T, Invalid>, write: impl Fn(&T) -> M) -> Option<T>
where
    M: Message + Default,
    T: fmt::Debug + PartialEq,
{
    let value = match read(M::decode(bytes).ok()?) {
        Ok(value) => value,
        Err(invalid) => {
            assert!(invalid.to_string().contains(": "), "{invalid} names no field");
            return None;
        }
    };
    let written = write(&value).encode_to_vec();
    let again = M::decode(written.as_slice()).expect("an encoded message");
    assert_eq!(read(again).as_ref(), Ok(&value));
    Some(value)
}

/// By the laws of De Morgan: the parts are turned around, and what holds of all of them holds of one.
fn opposite(of: &Match) -> Match {
    let opposites = |all: &[Match]| all.iter().map(opposite).collect();
    match of {
        Match::All(all) => Match::Any(opposites(all)),
        Match::Any(any) => Match::All(opposites(any)),
        Match::Not(one) => (**one).clone(),
        leaf => Match::Not(Box::new(leaf.clone())),
    }
}

/// A request that might be seen.
struct Request {
    addrs: [[u8; 4]; 2],
    ports: [u16; 2],
    labels: Labels,
    https: bool,
    method: Method,
    authority: String,
    path: String,
}

impl Request {
    fn take(input: &mut Input<'_>) -> Self {
        let addr = |input: &mut Input<'_>| [127, 0, input.byte(), input.byte()];
        Self {
            addrs: [addr(input), addr(input)],
            ports: [input.number(), input.number()],
            labels: [(input.text(), input.text())].into(),
            https: input.flag(),
            method: input.pick(&[Method::GET, Method::POST].each_ref()).clone(),
            authority: input.text(),
            path: input.text(),
        }
    }

    fn seen(&self) -> Seen<'_> {
        let [source, destination] = [0, 1].map(|side| (self.addrs[side], self.ports[side]).into());
        Seen {
            source,
            destination,
            destination_labels: &self.labels,
            route_labels: &self.labels,
            scheme: if self.https { "https" } else { "http" },
            method: &self.method,
            authority: &self.authority,
            path: &self.path,
        }
    }
}
