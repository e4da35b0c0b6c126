//! A mesh of high availability on three nodes in three zones: whatever is replaced, and in whatever order, no request fails.

use std::thread;

use meshkit_e2e::installed::{Installed, TOOLS};

/// The demo with two replicas of the part that takes the load, and a pod that makes it.
const CHANGES: &str = r#"
kubectl -n emojivoto scale deployment/web --replicas=2
kubectl -n emojivoto patch deployment/web --type=json --patch='[{"op": "add", "path": "/spec/template/spec/containers/0/lifecycle",
  "value": {"preStop": {"exec": {"command": ["mesh", "sleep", "5"]}}}}]'
kubectl -n emojivoto rollout status deployment/web --timeout=180s
"#;

#[test]
fn no_request_fails_while_everything_is_replaced() {
    let Some(mesh) = Installed::install("ha", 3, "--ha") else { return };
    let zones = mesh.sh(
        "kubectl -n linkerd get pods -l linkerd.io/control-plane-component=destination -o jsonpath='{.items[*].spec.nodeName}' | tr ' ' '\n' | sort -u | wc -l",
    );
    assert_eq!(zones.trim(), "3", "each replica has a node of its own");
    mesh.sh("mesh demo --manifests | kubectl apply -f -");
    mesh.cluster().apply(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: load, namespace: emojivoto}}, spec: {{containers: [{{name: load, image: '{TOOLS}', command: [sleep, '100000']}}]}}}}"
    ));
    mesh.sh(CHANGES);
    mesh.sh("kubectl -n emojivoto wait --for=condition=Ready pod/load --timeout=120s");
    mesh.wait("the page answers", || (page(&mesh) == "200").then_some(()));

    let restart = |namespace: &str, name: &str| {
        format!(
            "kubectl -n {namespace} rollout restart deployment/{name} && kubectl -n {namespace} rollout status deployment/{name} --timeout=180s"
        )
    };
    undisturbed(&mesh, &restart("emojivoto", "web"));
    for controller in ["linkerd-destination", "linkerd-identity", "linkerd-proxy-injector"] {
        undisturbed(&mesh, &restart("linkerd", controller));
    }
    undisturbed(
        &mesh,
        "mesh upgrade --set proxy.logLevel=warn | kubectl apply -f - && kubectl -n linkerd get deployments -o name | xargs -n1 kubectl -n linkerd rollout status --timeout=180s",
    );
    // The data plane outlives the control plane: what is known goes on, and what nobody has used for a while is still known.
    undisturbed(&mesh, "sleep 3 && kubectl -n linkerd scale deployment --all --replicas=0");
    assert_eq!(mesh.sh("kubectl -n linkerd get pods -o name"), "");
    mesh.sh("sleep 10");
    assert_eq!(page(&mesh), "200");
    mesh.sh("kubectl -n linkerd scale deployment --all --replicas=3");
    let checked = mesh.sh("mesh check --wait 180s");
    assert!(checked.ends_with("Status check results are √\n"), "{checked}");
}

/// The status of the page, on a connection of its own.
fn page(mesh: &Installed) -> String {
    mesh.sh("kubectl -n emojivoto exec load -c load -- curl -s -m 5 -o /dev/null -w '%{http_code}' http://web-svc/api/list || true")
}

/// Runs a line of a shell under load, of which every request is answered.
fn undisturbed(mesh: &Installed, line: &str) {
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            mesh.sh("kubectl -n emojivoto exec load -c load -- h2load --h1 --duration=45 --clients=8 --threads=1 --rps=10 http://web-svc/api/list")
        });
        mesh.sh(line);
        let told = load.join().expect("the load runs");
        let requests = told.lines().find(|line| line.starts_with("requests: ")).unwrap_or_else(|| panic!("{told}"));
        let (fine, codes) = (" 0 failed, 0 errored, 0 timeout", told.lines().find(|line| line.starts_with("status codes: ")));
        assert!(requests.ends_with(fine), "{line}\n{told}");
        assert!(codes.is_some_and(|codes| codes.ends_with(" 0 3xx, 0 4xx, 0 5xx") && !codes.contains(" 0 2xx")), "{line}\n{told}");
    });
}
