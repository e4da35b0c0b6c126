//! What a cluster must be like for an install, and what it tells about itself.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::crds;
use crate::{
    cluster::{self, Cluster, Failed, object},
    values::Tree,
};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// The kinds of the Gateway API that requests are routed by.
pub(crate) const GATEWAY_CRDS: [&str; 2] = ["httproutes.gateway.networking.k8s.io", "grpcroutes.gateway.networking.k8s.io"];
/// Where they come from.
pub(crate) const GATEWAY_INSTALL: &str =
    "kubectl apply --server-side -f https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.5.1/standard-install.yaml";

/// May the kinds of the mesh be installed?
///
/// # Errors
/// Why not.
pub(super) async fn of_kinds(cluster: &dyn Cluster) -> Result<(), Vec<String>> {
    reachable(cluster).await?;
    for name in GATEWAY_CRDS {
        if cluster.get(&format!("{CRDS}/{name}")).await.map_err(failed)?.is_none() {
            eprintln!(
                "The Gateway API is not installed. The mesh works without it; routes of that API do not. To have them:\n  {GATEWAY_INSTALL}"
            );
            break;
        }
    }
    Ok(())
}

/// May a control plane be installed? Puts what the cluster tells into the values.
///
/// # Errors
/// Why not.
pub(super) async fn of_control_plane(cluster: &dyn Cluster, namespace: &str, tree: &mut Tree) -> Result<(), Vec<String>> {
    reachable(cluster).await?;
    let missing = missing_crds(cluster).await.map_err(failed)?;
    if !missing.is_empty() {
        let what = format!("the kinds of the mesh are not installed: {}", missing.join(", "));
        return Err(vec![what, "run `mesh install --crds | kubectl apply -f -` first".to_owned()]);
    }
    if object(cluster, namespace, "configmaps", "linkerd-config").await.map_err(failed)?.is_some() {
        let what = format!("there is a mesh in namespace {namespace} already");
        return Err(vec![what, "run `mesh upgrade | kubectl apply -f -` to change it".to_owned()]);
    }
    let nodes = cluster::list(cluster, "/api/v1/nodes").await.map_err(failed)?;
    runtime_fits(&nodes, tree)?;
    if let Some(service) = object(cluster, "default", "services", "kubernetes").await.map_err(failed)? {
        api_server_ports(&service, tree);
    }
    if tree.text("identity.issuer.scheme") == "kubernetes.io/tls"
        && tree.text("identityTrustAnchorsPEM").is_empty()
        && !tree.is("identity.externalCA")
    {
        anchors_of_issuer(cluster, namespace, tree).await?;
    }
    Ok(())
}

async fn reachable(cluster: &dyn Cluster) -> Result<(), Vec<String>> {
    match cluster.get("/version").await {
        Ok(_) => Ok(()),
        Err(error) => Err(vec![
            format!("the Kubernetes API cannot be asked: {error}"),
            "to render without a cluster, say --ignore-cluster".to_owned(),
        ]),
    }
}

fn failed(error: Failed) -> Vec<String> {
    vec![error.to_string()]
}

/// Kinds of the mesh that the cluster does not have.
pub(crate) async fn missing_crds(cluster: &dyn Cluster) -> Result<Vec<String>, Failed> {
    let there = cluster::list(cluster, CRDS).await?;
    let there: BTreeSet<_> = there.iter().filter_map(|crd| crd["metadata"]["name"].as_str()).collect();
    Ok(crds::names().into_iter().filter(|name| !there.contains(name.as_str())).collect())
}

/// The init container cannot change the rules of docker's network unless it is root.
pub(crate) fn runtime_fits(nodes: &[Value], tree: &Tree) -> Result<(), Vec<String>> {
    let docker = |node: &Value| {
        let runtime = node.pointer("/status/nodeInfo/containerRuntimeVersion").and_then(Value::as_str);
        runtime.is_some_and(|runtime| runtime.starts_with("docker:"))
    };
    if tree.is("proxyInit.runAsRoot") || tree.is("cniEnabled") || !nodes.iter().any(docker) {
        return Ok(());
    }
    let names: Vec<_> = nodes.iter().filter(|node| docker(node)).filter_map(|node| node["metadata"]["name"].as_str()).collect();
    Err(vec![
        format!("nodes with the docker runtime: {}", names.join(", ")),
        "say --set proxyInit.runAsRoot=true, or use the CNI plugin (`mesh install-cni`, then --linkerd-cni-enabled)".to_owned(),
    ])
}

/// Controllers reach the API server without their proxies.
fn api_server_ports(service: &Value, tree: &mut Tree) {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten();
    let ports: BTreeSet<_> = ports.flat_map(|port| [port["port"].as_u64(), port["targetPort"].as_u64()]).flatten().collect();
    if !ports.is_empty() {
        let list: Vec<_> = ports.iter().map(ToString::to_string).collect();
        tree.set("proxyInit.kubeAPIServerPorts", json!(list.join(",")));
    }
}

async fn anchors_of_issuer(cluster: &dyn Cluster, namespace: &str, tree: &mut Tree) -> Result<(), Vec<String>> {
    let name = "linkerd-identity-issuer";
    let secret = object(cluster, namespace, "secrets", name).await.map_err(failed)?;
    let secret = secret
        .ok_or_else(|| vec![format!("there is no Secret {name} in namespace {namespace}: whoever makes the issuer must do so first")])?;
    let anchors = secret_text(&secret, "ca.crt");
    let anchors =
        anchors.ok_or_else(|| vec![format!("Secret {name} in namespace {namespace} has no ca.crt: say --identity-trust-anchors-file")])?;
    tree.set("identityTrustAnchorsPEM", json!(anchors));
    Ok(())
}

/// The text of a key of a Secret.
pub(crate) fn secret_text(secret: &Value, key: &str) -> Option<String> {
    use base64::Engine as _;
    let data = secret["data"].get(key)?.as_str()?;
    String::from_utf8(base64::engine::general_purpose::STANDARD.decode(data).ok()?).ok()
}
