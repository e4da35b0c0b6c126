//! Are the objects around the control plane there?

use super::{
    ADMISSION, RBAC, REPAIR,
    existence::{PARTS, kinds_exist},
};
use crate::{
    check::runner::{Category, Check, Passed},
    install::runtime_fits,
};

pub(in crate::check) fn config() -> Category {
    let namespace = Check::new("control plane Namespace exists", "l5d-existence-ns", |scene| {
        Box::pin(async move {
            let namespace = &scene.namespace;
            let there = scene.get(&format!("/api/v1/namespaces/{namespace}")).await?.is_some();
            if there { Ok(Passed::Well) } else { Err(format!("there is no namespace {namespace}: {REPAIR}")) }
        })
    });
    let roles = Check::new("control plane ClusterRoles exist", "l5d-existence-cr", |scene| {
        Box::pin(async move {
            let paths = ["identity", "proxy-injector"].map(|part| format!("{RBAC}/clusterroles/linkerd-{}-{part}", scene.namespace));
            scene.all_exist(&paths, "ClusterRoles").await
        })
    });
    let bindings = Check::new("control plane ClusterRoleBindings exist", "l5d-existence-crb", |scene| {
        Box::pin(async move {
            let paths = ["identity", "proxy-injector"].map(|part| format!("{RBAC}/clusterrolebindings/linkerd-{}-{part}", scene.namespace));
            scene.all_exist(&paths, "ClusterRoleBindings").await
        })
    });
    let accounts = Check::new("control plane ServiceAccounts exist", "l5d-existence-sa", |scene| {
        Box::pin(async move {
            let paths = PARTS.map(|part| format!("/api/v1/namespaces/{}/serviceaccounts/{part}", scene.namespace));
            scene.all_exist(&paths, "ServiceAccounts").await
        })
    });
    let mutating = Check::new("control plane MutatingWebhookConfigurations exist", "l5d-existence-mwc", |scene| {
        Box::pin(async move {
            let paths = [format!("{ADMISSION}/mutatingwebhookconfigurations/linkerd-proxy-injector-webhook-config")];
            scene.all_exist(&paths, "MutatingWebhookConfigurations").await
        })
    });
    let validating = Check::new("control plane ValidatingWebhookConfigurations exist", "l5d-existence-vwc", |scene| {
        Box::pin(async move {
            let paths = [format!("{ADMISSION}/validatingwebhookconfigurations/linkerd-sp-validator-webhook-config")];
            scene.all_exist(&paths, "ValidatingWebhookConfigurations").await
        })
    });
    let root =
        Check::new("proxy-init container runs as root user if docker container runtime is used", "l5d-proxy-init-run-as-root", |scene| {
            Box::pin(async move {
                let (nodes, values) = (scene.list("/api/v1/nodes").await?, scene.values().await?);
                runtime_fits(&nodes, &values).map(|()| Passed::Well).map_err(|lines| lines.join("\n"))
            })
        });
    let checks = vec![
        namespace.fatal(),
        roles.fatal(),
        bindings.fatal(),
        accounts.fatal(),
        kinds_exist().fatal(),
        mutating.fatal(),
        validating.fatal(),
        root,
    ];
    Category { name: "linkerd-config", checks }
}
