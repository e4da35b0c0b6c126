//! The messages of the Destination API, as far as the tests look at them, by field number.

use std::collections::HashMap;

use prost::{Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetDestination {
    #[prost(string, tag = "1")]
    pub(crate) scheme: String,
    #[prost(string, tag = "2")]
    pub(crate) path: String,
    #[prost(string, tag = "3")]
    pub(crate) context_token: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Empty {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Update {
    #[prost(oneof = "update::Update", tags = "1, 2, 3")]
    pub(crate) update: Option<update::Update>,
}

pub(crate) mod update {
    #[derive(Clone, PartialEq, super::Oneof)]
    pub(crate) enum Update {
        #[prost(message, tag = "1")]
        Add(super::WeightedAddrSet),
        #[prost(message, tag = "2")]
        Remove(super::AddrSet),
        #[prost(message, tag = "3")]
        NoEndpoints(super::Empty),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WeightedAddrSet {
    #[prost(message, repeated, tag = "1")]
    pub(crate) addrs: Vec<WeightedAddr>,
    #[prost(map = "string, string", tag = "2")]
    pub(crate) metric_labels: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AddrSet {
    #[prost(message, repeated, tag = "1")]
    pub(crate) addrs: Vec<TcpAddress>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct TcpAddress {
    #[prost(message, optional, tag = "1")]
    pub(crate) ip: Option<IpAddress>,
    #[prost(uint32, tag = "2")]
    pub(crate) port: u32,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct IpAddress {
    #[prost(oneof = "ip_address::Ip", tags = "1")]
    pub(crate) ip: Option<ip_address::Ip>,
}

pub(crate) mod ip_address {
    #[derive(Clone, Copy, PartialEq, super::Oneof)]
    pub(crate) enum Ip {
        #[prost(fixed32, tag = "1")]
        Ipv4(u32),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WeightedAddr {
    #[prost(message, optional, tag = "1")]
    pub(crate) addr: Option<TcpAddress>,
    #[prost(uint32, tag = "3")]
    pub(crate) weight: u32,
    #[prost(map = "string, string", tag = "4")]
    pub(crate) metric_labels: HashMap<String, String>,
    #[prost(message, optional, tag = "5")]
    pub(crate) tls_identity: Option<TlsIdentity>,
    #[prost(message, optional, tag = "6")]
    pub(crate) protocol_hint: Option<ProtocolHint>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TlsIdentity {
    #[prost(message, optional, tag = "1")]
    pub(crate) dns_like_identity: Option<Name>,
    #[prost(message, optional, tag = "4")]
    pub(crate) server_name: Option<Name>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Name {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ProtocolHint {
    #[prost(oneof = "protocol_hint::Protocol", tags = "1, 3")]
    pub(crate) protocol: Option<protocol_hint::Protocol>,
    #[prost(message, optional, tag = "2")]
    pub(crate) opaque_transport: Option<OpaqueTransport>,
}

pub(crate) mod protocol_hint {
    #[derive(Clone, PartialEq, super::Oneof)]
    pub(crate) enum Protocol {
        #[prost(message, tag = "1")]
        H2(super::Empty),
        #[prost(message, tag = "3")]
        Opaque(super::Empty),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct OpaqueTransport {
    #[prost(uint32, tag = "1")]
    pub(crate) inbound_port: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DestinationProfile {
    #[prost(message, repeated, tag = "1")]
    pub(crate) routes: Vec<Route>,
    #[prost(message, optional, tag = "2")]
    pub(crate) retry_budget: Option<RetryBudget>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) dst_overrides: Vec<WeightedDst>,
    #[prost(bool, tag = "4")]
    pub(crate) opaque_protocol: bool,
    #[prost(string, tag = "5")]
    pub(crate) fully_qualified_name: String,
    #[prost(message, optional, tag = "6")]
    pub(crate) endpoint: Option<WeightedAddr>,
    #[prost(message, optional, tag = "7")]
    pub(crate) parent_ref: Option<Metadata>,
    #[prost(message, optional, tag = "8")]
    pub(crate) profile_ref: Option<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Route {
    #[prost(message, optional, tag = "1")]
    pub(crate) condition: Option<RequestMatch>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) response_classes: Vec<ResponseClass>,
    #[prost(map = "string, string", tag = "3")]
    pub(crate) metrics_labels: HashMap<String, String>,
    #[prost(bool, tag = "4")]
    pub(crate) is_retryable: bool,
    #[prost(message, optional, tag = "5")]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RequestMatch {
    #[prost(oneof = "request_match::Match", tags = "1, 4, 5")]
    pub(crate) kind: Option<request_match::Match>,
}

pub(crate) mod request_match {
    #[derive(Clone, PartialEq, super::Oneof)]
    pub(crate) enum Match {
        #[prost(message, tag = "1")]
        All(super::RequestMatches),
        #[prost(message, tag = "4")]
        Path(super::PathMatch),
        #[prost(message, tag = "5")]
        Method(super::HttpMethod),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RequestMatches {
    #[prost(message, repeated, tag = "1")]
    pub(crate) matches: Vec<RequestMatch>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PathMatch {
    #[prost(string, tag = "1")]
    pub(crate) regex: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HttpMethod {
    #[prost(oneof = "http_method::Kind", tags = "1, 2")]
    pub(crate) kind: Option<http_method::Kind>,
}

pub(crate) mod http_method {
    #[derive(Clone, PartialEq, super::Oneof)]
    pub(crate) enum Kind {
        #[prost(int32, tag = "1")]
        Registered(i32),
        #[prost(string, tag = "2")]
        Unregistered(String),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResponseClass {
    #[prost(message, optional, tag = "1")]
    pub(crate) condition: Option<ResponseMatch>,
    #[prost(bool, tag = "2")]
    pub(crate) is_failure: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResponseMatch {
    #[prost(message, optional, tag = "4")]
    pub(crate) status: Option<StatusRange>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StatusRange {
    #[prost(uint32, tag = "1")]
    pub(crate) min: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) max: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RetryBudget {
    #[prost(float, tag = "1")]
    pub(crate) retry_ratio: f32,
    #[prost(uint32, tag = "2")]
    pub(crate) min_retries_per_second: u32,
    #[prost(message, optional, tag = "3")]
    pub(crate) ttl: Option<Duration>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Duration {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WeightedDst {
    #[prost(string, tag = "1")]
    pub(crate) authority: String,
    #[prost(uint32, tag = "2")]
    pub(crate) weight: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Metadata {
    #[prost(message, optional, tag = "2")]
    pub(crate) resource: Option<Resource>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Resource {
    #[prost(string, tag = "1")]
    pub(crate) group: String,
    #[prost(string, tag = "2")]
    pub(crate) kind: String,
    #[prost(string, tag = "3")]
    pub(crate) name: String,
    #[prost(string, tag = "4")]
    pub(crate) namespace: String,
    #[prost(uint32, tag = "6")]
    pub(crate) port: u32,
}
