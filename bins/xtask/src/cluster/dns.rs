//! CoreDNS as objects of the cluster.

use super::{plan::Plan, programs::DNS_IMAGE};

/// What `kubectl apply` takes.
pub(crate) fn manifest(plan: &Plan) -> String {
    let address = plan.dns_service();
    format!(
        r#"apiVersion: v1
kind: ServiceAccount
metadata: {{name: coredns, namespace: kube-system}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: system:coredns}}
rules:
- apiGroups: [""]
  resources: [services, pods, namespaces]
  verbs: [list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: system:coredns}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:coredns}}
subjects:
- {{kind: ServiceAccount, name: coredns, namespace: kube-system}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: coredns, namespace: kube-system}}
data:
  # Nothing outside the cluster is asked: a name that is not known here does not exist.
  Corefile: |
    .:53 {{
        errors
        health
        ready
        prometheus :9153
        cache 5
        kubernetes cluster.local in-addr.arpa ip6.arpa {{
            pods verified
            ttl 5
            fallthrough
        }}
        template ANY ANY . {{
            rcode NXDOMAIN
        }}
        reload 5s
    }}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: coredns
  namespace: kube-system
  labels: {{k8s-app: kube-dns}}
spec:
  selector: {{matchLabels: {{k8s-app: kube-dns}}}}
  template:
    metadata:
      labels: {{k8s-app: kube-dns}}
    spec:
      serviceAccountName: coredns
      priorityClassName: system-cluster-critical
      dnsPolicy: Default
      tolerations: [{{operator: Exists}}]
      # Where the control plane is: ending another node takes no name away.
      nodeName: {node}
      containers:
      - name: coredns
        image: {DNS_IMAGE}
        args: ["-conf", "/etc/coredns/Corefile"]
        ports:
        - {{name: dns, containerPort: 53, protocol: UDP}}
        - {{name: dns-tcp, containerPort: 53, protocol: TCP}}
        - {{name: metrics, containerPort: 9153, protocol: TCP}}
        readinessProbe: {{httpGet: {{path: /ready, port: 8181}}, periodSeconds: 1}}
        livenessProbe: {{httpGet: {{path: /health, port: 8080}}, initialDelaySeconds: 30}}
        resources: {{requests: {{cpu: 50m, memory: 30Mi}}, limits: {{memory: 170Mi}}}}
        volumeMounts: [{{name: config, mountPath: /etc/coredns}}]
      volumes:
      - {{name: config, configMap: {{name: coredns}}}}
---
apiVersion: v1
kind: Service
metadata:
  name: kube-dns
  namespace: kube-system
  labels: {{k8s-app: kube-dns, kubernetes.io/name: CoreDNS}}
spec:
  clusterIP: {address}
  selector: {{k8s-app: kube-dns}}
  ports:
  - {{name: dns, port: 53, protocol: UDP}}
  - {{name: dns-tcp, port: 53, protocol: TCP}}
  - {{name: metrics, port: 9153, protocol: TCP}}
"#,
        node = plan.node(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_has_the_address_that_kubelets_give_to_pods() {
        let plan = Plan { name: "mesh".into(), number: 3, nodes: 1 };
        let address = format!("clusterIP: {}\n", plan.dns_service());
        assert!(manifest(&plan).contains(&address));
        assert!(crate::cluster::config::kubelet(&plan, 0).contains(&format!("clusterDNS: [\"{}\"]", plan.dns_service())));
    }
}
