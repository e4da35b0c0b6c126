use std::{collections::BTreeMap, time::Duration};

use http::StatusCode;
use meshkit_core::grpc::Code;
use proptest::prelude::*;

use super::*;
use crate::{Abort, Delay, Rate};

fn read(pairs: &[(&str, &'static str)]) -> Result<Faults, InvalidFaults> {
    let map: BTreeMap<_, _> = pairs.iter().copied().collect();
    Faults::from_annotations(|name| map.get(name).copied())
}

/// What is said about a wrong value.
fn refusal(field: &str, value: &'static str) -> String {
    let errors = read(&[(field, value)]).unwrap_err();
    assert_eq!((errors.len(), errors[0].field(), errors[0].value()), (1, field, value));
    errors[0].to_string()
}

#[test]
fn annotations_describe_faults() {
    let pairs =
        [(ABORT, "grpc:unavailable 10%"), (DELAY, "normal(300ms, 50ms) 25%"), (THROTTLE, " 64KiB/s "), (RESET, "5%"), (FROM, "a/b")];
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
    assert_eq!(
        *read(&[(DELAY, "1m30s\t7%")]).unwrap(),
        [Fault::new(Kind::Delay(Delay::Fixed(millis(90_000)))).share(Ratio::new(0.07).unwrap())]
    );
}

#[test]
fn every_wrong_annotation_is_named() {
    let errors = read(&[(ABORT, "700"), (DELAY, "soon"), (THROTTLE, "0B/s"), (RESET, "101%"), (FROM, "?")]).unwrap_err();
    let fields: Vec<_> = errors.iter().map(InvalidFault::field).collect();
    assert_eq!(fields, [FROM, DELAY, RESET, ABORT, THROTTLE]);
    // Told together, as one error.
    let error: Box<dyn std::error::Error + Send + Sync> = errors.clone().into();
    let told: Vec<_> = errors.into_iter().map(|error| error.to_string()).collect();
    assert_eq!(error.to_string(), told.join("; "));
}

#[test]
fn a_refusal_names_the_value_seen_and_the_value_wanted() {
    let status = "a status from 200 to 599 or a gRPC code such as grpc:unavailable";
    let share = "a share from 0% to 100%, such as 12.5%";
    let time = "a time such as 300ms, normal(300ms,50ms), uniform(100ms,500ms) or exponential(300ms)";
    assert_eq!(refusal(ABORT, "700"), format!(r#"fault.mesh/abort: "700" is not {status}"#));
    assert_eq!(refusal(ABORT, "700 10%"), format!(r#"fault.mesh/abort: "700" in "700 10%" is not {status}"#));
    assert_eq!(refusal(ABORT, "503 110%"), format!(r#"fault.mesh/abort: "110%" in "503 110%" is not {share}"#));
    assert_eq!(refusal(DELAY, "normal(1s)"), format!(r#"fault.mesh/delay: "normal(1s)" is not {time}"#));
    assert_eq!(
        refusal(DELAY, "uniform(2s,1s) 5%"),
        r#"fault.mesh/delay: "uniform(2s,1s)" in "uniform(2s,1s) 5%" is not uniform(min,max) with the shorter time first"#
    );
    assert_eq!(refusal(THROTTLE, "64KB/s"), r#"fault.mesh/throttle: "64KB/s" is not a rate above zero such as 500B/s, 64KiB/s or 2MiB/s"#);
    assert_eq!(refusal(RESET, "101%"), format!(r#"fault.mesh/reset: "101%" is not {share}"#));
    assert_eq!(
        refusal(FROM, "web.ns, a/b/c"),
        r#"fault.mesh/from: "a/b/c" in "web.ns, a/b/c" is not an identity, *.suffix, * or namespace/serviceaccount"#
    );
}

#[test]
fn what_is_not_in_the_grammar_is_refused() {
    for (field, bad) in [
        (ABORT, "199"),
        (ABORT, "600"),
        (ABORT, "0503"),
        (ABORT, "grpc:ok"),
        (ABORT, "grpc:UNAVAILABLE"),
        (ABORT, "grpc: unavailable"),
        (ABORT, "503 10"),
        (ABORT, "503 10% 5%"),
        (ABORT, ""),
        (ABORT, "10%"),
        (DELAY, "300"),
        (DELAY, "1.5s"),
        (DELAY, "normal(1s"),
        (DELAY, "normal(1s,2s)10%"),
        (DELAY, "normal(1s,2s,3s)"),
        (DELAY, "exponential()"),
        (DELAY, "pareto(1s,2s)"),
        (DELAY, "-1s"),
        (DELAY, "1s 1e1%"),
        (THROTTLE, "0B/s"),
        (THROTTLE, "64"),
        (THROTTLE, "B/s"),
        (THROTTLE, "99999999999GiB/s"),
        (RESET, ""),
        (RESET, "5"),
        (FROM, ""),
        (FROM, "a,,b"),
    ] {
        assert!(read(&[(field, bad)]).is_err(), "{field}: {bad:?}");
    }
}

#[test]
fn a_long_value_is_not_repeated_in_full() {
    let long = "9".repeat(10_000);
    let errors = Faults::from_annotations(|name| (name == ABORT).then_some(&long)).unwrap_err();
    assert!(errors[0].to_string().len() < 500);
}

#[test]
fn every_annotation_is_looked_up() {
    let asked = std::cell::RefCell::new(Vec::new());
    let faults = Faults::from_annotations(|name| {
        asked.borrow_mut().push(name.to_owned());
        None
    });
    let mut asked = asked.into_inner();
    let mut known = ANNOTATIONS.to_vec();
    asked.sort();
    known.sort_unstable();
    assert!(faults.is_ok() && asked == known, "{asked:?}");
}

fn any_delay() -> impl Strategy<Value = Delay> {
    let time = || any::<u64>().prop_map(Duration::from_nanos);
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
    fn what_is_written_is_read_back(delay in any_delay(), abort in any_abort(), rate in 1u64.., share in 0.0f64..=1.0, listed: bool) {
        let rate = Rate::new(rate).unwrap();
        prop_assert_eq!(delay.to_string().parse(), Ok(delay));
        prop_assert_eq!(abort.to_string().parse(), Ok(abort));
        prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        let share = Ratio::new(share).unwrap();
        let from = if listed { "a/b,c.d,*.e,*".parse().unwrap() } else { Peers::Everybody };
        let kinds = [Kind::Delay(delay), Kind::Reset, Kind::Abort(abort), Kind::Throttle(rate)];
        let faults = Faults::from(kinds.map(|kind| Fault::new(kind).share(share).from(from.clone())).to_vec());
        let written = faults.to_annotations();
        let read = Faults::from_annotations(|name| written.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str()));
        prop_assert_eq!(read, Ok(faults));
    }

    #[test]
    fn no_text_makes_a_reader_panic(text in ".{0,40}", near in "(normal|uniform)?\\(?[0-9]{0,21}(ms|s|h|%|KiB/s|GiB/s)?,? ?[0-9.]{0,5}\\)?%?") {
        for (text, field) in [&text, &near].into_iter().flat_map(|text| ANNOTATIONS.map(|field| (text, field))) {
            let Ok(faults) = Faults::from_annotations(|name| (name == field).then_some(text)) else { continue };
            let written = faults.to_annotations();
            let again = Faults::from_annotations(|name| written.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str()));
            prop_assert_eq!(again, Ok(faults));
        }
    }
}
