//! The API server.

use super::unless;
use crate::{
    check::runner::{Category, Check, Passed},
    install::{GATEWAY_CRDS, GATEWAY_INSTALL},
};

/// The oldest Kubernetes that the mesh is made for.
const MINIMUM: (u64, u64) = (1, 31);

/// Can it be asked at all?
pub(in crate::check) fn api() -> Category {
    let todo = "see that `kubectl version` answers, with the same --kubeconfig and --context";
    let client = Check::new("can initialize the client", "k8s-api", move |scene| {
        Box::pin(async move {
            match scene.get("/version").await {
                // What is not there cannot be asked; all else is the next row's.
                Err(error) if error.to_string().contains("kubectl is not on the PATH") => Err(error.to_string()),
                _ => Ok(Passed::Well),
            }
        })
    });
    let query = Check::new("can query the Kubernetes API", "k8s-api", move |scene| {
        Box::pin(async move { scene.get("/version").await.map(|_| Passed::Well).map_err(|error| format!("{error}\n{todo}")) })
    });
    Category { name: "kubernetes-api", checks: vec![client.fatal(), query.fatal()] }
}

/// Is it new enough?
pub(in crate::check) fn version() -> Category {
    let check = Check::new("is running the minimum Kubernetes API version", "k8s-version", |scene| {
        Box::pin(async move {
            let answer = scene.get("/version").await?.unwrap_or_default();
            let text = answer["gitVersion"].as_str().unwrap_or_default();
            let mut numbers = text.trim_start_matches('v').split(['.', '-', '+']).map(|number| number.parse::<u64>().ok());
            let found = numbers.next().flatten().zip(numbers.next().flatten());
            let (major, minor) = MINIMUM;
            match found {
                None => Err(format!("the API server says its version is {text:?}, which is none")),
                Some(found) => unless(
                    (found < MINIMUM).then(|| format!("Kubernetes is {text}, and must be {major}.{minor}.0 or newer: upgrade the cluster")),
                ),
            }
        })
    });
    Category { name: "kubernetes-version", checks: vec![check] }
}

/// Has it the kinds that routes of the Gateway API are?
pub(in crate::check) fn gateway() -> Category {
    // Elsewhere this ends all checks. Our controllers go on without these kinds, so it is a warning here.
    let check = Check::new("Gateway API CRDs are installed", "gateway-api-crd", |scene| {
        Box::pin(async move {
            for name in GATEWAY_CRDS {
                let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
                let Some(crd) = scene.get(&path).await? else {
                    return Err(format!(
                        "{name} is not installed: routes of the Gateway API have no effect\nto have them, run {GATEWAY_INSTALL}"
                    ));
                };
                let versions = crd.pointer("/spec/versions").and_then(serde_json::Value::as_array).into_iter().flatten();
                if !versions.into_iter().any(|version| version["name"] == "v1" && version["served"] == true) {
                    return Err(format!("{name} does not serve v1: it is too old\nrun {GATEWAY_INSTALL}"));
                }
            }
            Ok(Passed::Well)
        })
    });
    Category { name: "gateway-api-crd", checks: vec![check.warning()] }
}
