//! What the API server writes: pages of a list, lines of a watch.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::failure::Refusal;

/// A page of a list. The objects stay as they were written until each is read alone: one bad object must not hide the others.
#[derive(Debug, Deserialize)]
pub(crate) struct Page<'a> {
    #[serde(default)]
    pub(crate) metadata: ListMetadata,
    #[serde(borrow, default)]
    pub(crate) items: Option<Vec<&'a RawValue>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ListMetadata {
    pub(crate) resource_version: Option<String>,
    #[serde(rename = "continue")]
    pub(crate) token: Option<String>,
}

/// A line of a watch.
#[derive(Debug)]
pub(crate) enum Message<'a> {
    /// An object was added or changed.
    Applied(&'a RawValue),
    /// An object is gone.
    Deleted(&'a RawValue),
    /// Everything up to a version was told.
    Bookmark(&'a RawValue),
    /// The watch ends.
    Error(Refusal),
    /// Something that a later API server may say.
    Unknown,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// What every object has, whatever else is wrong with it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Head {
    pub(crate) metadata: HeadMetadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct HeadMetadata {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) resource_version: Option<String>,
}

impl<'a> Message<'a> {
    pub(crate) fn parse(line: &'a [u8]) -> Result<Self, serde_json::Error> {
        let Line { kind, object } = serde_json::from_slice(line)?;
        Ok(match kind {
            "ADDED" | "MODIFIED" => Self::Applied(object),
            "DELETED" => Self::Deleted(object),
            "BOOKMARK" => Self::Bookmark(object),
            // The status of the answer was 200 long ago.
            "ERROR" => Self::Error(Refusal::new(200, object.get().as_bytes())),
            _ => Self::Unknown,
        })
    }
}

impl Head {
    pub(crate) fn of(object: &RawValue) -> Result<Self, serde_json::Error> {
        serde_json::from_str(object.get())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_told_apart() {
        let parse = |line: &'static str| Message::parse(line.as_bytes());
        assert!(matches!(parse(r#"{"type":"MODIFIED","object":{}}"#), Ok(Message::Applied(_))));
        assert!(matches!(parse(r#"{"type":"LATER","object":{}}"#), Ok(Message::Unknown)));
        let Ok(Message::Error(refusal)) = parse(r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}"#) else {
            panic!()
        };
        assert_eq!(refusal.code, 410);
        let Ok(Message::Bookmark(object)) = parse(r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7"}}}"#) else { panic!() };
        assert_eq!(Head::of(object).unwrap().metadata.resource_version.as_deref(), Some("7"));
    }

    proptest! {
        #[test]
        fn no_line_is_too_odd(line in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,100}") {
            drop(Message::parse(&line).map(|_| ()));
            drop(serde_json::from_str::<Page<'_>>(&text).map(|_| ()));
        }
    }
}
