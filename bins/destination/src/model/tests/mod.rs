mod endpoints;
mod external;
mod lookups;
mod profiles;

/// A meshed Pod of a Deployment and a plain one behind a Service, one that is not ready, and one that is gone.
const WEB: &str = "
apiVersion: v1
kind: Service
metadata: {name: web-svc, namespace: ns}
spec: {clusterIP: 10.96.0.7, ports: [{name: http, port: 80, targetPort: 8080}, {name: db, port: 5432}]}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web-5d, namespace: ns, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web}]}
spec: {template: {}}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: ns, labels: {app: web, linkerd.io/control-plane-ns: linkerd, pod-template-hash: 5d}, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-5d}]}
spec: {serviceAccountName: web, nodeName: node-a, containers: [{name: web, ports: [{name: http, containerPort: 8080}]}]}
status: {podIP: 10.0.0.1, phase: Running}
---
apiVersion: v1
kind: Pod
metadata: {name: web-2, namespace: ns}
spec: {nodeName: node-b, containers: []}
status: {podIP: 10.0.0.2, phase: Running}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-svc-1, namespace: ns, labels: {kubernetes.io/service-name: web-svc}}
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.0.0.1], conditions: {ready: true}, hostname: web-1, zone: east, targetRef: {kind: Pod, namespace: ns, name: web-1}}
- {addresses: [10.0.0.2], zone: west, targetRef: {kind: Pod, namespace: ns, name: web-2}}
- {addresses: [10.0.0.3], conditions: {ready: false}, hostname: web-3, targetRef: {kind: Pod, namespace: ns, name: web-2}}
- {addresses: [10.0.0.4], targetRef: {kind: Pod, namespace: ns, name: gone}}
- {addresses: [10.0.0.5], targetRef: {kind: Node, name: node-a}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-a, labels: {topology.kubernetes.io/zone: east}}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-b, labels: {topology.kubernetes.io/zone: west}}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-c}}
";

/// Two documents one after the other.
fn with(more: &str) -> String {
    format!("{WEB}---{more}")
}
