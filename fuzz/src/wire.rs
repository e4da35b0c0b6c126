//! What the control plane says, as protobuf messages.

use std::{collections::BTreeMap, fmt};

use meshkit_core::Update;
use meshkit_policy::inbound::Policy;
use meshkit_wire::{Invalid, destination, extension, inbound, outbound};
use prost::Message;

use crate::{Input, Verdict};

/// The first byte says which message the others are. What is understood is written, and understood the same again.
#[must_use]
pub fn run(data: &[u8]) -> Verdict {
    let mut input = Input::new(data);
    let message = input.below(5);
    let bytes = input.rest();
    match message {
        0 => round_trip(bytes, outbound::policy, outbound::policy_to),
        1 => round_trip(bytes, |server| inbound::policy(server).map(as_told), inbound::policy_to),
        2 => round_trip(bytes, destination::update, |update: &Update| destination::update_to(update, &BTreeMap::new())),
        3 => round_trip(bytes, destination::profile, destination::profile_to),
        _ => plan(bytes),
    }
}

/// Without what the reader adds: the workload itself may always call.
fn as_told(mut policy: Policy) -> Policy {
    let (itself, told) = policy.authorizations.split_last().expect("the workload itself");
    assert_eq!(itself.meta.name(), "localhost");
    policy.authorizations = told.into();
    policy
}

fn round_trip<M, T>(bytes: &[u8], read: impl Fn(M) -> Result<T, Invalid>, write: impl Fn(&T) -> M) -> Verdict
where
    M: Message + Default,
    T: fmt::Debug + PartialEq,
{
    let Ok(message) = M::decode(bytes) else { return Verdict::Refused };
    match read(message) {
        Ok(value) => {
            // Through bytes: what is written must also be a message.
            let written = write(&value).encode_to_vec();
            let again = M::decode(written.as_slice()).expect("an encoded message");
            let again = read(again).expect("what was written is understood");
            assert_eq!(without_reasons(&again), without_reasons(&value));
            Verdict::Accepted
        }
        Err(invalid) => {
            assert!(invalid.to_string().contains(": "), "{invalid} names no field");
            Verdict::Refused
        }
    }
}

/// Everything but why a filter was not understood: it is told on as a filter that nobody understands.
fn without_reasons(value: &impl fmt::Debug) -> String {
    let text = format!("{value:?}");
    let mut parts = text.split("InternalError(\"");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |told, part| told + "InternalError" + part.split_once("\")").map_or("", |(_, rest)| rest))
}

fn plan(bytes: &[u8]) -> Verdict {
    let Ok(plan) = extension::plan(bytes) else { return Verdict::Refused };
    assert_eq!(extension::plan(&extension::plan_to(&plan)).as_ref(), Ok(&plan));
    Verdict::when(!plan.is_empty())
}
