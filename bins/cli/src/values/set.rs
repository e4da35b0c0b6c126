//! `--set a.b=c`, as Helm reads it: `,` separates, `{a,b}` is a list, `a[0]` is an element, `\` takes the meaning from the next character.

use serde_json::{Map, Value};

/// The largest index: a list is filled up with nothing up to it.
const INDEX_MAX: usize = 1023;

/// What a value is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A number, truth value, null or text, as it looks.
    Any,
    /// Text.
    Text,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// Puts `a.b=c,d=e` into a tree.
///
/// # Errors
/// What is wrong with the text.
pub(crate) fn parse(text: &str, kind: Kind, into: &mut Value) -> Result<(), String> {
    let mut rest = Reader { chars: text.chars().peekable() };
    while rest.chars.peek().is_some() {
        let path = rest.path().ok_or_else(|| format!("{text:?} is no assignment (as proxy.logLevel=debug)"))?;
        let value = rest.value(kind);
        put(into, &path, value).map_err(|what| format!("{text:?}: {what}"))?;
    }
    Ok(())
}

struct Reader<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
}

impl Reader<'_> {
    /// Text up to one of some characters, and which it was. The flag says that something of it was escaped.
    fn until(&mut self, ends: &str) -> (String, bool, Option<char>) {
        let (mut text, mut escaped) = (String::new(), false);
        while let Some(c) = self.chars.next() {
            match c {
                '\\' => {
                    escaped = true;
                    text.extend(self.chars.next());
                }
                c if ends.contains(c) => return (text, escaped, Some(c)),
                c => text.push(c),
            }
        }
        (text, escaped, None)
    }

    fn path(&mut self) -> Option<Vec<Step>> {
        let mut path = Vec::new();
        loop {
            let (key, _, mut end) = self.until(".=[");
            if key.is_empty() {
                return None;
            }
            path.push(Step::Key(key));
            while end == Some('[') {
                let (index, _, close) = self.until("]");
                close?;
                path.push(Step::Index(index.parse().ok().filter(|index| *index <= INDEX_MAX)?));
                end = self.chars.next();
            }
            match end {
                Some('=') => return Some(path),
                Some('.') => {}
                _ => return None,
            }
        }
    }

    fn value(&mut self, kind: Kind) -> Value {
        if self.chars.peek() != Some(&'{') {
            let (text, escaped, _) = self.until(",");
            return typed(text, escaped, kind);
        }
        self.chars.next();
        let mut list = Vec::new();
        loop {
            let (text, escaped, end) = self.until(",}");
            if !(text.is_empty() && list.is_empty() && end == Some('}')) {
                list.push(typed(text, escaped, kind));
            }
            if end != Some(',') {
                break;
            }
        }
        if self.chars.peek() == Some(&',') {
            self.chars.next();
        }
        Value::Array(list)
    }
}

fn typed(text: String, escaped: bool, kind: Kind) -> Value {
    if kind == Kind::Text || escaped {
        return Value::String(text);
    }
    match text.as_str() {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "null" => Value::Null,
        "0" => Value::from(0),
        // A number that begins with zero is a name, such as that of an account.
        number if !number.starts_with('0') => number.parse::<i64>().map_or_else(|_| Value::String(text), Value::from),
        _ => Value::String(text),
    }
}

fn put(at: &mut Value, path: &[Step], value: Value) -> Result<(), String> {
    let Some((step, rest)) = path.split_first() else {
        *at = value;
        return Ok(());
    };
    let next = match step {
        Step::Key(key) => {
            if at.is_null() {
                *at = Value::Object(Map::new());
            }
            at.as_object_mut()
                .ok_or_else(|| format!("{key:?} is below something that is no map"))?
                .entry(key.clone())
                .or_insert(Value::Null)
        }
        Step::Index(index) => {
            if at.is_null() {
                *at = Value::Array(Vec::new());
            }
            let list = at.as_array_mut().ok_or_else(|| format!("[{index}] is of something that is no list"))?;
            if list.len() <= *index {
                list.resize(index + 1, Value::Null);
            }
            &mut list[*index]
        }
    };
    put(next, rest, value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: &str, kind: Kind) -> Result<Value, String> {
        let mut tree = Value::Null;
        parse(text, kind, &mut tree).map(|()| tree)
    }

    #[test]
    fn assignments_mean_what_they_mean_to_helm() {
        for (text, wanted) in [
            ("a=b", json!({"a": "b"})),
            ("a.b=1,a.c=true,d=null", json!({"a": {"b": 1, "c": true}, "d": null})),
            ("a=", json!({"a": ""})),
            ("a={x,2}", json!({"a": ["x", 2]})),
            ("a={}", json!({"a": []})),
            ("a={x},b=1", json!({"a": ["x"], "b": 1})),
            ("l[1].k=v", json!({"l": [null, {"k": "v"}]})),
            ("l[0][1]=v", json!({"l": [[null, "v"]]})),
            (r"a\.b=c\,d", json!({"a.b": "c,d"})),
            ("ports=4567-4568", json!({"ports": "4567-4568"})),
            ("id=007,n=-1", json!({"id": "007", "n": -1})),
            ("pem=a=b==", json!({"pem": "a=b=="})),
        ] {
            assert_eq!(read(text, Kind::Any), Ok(wanted), "{text}");
        }
        assert_eq!(read("a=1,b=true", Kind::Text), Ok(json!({"a": "1", "b": "true"})));
    }

    #[test]
    fn what_is_no_assignment_is_refused() {
        for text in ["a", "=b", "a..b=c", "a[=1", "a[x]=1", "a[9999]=1", "a=1,a.b=2", "l[0]=1,l.b=2", "a.b=1,a[0]=2"] {
            assert!(read(text, Kind::Any).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-c.=\\[\\]{},\\\\0-9]{0,24}") {
            let _ = read(&text, Kind::Any);
        }

        #[test]
        fn escaped_text_is_kept(key in "[a-z]{1,5}", value in "[ -~]{0,20}") {
            let escaped: String = value.chars().flat_map(|c| ['\\', c]).collect();
            let tree = read(&format!("{key}={escaped}"), Kind::Any).unwrap();
            prop_assert_eq!(tree, json!({ key: value }));
        }
    }
}
