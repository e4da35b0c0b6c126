use std::fmt::Write as _;

use meshkit_injector::{documents, values::Values};
use serde_json::{Map, Value, json};

/// The defaults, which are the charts', too.
pub(crate) const DEFAULTS: &str = include_str!("defaults.yaml");
/// What high availability changes in them.
pub(crate) const HIGH_AVAILABILITY: &str = include_str!("ha.yaml");

/// Values that have no default.
const OPTIONAL: &[&str] = &["proxy.cores", "proxy.runtime.workers.maximum", "proxy.runtime.workers.maximumCPURatio"];

/// The values of a mesh.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tree(Value);

impl Tree {
    /// The defaults of this version.
    pub(crate) fn defaults() -> Self {
        let mut tree = Self::read(DEFAULTS).expect("a test reads the file");
        tree.set("linkerdVersion", json!(env!("CARGO_PKG_VERSION")));
        tree
    }

    /// What high availability changes.
    pub(crate) fn high_availability() -> Self {
        Self::read(HIGH_AVAILABILITY).expect("a test reads the file")
    }

    /// Reads values as YAML or JSON.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let documents = documents::read(text).map_err(|error| error.to_string())?;
        let mut tree = Self(Value::Object(Map::new()));
        for document in documents {
            if !document.is_object() {
                return Err("values are no map".to_owned());
            }
            tree.merge(document);
        }
        Ok(tree)
    }

    /// Puts other values over these: maps are merged, all else is replaced; null takes away.
    pub(crate) fn merge(&mut self, over: impl Into<Value>) {
        merge(&mut self.0, over.into());
    }

    /// Puts one value at a place such as `proxy.ports.admin`.
    pub(crate) fn set(&mut self, path: &str, value: Value) {
        let nested = path.rsplit('.').fold(value, |inner, key| json!({ key: inner }));
        self.merge(nested);
    }

    /// The value at a place; null if there is none.
    pub(crate) fn get(&self, path: &str) -> &Value {
        path.split('.').fold(&self.0, |at, key| &at[key])
    }

    /// The text at a place; empty if there is none.
    pub(crate) fn text(&self, path: &str) -> String {
        match self.get(path) {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// Is the value at a place true?
    pub(crate) fn is(&self, path: &str) -> bool {
        self.get(path).as_bool() == Some(true)
    }

    /// What injection needs of them.
    pub(crate) fn of_injection(&self, namespace: &str) -> Result<Values, String> {
        Values::parse(&self.0.to_string(), namespace).map_err(|error| error.to_string())
    }

    /// As YAML, without a line that ends the document.
    pub(crate) fn to_yaml(&self) -> Result<String, String> {
        let text = documents::write(std::slice::from_ref(&self.0), documents::Format::Yaml).map_err(|error| error.to_string())?;
        Ok(text.trim_end_matches("---\n").to_owned())
    }

    /// What of these differs from others, as a tree that makes these of them.
    pub(crate) fn difference(&self, from: &Self) -> Self {
        Self(difference(&self.0, &from.0).unwrap_or_else(|| Value::Object(Map::new())))
    }

    /// Keys at which these have something, and others have nothing at all: they have no effect.
    pub(crate) fn unknown_to(&self, known: &Self) -> Vec<String> {
        let mut found = Vec::new();
        unknown(&self.0, &known.0, &mut String::new(), &mut found);
        found.retain(|key| !OPTIONAL.contains(&key.as_str()));
        found
    }
}

impl From<Value> for Tree {
    fn from(value: Value) -> Self {
        Self(value)
    }
}

impl From<Tree> for Value {
    fn from(tree: Tree) -> Self {
        tree.0
    }
}

fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                match value {
                    Value::Null => drop(base.remove(&key)),
                    value => merge(base.entry(key).or_insert(Value::Null), value),
                }
            }
        }
        // Nulls within what is put anew take nothing away.
        (base, Value::Object(over)) => {
            *base = Value::Object(Map::new());
            merge(base, Value::Object(over));
        }
        (base, over) => *base = over,
    }
}

fn difference(of: &Value, from: &Value) -> Option<Value> {
    match (of, from) {
        (Value::Object(of), Value::Object(from)) => {
            let kept = of.iter().filter_map(|(key, value)| Some((key.clone(), difference(value, from.get(key).unwrap_or(&Value::Null))?)));
            let gone = from.keys().filter(|key| !of.contains_key(*key)).map(|key| (key.clone(), Value::Null));
            let map: Map<_, _> = kept.chain(gone).collect();
            (!map.is_empty()).then_some(Value::Object(map))
        }
        (of, from) => (of != from).then(|| of.clone()),
    }
}

fn unknown(of: &Value, known: &Value, path: &mut String, found: &mut Vec<String>) {
    // A map without keys is one that holds anything.
    let (Some(of), Some(known)) = (of.as_object(), known.as_object().filter(|known| !known.is_empty())) else {
        return;
    };
    for (key, value) in of {
        let len = path.len();
        let dot = if len == 0 { "" } else { "." };
        // Writing to a `String` does not fail.
        let _ = write!(path, "{dot}{key}");
        match known.get(key) {
            None => found.push(path.clone()),
            Some(below) => unknown(value, below, path, found),
        }
        path.truncate(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(value: Value) -> Tree {
        Tree(value)
    }

    #[test]
    fn the_defaults_are_those_of_injection() {
        assert_eq!(Tree::defaults().of_injection("linkerd").unwrap(), Values::default());
    }

    #[test]
    fn high_availability_changes_only_what_there_is() {
        assert!(
            Tree::high_availability().unknown_to(&Tree::defaults()).is_empty(),
            "{:?}",
            Tree::high_availability().unknown_to(&Tree::defaults())
        );
        let mut tree = Tree::defaults();
        tree.merge(Tree::high_availability());
        assert_eq!(tree.get("controllerReplicas"), &json!(3));
        assert_eq!(tree.of_injection("linkerd").unwrap().proxy.resources.memory.limit, "250Mi");
    }

    #[test]
    fn maps_are_merged_and_null_takes_away() {
        let mut base = tree(json!({"a": {"b": 1, "c": 2}, "d": [1, 2], "e": "x"}));
        base.merge(json!({"a": {"b": null, "n": {"x": null, "y": 1}}, "d": [3], "e": {"f": 1}}));
        assert_eq!(base, tree(json!({"a": {"c": 2, "n": {"y": 1}}, "d": [3], "e": {"f": 1}})));
        base.set("a.c", json!(5));
        assert_eq!((base.get("a.c"), base.get("a.z.y"), base.text("a.c")), (&json!(5), &Value::Null, "5".to_owned()));
    }

    #[test]
    fn a_difference_makes_one_of_the_other() {
        let defaults = Tree::defaults();
        let mut changed = defaults.clone();
        changed.set("proxy.ports.admin", json!(5191));
        changed.set("commonLabels", json!({"team": "a"}));
        changed.merge(json!({"proxy": {"logLevel": null}}));
        let difference = changed.difference(&defaults);
        assert_eq!(difference, tree(json!({"proxy": {"ports": {"admin": 5191}, "logLevel": null}, "commonLabels": {"team": "a"}})));
        let mut again = defaults;
        again.merge(difference);
        assert_eq!(again, changed);
    }

    #[test]
    fn keys_that_have_no_effect_are_found() {
        let mut values = tree(json!({"proxy": {"portz": 1, "ports": {"admin": 1}}, "podLabels": {"any": "x"}, "x": {"y": 1}}));
        assert_eq!(values.unknown_to(&Tree::defaults()), ["proxy.portz", "x"]);
        values = tree(json!({"tolerations": [{"key": "x"}]}));
        assert!(values.unknown_to(&Tree::defaults()).is_empty());
    }
}
