//! Streams of documents, as text and as values. What nobody knows stays as it is.

use std::fmt;

use serde_json::Value;

/// The largest number of nodes in a file: some ten thousand workloads.
const NODES_MAX: usize = 20_000_000;
const DOCUMENTS_MAX: usize = 100_000;

/// How documents are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // There are these two.
pub enum Format {
    /// Each followed by a line `---`.
    #[default]
    Yaml,
    /// One per line.
    Json,
}

/// A text that holds no documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    line: Option<u64>,
    what: String,
}

/// A value that cannot be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwritable(String);

/// Reads a stream of YAML or JSON documents. Empty ones are left out.
///
/// Plain words and numbers mean what they mean to `kubectl` (YAML 1.1): `yes` is true, `0644` is octal.
///
/// # Errors
/// What is wrong, and where.
pub fn read(text: &str) -> Result<Vec<Value>, Unreadable> {
    let budget = serde_saphyr::budget! { max_nodes: NODES_MAX, max_events: 2 * NODES_MAX, max_documents: DOCUMENTS_MAX };
    let options = serde_saphyr::options! { budget: budget, legacy_octal_numbers: true };
    serde_saphyr::from_multiple_with_options::<Value>(text, options)
        .map_err(|error| Unreadable { line: error.location().map(|location| location.line()), what: error.without_snippet().to_string() })
}

/// Writes documents.
///
/// # Errors
/// A value has no spelling in YAML.
pub fn write(documents: &[Value], format: Format) -> Result<String, Unwritable> {
    let mut text = String::new();
    for document in documents {
        match format {
            Format::Json => text.push_str(&document.to_string()),
            Format::Yaml => {
                // Long lines are not folded: a diff should show what has changed and nothing else.
                let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX, prefer_block_scalars: true };
                let yaml = serde_saphyr::to_string_with_options(document, options).map_err(|error| Unwritable(error.to_string()))?;
                text.push_str(&yaml);
                // Empty lines at the end are a part of the last text.
                text.push_str(if yaml.ends_with('\n') { "---" } else { "\n---" });
            }
        }
        text.push('\n');
    }
    Ok(text)
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl fmt::Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreadable {}
impl std::error::Error for Unwritable {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;

    #[test]
    fn words_and_numbers_mean_what_they_mean_to_kubectl() {
        let read = read("a: yes\nb: 0644\nc: 'yes'\nd: 1.50\ne: ~\nf: \"0644\"\ng: 12345678901\n---\n---\n# nothing\n---\n{\"k\": [1]}\n")
            .unwrap();
        assert_eq!(
            read,
            [json!({"a": true, "b": 420, "c": "yes", "d": 1.5, "e": null, "f": "0644", "g": 12_345_678_901_u64}), json!({"k": [1]})]
        );
    }

    #[test]
    fn faults_have_their_line() {
        let error = read("a: 1\n---\nb: [\n").unwrap_err().to_string();
        assert!(error.starts_with("line "), "{error}");
        assert!(read("a: 1\na: 2\n").is_err(), "a key that stands twice");
    }

    #[test]
    fn text_that_looks_like_something_else_is_quoted() {
        let words = [
            "yes",
            "on",
            "0644",
            "1e3",
            "1:30",
            "null",
            "~",
            "",
            "2001-01-01",
            "0x1f",
            "- a",
            "a: b",
            "#c",
            "1_000",
            " x",
            "x ",
            "*a",
            "n",
        ];
        let document = json!(words);
        let text = write(std::slice::from_ref(&document), Format::Yaml).unwrap();
        assert_eq!(read(&text).unwrap(), [document], "{text}");
    }

    #[test]
    fn empty_lines_at_the_end_of_a_document_are_kept() {
        for end in ["\n", "a\n\n", "\n\na\n\n\n"] {
            let document = json!({ "text": end });
            let text = write(std::slice::from_ref(&document), Format::Yaml).unwrap();
            assert_eq!(read(&text).unwrap(), [document], "{text}");
        }
    }

    #[test]
    fn several_lines_stay_lines() {
        let document = json!({"pem": "-----BEGIN-----\nAB\n-----END-----\n", "json": "{\"ns\":\"$(_pod_ns)\"}\n"});
        let text = write(&[document], Format::Yaml).unwrap();
        assert_eq!(text, "json: |\n  {\"ns\":\"$(_pod_ns)\"}\npem: |\n  -----BEGIN-----\n  AB\n  -----END-----\n---\n");
    }

    fn value() -> impl Strategy<Value = Value> {
        let text = prop_oneof!["[ -~\n\t]{0,20}", any::<String>(), "[a-z:#-]{0,6}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e9..1e9_f64).prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, move |inner| {
            let map = prop::collection::btree_map(text.clone(), inner.clone(), 0..5);
            prop_oneof![
                prop::collection::vec(inner, 0..5).prop_map(Value::from),
                map.prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in value()) {
            let document = json!({ "document": value });
            let yaml = write(std::slice::from_ref(&document), Format::Yaml).unwrap();
            prop_assert_eq!(read(&yaml).unwrap(), vec![document.clone()], "{}", yaml);
            let lines = write(std::slice::from_ref(&document), Format::Json).unwrap();
            prop_assert_eq!(read(&lines).unwrap(), vec![document], "{}", lines);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[a-z:{}\\[\\]\"'&*!|>#\\- \n0-9]{0,120}") {
            let _ = read(&text);
        }
    }
}
