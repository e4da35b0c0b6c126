//! From a tree to a type: every fault with its field and line, and every field that the type does not know.

use std::{cell::RefCell, fmt};

use serde::{
    Deserializer,
    de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer as _, MapAccess, SeqAccess, Unexpected, Visitor},
    forward_to_deserialize_any,
};

use crate::tree::{Tree, Value};

/// A value that is not what the type wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// The field's path and line; filled in on the way out, by the innermost that knows.
    pub(crate) place: Option<(String, usize)>,
    pub(crate) what: String,
}

/// Reads a value; also returns the paths and lines of fields that the type does not know. A field that is null counts as missing, as in
/// Kubernetes.
pub(crate) fn read<T: DeserializeOwned>(tree: &Tree) -> Result<(T, Vec<(String, usize)>), Wrong> {
    let unknown = RefCell::new(Vec::new());
    let value = T::deserialize(At { tree, path: &Path::Root, unknown: &unknown })?;
    Ok((value, unknown.into_inner()))
}

enum Path<'a> {
    Root,
    Field(&'a Self, &'a str),
    Item(&'a Self, usize),
}

#[derive(Clone, Copy)]
struct At<'a> {
    tree: &'a Tree,
    path: &'a Path<'a>,
    unknown: &'a RefCell<Vec<(String, usize)>>,
}

impl At<'_> {
    fn place<T>(self, result: Result<T, Wrong>) -> Result<T, Wrong> {
        result.map_err(|mut wrong| {
            wrong.place.get_or_insert_with(|| (self.path.to_string(), self.tree.line));
            wrong
        })
    }

    fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.tree.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => visitor.visit_i64(*value),
            Value::Uint(value) => visitor.visit_u64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(value) => visitor.visit_str(value),
            Value::List(items) => visitor.visit_seq(Items { items: items.iter().enumerate(), list: self }),
            Value::Map(entries) => visitor.visit_map(Entries { entries: entries.iter(), map: self, value: None }),
        }
    }
}

impl<'de> Deserializer<'de> for At<'_> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.place(self.visit(visitor))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.tree.value {
            Value::Null => visitor.visit_none(),
            _ => self.place(visitor.visit_some(self)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Wrong> {
        self.place(visitor.visit_newtype_struct(self))
    }

    fn deserialize_struct<V: Visitor<'de>>(self, _: &'static str, _: &'static [&'static str], visitor: V) -> Result<V::Value, Wrong> {
        match self.tree.value {
            // The derived visitors would take a list for the fields in their order.
            Value::List(_) => self.place(Err(de::Error::invalid_type(Unexpected::Seq, &visitor))),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(self, _: &'static str, _: &'static [&'static str], visitor: V) -> Result<V::Value, Wrong> {
        let Value::Text(text) = &self.tree.value else { return self.deserialize_any(visitor) };
        let variant: de::value::StrDeserializer<'_, Wrong> = text.as_str().into_deserializer();
        self.place(visitor.visit_enum(variant))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.unknown.borrow_mut().push((self.path.to_string(), self.tree.line));
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map
        identifier
    }
}

struct Items<'a> {
    items: std::iter::Enumerate<std::slice::Iter<'a, Tree>>,
    list: At<'a>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Wrong> {
        let Some((index, tree)) = self.items.next() else { return Ok(None) };
        seed.deserialize(At { tree, path: &Path::Item(self.list.path, index), unknown: self.list.unknown }).map(Some)
    }
}

struct Entries<'a> {
    entries: std::slice::Iter<'a, (String, Tree)>,
    map: At<'a>,
    value: Option<(&'a str, &'a Tree)>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        let Some((key, tree)) = self.entries.find(|(_, tree)| tree.value != Value::Null) else { return Ok(None) };
        self.value = Some((key, tree));
        let key: de::value::StrDeserializer<'_, Wrong> = key.as_str().into_deserializer();
        self.map.place(seed.deserialize(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        let Some((key, tree)) = self.value.take() else { return Err(de::Error::custom("a value without a key")) };
        seed.deserialize(At { tree, path: &Path::Field(self.map.path, key), unknown: self.map.unknown })
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Self::Root, name) => f.write_str(name),
            Self::Field(parent, name) if name.contains(['.', '[', ']']) => write!(f, "{parent}[\"{name}\"]"),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some((path, _)) if !path.is_empty() => write!(f, "{path}: {}", self.what),
            _ => f.write_str(&self.what),
        }
    }
}

impl std::error::Error for Wrong {}

impl de::Error for Wrong {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self { place: None, what: what.to_string() }
    }

    fn invalid_type(seen: Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        let is_scalar = matches!(seen, Unexpected::Bool(_) | Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_));
        let hint = if is_scalar && wanted.to_string() == "a string" { ": put it in quotes" } else { "" };
        Self::custom(format_args!("invalid type: {seen}, expected {wanted}{hint}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Sample {
        text: String,
        number: Option<u8>,
        list: Vec<Kind>,
        map: BTreeMap<String, String>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    enum Kind {
        One,
    }

    fn sample(value: serde_json::Value) -> Result<(Sample, Vec<String>), String> {
        let read = read::<Sample>(&value.into()).map_err(|wrong| wrong.to_string());
        read.map(|(sample, unknown)| (sample, unknown.into_iter().map(|(path, _)| path).collect()))
    }

    #[test]
    fn null_is_missing_and_unknown_fields_are_listed() {
        let (read, unknown) = sample(json!({"text": null, "number": null, "list": ["One"], "map": {"a": "b"}, "other": {"x": 1}})).unwrap();
        assert_eq!(read, Sample { list: vec![Kind::One], map: [("a".to_owned(), "b".to_owned())].into(), ..Sample::default() });
        assert_eq!(unknown, ["other"]);
    }

    #[test]
    fn faults_name_the_field() {
        let table = [
            (json!({"text": true}), "text: invalid type: boolean `true`, expected a string: put it in quotes"),
            (json!({"number": 256}), "number: invalid value: integer `256`, expected u8"),
            (json!({"number": "1"}), "number: invalid type: string \"1\", expected u8"),
            (json!({"list": ["One", "Two"]}), "list[1]: unknown variant `Two`, expected `One`"),
            (json!({"list": [{}]}), "list[0]: invalid type: map, expected enum Kind"),
            (json!({"map": {"a.b": 1}}), "map[\"a.b\"]: invalid type: integer `1`, expected a string: put it in quotes"),
            (json!([]), "invalid type: sequence, expected struct Sample"),
        ];
        for (value, wanted) in table {
            assert_eq!(sample(value.clone()), Err(wanted.to_owned()), "{value}");
        }
    }
}
