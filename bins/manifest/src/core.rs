//! Services, Pods and what runs them.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::meta::{Condition, IntOrString, LabelSelector, Metadata};

macro_rules! object {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }
    };
}
pub(crate) use object;

object! {
    /// A name that stands for Pods.
    Service {
        /// Name and labels.
        metadata: Metadata,
        /// Which Pods, and on which ports.
        spec: ServiceSpec,
    }
}

object! {
    /// Which Pods a Service stands for.
    ServiceSpec {
        /// Labels of the Pods.
        selector: BTreeMap<String, String>,
        /// Its ports.
        ports: Vec<ServicePort>,
        /// Its address; `None` as text for a headless one.
        #[serde(rename = "clusterIP", skip_serializing_if = "Option::is_none")]
        cluster_ip: Option<String>,
        /// Its addresses of both families.
        #[serde(rename = "clusterIPs", skip_serializing_if = "Vec::is_empty")]
        cluster_ips: Vec<String>,
        /// `IPv4` and `IPv6`, the first family first.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        ip_families: Vec<String>,
        /// `ClusterIP` unless said otherwise.
        #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
        kind: Option<String>,
        /// The name outside that an `ExternalName` Service stands for.
        #[serde(skip_serializing_if = "Option::is_none")]
        external_name: Option<String>,
        /// `Local` keeps calls on their node.
        #[serde(skip_serializing_if = "Option::is_none")]
        internal_traffic_policy: Option<String>,
        /// `PreferClose` keeps calls in their zone.
        #[serde(skip_serializing_if = "Option::is_none")]
        traffic_distribution: Option<String>,
    }
}

object! {
    /// A port of a Service.
    ServicePort {
        /// Its name; EndpointSlices name their ports alike.
        name: String,
        /// Its number.
        port: u16,
        /// The port of the Pods; the same number unless said otherwise.
        #[serde(skip_serializing_if = "Option::is_none")]
        target_port: Option<IntOrString>,
        /// What it speaks.
        #[serde(skip_serializing_if = "Option::is_none")]
        app_protocol: Option<String>,
        /// `TCP` unless said otherwise.
        #[serde(skip_serializing_if = "Option::is_none")]
        protocol: Option<String>,
        /// Its number on every node.
        #[serde(skip_serializing_if = "Option::is_none")]
        node_port: Option<u16>,
    }
}

object! {
    /// Containers that run together.
    Pod {
        /// Name and labels.
        metadata: Metadata,
        /// What it runs.
        spec: PodSpec,
        /// How it is.
        status: PodStatus,
    }
}

object! {
    /// What a Pod runs.
    PodSpec {
        /// Run side by side.
        containers: Vec<Container>,
        /// Run before, one after the other.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        init_containers: Vec<Container>,
        /// Who it is; `default` stands in.
        #[serde(skip_serializing_if = "Option::is_none")]
        service_account_name: Option<String>,
        /// Shares the node's network.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        host_network: bool,
        /// Where it runs.
        #[serde(skip_serializing_if = "Option::is_none")]
        node_name: Option<String>,
        /// `Always`, `OnFailure` or `Never`.
        #[serde(skip_serializing_if = "Option::is_none")]
        restart_policy: Option<String>,
    }
}

object! {
    /// A program.
    Container {
        /// Its name.
        name: String,
        /// Its image.
        #[serde(skip_serializing_if = "Option::is_none")]
        image: Option<String>,
        /// The program and its first arguments.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        command: Vec<String>,
        /// Further arguments.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        args: Vec<String>,
        /// Its environment.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        env: Vec<EnvVar>,
        /// Ports it listens on.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        ports: Vec<ContainerPort>,
        /// Is it alive?
        #[serde(skip_serializing_if = "Option::is_none")]
        liveness_probe: Option<Probe>,
        /// May it be asked?
        #[serde(skip_serializing_if = "Option::is_none")]
        readiness_probe: Option<Probe>,
        /// Has it started?
        #[serde(skip_serializing_if = "Option::is_none")]
        startup_probe: Option<Probe>,
        /// `Always` makes an init container a sidecar.
        #[serde(skip_serializing_if = "Option::is_none")]
        restart_policy: Option<String>,
        /// Where it starts.
        #[serde(skip_serializing_if = "Option::is_none")]
        working_dir: Option<String>,
    }
}

object! {
    /// A variable.
    EnvVar {
        /// Its name.
        name: String,
        /// Its value.
        #[serde(skip_serializing_if = "Option::is_none")]
        value: Option<String>,
        /// Where its value comes from.
        #[serde(skip_serializing_if = "Option::is_none")]
        value_from: Option<EnvVarSource>,
    }
}

object! {
    /// Where a variable's value comes from.
    EnvVarSource {
        /// A field of the Pod.
        #[serde(skip_serializing_if = "Option::is_none")]
        field_ref: Option<FieldRef>,
        /// A key of a ConfigMap.
        #[serde(skip_serializing_if = "Option::is_none")]
        config_map_key_ref: Option<KeyRef>,
        /// A key of a Secret.
        #[serde(skip_serializing_if = "Option::is_none")]
        secret_key_ref: Option<KeyRef>,
    }
}

object! {
    /// A key of a ConfigMap or Secret of the same namespace.
    KeyRef {
        /// The object.
        name: String,
        /// The key.
        key: String,
        /// May it be missing?
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        optional: bool,
    }
}

object! {
    /// A field of the Pod.
    FieldRef {
        /// `status.podIP`, `metadata.name`, ...
        field_path: String,
    }
}

object! {
    /// A port of a container.
    ContainerPort {
        /// Its name.
        name: String,
        /// Its number.
        container_port: u16,
        /// Its number on the node, if it has one there.
        #[serde(skip_serializing_if = "Option::is_none")]
        host_port: Option<u16>,
        /// `TCP` unless said otherwise.
        #[serde(skip_serializing_if = "Option::is_none")]
        protocol: Option<String>,
    }
}

object! {
    /// How the kubelet asks a container.
    Probe {
        /// By HTTP.
        #[serde(skip_serializing_if = "Option::is_none")]
        http_get: Option<HttpGet>,
    }
}

object! {
    /// A request of the kubelet.
    HttpGet {
        /// The path; `/` stands in.
        #[serde(skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        /// The port, by number or by name.
        port: IntOrString,
        /// `HTTP` unless said otherwise.
        #[serde(skip_serializing_if = "Option::is_none")]
        scheme: Option<String>,
    }
}

object! {
    /// How a Pod is.
    PodStatus {
        /// Its address.
        #[serde(rename = "podIP", skip_serializing_if = "Option::is_none")]
        pod_ip: Option<IpAddr>,
        /// Its addresses of both families.
        #[serde(rename = "podIPs", skip_serializing_if = "Vec::is_empty")]
        pod_ips: Vec<PodIp>,
        /// The address of its node.
        #[serde(rename = "hostIP", skip_serializing_if = "Option::is_none")]
        host_ip: Option<IpAddr>,
        /// `Pending`, `Running`, `Succeeded` or `Failed`.
        #[serde(skip_serializing_if = "Option::is_none")]
        phase: Option<String>,
        /// What is said of it: `Ready`, ...
        #[serde(skip_serializing_if = "Vec::is_empty")]
        conditions: Vec<Condition>,
    }
}

/// An address of a Pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodIp {
    /// The address.
    pub ip: IpAddr,
}

object! {
    /// Endpoints of a Service.
    EndpointSlice {
        /// Name and labels: `kubernetes.io/service-name` names the Service.
        metadata: Metadata,
        /// The endpoints.
        endpoints: Vec<SliceEndpoint>,
        /// Their ports.
        ports: Vec<SlicePort>,
        /// `IPv4`, `IPv6` or `FQDN`.
        #[serde(skip_serializing_if = "Option::is_none")]
        address_type: Option<String>,
    }
}

object! {
    /// One endpoint of a slice.
    SliceEndpoint {
        /// Its addresses, all of one family.
        addresses: Vec<IpAddr>,
        /// May it be asked?
        conditions: Conditions,
        /// Its own name below the Service's.
        #[serde(skip_serializing_if = "Option::is_none")]
        hostname: Option<String>,
        /// The Pod behind it.
        #[serde(skip_serializing_if = "Option::is_none")]
        target_ref: Option<TargetRef>,
        /// Where it is.
        #[serde(skip_serializing_if = "Option::is_none")]
        zone: Option<String>,
        /// On which node it is.
        #[serde(skip_serializing_if = "Option::is_none")]
        node_name: Option<String>,
        /// Who should use it.
        #[serde(skip_serializing_if = "Option::is_none")]
        hints: Option<Hints>,
    }
}

object! {
    /// Who should use an endpoint.
    Hints {
        /// Callers in these zones.
        for_zones: Vec<Zone>,
    }
}

object! {
    /// A zone.
    Zone {
        /// Its name.
        name: String,
    }
}

object! {
    /// May an endpoint be asked?
    Conditions {
        /// Unknown counts as yes.
        #[serde(skip_serializing_if = "Option::is_none")]
        ready: Option<bool>,
        /// Ready, not counting that it may be on its way out.
        #[serde(skip_serializing_if = "Option::is_none")]
        serving: Option<bool>,
        /// On its way out.
        #[serde(skip_serializing_if = "Option::is_none")]
        terminating: Option<bool>,
    }
}

object! {
    /// The object behind an endpoint.
    TargetRef {
        /// Its kind.
        kind: String,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    }
}

object! {
    /// A port of a slice.
    SlicePort {
        /// The name of the Service's port.
        name: String,
        /// The number of the endpoints' port; 0 if nothing says it.
        port: u16,
        /// `TCP` unless said otherwise.
        #[serde(skip_serializing_if = "Option::is_none")]
        protocol: Option<String>,
        /// What it speaks.
        #[serde(skip_serializing_if = "Option::is_none")]
        app_protocol: Option<String>,
    }
}

object! {
    /// Keeps Pods running: a Deployment, StatefulSet, DaemonSet, ReplicaSet or Job.
    Workload {
        /// Name and labels.
        metadata: Metadata,
        /// What it runs.
        spec: WorkloadSpec,
    }
}

object! {
    /// What a workload runs.
    WorkloadSpec {
        /// How many Pods; one stands in.
        #[serde(skip_serializing_if = "Option::is_none")]
        replicas: Option<u32>,
        /// Which Pods are its own.
        #[serde(skip_serializing_if = "Option::is_none")]
        selector: Option<LabelSelector>,
        /// How they look.
        template: PodTemplate,
        /// The headless Service that names the Pods of a StatefulSet.
        #[serde(skip_serializing_if = "Option::is_none")]
        service_name: Option<String>,
    }
}

object! {
    /// How a workload's Pods look.
    PodTemplate {
        /// Labels and annotations.
        metadata: Metadata,
        /// What they run.
        spec: PodSpec,
    }
}

object! {
    /// Settings that containers read.
    ConfigMap {
        /// Name and labels.
        metadata: Metadata,
        /// Texts by key.
        data: BTreeMap<String, String>,
        /// Bytes by key, in base64.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        binary_data: BTreeMap<String, String>,
    }
}

/// Settings that nobody else should read. Its `Debug` shows the keys only.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Secret {
    /// Name and labels.
    pub metadata: Metadata,
    /// `Opaque`, `kubernetes.io/tls`, ...
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Bytes by key, in base64.
    pub data: BTreeMap<String, String>,
    /// Texts by key, as manifests may write them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub string_data: BTreeMap<String, String>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.data.keys().chain(self.string_data.keys()).collect();
        f.debug_struct("Secret").field("metadata", &self.metadata).field("kind", &self.kind).field("keys", &keys).finish()
    }
}

object! {
    /// An object of which only name, labels and annotations matter.
    Plain {
        /// Name and labels.
        metadata: Metadata,
    }
}

impl PodSpec {
    /// The service account.
    #[must_use]
    pub fn service_account(&self) -> &str {
        self.service_account_name.as_deref().filter(|name| !name.is_empty()).unwrap_or("default")
    }

    /// TCP ports of all containers, with their names.
    pub fn ports(&self) -> impl Iterator<Item = (&str, u16)> {
        let containers = self.init_containers.iter().chain(&self.containers);
        let tcp = |p: &&ContainerPort| p.protocol.as_deref().is_none_or(|p| p == "TCP") && p.container_port != 0;
        containers.flat_map(|c| &c.ports).filter(tcp).map(|p| (p.name.as_str(), p.container_port))
    }

    /// HTTP probes of all containers: port and path.
    pub fn probes(&self) -> impl Iterator<Item = (u16, &str)> {
        let containers = self.init_containers.iter().chain(&self.containers);
        let all = containers.flat_map(|c| [&c.liveness_probe, &c.readiness_probe, &c.startup_probe]);
        all.filter_map(|p| p.as_ref()?.http_get.as_ref())
            .filter_map(|get| Some((get.port.port(self.ports())?, get.path.as_deref().unwrap_or("/"))))
    }
}
