//! The programs of Kubernetes, with their arguments.

use super::plan::Plan;

/// One program that runs in a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Component {
    Etcd,
    ApiServer,
    ControllerManager,
    Scheduler,
    Containerd,
    Kubelet,
    Proxy,
}

/// In the order in which a node starts them.
pub(crate) const ALL: &[Component] = &[
    Component::Etcd,
    Component::ApiServer,
    Component::Containerd,
    Component::ControllerManager,
    Component::Scheduler,
    Component::Kubelet,
    Component::Proxy,
];

impl Component {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
            Self::Proxy => "kube-proxy",
        }
    }

    /// Does this node run it? The control plane is the first node's.
    pub(crate) fn runs_on(self, node: u8) -> bool {
        match self {
            Self::Etcd | Self::ApiServer | Self::ControllerManager | Self::Scheduler => node == 0,
            Self::Containerd | Self::Kubelet | Self::Proxy => true,
        }
    }

    /// The file inside the node that it writes its log to.
    pub(crate) fn log(self) -> String {
        format!("/mnt/log/{}.log", self.name())
    }

    /// The program and its arguments.
    pub(crate) fn command(self, plan: &Plan, node: u8) -> Vec<String> {
        match self {
            Self::Etcd => words(
                "/mnt/bin/etcd --data-dir=/var/lib/etcd --unsafe-no-fsync --log-level=warn
                 --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379
                 --listen-peer-urls=http://127.0.0.1:2380",
            ),
            Self::ApiServer => api_server(plan),
            Self::ControllerManager => controller_manager(plan),
            // One of each: nobody to elect.
            Self::Scheduler => words(
                "/mnt/bin/kube-scheduler --leader-elect=false
                 --kubeconfig=/etc/kubernetes/scheduler.kubeconfig
                 --authentication-kubeconfig=/etc/kubernetes/scheduler.kubeconfig
                 --authorization-kubeconfig=/etc/kubernetes/scheduler.kubeconfig
                 --tls-cert-file=/etc/kubernetes/pki/scheduler.crt --tls-private-key-file=/etc/kubernetes/pki/scheduler.key",
            ),
            Self::Containerd => words("containerd --config=/etc/kubernetes/containerd.toml"),
            Self::Kubelet => kubelet(plan, node),
            Self::Proxy => words(&format!("/mnt/bin/kube-proxy --config=/etc/kubernetes/proxy-{}.yaml", plan.node(node))),
        }
    }
}

fn api_server(plan: &Plan) -> Vec<String> {
    words(&format!(
        "/mnt/bin/kube-apiserver --etcd-servers=http://127.0.0.1:2379
         --advertise-address={address} --service-cluster-ip-range={services}
         --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true
         --tls-cert-file=/etc/kubernetes/pki/apiserver.crt --tls-private-key-file=/etc/kubernetes/pki/apiserver.key
         --client-ca-file=/etc/kubernetes/pki/ca.crt
         --kubelet-certificate-authority=/etc/kubernetes/pki/ca.crt
         --kubelet-client-certificate=/etc/kubernetes/pki/apiserver-kubelet-client.crt
         --kubelet-client-key=/etc/kubernetes/pki/apiserver-kubelet-client.key
         --kubelet-preferred-address-types=InternalIP
         --service-account-issuer=https://kubernetes.default.svc.cluster.local
         --service-account-key-file=/etc/kubernetes/pki/sa.pub --service-account-signing-key-file=/etc/kubernetes/pki/sa.key
         --requestheader-client-ca-file=/etc/kubernetes/pki/front-proxy-ca.crt --requestheader-allowed-names=front-proxy-client
         --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group
         --requestheader-extra-headers-prefix=X-Remote-Extra-
         --proxy-client-cert-file=/etc/kubernetes/pki/front-proxy-client.crt
         --proxy-client-key-file=/etc/kubernetes/pki/front-proxy-client.key
         --enable-aggregator-routing=true",
        address = plan.node_address(0),
        services = plan.service_range(),
    ))
}

fn controller_manager(plan: &Plan) -> Vec<String> {
    // Pod ranges are given to nodes by hand: the order in which nodes register is nobody's choice.
    words(&format!(
        "/mnt/bin/kube-controller-manager --leader-elect=false --cluster-name={name}
         --kubeconfig=/etc/kubernetes/controller-manager.kubeconfig
         --authentication-kubeconfig=/etc/kubernetes/controller-manager.kubeconfig
         --authorization-kubeconfig=/etc/kubernetes/controller-manager.kubeconfig
         --tls-cert-file=/etc/kubernetes/pki/controller-manager.crt --tls-private-key-file=/etc/kubernetes/pki/controller-manager.key
         --root-ca-file=/etc/kubernetes/pki/ca.crt --service-account-private-key-file=/etc/kubernetes/pki/sa.key
         --cluster-signing-cert-file=/etc/kubernetes/pki/ca.crt --cluster-signing-key-file=/etc/kubernetes/pki/ca.key
         --use-service-account-credentials=true",
        name = plan.name,
    ))
}

fn kubelet(plan: &Plan, node: u8) -> Vec<String> {
    let name = plan.node(node);
    words(&format!(
        "/mnt/bin/kubelet --config=/etc/kubernetes/kubelet-{name}.yaml --kubeconfig=/etc/kubernetes/kubelet-{name}.kubeconfig
         --hostname-override={name} --node-ip={address} --node-labels=topology.kubernetes.io/zone={zone} --root-dir=/var/lib/kubelet",
        address = plan.node_address(node),
        zone = plan.zone(node),
    ))
}

/// No argument has a space in it.
fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan { name: "east".into(), number: 1, nodes: 2 }
    }

    #[test]
    fn only_the_first_node_runs_the_control_plane() {
        let of = |node| ALL.iter().filter(|component| component.runs_on(node)).map(|component| component.name()).collect::<Vec<_>>();
        assert_eq!(of(0).len(), ALL.len());
        assert_eq!(of(1), ["containerd", "kubelet", "kube-proxy"]);
    }

    #[test]
    fn a_kubelet_is_told_its_name_address_and_zone() {
        let line = Component::Kubelet.command(&plan(), 1).join(" ");
        assert!(
            line.contains("--hostname-override=east-1 --node-ip=10.121.0.2 --node-labels=topology.kubernetes.io/zone=zone-b"),
            "{line}"
        );
    }

    #[test]
    fn the_api_server_is_told_its_own_address_and_the_range_of_services() {
        let line = Component::ApiServer.command(&plan(), 0).join(" ");
        assert!(line.contains("--advertise-address=10.121.0.1 --service-cluster-ip-range=10.101.0.0/16"), "{line}");
    }

    /// A file that is named but never made shows only when the component dies.
    #[test]
    fn every_key_and_certificate_that_is_named_is_one_that_is_made() {
        let plan = plan();
        let mut made: Vec<_> = crate::cluster::certificates::leaves(&plan).iter().map(|leaf| leaf.name.clone()).collect();
        made.extend(["ca", "front-proxy-ca", "sa"].map(str::to_owned));
        for (component, node) in ALL.iter().flat_map(|component| plan.nodes().map(move |node| (*component, node))) {
            for word in component.command(&plan, node) {
                let Some((_, file)) = word.split_once("/etc/kubernetes/pki/") else { continue };
                let (name, _) = file.rsplit_once('.').unwrap();
                assert!(made.iter().any(|made| made == name), "{word}");
            }
        }
    }
}
