//! Edits of the network configurations of a node: pure, from text to text.

use std::fmt;

use serde_json::{Map, Value, json};

use super::NAME;

/// What stands in where a configuration that becomes a list has none of its own.
const DEFAULT_NETWORK: &str = "k8s-pod-network";
const DEFAULT_VERSION: &str = "0.3.1";

/// What is to be done to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Edit {
    /// Nothing.
    Keep,
    /// It gets a new text.
    Write {
        /// Name of the file to write.
        name: String,
        /// What to write.
        text: String,
        /// A file that the new one stands for.
        replaces: Option<String>,
    },
}

/// The file is no configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidList {
    reason: String,
}

/// Is a file of that name a network configuration?
#[must_use]
pub fn is_conf(name: &str) -> bool {
    name.ends_with(".conf") || name.ends_with(".conflist")
}

/// Puts the plugin at the end of a file's plugins, once. A file with a single plugin becomes a list.
///
/// # Errors
/// The text is no configuration.
pub fn insert(name: &str, text: &str, plugin: &Value) -> Result<Edit, InvalidList> {
    let mut conf = parse(text)?;
    let (new_name, replaces) = match name.strip_suffix(".conf") {
        // Lists live in files of another suffix.
        Some(stem) => (format!("{stem}.conflist"), Some(name.to_owned())),
        None => (name.to_owned(), None),
    };
    if !conf.contains_key("plugins") {
        if !conf.contains_key("type") {
            return Err(InvalidList::new("neither \"plugins\" nor \"type\" is there"));
        }
        let network = conf.get("name").cloned().unwrap_or_else(|| DEFAULT_NETWORK.into());
        let version = conf.get("cniVersion").cloned().unwrap_or_else(|| DEFAULT_VERSION.into());
        let list = json!({"name": network, "cniVersion": version, "plugins": [conf]});
        let Value::Object(list) = list else { return Err(InvalidList::new("no object")) };
        conf = list;
    }
    let plugins = plugins(&mut conf)?;
    if replaces.is_none() && plugins.last() == Some(plugin) && plugins.iter().filter(|p| is_ours(p)).count() == 1 {
        return Ok(Edit::Keep);
    }
    plugins.retain(|p| !is_ours(p));
    plugins.push(plugin.clone());
    Ok(Edit::Write { name: new_name, text: print(&Value::Object(conf)), replaces })
}

/// Takes the plugin out. A list that [`insert`] made of a single plugin becomes that again.
///
/// # Errors
/// The text is no configuration.
pub fn remove(name: &str, text: &str) -> Result<Edit, InvalidList> {
    let mut conf = parse(text)?;
    if !conf.contains_key("plugins") {
        return Ok(Edit::Keep);
    }
    let plugins = plugins(&mut conf)?;
    let before = plugins.len();
    plugins.retain(|p| !is_ours(p));
    if plugins.len() == before {
        return Ok(Edit::Keep);
    }
    // In a list, name and version belong to the list. A plugin that has its own was a file of its own.
    let was_single = |plugin: &Value| plugin.get("name").is_some() || plugin.get("cniVersion").is_some();
    if let ([single], Some(stem)) = (plugins.as_slice(), name.strip_suffix(".conflist"))
        && was_single(single)
    {
        return Ok(Edit::Write { name: format!("{stem}.conf"), text: print(single), replaces: Some(name.to_owned()) });
    }
    Ok(Edit::Write { name: name.to_owned(), text: print(&Value::Object(conf)), replaces: None })
}

fn parse(text: &str) -> Result<Map<String, Value>, InvalidList> {
    serde_json::from_str(text).map_err(|error| InvalidList::new(error.to_string()))
}

fn plugins(conf: &mut Map<String, Value>) -> Result<&mut Vec<Value>, InvalidList> {
    conf.get_mut("plugins").and_then(Value::as_array_mut).ok_or_else(|| InvalidList::new("\"plugins\" is no list"))
}

fn is_ours(plugin: &Value) -> bool {
    plugin.get("type").and_then(Value::as_str) == Some(NAME)
}

fn print(value: &Value) -> String {
    format!("{value:#}\n")
}

impl InvalidList {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

impl fmt::Display for InvalidList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no network configuration: {}", self.reason)
    }
}

impl std::error::Error for InvalidList {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ours() -> Value {
        json!({"type": NAME, "name": "linkerd-cni", "linkerd": {"proxy-uid": 2102}})
    }

    fn written(edit: Edit) -> (String, Value, Option<String>) {
        let Edit::Write { name, text, replaces } = edit else { panic!("kept") };
        (name, serde_json::from_str(&text).unwrap(), replaces)
    }

    #[test]
    fn the_plugin_comes_last_and_once() {
        let old = json!({"type": NAME, "linkerd": {"proxy-uid": 1}});
        let list = json!({"name": "kindnet", "cniVersion": "1.0.0", "plugins": [{"type": "ptp"}, old, {"type": "portmap"}]});
        let (name, conf, replaces) = written(insert("10-kindnet.conflist", &list.to_string(), &ours()).unwrap());
        assert_eq!((name.as_str(), replaces), ("10-kindnet.conflist", None));
        assert_eq!(conf, json!({"name": "kindnet", "cniVersion": "1.0.0", "plugins": [{"type": "ptp"}, {"type": "portmap"}, ours()]}));
        assert_eq!(insert(&name, &conf.to_string(), &ours()), Ok(Edit::Keep));
    }

    #[test]
    fn a_single_plugin_becomes_a_list_and_comes_back() {
        let single = json!({"name": "mynet", "cniVersion": "1.0.0", "type": "bridge", "bridge": "cni0"});
        let (name, conf, replaces) = written(insert("10-bridge.conf", &single.to_string(), &ours()).unwrap());
        assert_eq!((name.as_str(), replaces.as_deref()), ("10-bridge.conflist", Some("10-bridge.conf")));
        assert_eq!(conf, json!({"name": "mynet", "cniVersion": "1.0.0", "plugins": [single, ours()]}));

        let (name, conf, replaces) = written(remove(&name, &conf.to_string()).unwrap());
        assert_eq!((name.as_str(), replaces.as_deref()), ("10-bridge.conf", Some("10-bridge.conflist")));
        assert_eq!(conf, single);
    }

    #[test]
    fn a_nameless_plugin_gets_the_usual_name_and_version() {
        let (_, conf, _) = written(insert("a.conf", r#"{"type":"bridge"}"#, &ours()).unwrap());
        assert_eq!((&conf["name"], &conf["cniVersion"]), (&json!("k8s-pod-network"), &json!("0.3.1")));
    }

    #[test]
    fn a_list_of_one_plugin_stays_a_list() {
        let list = json!({"name": "n", "plugins": [{"type": "ptp"}]});
        let (_, conf, _) = written(insert("a.conflist", &list.to_string(), &ours()).unwrap());
        let (name, conf, _) = written(remove("a.conflist", &conf.to_string()).unwrap());
        assert_eq!((name.as_str(), conf), ("a.conflist", list));
    }

    #[test]
    fn what_is_no_configuration_is_left_alone() {
        for text in ["", "{", "[]", "{}", r#"{"plugins": 1}"#] {
            assert!(insert("a.conflist", text, &ours()).is_err(), "{text}");
        }
        assert_eq!(remove("a.conf", r#"{"type": "ptp"}"#), Ok(Edit::Keep));
    }

    proptest! {
        #[test]
        fn removing_undoes_inserting(kinds in proptest::collection::vec("[a-z]{1,8}", 1..5), version in proptest::option::of("[01]\\.[0-4]\\.0")) {
            let plugins: Vec<_> = kinds.iter().map(|kind| json!({"type": kind})).collect();
            let mut list = json!({"name": "net", "plugins": plugins});
            if let Some(version) = version {
                list["cniVersion"] = version.into();
            }
            let (name, with, _) = written(insert("x.conflist", &list.to_string(), &ours()).unwrap());
            let (_, without, _) = written(remove(&name, &with.to_string()).unwrap());
            prop_assert_eq!(without, list);
        }
    }
}
