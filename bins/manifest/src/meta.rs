//! What every object has, and the small types that many of them use.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// An object's name, labels and annotations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Unique among the objects of a kind in a namespace.
    pub name: String,
    /// Empty for objects of the whole cluster; `default` stands in for the others.
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
    /// Who made it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owner_references: Vec<OwnerReference>,
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
}

/// A number, or the name of something that has a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    pub match_labels: BTreeMap<String, String>,
    /// Further conditions.
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
}
