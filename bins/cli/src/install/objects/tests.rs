use std::collections::{BTreeMap, BTreeSet};

use meshkit_injector::documents;

use super::*;
use crate::install::certificates::WEBHOOKS;

/// Complete values, with certificates that are none: they are only carried about.
fn tree() -> Tree {
    let mut tree = Tree::defaults();
    tree.set("linkerdVersion", json!("1.0.0"));
    tree.set("identityTrustDomain", json!("cluster.local"));
    tree.set("identityTrustAnchorsPEM", json!("ANCHORS\n"));
    tree.set("identity.issuer.tls", json!({"crtPEM": "ISSUER\n", "keyPEM": "SECRET\n"}));
    for webhook in WEBHOOKS {
        tree.merge(json!({webhook.values: {"crtPEM": "HOOK\n", "keyPEM": "SECRET\n", "caBundle": "CA\n"}}));
    }
    tree
}

fn of(tree: &Tree) -> Vec<Value> {
    let objects = objects(tree, "linkerd", "linkerd/cli 1.0.0").unwrap();
    // What is written is what is read again.
    let text = documents::write(&objects, documents::Format::Yaml).unwrap();
    assert_eq!(documents::read(&text).unwrap(), objects);
    objects
}

fn ha() -> Vec<Value> {
    let mut tree = tree();
    tree.merge(Tree::high_availability());
    of(&tree)
}

fn place(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    if namespace.is_empty() { format!("{} {name}", text("/kind")) } else { format!("{} {namespace}/{name}", text("/kind")) }
}

fn find<'a>(objects: &'a [Value], wanted: &str) -> &'a Value {
    objects.iter().find(|object| place(object) == wanted).unwrap_or_else(|| panic!("{wanted} is not there"))
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().map(|item| item["name"].as_str().unwrap()).collect()
}

const PARTS: [&str; 3] = ["identity", "destination", "proxy-injector"];

#[test]
fn these_are_the_objects_and_this_is_their_order() {
    let found: Vec<_> = of(&tree()).iter().map(place).collect();
    assert_eq!(
        found,
        [
            "Namespace linkerd",
            "ClusterRole linkerd-linkerd-identity",
            "ClusterRoleBinding linkerd-linkerd-identity",
            "ServiceAccount linkerd/linkerd-identity",
            "ClusterRole linkerd-linkerd-destination",
            "ClusterRoleBinding linkerd-linkerd-destination",
            "ServiceAccount linkerd/linkerd-destination",
            "Role linkerd/remote-discovery",
            "RoleBinding linkerd/linkerd-destination-remote-discovery",
            "Secret linkerd/linkerd-sp-validator-k8s-tls",
            "ValidatingWebhookConfiguration linkerd-sp-validator-webhook-config",
            "Secret linkerd/linkerd-policy-validator-k8s-tls",
            "ValidatingWebhookConfiguration linkerd-policy-validator-webhook-config",
            "ClusterRole linkerd-policy",
            "ClusterRoleBinding linkerd-destination-policy",
            "ClusterRole linkerd-linkerd-proxy-injector",
            "ClusterRoleBinding linkerd-linkerd-proxy-injector",
            "ServiceAccount linkerd/linkerd-proxy-injector",
            "Secret linkerd/linkerd-proxy-injector-k8s-tls",
            "MutatingWebhookConfiguration linkerd-proxy-injector-webhook-config",
            "ConfigMap linkerd/linkerd-config",
            "Role linkerd/ext-namespace-metadata-linkerd-config",
            "Secret linkerd/linkerd-identity-issuer",
            "ConfigMap linkerd/linkerd-identity-trust-roots",
            "Service linkerd/linkerd-identity",
            "Service linkerd/linkerd-identity-headless",
            "Deployment linkerd/linkerd-identity",
            "Service linkerd/linkerd-dst",
            "Service linkerd/linkerd-dst-headless",
            "Service linkerd/linkerd-sp-validator",
            "Service linkerd/linkerd-policy",
            "Service linkerd/linkerd-policy-validator",
            "Deployment linkerd/linkerd-destination",
            "Deployment linkerd/linkerd-proxy-injector",
            "Service linkerd/linkerd-proxy-injector",
            "Secret linkerd/linkerd-config-overrides",
        ]
    );
}

/// Uninstall and prune find objects by this label.
#[test]
fn every_object_says_whose_it_is() {
    for object in ha() {
        assert_eq!(object["metadata"]["labels"][CONTROL_PLANE_NS], "linkerd", "{}", place(&object));
    }
}

#[test]
fn the_namespace_is_left_alone_by_the_injector() {
    let objects = of(&tree());
    let metadata = &find(&objects, "Namespace linkerd")["metadata"];
    assert_eq!(metadata["annotations"], json!({"linkerd.io/inject": "disabled"}));
    assert_eq!(metadata["labels"]["config.linkerd.io/admission-webhooks"], "disabled");
    assert_eq!(metadata["labels"]["linkerd.io/is-control-plane"], "true");
    assert_eq!(metadata["labels"]["pod-security.kubernetes.io/enforce"], "privileged");
    let mut cni = tree();
    cni.set("cniEnabled", json!(true));
    let objects = of(&cni);
    assert_eq!(find(&objects, "Namespace linkerd")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
}

#[test]
fn containers_listen_where_services_lead() {
    let objects = of(&tree());
    let ports = |part: &str| -> BTreeMap<String, u64> {
        let deployment = find(&objects, &format!("Deployment linkerd/linkerd-{part}"));
        let containers = deployment["spec"]["template"]["spec"]["containers"].as_array().unwrap();
        let ports = containers.iter().filter(|c| c["name"] != "linkerd-proxy").flat_map(|c| c["ports"].as_array().unwrap());
        ports.map(|port| (port["name"].as_str().unwrap().to_owned(), port["containerPort"].as_u64().unwrap())).collect()
    };
    let wanted =
        |ports: &[(&str, u64)]| -> BTreeMap<String, u64> { ports.iter().map(|(name, port)| ((*name).to_owned(), *port)).collect() };
    assert_eq!(ports("identity"), wanted(&[("ident-grpc", 8080), ("ident-admin", 9990)]));
    let destination = [
        ("dest-grpc", 8086),
        ("dest-admin", 9996),
        ("sp-validator", 8443),
        ("spval-admin", 9997),
        ("policy-grpc", 8090),
        ("policy-admin", 9990),
        ("policy-https", 9443),
    ];
    assert_eq!(ports("destination"), wanted(&destination));
    assert_eq!(ports("proxy-injector"), wanted(&[("proxy-injector", 8443), ("injector-admin", 9995)]));

    for (service, part, port, headless) in [
        ("linkerd-identity", "identity", 8080, false),
        ("linkerd-identity-headless", "identity", 8080, true),
        ("linkerd-dst", "destination", 8086, false),
        ("linkerd-dst-headless", "destination", 8086, true),
        ("linkerd-policy", "destination", 8090, true),
        ("linkerd-sp-validator", "destination", 443, false),
        ("linkerd-policy-validator", "destination", 443, false),
        ("linkerd-proxy-injector", "proxy-injector", 443, false),
    ] {
        let spec = &find(&objects, &format!("Service linkerd/{service}"))["spec"];
        assert_eq!(spec["selector"], json!({"linkerd.io/control-plane-component": part}), "{service}");
        assert_eq!((&spec["ports"][0]["port"], spec["clusterIP"] == "None"), (&json!(port), headless), "{service}");
        let target = &spec["ports"][0]["targetPort"];
        let of_part = ports(part);
        assert!(
            target.as_str().map_or_else(|| of_part.values().any(|p| json!(p) == *target), |name| of_part.contains_key(name)),
            "{service}: {target}"
        );
    }
    let service = find(&objects, "Service linkerd/linkerd-proxy-injector");
    assert_eq!(service["metadata"]["annotations"]["config.linkerd.io/opaque-ports"], "443");
}

fn proxy<'a>(objects: &'a [Value], part: &str, list: &str) -> &'a Value {
    let spec = &find(objects, &format!("Deployment linkerd/linkerd-{part}"))["spec"]["template"]["spec"];
    let found = spec[list].as_array().into_iter().flatten().find(|c| c["name"] == "linkerd-proxy");
    found.unwrap_or_else(|| panic!("{part} has no proxy in {list}"))
}

fn variable<'a>(container: &'a Value, name: &str) -> &'a Value {
    container["env"].as_array().unwrap().iter().find(|v| v["name"] == name).unwrap_or(&Value::Null)
}

#[test]
fn every_part_is_meshed_and_asks_itself_where_it_can() {
    let objects = of(&tree());
    let identity = proxy(&objects, "identity", "containers");
    let destination = proxy(&objects, "destination", "initContainers");
    let injector = proxy(&objects, "proxy-injector", "initContainers");
    assert_eq!(
        names(&find(&objects, "Deployment linkerd/linkerd-identity")["spec"]["template"]["spec"]["containers"]),
        ["identity", "linkerd-proxy"]
    );
    let table = [
        ("LINKERD2_PROXY_IDENTITY_SVC_ADDR", "localhost.:8080", "linkerd-identity-headless.linkerd.svc.cluster.local.:8080"),
        ("LINKERD2_PROXY_DESTINATION_SVC_ADDR", "localhost.:8086", "linkerd-dst-headless.linkerd.svc.cluster.local.:8086"),
        ("LINKERD2_PROXY_POLICY_SVC_ADDR", "localhost.:8090", "linkerd-policy.linkerd.svc.cluster.local.:8090"),
    ];
    for (name, own, other) in table {
        let is_identity = name.contains("IDENTITY");
        assert_eq!(variable(identity, name)["value"], if is_identity { own } else { other });
        assert_eq!(variable(destination, name)["value"], if is_identity { other } else { own });
        assert_eq!(variable(injector, name)["value"], other);
    }
    assert_eq!(variable(identity, "LINKERD2_PROXY_INBOUND_PORTS_REQUIRE_TLS")["value"], "8080");
    assert_eq!(variable(identity, "LINKERD2_PROXY_INBOUND_PORTS")["value"], "8080,9990");
    assert_eq!(variable(destination, "LINKERD2_PROXY_INBOUND_PORTS")["value"], "8086,8090,8443,9443,9990,9996,9997");
    for container in [identity, destination, injector] {
        let anchors = &variable(container, "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS")["valueFrom"]["configMapKeyRef"];
        assert_eq!(*anchors, json!({"name": "linkerd-identity-trust-roots", "key": "ca-bundle.crt"}));
    }
    for part in PARTS {
        let template = &find(&objects, &format!("Deployment linkerd/linkerd-{part}"))["spec"]["template"];
        assert_eq!(template["metadata"]["annotations"]["config.linkerd.io/default-inbound-policy"], "all-unauthenticated");
        let init = &template["spec"]["initContainers"][0];
        let args: Vec<_> = init["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
        let at = args.iter().position(|arg| *arg == "--outbound-ports-to-ignore").unwrap();
        assert_eq!(args[at + 1], "443,6443", "{part} reaches the API server without its proxy");
    }
}

/// A Deployment whose selector misses its own pods is refused by the API server.
#[test]
fn selectors_meet_the_pods_also_with_labels_of_the_user() {
    let mut tree = tree();
    tree.merge(json!({"podLabels": {"team": "a", COMPONENT: "mine"}, "commonLabels": {"all": "b", CONTROL_PLANE_NS: "mine"}, "podAnnotations": {"note": "c"}}));
    let objects = of(&tree);
    for part in PARTS {
        let deployment = find(&objects, &format!("Deployment linkerd/linkerd-{part}"));
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        for (key, value) in deployment["spec"]["selector"]["matchLabels"].as_object().unwrap() {
            assert_eq!(&labels[key], value, "{part}");
        }
        assert_eq!((&labels["team"], &labels["all"]), (&json!("a"), &json!("b")));
        assert_eq!(labels["linkerd.io/workload-ns"], "linkerd");
        assert_eq!(deployment["spec"]["template"]["metadata"]["annotations"]["note"], "c");
        assert_eq!(deployment["metadata"]["labels"]["all"], "b");
    }
}

#[test]
fn volumes_that_are_mounted_are_there() {
    let objects = of(&tree());
    let made: BTreeSet<_> = objects.iter().map(place).collect();
    for part in PARTS {
        let spec = &find(&objects, &format!("Deployment linkerd/linkerd-{part}"))["spec"]["template"]["spec"];
        let volumes: BTreeSet<_> = names(&spec["volumes"]).into_iter().collect();
        let containers = ["containers", "initContainers"].iter().flat_map(|list| spec[list].as_array().into_iter().flatten());
        let mounted: BTreeSet<_> = containers.flat_map(|c| names(&c["volumeMounts"])).collect();
        assert_eq!(volumes, mounted, "{part}");
        for volume in spec["volumes"].as_array().unwrap() {
            for (pointer, kind) in [("/secret/secretName", "Secret"), ("/configMap/name", "ConfigMap")] {
                if let Some(name) = volume.pointer(pointer).and_then(Value::as_str) {
                    assert!(made.contains(&format!("{kind} linkerd/{name}")), "{part}: {kind} {name}");
                }
            }
        }
        assert_eq!(spec["automountServiceAccountToken"], false);
        for container in spec["containers"].as_array().unwrap() {
            assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
            assert_eq!(container["securityContext"]["runAsNonRoot"], true);
        }
    }
}

#[test]
fn webhooks_ask_for_what_they_judge() {
    let objects = of(&tree());
    let mutating = &find(&objects, "MutatingWebhookConfiguration linkerd-proxy-injector-webhook-config")["webhooks"][0];
    assert_eq!(mutating["name"], "linkerd-proxy-injector.linkerd.io");
    assert_eq!(
        (&mutating["failurePolicy"], &mutating["timeoutSeconds"], &mutating["sideEffects"]),
        (&json!("Ignore"), &json!(10), &json!("None"))
    );
    assert_eq!(mutating["rules"][0]["resources"], json!(["pods", "services"]));
    assert_eq!(
        mutating["clientConfig"],
        json!({"service": {"name": "linkerd-proxy-injector", "namespace": "linkerd", "path": "/"}, "caBundle": "Q0EK"})
    );
    let expressions = names_of(&mutating["namespaceSelector"], &mutating["objectSelector"]);
    assert_eq!(
        expressions,
        [
            "config.linkerd.io/admission-webhooks NotIn",
            "kubernetes.io/metadata.name NotIn",
            "linkerd.io/control-plane-component DoesNotExist",
            "linkerd.io/cni-resource DoesNotExist",
        ]
    );
    let policies = &find(&objects, "ValidatingWebhookConfiguration linkerd-policy-validator-webhook-config")["webhooks"][0];
    assert_eq!(policies["rules"][0]["resources"].as_array().unwrap().len(), 8);
    assert_eq!(policies["rules"][1]["apiGroups"], json!(["gateway.networking.k8s.io"]));
    let profiles = &find(&objects, "ValidatingWebhookConfiguration linkerd-sp-validator-webhook-config")["webhooks"][0];
    assert_eq!(profiles["rules"][0]["apiVersions"], json!(["v1alpha1", "v1alpha2"]));
}

fn names_of(a: &Value, b: &Value) -> Vec<String> {
    let all = [a, b].into_iter().flat_map(|selector| selector["matchExpressions"].as_array().unwrap());
    all.map(|e| format!("{} {}", e["key"].as_str().unwrap(), e["operator"].as_str().unwrap())).collect()
}

#[test]
fn bindings_bind_roles_and_accounts_that_are_there() {
    let objects = of(&tree());
    let made: BTreeSet<_> = objects.iter().map(place).collect();
    for binding in objects.iter().filter(|object| place(object).contains("Binding")) {
        let (kind, name) = (binding["roleRef"]["kind"].as_str().unwrap(), binding["roleRef"]["name"].as_str().unwrap());
        let role = if kind == "Role" { format!("Role linkerd/{name}") } else { format!("{kind} {name}") };
        assert!(made.contains(&role), "{}: {role}", place(binding));
        for subject in binding["subjects"].as_array().unwrap() {
            assert!(made.contains(&format!("ServiceAccount linkerd/{}", subject["name"].as_str().unwrap())), "{}", place(binding));
        }
    }
    // Nobody may do everything, and only these may write.
    for role in objects.iter().filter(|object| object["rules"].is_array()) {
        for rule in role["rules"].as_array().unwrap() {
            assert!(!rule.to_string().contains('*'), "{}", place(role));
            let writes = rule["verbs"].as_array().unwrap().iter().any(|verb| !["get", "list", "watch"].contains(&verb.as_str().unwrap()));
            let resources = rule["resources"].as_array().unwrap().iter().map(|r| r.as_str().unwrap());
            let written = ["tokenreviews", "events", "leases", "endpointslices"];
            assert!(!writes || resources.clone().all(|r| written.contains(&r) || r.ends_with("/status")), "{}: {rule}", place(role));
        }
    }
}

#[test]
fn keys_are_in_secrets_only() {
    let objects = of(&tree());
    let config = find(&objects, "ConfigMap linkerd/linkerd-config");
    let values = Tree::read(config["data"]["values"].as_str().unwrap()).unwrap();
    assert_eq!(values.text("identityTrustDomain"), "cluster.local");
    assert_eq!(values.text("identityTrustAnchorsPEM"), "ANCHORS\n");
    assert_eq!(values.of_injection("linkerd").unwrap(), tree().of_injection("linkerd").unwrap());
    for object in objects.iter().filter(|object| object["kind"] != "Secret") {
        assert!(!object.to_string().contains("SECRET"), "{}", place(object));
    }
    let issuer = find(&objects, "Secret linkerd/linkerd-identity-issuer");
    assert_eq!(issuer["data"], json!({"crt.pem": base64("ISSUER\n"), "key.pem": base64("SECRET\n")}));
    assert_eq!(find(&objects, "Secret linkerd/linkerd-sp-validator-k8s-tls")["type"], "kubernetes.io/tls");
    let roots = find(&objects, "ConfigMap linkerd/linkerd-identity-trust-roots");
    assert_eq!(roots["data"]["ca-bundle.crt"], "ANCHORS\n");
}

#[test]
fn what_is_made_elsewhere_is_not_made_here() {
    let mut tree = tree();
    tree.merge(json!({"identity": {"externalCA": true, "issuer": {"scheme": "kubernetes.io/tls"}}, "proxyInjector": {"externalSecret": true, "injectCaFrom": "linkerd/x", "caBundle": ""}}));
    let objects = of(&tree);
    let made: BTreeSet<_> = objects.iter().map(place).collect();
    for absent in [
        "Secret linkerd/linkerd-identity-issuer",
        "ConfigMap linkerd/linkerd-identity-trust-roots",
        "Secret linkerd/linkerd-proxy-injector-k8s-tls",
    ] {
        assert!(!made.contains(absent), "{absent}");
    }
    let configuration = find(&objects, "MutatingWebhookConfiguration linkerd-proxy-injector-webhook-config");
    assert_eq!(configuration["metadata"]["annotations"], json!({"cert-manager.io/inject-ca-from": "linkerd/x"}));
    assert!(configuration["webhooks"][0]["clientConfig"]["caBundle"].is_null());
}

#[test]
fn high_availability_is_three_of_everything_in_different_places() {
    let objects = ha();
    for part in PARTS {
        let spec = &find(&objects, &format!("Deployment linkerd/linkerd-{part}"))["spec"];
        assert_eq!(spec["replicas"], 3);
        assert_eq!(spec["strategy"]["rollingUpdate"], json!({"maxUnavailable": 1, "maxSurge": "25%"}));
        let affinity = &spec["template"]["spec"]["affinity"]["podAntiAffinity"];
        assert_eq!(affinity["requiredDuringSchedulingIgnoredDuringExecution"][0]["topologyKey"], "kubernetes.io/hostname");
        assert_eq!(
            affinity["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"]["topologyKey"],
            "topology.kubernetes.io/zone"
        );
        let budget = &find(&objects, &format!("PodDisruptionBudget linkerd/linkerd-{part}"))["spec"];
        assert_eq!(budget["maxUnavailable"], 1);
        assert_eq!(budget["selector"]["matchLabels"][COMPONENT], part);
        let requests = |name: &str| {
            let pod = &spec["template"]["spec"];
            let all = ["containers", "initContainers"].iter().flat_map(|list| pod[list].as_array().into_iter().flatten());
            all.into_iter().find(|c| c["name"] == name).unwrap()["resources"].clone()
        };
        assert_eq!(requests("linkerd-proxy"), json!({"requests": {"cpu": "100m", "memory": "20Mi"}, "limits": {"memory": "250Mi"}}));
        let own =
            json!({"requests": {"cpu": "100m", "memory": if part == "identity" { "10Mi" } else { "50Mi" }}, "limits": {"memory": "250Mi"}});
        assert_eq!(requests(part), own);
    }
    for configuration in objects.iter().filter(|object| object["webhooks"].is_array()) {
        assert_eq!(configuration["webhooks"][0]["failurePolicy"], "Fail");
    }
    assert!(of(&tree()).iter().all(|object| object["kind"] != "PodDisruptionBudget" && !object.to_string().contains("podAntiAffinity")));
}

#[test]
fn what_was_said_is_kept_for_the_next_upgrade() {
    let mut tree = tree();
    tree.set("proxy.logLevel", json!("debug"));
    let objects = of(&tree);
    let secret = find(&objects, "Secret linkerd/linkerd-config-overrides");
    use ::base64::Engine as _;
    let text = ::base64::engine::general_purpose::STANDARD.decode(secret["data"][OVERRIDES].as_str().unwrap()).unwrap();
    let overrides: Value = Tree::read(&String::from_utf8(text).unwrap()).unwrap().into();
    assert_eq!(
        overrides,
        json!({
            "identity": {"issuer": {"tls": {"crtPEM": "ISSUER\n", "keyPEM": "SECRET\n"}}},
            "identityTrustAnchorsPEM": "ANCHORS\n",
            "identityTrustDomain": "cluster.local",
            "linkerdVersion": "1.0.0",
            "proxy": {"logLevel": "debug"},
        })
    );
}
