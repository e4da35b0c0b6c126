//! From text to objects, with the place of every fault.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    object::{Kind, Object},
    validate::validate,
};

/// The largest file that is read, in bytes.
pub const MAX_FILE_LEN: usize = 1 << 20;
/// How deep lists may stand in lists.
const MAX_LISTS: usize = 4;

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifest {
    /// Objects that the mesh reads, in their order.
    pub objects: Vec<Object>,
    /// Documents of other kinds: where, and what they are.
    pub ignored: Vec<Ignored>,
}

/// A document of a kind that the mesh does not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// Where it stands.
    pub line: usize,
    /// `apiVersion kind`.
    pub kind: String,
}

/// Something that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub path: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
    /// What was seen, and what is wanted.
    pub what: String,
}

impl Manifest {
    /// Reads a file's text: YAML documents, or JSON.
    ///
    /// # Errors
    /// Everything that is wrong with it, in its order.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Vec<Fault>> {
        let fault = |line, what: String| Fault { path: path.to_owned(), line, what };
        if text.len() > MAX_FILE_LEN {
            return Err(vec![fault(1, format!("a file of {} bytes is longer than the limit of {MAX_FILE_LEN}", text.len()))]);
        }
        let (mut manifest, mut faults) = (Self::default(), Vec::new());
        for (line, document) in documents(text) {
            match serde_saphyr::from_str::<Value>(&document) {
                Ok(Value::Null) => {}
                Ok(value) => manifest.read(value, line, MAX_LISTS, &mut |at, what| faults.push(fault(at, what))),
                Err(error) => {
                    let at = error.location().map_or(0, |l| usize::try_from(l.line()).unwrap_or(1).saturating_sub(1));
                    let what = error.without_snippet().to_string();
                    faults.push(fault(line + at, what));
                }
            }
        }
        if faults.is_empty() { Ok(manifest) } else { Err(faults) }
    }

    fn read(&mut self, mut value: Value, line: usize, depth: usize, fault: &mut dyn FnMut(usize, String)) {
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (api_version, kind) = (text(&value, "apiVersion"), text(&value, "kind"));
        if api_version.is_empty() || kind.is_empty() {
            return fault(line, "a document needs apiVersion and kind".to_owned());
        }
        if api_version == "v1" && kind == "List" {
            let Some(items) = value.get_mut("items").map(Value::take).and_then(|items| match items {
                Value::Array(items) => Some(items),
                _ => None,
            }) else {
                return fault(line, "a List needs items".to_owned());
            };
            if depth == 0 {
                return fault(line, format!("lists are nested more than {MAX_LISTS} deep"));
            }
            return items.into_iter().for_each(|item| self.read(item, line, depth - 1, fault));
        }
        let Some(known) = Kind::of(&api_version, &kind) else {
            return self.ignored.push(Ignored { line, kind: format!("{api_version} {kind}") });
        };
        match known.read(value) {
            Ok(mut object) => {
                let metadata = object.metadata_mut();
                if metadata.name.is_empty() {
                    return fault(line, format!("{kind}: metadata.name is missing"));
                }
                if metadata.namespace.is_empty() && known.is_namespaced() {
                    metadata.namespace = "default".to_owned();
                }
                let key = object.key();
                match validate(&object) {
                    Ok(()) => self.objects.push(object),
                    Err(wrong) => wrong.into_iter().for_each(|wrong| fault(line, format!("{key}: {wrong}"))),
                }
            }
            Err(error) => fault(line, format!("{kind}: {error}")),
        }
    }
}

/// The documents of a file, each with the line that it begins in.
fn documents(text: &str) -> Vec<(usize, String)> {
    let mut all = vec![(1, String::new())];
    for (index, line) in text.lines().enumerate() {
        let separator = line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '#']));
        if separator {
            all.push((index + 2, String::new()));
        } else if let Some((_, document)) = all.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    let blank = |text: &str| text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    all.retain(|(_, document)| !blank(document));
    all
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.what)
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Manifest, Vec<String>> {
        Manifest::parse(Path::new("a.yaml"), text).map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn documents_and_lists_become_objects_and_other_kinds_are_named() {
        let text = "# comment\napiVersion: v1\nkind: Service\nmetadata: {name: web-svc}\nspec: {ports: [{port: 80, targetPort: http}]}\n---\n\
            apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ServiceAccount, metadata: {name: web, namespace: emojivoto}}\n\
            ---\napiVersion: example.com/v1\nkind: Thing\n";
        let manifest = parse(text).unwrap();
        let keys: Vec<_> = manifest.objects.iter().map(|o| o.key().to_string()).collect();
        assert_eq!(keys, ["Service default/web-svc", "ServiceAccount emojivoto/web"]);
        assert_eq!(manifest.ignored, [Ignored { line: 12, kind: "example.com/v1 Thing".to_owned() }]);
    }

    #[test]
    fn every_fault_is_told_with_its_line() {
        let text = "apiVersion: v1\nkind: Service\nspec: {}\n---\nkind: Service\n---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports: 5\n---\na: [\n";
        let faults = parse(text).unwrap_err();
        assert_eq!(faults.len(), 4, "{faults:#?}");
        assert_eq!(faults[0], "a.yaml:1: Service: metadata.name is missing");
        assert_eq!(faults[1], "a.yaml:5: a document needs apiVersion and kind");
        assert!(faults[2].starts_with("a.yaml:7: Service: "), "{}", faults[2]);
        assert!(faults[3].starts_with("a.yaml:1"), "{}", faults[3]);
    }

    #[test]
    fn objects_are_written_as_they_are_read() {
        let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: ns, labels: {a: b}}\nspec: {replicas: 2, template: {spec: {containers: [{name: web, command: [mesh], ports: [{containerPort: 80}]}]}}}\n";
        let object = parse(text).unwrap().objects.remove(0);
        let json = object.to_json().unwrap().to_string();
        assert_eq!(parse(&json).unwrap().objects, [object]);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-z:{}\\[\\]\"'&*!|>#\\- \n0-9]{0,120}") {
            let _ = parse(&text);
        }
    }
}
