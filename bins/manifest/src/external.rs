//! Workloads outside the cluster, `workload.linkerd.io`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{
    core::object,
    meta::{Condition, Metadata},
};

object! {
    /// A process outside the cluster that is a part of the mesh. Services and Servers select it by its labels.
    ExternalWorkload {
        /// Name and labels.
        metadata: Metadata,
        /// Who and where it is.
        spec: ExternalWorkloadSpec,
        /// How it is.
        status: ExternalWorkloadStatus,
    }
}

object! {
    /// Who and where a workload is.
    ExternalWorkloadSpec {
        /// Who it is.
        #[serde(rename = "meshTLS", alias = "meshTls")]
        mesh_tls: MeshTls,
        /// The ports it listens on.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        ports: Vec<WorkloadPort>,
        /// Its addresses, one of each family at most.
        #[serde(rename = "workloadIPs", skip_serializing_if = "Vec::is_empty")]
        workload_ips: Vec<WorkloadIp>,
    }
}

object! {
    /// Who a workload is.
    MeshTls {
        /// Its identity.
        identity: String,
        /// The name to ask for in the handshake.
        server_name: String,
    }
}

object! {
    /// A port that a workload listens on.
    WorkloadPort {
        /// Its name.
        #[serde(skip_serializing_if = "String::is_empty")]
        name: String,
        /// Its number.
        port: u16,
        /// `TCP` unless said otherwise.
        #[serde(skip_serializing_if = "Option::is_none")]
        protocol: Option<String>,
    }
}

/// An address of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadIp {
    /// The address.
    pub ip: IpAddr,
}

object! {
    /// How a workload is.
    ExternalWorkloadStatus {
        /// `Ready`.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        conditions: Vec<Condition>,
    }
}

impl ExternalWorkload {
    /// May it be asked? A workload of which nobody says that it is ready may not.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status.conditions.iter().any(|c| c.kind == "Ready" && c.is_true())
    }
}
