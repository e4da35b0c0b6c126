//! Objects that depend on switches: both are made, and where they differ, the chart asks the switch.

use serde_json::{Map, Value, json};

use super::expressions::{Expressions, namespace};
use crate::{install, values::Tree};

/// Switches that change parts of objects.
const SWITCHES: [&str; 4] = ["cniEnabled", "disableIPv6", "enablePodAntiAffinity", "proxyInit.runAsRoot"];
/// Settings of webhooks that are there or not.
const SETTINGS: [&str; 3] = ["proxyInjector.injectCaFrom", "profileValidator.injectCaFrom", "policyValidator.injectCaFrom"];

/// Maps that the user adds to maps of the mesh: a key that stands for all of theirs.
pub(super) const MERGED: [(&str, &str); 3] =
    [("podLabels", "zzmerge-podlabels"), ("podAnnotations", "zzmerge-podannotations"), ("commonLabels", "zzmerge-commonlabels")];

/// Every object, with tokens where expressions belong.
pub(super) fn objects(expressions: &mut Expressions, mut tree: Tree, created_by: &str) -> Result<Vec<Value>, String> {
    tree.set("enablePodDisruptionBudget", json!(true));
    for (path, key) in MERGED {
        tree.set(path, json!({ key: "" }));
    }
    for path in SETTINGS {
        tree.set(path, json!(""));
    }
    let (plain, mut switched) = (tree.clone(), switches(expressions, &tree, &SWITCHES, created_by)?);
    // Two kinds of objects know nothing of each other's settings; so neither is made in all combinations of both.
    let asked = settings(expressions, &plain, &SETTINGS, created_by)?;
    for (object, asked) in switched.iter_mut().zip(asked) {
        if object["webhooks"].is_array() {
            *object = asked;
        }
    }
    Ok(switched)
}

fn made(expressions: &mut Expressions, tree: &Tree, created_by: &str) -> Result<Vec<Value>, String> {
    let mut objects = install::objects(tree, &namespace(), created_by)?;
    objects.iter_mut().for_each(|object| expressions.replace(object));
    Ok(objects)
}

fn switches(expressions: &mut Expressions, tree: &Tree, paths: &[&str], created_by: &str) -> Result<Vec<Value>, String> {
    let Some((path, rest)) = paths.split_first() else {
        return made(expressions, tree, created_by);
    };
    let (mut on, mut off) = (tree.clone(), tree.clone());
    on.set(path, json!(true));
    off.set(path, json!(false));
    let (on, off) = (switches(expressions, &on, rest, created_by)?, switches(expressions, &off, rest, created_by)?);
    Ok(on.into_iter().zip(off).map(|(on, off)| merge(expressions, &format!(".Values.{path}"), on, off)).collect())
}

fn settings(expressions: &mut Expressions, tree: &Tree, paths: &[&str], created_by: &str) -> Result<Vec<Value>, String> {
    let Some((path, rest)) = paths.split_first() else {
        return made(expressions, tree, created_by);
    };
    let mut said = tree.clone();
    said.set(path, json!(format!("zz-said-{path}-zz")));
    let (mut said, unsaid) = (settings(expressions, &said, rest, created_by)?, settings(expressions, tree, rest, created_by)?);
    for object in &mut said {
        let token = expressions.token(format!("{{{{ .Values.{path} | toJson }}}}"));
        put(object, &format!("zz-said-{path}-zz"), &token);
    }
    Ok(said.into_iter().zip(unsaid).map(|(said, unsaid)| merge(expressions, &format!(".Values.{path}"), said, unsaid)).collect())
}

fn put(value: &mut Value, text: &str, token: &Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(|value| put(value, text, token)),
        Value::Array(list) => list.iter_mut().for_each(|value| put(value, text, token)),
        Value::String(found) if found == text => *value = token.clone(),
        _ => {}
    }
}

/// One value of two: where they differ, a condition.
fn merge(expressions: &mut Expressions, condition: &str, on: Value, off: Value) -> Value {
    match (on, off) {
        (on, off) if on == off => on,
        (Value::Object(mut on), Value::Object(mut off)) => {
            let keys: Vec<_> = on.keys().chain(off.keys()).cloned().collect();
            let mut merged = Map::new();
            for key in keys {
                if !merged.contains_key(&key) {
                    let (on, off) = (on.remove(&key).unwrap_or_default(), off.remove(&key).unwrap_or_default());
                    merged.insert(key, merge(expressions, condition, on, off));
                }
            }
            Value::Object(merged)
        }
        (Value::Array(on), Value::Array(off)) if on.len() == off.len() => {
            on.into_iter().zip(off).map(|(on, off)| merge(expressions, condition, on, off)).collect()
        }
        (on, off) => expressions.token(format!("{{{{ if {condition} }}}}{on}{{{{ else }}}}{off}{{{{ end }}}}")),
    }
}
