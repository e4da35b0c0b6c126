//! Reads the Prometheus text format: what the proxies' `/metrics` print.

use std::collections::BTreeMap;

/// One line: a name, its labels and a number.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The family, with its suffix.
    pub name: String,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The number.
    pub value: f64,
}

impl Sample {
    /// A label's value; a missing label is empty, as in the query language.
    #[must_use]
    pub fn label(&self, key: &str) -> &str {
        self.labels.get(key).map_or("", String::as_str)
    }
}

/// Reads every line that is a sample; comments and what cannot be read are passed over.
#[must_use]
pub fn parse(text: &str) -> Vec<Sample> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut map = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = labels(inner, &mut map)?;
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels: map, value })
}

/// Reads `key="value",...}` and returns what stands behind it.
fn labels<'a>(mut text: &'a str, into: &mut BTreeMap<String, String>) -> Option<&'a str> {
    loop {
        if let Some(rest) = text.strip_prefix('}') {
            return Some(rest);
        }
        let (key, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    escaped => value.push(escaped),
                },
                (_, c) => value.push(c),
            }
        };
        into.insert(key.to_owned(), value);
        text = &rest[end + 1..];
        text = text.strip_prefix(',').unwrap_or(text);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn samples_are_read_with_their_labels() {
        let text = "# HELP x y\nrequest_total{direction=\"inbound\",path=\"a\\\"b\\\\c\\n\",error=\"\"} 7\nup 1 1700000000\nbroken{\n";
        let samples = parse(text);
        assert_eq!(samples.len(), 2);
        assert_eq!((samples[0].name.as_str(), samples[0].value), ("request_total", 7.0));
        assert_eq!(samples[0].label("path"), "a\"b\\c\n");
        assert_eq!(samples[0].label("missing"), "");
        assert_eq!(samples[1].value, 1.0);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-z{}\"=\\\\, 0-9\n#]{0,80}") {
            let _ = parse(&text);
        }
    }
}
