//! From text to objects, with the place of every fault.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::{
    object::{Kind, Object},
    tree::{Tree, Value},
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
    /// The lines that the objects begin in, in the same order.
    pub lines: Vec<usize>,
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
    /// The field, if it is one that is wrong: `spec.rules[0].timeouts.request`.
    pub field: Option<String>,
    /// What was seen, and what is wanted.
    pub what: String,
}

impl Manifest {
    /// Reads a file's text: YAML documents, or JSON.
    ///
    /// # Errors
    /// Everything that is wrong with it, in its order.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Vec<Fault>> {
        let fault = |line, field, what| Fault { path: path.to_owned(), line, field, what };
        if text.len() > MAX_FILE_LEN {
            let what = format!("a file of {} bytes is longer than the limit of {MAX_FILE_LEN} (MAX_FILE_LEN)", text.len());
            return Err(vec![fault(1, None, what)]);
        }
        let (mut manifest, mut faults) = (Self::default(), Vec::new());
        for (line, document) in documents(text.strip_prefix('\u{feff}').unwrap_or(text)) {
            // Only `true` and `false` are truth values: a Pod may be called `n` or `on`.
            let options = serde_saphyr::options! { strict_booleans: true };
            match serde_saphyr::from_str_with_options::<Tree>(&document, options) {
                Ok(Tree { value: Value::Null, .. }) => {}
                Ok(mut tree) => {
                    tree.shift(line - 1);
                    manifest.read(&tree, MAX_LISTS, &mut |at, field, what| faults.push(fault(at, field, what)));
                }
                Err(error) => {
                    let at = error.location().map_or(0, |l| usize::try_from(l.line()).unwrap_or(1).saturating_sub(1));
                    let mut what = error.without_snippet().to_string();
                    // It counts from the document's beginning, and is not what an editor shows.
                    what.truncate(what.rfind(" at line ").unwrap_or(what.len()));
                    faults.push(fault(line + at, None, what));
                }
            }
        }
        if faults.is_empty() { Ok(manifest) } else { Err(faults) }
    }

    fn read(&mut self, tree: &Tree, depth: usize, fault: &mut dyn FnMut(usize, Option<String>, String)) {
        let (api_version, kind, line) = (tree.text("apiVersion"), tree.text("kind"), tree.line);
        if api_version.is_empty() || kind.is_empty() {
            return fault(line, None, "a document needs apiVersion and kind".to_owned());
        }
        if api_version == "v1" && kind == "List" {
            let items = match tree.get("items").map(|items| &items.value) {
                Some(Value::List(items)) => items.as_slice(),
                Some(Value::Null) => &[],
                _ => return fault(line, Some("items".to_owned()), "a List needs items".to_owned()),
            };
            if depth == 0 {
                return fault(line, None, format!("lists are nested more than {MAX_LISTS} deep"));
            }
            return items.iter().for_each(|item| self.read(item, depth - 1, fault));
        }
        let Some(known) = Kind::of(api_version, kind) else {
            return self.ignored.push(Ignored { line, kind: format!("{api_version} {kind}") });
        };
        let (mut object, unknown) = match known.read(tree) {
            Ok(read) => read,
            Err(wrong) => {
                let what = format!("{kind}: {wrong}");
                let (field, at) = wrong.place.unwrap_or((String::new(), line));
                return fault(at, Some(field).filter(|field| !field.is_empty()), what);
            }
        };
        let metadata = object.metadata_mut();
        if metadata.name.is_empty() {
            return fault(line, Some("metadata.name".to_owned()), format!("{kind}: metadata.name is missing"));
        }
        if metadata.namespace.is_empty() && known.is_namespaced() {
            metadata.namespace = "default".to_owned();
        }
        let key = object.key();
        let misspelt = unknown.into_iter().filter(|(path, _)| known.is_strict() && is_told(path));
        let mut wrong = Vec::from_iter(misspelt.map(|(path, at)| (at, path, "there is no such field".to_owned())));
        for refused in validate(&object).err().into_iter().flatten() {
            wrong.push((tree.line_of(refused.path()), refused.path().to_owned(), refused.what().to_owned()));
        }
        if wrong.is_empty() {
            self.objects.push(object);
            return self.lines.push(line);
        }
        for (at, path, what) in wrong {
            let told = format!("{key}: {path}: {what}");
            fault(at, Some(path), told);
        }
    }
}

/// Is it told if nobody knows this field? The API server has many in `metadata` and `status`, and adds to them.
fn is_told(path: &str) -> bool {
    let first = path.split(['.', '[']).next().unwrap_or_default();
    !["apiVersion", "kind", "metadata", "status"].contains(&first)
}

/// The documents of a file, each with the line that it begins in.
fn documents(text: &str) -> Vec<(usize, String)> {
    let mut all = vec![(1, String::new())];
    for (index, line) in text.lines().enumerate() {
        if let Some(rest) = line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t'])) {
            // What follows on the same line belongs to the document.
            all.push((index + 1, format!("{rest}\n")));
        } else if let Some((_, document)) = all.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    // A directive (`%YAML 1.2`) stands before the first separator, alone.
    let is_blank = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#') || line.starts_with('%') || line == "...";
    let blank = |text: &str| text.lines().all(is_blank);
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

    const KINDS: &[(&str, &str)] = &[
        ("v1", "Service"),
        ("v1", "Pod"),
        ("apps/v1", "Deployment"),
        ("policy.linkerd.io/v1beta3", "Server"),
        ("policy.linkerd.io/v1alpha1", "EgressNetwork"),
        ("policy.linkerd.io/v1beta3", "HTTPRoute"),
        ("linkerd.io/v1alpha2", "ServiceProfile"),
        ("gateway.networking.k8s.io/v1", "GRPCRoute"),
    ];

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
        assert!(faults[2].starts_with("a.yaml:11: Service: spec.ports: "), "{}", faults[2]);
        assert!(faults[3].starts_with("a.yaml:1") && !faults[3].contains("at line"), "{}", faults[3]);
    }

    #[test]
    fn objects_are_written_as_they_are_read() {
        let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: ns, labels: {a: b}}\nspec: {replicas: 2, template: {spec: {containers: [{name: web, command: [mesh], ports: [{containerPort: 80}]}]}}}\n";
        let object = parse(text).unwrap().objects.remove(0);
        let json = object.to_json().unwrap().to_string();
        assert_eq!(parse(&json).unwrap().objects, [object]);
    }

    #[test]
    fn separators_directives_and_other_line_ends_keep_lines_right() {
        let text = "\u{feff}%YAML 1.2\r\n--- # one\r\napiVersion: v1\r\nkind: Namespace\r\nmetadata: {name: a}\r\n...\r\n--- {apiVersion: v1, kind: Namespace, metadata: {name: b}}\r\n---\r\n\r\n";
        let manifest = parse(text).unwrap();
        assert_eq!(manifest.objects.iter().map(|o| o.metadata().name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(manifest.lines, [3, 7]);
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  text: |\n    a\n    ---\n    b\n";
        assert_eq!(parse(text).unwrap().objects.len(), 1, "an indented line is text");
    }

    #[test]
    fn json_is_read_as_it_is_written() {
        let text = "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"Service\",\n\t\"metadata\": {\"name\": \"a\", \"creationTimestamp\": null, \"annotations\": {\"u\": \"http:\\/\\/x \\u00e9\"}},\n\t\"spec\": {\"ports\": [{\"port\": 70000}]}\n}\n";
        assert_eq!(parse(text).unwrap_err().len(), 1);
        let fault = Manifest::parse(Path::new("a.json"), text).unwrap_err().remove(0);
        assert_eq!((fault.line, fault.field.as_deref()), (5, Some("spec.ports[0].port")), "{fault}");
        let fine = parse(&text.replace("70000", "80")).unwrap();
        assert_eq!(fine.objects[0].metadata().annotations["u"], "http://x \u{e9}");
    }

    #[test]
    fn a_list_tells_the_lines_of_its_items() {
        let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Namespace\n  metadata: {name: a}\n- apiVersion: policy.linkerd.io/v1beta3\n  kind: Server\n  metadata: {name: a}\n  spec:\n    podSelector: {}\n    port: 80\n    proxyProtocol: HTTP\n    acessPolicy: deny\n";
        let faults = parse(text).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].starts_with("a.yaml:13: Server: spec.proxyProtocol: unknown variant `HTTP`"), "{}", faults[0]);
        let faults = parse(&text.replace("Protocol: HTTP", "Protocol: HTTP/1")).unwrap_err();
        assert_eq!(faults, ["a.yaml:14: Server default/a: spec.acessPolicy: there is no such field"]);
        let misplaced = "apiVersion: linkerd.io/v1alpha2\nkind: ServiceProfile\nmetadata: {name: a, managedFields: []}\nroutes: []\n";
        assert_eq!(parse(misplaced).unwrap_err(), ["a.yaml:4: ServiceProfile default/a: routes: there is no such field"]);
        let nested = (0..6).fold("{apiVersion: v1, kind: Namespace, metadata: {name: a}}".to_owned(), |inner, _| {
            format!("{{apiVersion: v1, kind: List, items: [{inner}]}}")
        });
        assert!(parse(&nested).unwrap_err()[0].contains("nested"));
    }

    #[test]
    fn bombs_and_deep_nesting_are_refused() {
        let deep = format!("apiVersion: v1\nkind: ConfigMap\ndata: {}{}\n", "[".repeat(5000), "]".repeat(5000));
        assert!(parse(&deep).is_err());
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let item = format!("*a{}", level - 1);
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [item.as_str(); 10].join(", ")));
        }
        assert!(parse(&bomb).is_err());
        assert!(parse("apiVersion: v1\nkind: Namespace\nkind: Namespace\nmetadata: {name: a}\n").is_err(), "a key that stands twice");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-z:{}\\[\\]\"'&*!|>#\\- \n0-9]{0,120}") {
            let _ = parse(&text);
        }

        #[test]
        fn no_characters_panic(text in any::<String>(), rest in any::<Vec<u8>>()) {
            let _ = parse(&text);
            let _ = parse(&String::from_utf8_lossy(&rest));
        }

        #[test]
        fn no_object_panics(kind in 0..KINDS.len(), spec in "[a-zA-Z:{}\\[\\]\"',/.* 0-9-]{0,80}") {
            let (version, kind) = KINDS[kind];
            let _ = parse(&format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {{{spec}}}\n"));
        }
    }
}
