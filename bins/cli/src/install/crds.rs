//! The kinds of the mesh, as the API server is told of them.

use meshkit_injector::documents;
use serde_json::{Value, json};

const CRDS: [&str; 10] = [
    include_str!("crds/authorizationpolicies.yaml"),
    include_str!("crds/egressnetworks.yaml"),
    include_str!("crds/externalworkloads.yaml"),
    include_str!("crds/httplocalratelimitpolicies.yaml"),
    include_str!("crds/httproutes.yaml"),
    include_str!("crds/meshtlsauthentications.yaml"),
    include_str!("crds/networkauthentications.yaml"),
    include_str!("crds/serverauthorizations.yaml"),
    include_str!("crds/servers.yaml"),
    include_str!("crds/serviceprofiles.yaml"),
];

/// Every kind of the mesh. Those of the Gateway API are not among them: they belong to the cluster.
///
/// # Errors
/// A file of this crate cannot be read; a test reads them all.
pub(crate) fn crds(namespace: &str, created_by: &str) -> Result<Vec<Value>, String> {
    let mut crds = Vec::new();
    for text in CRDS {
        for mut crd in documents::read(text).map_err(|error| error.to_string())? {
            crd["metadata"]["labels"] = json!({"linkerd.io/control-plane-ns": namespace});
            crd["metadata"]["annotations"] = json!({"linkerd.io/created-by": created_by});
            crds.push(crd);
        }
    }
    Ok(crds)
}

/// The names of every kind of the mesh.
pub(crate) fn names() -> Vec<String> {
    let crds = crds("", "").unwrap_or_default();
    crds.iter().filter_map(|crd| crd["metadata"]["name"].as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Kinds, their short names, and their versions: `!` is stored, `-` is deprecated, `/` has a status.
    #[test]
    fn kinds_and_versions_are_those_of_the_mesh() {
        let found: BTreeMap<_, _> = crds("linkerd", "me").unwrap().iter().map(summary).collect();
        let wanted = [
            ("linkerd.io/ServiceProfile", "sp: v1alpha1 v1alpha2!"),
            ("policy.linkerd.io/Server", "srv: v1alpha1- v1beta1- v1beta2 v1beta3!"),
            ("policy.linkerd.io/ServerAuthorization", "saz,serverauthz,srvauthz: v1alpha1- v1beta1!"),
            ("policy.linkerd.io/AuthorizationPolicy", "authzpolicy: v1alpha1!"),
            ("policy.linkerd.io/MeshTLSAuthentication", "meshtlsauthn: v1alpha1!"),
            ("policy.linkerd.io/NetworkAuthentication", "netauthn,networkauthn: v1alpha1!"),
            ("policy.linkerd.io/HTTPLocalRateLimitPolicy", ": v1alpha1!/"),
            ("policy.linkerd.io/EgressNetwork", ": v1alpha1!/"),
            ("policy.linkerd.io/HTTPRoute", ": v1alpha1/ v1beta1/ v1beta2/ v1beta3!/"),
            ("workload.linkerd.io/ExternalWorkload", ": v1alpha1/ v1beta1!/"),
        ];
        assert_eq!(found, wanted.map(|(kind, versions)| (kind.to_owned(), versions.to_owned())).into());
    }

    fn summary(crd: &Value) -> (String, String) {
        let spec = &crd["spec"];
        let names = &spec["names"];
        assert_eq!(crd["metadata"]["name"], format!("{}.{}", names["plural"].as_str().unwrap(), spec["group"].as_str().unwrap()));
        let short: Vec<_> = names["shortNames"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        let mut text = format!("{}:", short.join(","));
        for version in spec["versions"].as_array().unwrap() {
            assert_eq!(version["served"], true);
            let flag = |there: bool, flag: &'static str| if there { flag } else { "" };
            text += &format!(
                " {}{}{}{}",
                version["name"].as_str().unwrap(),
                flag(version["storage"] == true, "!"),
                flag(version["deprecated"] == true, "-"),
                flag(version["subresources"]["status"].is_object(), "/"),
            );
            structural(&version["schema"]["openAPIV3Schema"], crd["metadata"]["name"].as_str().unwrap());
        }
        (format!("{}/{}", spec["group"].as_str().unwrap(), names["kind"].as_str().unwrap()), text)
    }

    /// What the API server asks of a schema: every value has a type, and lists that are maps have keys that are always there.
    fn structural(schema: &Value, at: &str) {
        let typed = schema["type"].is_string() || schema["x-kubernetes-int-or-string"] == true;
        assert!(typed, "{at} has no type: {schema}");
        for (name, below) in schema["properties"].as_object().into_iter().flatten() {
            structural(below, &format!("{at}.{name}"));
        }
        for required in schema["required"].as_array().into_iter().flatten() {
            assert!(schema["properties"][required.as_str().unwrap()].is_object(), "{at}: {required} is required and not there");
        }
        if schema["type"] == "array" {
            let items = &schema["items"];
            structural(items, &format!("{at}[]"));
            for key in schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten() {
                let key = key.as_str().unwrap();
                let required = items["required"].as_array().unwrap().iter().any(|name| name == key);
                assert!(required || !items["properties"][key]["default"].is_null(), "{at}: key {key} may be missing");
            }
        }
        if schema["additionalProperties"].is_object() {
            structural(&schema["additionalProperties"], &format!("{at}.*"));
        }
    }
}
