//! The kinds of `policy.linkerd.io`.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    core::object,
    meta::{IntOrString, LabelSelector, Metadata},
    route::is_group,
};

object! {
    /// A port of Pods, and what it speaks.
    Server {
        /// Name and labels.
        metadata: Metadata,
        /// Which port.
        spec: ServerSpec,
    }
}

object! {
    /// Which port a Server is.
    ServerSpec {
        /// Which Pods; exactly one of this and the next.
        #[serde(skip_serializing_if = "Option::is_none")]
        pod_selector: Option<LabelSelector>,
        /// Which ExternalWorkloads.
        #[serde(skip_serializing_if = "Option::is_none")]
        external_workload_selector: Option<LabelSelector>,
        /// Which port, by number or by name.
        port: IntOrString,
        /// What it speaks: `unknown` stands in.
        #[serde(skip_serializing_if = "Option::is_none")]
        proxy_protocol: Option<ProxyProtocol>,
        /// Who may call beside those that authorizations name: `deny` stands in.
        #[serde(skip_serializing_if = "Option::is_none")]
        access_policy: Option<String>,
    }
}

/// What a Server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::exhaustive_enums)] // The six of the CRD.
pub enum ProxyProtocol {
    /// It is found out.
    #[default]
    #[serde(rename = "unknown")]
    Unknown,
    /// HTTP/1.
    #[serde(rename = "HTTP/1")]
    Http1,
    /// HTTP/2.
    #[serde(rename = "HTTP/2")]
    Http2,
    /// gRPC.
    #[serde(rename = "gRPC")]
    Grpc,
    /// Bytes that are not looked at.
    #[serde(rename = "opaque")]
    Opaque,
    /// TLS that ends in the application.
    #[serde(rename = "TLS")]
    Tls,
}

object! {
    /// Permits clients that authentications name.
    AuthorizationPolicy {
        /// Name and labels.
        metadata: Metadata,
        /// Whom, and where.
        spec: AuthorizationPolicySpec,
    }
}

/// Whom an AuthorizationPolicy permits, and where.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizationPolicySpec {
    /// What they may call.
    pub target_ref: Reference,
    /// Who: all of these must hold, and whoever it is if there are none. It must be written: a list that was forgotten must not permit everybody.
    pub required_authentication_refs: Vec<Reference>,
}

object! {
    /// Another object.
    Reference {
        /// Its group; empty is the core group.
        group: String,
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Its namespace; the referring object's stands in.
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
    }
}

object! {
    /// Clients by identity.
    MeshTLSAuthentication {
        /// Name and labels.
        metadata: Metadata,
        /// Who.
        spec: MeshTLSAuthenticationSpec,
    }
}

object! {
    /// Clients by identity: by name, or by what has the name.
    MeshTLSAuthenticationSpec {
        /// Names; `*` is any, `*.suffix` any below.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        identities: Vec<String>,
        /// Service accounts and namespaces.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        identity_refs: Vec<Reference>,
    }
}

object! {
    /// Clients by network.
    NetworkAuthentication {
        /// Name and labels.
        metadata: Metadata,
        /// Where from.
        spec: NetworkAuthenticationSpec,
    }
}

object! {
    /// Clients by network.
    NetworkAuthenticationSpec {
        /// The networks.
        networks: Vec<Network>,
    }
}

/// A network without some of its parts. A bare address stands for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The whole.
    #[serde(with = "cidr")]
    pub cidr: IpNet,
    /// What does not belong to it.
    #[serde(default, with = "cidrs", skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<IpNet>,
}

object! {
    /// Permits clients, in one object.
    ServerAuthorization {
        /// Name and labels.
        metadata: Metadata,
        /// Whom, and where.
        spec: ServerAuthorizationSpec,
    }
}

object! {
    /// Whom a ServerAuthorization permits, and where.
    ServerAuthorizationSpec {
        /// Which Servers.
        server: ServerSelector,
        /// Who.
        client: AuthorizedClient,
    }
}

object! {
    /// Servers by name or by labels.
    ServerSelector {
        /// The name.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The labels.
        #[serde(skip_serializing_if = "Option::is_none")]
        selector: Option<LabelSelector>,
    }
}

object! {
    /// Clients that are permitted.
    AuthorizedClient {
        /// Where from; the cluster's networks stand in.
        #[serde(skip_serializing_if = "Option::is_none")]
        networks: Option<Vec<Network>>,
        /// Whoever they are.
        unauthenticated: bool,
        /// By identity.
        #[serde(rename = "meshTLS", skip_serializing_if = "Option::is_none")]
        mesh_tls: Option<AuthorizedMeshTls>,
    }
}

object! {
    /// Clients by identity.
    AuthorizedMeshTls {
        /// Whoever speaks mutual TLS.
        #[serde(rename = "unauthenticatedTLS")]
        unauthenticated_tls: bool,
        /// Names; `*` is any, `*.suffix` any below.
        identities: Vec<String>,
        /// Service accounts.
        service_accounts: Vec<Account>,
    }
}

object! {
    /// A service account.
    Account {
        /// Its name.
        name: String,
        /// Its namespace; the object's stands in.
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
    }
}

impl Reference {
    /// Is the object of this group and kind? Case does not count; `core` is another name of the empty group.
    #[must_use]
    pub fn is(&self, group: &str, kind: &str) -> bool {
        is_group(&self.group, group) && self.kind.eq_ignore_ascii_case(kind)
    }
}

fn parse(text: &str) -> Result<IpNet, String> {
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
    net.map_err(|_| format!("{text:?} is neither a network (10.0.0.0/8) nor an address"))
}

mod cidr {
    use ipnet::IpNet;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(net: &IpNet, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(net)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<IpNet, D::Error> {
        super::parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

mod cidrs {
    use ipnet::IpNet;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(nets: &[IpNet], out: S) -> Result<S::Ok, S::Error> {
        out.collect_seq(nets.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
        Vec::<String>::deserialize(from)?.iter().map(|text| super::parse(text).map_err(D::Error::custom)).collect()
    }
}
