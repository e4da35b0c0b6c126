//! The annotations that plan trouble.

use meshkit_fault::{
    Faults,
    text::{ABORT, ANNOTATIONS, DELAY, FROM, RESET, THROTTLE},
};

use crate::Verdict;

/// A refusal repeats a part of the value, escaped, twice at most.
const MAX_MESSAGE_LEN: usize = 8 << 10;

/// Lines are the values of abort, delay, throttle, reset and from, in this order; an empty line is no annotation. What is read is written and read
/// the same again; a mistake names its annotation.
#[must_use]
pub fn run(data: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(data) else { return Verdict::Refused };
    let given: Vec<_> =
        [ABORT, DELAY, THROTTLE, RESET, FROM].into_iter().zip(text.split('\n')).filter(|(_, value)| !value.is_empty()).collect();
    match Faults::from_annotations(|name| given.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)) {
        Ok(faults) => {
            let kinds = given.iter().filter(|(name, _)| *name != FROM).count();
            assert_eq!(faults.len(), kinds, "{text:?}");
            let written = faults.to_annotations();
            let again = Faults::from_annotations(|name| written.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str()));
            assert_eq!(again.as_ref(), Ok(&faults), "{text:?} was written as {written:?}");
            Verdict::when(kinds > 0)
        }
        Err(errors) => {
            for error in &errors {
                assert!(ANNOTATIONS.contains(&error.field()) && given.iter().any(|(name, _)| *name == error.field()), "{error}");
                assert!(error.to_string().len() < MAX_MESSAGE_LEN, "{error}");
            }
            Verdict::Refused
        }
    }
}
