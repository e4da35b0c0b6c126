use meshkit_e2e::installed::{Installed, TOOLS};

#[test]
fn a_job_with_a_sidecar_completes_and_a_pod_on_the_network_of_its_node_gets_none() {
    let Some(mesh) = Installed::shared() else { return };
    mesh.cluster().apply(&format!(
        "
apiVersion: v1
kind: Namespace
metadata: {{name: jobs, annotations: {{linkerd.io/inject: enabled}}}}
---
apiVersion: batch/v1
kind: Job
metadata: {{name: once, namespace: jobs}}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers: [{{name: once, image: '{TOOLS}', command: [sh, -c, 'echo done']}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: host, namespace: jobs}}
spec:
  selector: {{matchLabels: {{app: host}}}}
  template:
    metadata: {{labels: {{app: host}}}}
    spec:
      hostNetwork: true
      terminationGracePeriodSeconds: 1
      containers: [{{name: host, image: '{TOOLS}', command: [sleep, '100000']}}]
"
    ));
    mesh.sh("kubectl -n jobs wait --for=condition=Complete job/once --timeout=120s");
    let containers = mesh.sh("kubectl -n jobs get pods -l job-name=once -o jsonpath='{.items[0].spec.initContainers[*].name}'");
    assert!(containers.contains("linkerd-proxy"), "the proxy is a sidecar: {containers}");

    mesh.cluster().rolled_out("jobs", "deployment/host");
    let containers = mesh.sh("kubectl -n jobs get pods -l app=host -o jsonpath='{.items[0].spec..name}'");
    assert!(!containers.contains("linkerd-proxy"), "{containers}");
    mesh.wait("an event says why", || {
        let events = mesh.sh("kubectl -n jobs get events --field-selector reason=InjectionSkipped -o jsonpath='{.items[*].message}'");
        events.contains("hostNetwork").then_some(())
    });
    mesh.sh("kubectl delete namespace jobs --wait=false");
}
