//! JSON patches (RFC 6902) that only add.

use std::fmt;

use serde_json::{Map, Value, json};

/// Additions to a document, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patch(Vec<(String, Value)>);

/// A place that a document does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSuchPlace(String);

impl Patch {
    /// Adds a value at a path: a member of an object, or an element before the index of a list (`-` for its end).
    pub fn add(&mut self, path: impl Into<String>, value: impl Into<Value>) {
        self.0.push((path.into(), value.into()));
    }

    /// Nothing is added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Paths and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(path, value)| (path.as_str(), value))
    }

    /// As the API server takes it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        self.0.iter().map(|(path, value)| json!({"op": "add", "path": path, "value": value})).collect()
    }

    /// Makes the additions.
    ///
    /// # Errors
    /// The first path that the document does not have. What comes before it is done.
    pub fn apply(&self, document: &mut Value) -> Result<(), NoSuchPlace> {
        self.0.iter().try_for_each(|(path, value)| add(document, path, value).ok_or_else(|| NoSuchPlace(path.clone())))
    }
}

fn add(document: &mut Value, path: &str, value: &Value) -> Option<()> {
    let (parent, last) = path.rsplit_once('/')?;
    match document.pointer_mut(parent)? {
        Value::Object(map) => {
            map.insert(last.replace("~1", "/").replace("~0", "~"), value.clone());
        }
        Value::Array(list) => {
            let index = if last == "-" { list.len() } else { last.parse().ok().filter(|index| *index <= list.len())? };
            list.insert(index, value.clone());
        }
        _ => return None,
    }
    Some(())
}

/// A key as it stands in a path.
#[must_use]
pub fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Additions of what is missing at the end of a path, one after another.
#[derive(Debug)]
pub(crate) struct Additions<'a> {
    document: &'a Value,
    prefix: String,
    made: Vec<String>,
    pub(crate) patch: Patch,
}

impl<'a> Additions<'a> {
    /// To what is at `prefix` of a document.
    pub(crate) fn new(document: &'a Value, prefix: &str) -> Self {
        Self { document, prefix: prefix.to_owned(), made: Vec::new(), patch: Patch::default() }
    }

    /// Makes an empty object unless one is there.
    pub(crate) fn object(&mut self, path: &str) {
        if !self.is_there(path, Value::is_object) {
            self.patch.add(format!("{}{path}", self.prefix), Map::new());
        }
    }

    /// Makes an empty list unless one is there.
    pub(crate) fn list(&mut self, path: &str) {
        if !self.is_there(path, Value::is_array) {
            self.patch.add(format!("{}{path}", self.prefix), Value::Array(Vec::new()));
        }
    }

    pub(crate) fn add(&mut self, path: &str, value: impl Into<Value>) {
        self.patch.add(format!("{}{path}", self.prefix), value);
    }

    pub(crate) fn members<K: AsRef<str>, V: Into<Value>>(&mut self, path: &str, members: impl IntoIterator<Item = (K, V)>) {
        for (key, value) in members {
            self.add(&format!("{path}/{}", escape(key.as_ref())), value);
        }
    }

    /// It is there, or will be: then it is not made twice.
    fn is_there(&mut self, path: &str, kind: fn(&Value) -> bool) -> bool {
        let there = self.document.pointer(&format!("{}{path}", self.prefix)).is_some_and(kind);
        let made = self.made.iter().any(|made| made == path);
        if !there && !made {
            self.made.push(path.to_owned());
        }
        there || made
    }
}

impl fmt::Display for NoSuchPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the document has no place {}", self.0)
    }
}

impl std::error::Error for NoSuchPlace {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_go_before_an_index_and_over_a_member() {
        let mut document = json!({"a": {"x/y": 1}, "l": [1, 2]});
        let mut patch = Patch::default();
        patch.add(format!("/a/{}", escape("x/y")), 2);
        patch.add("/l/1", 9);
        patch.add("/l/-", 3);
        patch.apply(&mut document).unwrap();
        assert_eq!(document, json!({"a": {"x/y": 2}, "l": [1, 9, 2, 3]}));
    }

    #[test]
    fn a_missing_place_is_named() {
        for path in ["/b/c", "/l/3", "/l/x", "/a/x/y", "a"] {
            let mut patch = Patch::default();
            patch.add(path, 1);
            let error = patch.apply(&mut json!({"a": {"x": 1}, "l": [1]})).unwrap_err();
            assert_eq!(error.to_string(), format!("the document has no place {path}"));
        }
    }
}
