//! The Kubernetes objects that run the application, with the policies that make the mesh visible.

/// The namespace that everything is in.
pub const NAMESPACE: &str = "emojivoto";

/// The command word as it stands in the embedded files.
const COMMAND: &str = "command: [\"mesh\", ";

/// File name and text of each.
const FILES: &[(&str, &str)] = &[
    ("00-namespace.yaml", include_str!("../manifests/00-namespace.yaml")),
    ("10-emoji.yaml", include_str!("../manifests/10-emoji.yaml")),
    ("11-voting.yaml", include_str!("../manifests/11-voting.yaml")),
    ("12-web.yaml", include_str!("../manifests/12-web.yaml")),
    ("13-vote-bot.yaml", include_str!("../manifests/13-vote-bot.yaml")),
    ("14-intruder.yaml", include_str!("../manifests/14-intruder.yaml")),
    ("20-routes.yaml", include_str!("../manifests/20-routes.yaml")),
    ("21-profile.yaml", include_str!("../manifests/21-profile.yaml")),
    ("30-policy.yaml", include_str!("../manifests/30-policy.yaml")),
];

/// The manifests as file name and YAML text, in the order in which they are applied.
///
/// `mesh_command` is the program that the containers run; `mesh` in a container image and under `mesh run`.
#[must_use]
pub fn manifests(mesh_command: &str) -> Vec<(&'static str, String)> {
    // A JSON string is a YAML string.
    let command = format!("command: [{}, ", serde_json::Value::from(mesh_command));
    FILES.iter().map(|(name, text)| (*name, text.replace(COMMAND, &command))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Component, table};

    #[test]
    fn every_component_has_a_workload_that_runs_it() {
        let all: String = manifests("/opt/my mesh/\"mesh\"").into_iter().map(|(_, text)| text).collect();
        for component in Component::ALL {
            assert!(all.contains(&format!("command: [\"/opt/my mesh/\\\"mesh\\\"\", \"demo-app\", \"{component}\"]")), "{component}");
        }
        assert!(!all.contains("\"mesh\", \"demo-app\""));
    }

    #[test]
    fn the_files_are_applied_in_the_order_of_their_names() {
        let manifests = manifests("mesh");
        assert!(manifests.iter().map(|(name, _)| name).is_sorted());
        assert!(manifests.iter().all(|(_, text)| text.ends_with('\n') && !text.contains('\t')));
    }

    #[test]
    fn the_split_names_rpcs_that_exist() {
        let (_, routes) = manifests("mesh").into_iter().find(|(name, _)| *name == "20-routes.yaml").unwrap();
        for method in routes.lines().filter_map(|line| line.trim().strip_prefix("method: ")) {
            let known = ["ListAll", "FindByShortcode", "Results"];
            assert!(known.contains(&method) || table::EMOJI.iter().any(|(shortcode, _)| table::rpc_name(shortcode) == method), "{method}");
        }
    }
}
