//! What annotations of a Service or EgressNetwork say of its circuit and of the measure of load. A part that cannot be read makes the whole
//! count as absent.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use meshkit_core::Backoff;
use meshkit_manifest::annotations::duration;
use meshkit_wire::outbound::{Accrual, Hints, Load};

const ACCRUAL: &str = "balancer.linkerd.io/failure-accrual";
const SUCCESS_RATE: &str = "balancer.alpha.linkerd.io/failure-accrual-success-rate";
const HONOR_RETRY_AFTER: &str = "balancer.alpha.linkerd.io/failure-accrual-honor-retry-after";
const PENALIZE: &str = "balancer.alpha.linkerd.io/penalize-failures";
const PENALTY: &str = "balancer.alpha.linkerd.io/load-biaser-penalty";
const MAX_RETRY_AFTER: &str = "balancer.alpha.linkerd.io/load-biaser-max-retry-after";

/// A shorter window says nothing.
const MIN_WINDOW: Duration = Duration::from_millis(10);
const MAX_MIN_REQUESTS: u32 = 1_000_000;

type Notes = BTreeMap<String, String>;

/// When an endpoint is given a rest.
pub(in crate::outbound) fn accrual(notes: &Notes) -> Option<Accrual> {
    let mode = notes.get(ACCRUAL)?;
    let own = |what: &str| format!("{ACCRUAL}-consecutive-{what}");
    let max_failures = number(notes, &own("max-failures"), 7)?;
    let (min, max) = (time(notes, &own("min-penalty"), 1)?, time(notes, &own("max-penalty"), 60)?);
    let backoff = Backoff::new(min, max, number::<f32>(notes, &own("jitter-ratio"), 0.5)?.into()).ok()?;
    let rate = |what: &str| format!("{SUCCESS_RATE}-{what}");
    match mode.as_str() {
        "consecutive" => Some(Accrual::Consecutive { max_failures, backoff }),
        "unified" => {
            let success_rate = number(notes, &rate("threshold"), 0.8)?;
            let window = time(notes, &rate("window"), 10)?;
            let min_requests = number(notes, &rate("min-requests"), 5)?;
            let is_watched = success_rate != 0.0;
            let is_sound = (0.0..=1.0).contains(&success_rate)
                && !window.is_zero()
                && (!is_watched || (window >= MIN_WINDOW && min_requests <= MAX_MIN_REQUESTS));
            let hints = if is_true(notes, HONOR_RETRY_AFTER) { Hints::Respected } else { Hints::Ignored };
            is_sound.then_some(Accrual::Unified { success_rate, window, min_requests, max_failures, backoff, hints })
        }
        _ => None,
    }
}

/// How the load of endpoints is measured.
pub(in crate::outbound) fn load(notes: &Notes) -> Load {
    let penalty = || is_true(notes, PENALIZE).then(|| Some((time(notes, PENALTY, 5)?, time(notes, MAX_RETRY_AFTER, 300)?)))?;
    Load { penalty: penalty(), ..Load::default() }
}

/// What of these annotations cannot be read, or is out of range.
pub(in crate::outbound) fn faults(notes: &Notes) -> Vec<String> {
    let mode = notes.get(ACCRUAL).filter(|_| accrual(notes).is_none());
    let circuit = mode.map(|mode| match mode.as_str() {
        "consecutive" | "unified" => format!("{ACCRUAL}: one of the annotations that go with it cannot be read or is out of range"),
        other => format!("{ACCRUAL}: {other:?} is neither consecutive nor unified"),
    });
    let is_off = |text: &str| matches!(text, "0" | "f" | "F" | "false" | "FALSE" | "False");
    let penalty = notes.get(PENALIZE).filter(|text| !is_off(text) && load(notes).penalty.is_none());
    let penalty =
        penalty.map(|text| format!("{PENALIZE}: {text:?} is not true or false, or an annotation that goes with it cannot be read"));
    circuit.into_iter().chain(penalty).collect()
}

fn is_true(notes: &Notes, key: &str) -> bool {
    notes.get(key).is_some_and(|text| matches!(text.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True"))
}

fn number<T: FromStr>(notes: &Notes, key: &str, default: T) -> Option<T> {
    notes.get(key).map_or(Some(default), |text| text.parse().ok())
}

fn time(notes: &Notes, key: &str, default: u64) -> Option<Duration> {
    notes.get(key).map_or(Some(Duration::from_secs(default)), |text| duration(text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes(pairs: &[(&str, &str)]) -> Notes {
        let long = |key: &str| match key.split_once('/') {
            Some(_) => key.to_owned(),
            None => format!("{ACCRUAL}-consecutive-{key}"),
        };
        pairs.iter().map(|(key, value)| (long(key), (*value).to_owned())).collect()
    }

    const THRESHOLD: &str = "balancer.alpha.linkerd.io/failure-accrual-success-rate-threshold";
    const WINDOW: &str = "balancer.alpha.linkerd.io/failure-accrual-success-rate-window";
    const MIN_REQUESTS: &str = "balancer.alpha.linkerd.io/failure-accrual-success-rate-min-requests";

    fn backoff(min: u64, max: u64, jitter: f64) -> Backoff {
        Backoff::new(Duration::from_secs(min), Duration::from_secs(max), jitter).unwrap()
    }

    #[test]
    fn a_circuit_has_a_mode_and_defaults() {
        let consecutive = |max_failures, backoff| Some(Accrual::Consecutive { max_failures, backoff });
        let unified = |success_rate, secs, min_requests| {
            let window = Duration::from_secs(secs);
            let (backoff, hints) = (backoff(1, 60, 0.5), Hints::Ignored);
            Some(Accrual::Unified { success_rate, window, min_requests, max_failures: 7, backoff, hints })
        };
        let (on, both) = ((ACCRUAL, "consecutive"), (ACCRUAL, "unified"));
        type Pairs<'a> = &'a [(&'a str, &'a str)];
        let table: &[(Pairs<'_>, Option<Accrual>)] = &[
            (&[], None),
            (&[("max-failures", "3")], None),
            (&[on], consecutive(7, backoff(1, 60, 0.5))),
            (&[on, ("max-failures", "0")], consecutive(0, backoff(1, 60, 0.5))),
            (&[on, ("min-penalty", "2s"), ("max-penalty", "1m"), ("jitter-ratio", "1.0")], consecutive(7, backoff(2, 60, 1.0))),
            (&[on, (THRESHOLD, "soon")], consecutive(7, backoff(1, 60, 0.5))),
            (&[both], unified(0.8, 10, 5)),
            (&[both, (THRESHOLD, "0.5"), (WINDOW, "1m"), (MIN_REQUESTS, "10")], unified(0.5, 60, 10)),
            (&[both, (THRESHOLD, "0"), (MIN_REQUESTS, "2000000")], unified(0.0, 10, 2_000_000)),
            // What cannot be read, or is out of range, switches it off.
            (&[(ACCRUAL, "sometimes")], None),
            (&[on, ("max-failures", "-1")], None),
            (&[on, ("min-penalty", "1.5s")], None),
            (&[on, ("min-penalty", "2m")], None),
            (&[on, ("max-penalty", "0"), ("min-penalty", "0")], None),
            (&[on, ("jitter-ratio", "101")], None),
            (&[both, (THRESHOLD, "1.5")], None),
            (&[both, (THRESHOLD, "NaN")], None),
            (&[both, (WINDOW, "0")], None),
            (&[both, (WINDOW, "9ms")], None),
            (&[both, (MIN_REQUESTS, "1000001")], None),
        ];
        for (pairs, expected) in table {
            assert_eq!(accrual(&notes(pairs)), *expected, "{pairs:?}");
            let is_asked_for = pairs.iter().any(|(key, _)| *key == ACCRUAL);
            assert_eq!(faults(&notes(pairs)).len(), usize::from(is_asked_for && expected.is_none()), "{pairs:?}");
        }
        for (text, hints) in [("true", Hints::Respected), ("false", Hints::Ignored), ("soon", Hints::Ignored)] {
            let hinted = accrual(&notes(&[both, (HONOR_RETRY_AFTER, text)]));
            assert!(matches!(hinted, Some(Accrual::Unified { hints: seen, .. }) if seen == hints), "{text}: {hinted:?}");
        }
    }

    #[test]
    fn failures_may_count_as_load() {
        let penalty = |pairs: &[_]| load(&notes(pairs)).penalty.map(|(penalty, longest)| (penalty.as_secs(), longest.as_secs()));
        assert_eq!(penalty(&[]), None);
        for yes in ["1", "t", "T", "true", "TRUE", "True"] {
            assert_eq!(penalty(&[(PENALIZE, yes)]), Some((5, 300)), "{yes}");
        }
        for no in ["0", "f", "false", "False", "yes", "", "tRUE"] {
            assert_eq!(penalty(&[(PENALIZE, no)]), None, "{no}");
            assert_eq!(faults(&notes(&[(PENALIZE, no)])).is_empty(), matches!(no, "0" | "f" | "false" | "False"), "{no}");
        }
        assert_eq!(penalty(&[(PENALIZE, "true"), (PENALTY, "9s"), (MAX_RETRY_AFTER, "1m")]), Some((9, 60)));
        assert_eq!(penalty(&[(PENALIZE, "true"), (PENALTY, "9")]), None);
        assert_eq!(penalty(&[(PENALTY, "9s")]), None);
    }
}
