//! What every object has, and the small types that many of them use.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, de::Visitor};

/// An object's name, labels and annotations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Unique among the objects of a kind in a namespace.
    pub name: String,
    /// Empty for objects of the whole cluster; `default` stands in for the others.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// What selectors look at.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What nobody selects by.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// RFC 3339; among conflicting objects the oldest wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<String>,
    /// RFC 3339; there if the object is on its way out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<String>,
    /// Who made it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owner_references: Vec<OwnerReference>,
    /// Changes with every change of the object; opaque.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
    /// Unique over time: another object of the same name has another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Changes with every change of `spec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
}

/// Who made an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    /// `group/version`.
    pub api_version: String,
    /// The kind.
    pub kind: String,
    /// The name.
    pub name: String,
    /// Its uid.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Is it the one that manages the object?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controller: Option<bool>,
}

/// Something that is said of an object by whoever is responsible for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// What is said: `Ready`, `Accepted`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, as one word.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Why, in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Since when, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<String>,
    /// Of which generation of the object it is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// A number, or the name of something that has a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[allow(clippy::exhaustive_enums)] // As Kubernetes has it.
pub enum IntOrString {
    /// The number.
    Int(i64),
    /// The name.
    String(String),
}

/// Selects objects by their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// Labels that must be these.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Further conditions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Requirement>,
}

/// A condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// How it is compared.
    pub operator: Operator,
    /// With what.
    #[serde(default)]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::exhaustive_enums)] // As Kubernetes has it.
pub enum Operator {
    /// It is one of the values.
    In,
    /// It is none of them, or missing.
    NotIn,
    /// It is there.
    Exists,
    /// It is missing.
    DoesNotExist,
}

impl LabelSelector {
    /// Does an object with these labels belong? An empty selector takes all.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|r| r.holds(labels))
    }
}

impl Condition {
    /// Is it said, and true?
    #[must_use]
    pub fn is_true(&self) -> bool {
        self.status == "True"
    }
}

impl Requirement {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            Operator::In => value.is_some_and(|v| self.values.contains(v)),
            Operator::NotIn => value.is_none_or(|v| !self.values.contains(v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

impl IntOrString {
    /// The port that it stands for, given the ports that have names.
    #[must_use]
    pub fn port<'a>(&self, named: impl IntoIterator<Item = (&'a str, u16)>) -> Option<u16> {
        match self {
            Self::Int(port) => u16::try_from(*port).ok().filter(|p| *p != 0),
            Self::String(name) => named.into_iter().find(|(known, _)| known == name).map(|(_, port)| port),
        }
    }
}

impl<'de> Deserialize<'de> for IntOrString {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = IntOrString;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a name")
            }

            fn visit_i64<E>(self, number: i64) -> Result<IntOrString, E> {
                Ok(IntOrString::Int(number))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<IntOrString, E> {
                i64::try_from(number).map(IntOrString::Int).map_err(|_| E::custom(format!("{number} is too large")))
            }

            fn visit_str<E>(self, name: &str) -> Result<IntOrString, E> {
                Ok(IntOrString::String(name.to_owned()))
            }
        }

        from.deserialize_any(Either)
    }
}

impl Default for IntOrString {
    fn default() -> Self {
        Self::Int(0)
    }
}

impl fmt::Display for IntOrString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => number.fmt(f),
            Self::String(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn selectors_take_what_meets_every_condition() {
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        let requirement = |operator, values: &[&str]| Requirement {
            key: "app".to_owned(),
            operator,
            values: values.iter().map(|v| (*v).to_owned()).collect(),
        };
        let with = |r| LabelSelector { match_labels: BTreeMap::new(), match_expressions: vec![r] };
        assert!(LabelSelector::default().matches(&labels));
        assert!(with(requirement(Operator::In, &["web", "api"])).matches(&labels));
        assert!(!with(requirement(Operator::NotIn, &["web"])).matches(&labels));
        assert!(!with(requirement(Operator::Exists, &[])).matches(&BTreeMap::new()));
        assert!(with(requirement(Operator::DoesNotExist, &[])).matches(&BTreeMap::new()));
    }

    #[test]
    fn ports_are_numbers_or_names() {
        let named = [("http", 8080), ("admin", 9990)];
        assert_eq!(IntOrString::Int(80).port(named), Some(80));
        assert_eq!(IntOrString::String("admin".to_owned()).port(named), Some(9990));
        for nothing in [IntOrString::Int(0), IntOrString::Int(65_536), IntOrString::Int(-1), IntOrString::String("80".to_owned())] {
            assert_eq!(nothing.port(named), None, "{nothing}");
        }
    }

    fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
        proptest::collection::btree_map("[ab]", "[xy]", 0..3)
    }

    fn requirement() -> impl Strategy<Value = Requirement> {
        let operator = prop_oneof![Just(Operator::In), Just(Operator::NotIn), Just(Operator::Exists), Just(Operator::DoesNotExist)];
        let parts = ("[ab]", operator, proptest::collection::vec("[xy]", 0..3));
        parts.prop_map(|(key, operator, values)| Requirement { key, operator, values })
    }

    proptest! {
        #[test]
        fn ints_and_strings_are_read_as_they_are_written(number: i64, name in "[a-z0-9-]{0,15}") {
            for value in [IntOrString::Int(number), IntOrString::String(name)] {
                let json = serde_json::to_value(&value).unwrap();
                prop_assert_eq!(crate::read::read::<IntOrString>(&json.into()).unwrap().0, value);
            }
        }

        #[test]
        fn a_selector_takes_what_each_of_its_conditions_takes(wanted in labels(), rest in proptest::collection::vec(requirement(), 0..3), own in labels()) {
            let selector = LabelSelector { match_labels: wanted.clone(), match_expressions: rest.clone() };
            let by_label = wanted.iter().all(|(k, v)| own.get(k) == Some(v));
            let alone = |r: &Requirement| LabelSelector { match_labels: BTreeMap::new(), match_expressions: vec![r.clone()] }.matches(&own);
            prop_assert_eq!(selector.matches(&own), by_label && rest.iter().all(alone));
        }

        #[test]
        fn an_operator_and_its_opposite_never_agree(key in "[ab]", values in proptest::collection::vec("[xy]", 0..3), own in labels()) {
            for (operator, opposite) in [(Operator::In, Operator::NotIn), (Operator::Exists, Operator::DoesNotExist)] {
                let holds = |operator| Requirement { key: key.clone(), operator, values: values.clone() }.holds(&own);
                prop_assert_ne!(holds(operator), holds(opposite));
            }
        }
    }
}
