//! The mesh on a real cluster, as its users have it: one cluster and one control plane for all tests, a namespace for each.

mod injection;
mod policy;
mod tutorial;

use meshkit_e2e::installed::Installed;

/// What a program in a container of a pod prints, or how it failed.
fn exec(mesh: &Installed, namespace: &str, pod: &str, container: &str, command: &[&str]) -> Result<String, String> {
    let mut args = vec!["--namespace", namespace, "exec", pod, "--container", container, "--"];
    args.extend(command);
    mesh.cluster().try_kubectl(&args, "")
}
