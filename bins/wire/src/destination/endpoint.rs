use std::{collections::BTreeMap, collections::HashMap, time::Duration};

use linkerd2_proxy_api::destination as proto;
use meshkit_core::{
    Authority, Endpoint, Identity, ProtocolHint,
    endpoint::{Http2, KeepAlive, Locality, ServerTls, WhileIdle},
};

use super::shared_labels;
use crate::{Invalid, net};

/// The label that says where an endpoint stands; the API has no field for it.
const ZONE_LOCALITY: &str = "zone_locality";

/// Reads an endpoint.
pub(crate) fn endpoint(addr: proto::WeightedAddr, set_labels: &HashMap<String, String>) -> Result<Endpoint, Invalid> {
    let mut endpoint = Endpoint::new(net::socket_addr(addr.addr)?);
    let labels = set_labels.iter().map(|(k, v)| (k.clone(), v.clone()));
    endpoint.labels = shared_labels(addr.metric_labels, labels);
    endpoint.weight = addr.weight;
    endpoint.tls = addr.tls_identity.map(server_tls).transpose()?.flatten();
    if let Some(hint) = addr.protocol_hint {
        endpoint.protocol = match hint.protocol {
            Some(proto::protocol_hint::Protocol::H2(_)) => ProtocolHint::Http2,
            Some(proto::protocol_hint::Protocol::Opaque(_)) => ProtocolHint::Opaque,
            None => ProtocolHint::Unknown,
        };
        endpoint.tagged_port =
            hint.opaque_transport.map(|t| net::port(t.inbound_port, "protocol_hint.opaque_transport.inbound_port")).transpose()?;
    }
    if let Some(authority) = addr.authority_override {
        let authority = Authority::parse(&authority.authority_override, 80);
        endpoint.authority_override = Some(authority.map_err(|e| Invalid::new("authority_override", e))?);
    }
    endpoint.http2 = addr.http2.map(http2).transpose()?.unwrap_or_default();
    endpoint.locality = match endpoint.labels.get(ZONE_LOCALITY).map(String::as_str) {
        Some("local") => Locality::Local,
        Some("remote") => Locality::Remote,
        _ => Locality::Unknown,
    };
    Ok(endpoint)
}

/// A URI identity without a server name cannot be asked for, and is ignored as the compatible system does.
fn server_tls(tls: proto::TlsIdentity) -> Result<Option<ServerTls>, Invalid> {
    use proto::tls_identity::Strategy;
    let parse = |text: &str| text.parse::<Identity>().map_err(|e| Invalid::new("tls_identity", e));
    let server_name = tls.server_name.map(|n| n.name).filter(|n| !n.is_empty());
    Ok(match tls.strategy {
        Some(Strategy::DnsLikeIdentity(dns)) => {
            let identity = parse(&dns.name)?;
            let server_name = server_name.unwrap_or_else(|| identity.as_str().to_owned()).into();
            Some(ServerTls { identity, server_name })
        }
        Some(Strategy::UriLikeIdentity(uri)) => match server_name {
            Some(name) => Some(ServerTls { identity: parse(&uri.uri)?, server_name: name.into() }),
            None => None,
        },
        None => None,
    })
}

fn http2(params: proto::Http2ClientParams) -> Result<Http2, Invalid> {
    let set = |n: u32| (n > 0).then_some(n);
    let mut http2 = Http2::default();
    if let Some(flow) = params.flow_control {
        http2.adaptive_window = flow.adaptive_flow_control;
        http2.connection_window = set(flow.initial_connection_window_size);
        http2.stream_window = set(flow.initial_stream_window_size);
    }
    if let Some(keep_alive) = params.keep_alive {
        let interval = net::limit(keep_alive.interval, "http2.keep_alive.interval")?;
        let timeout = net::limit(keep_alive.timeout, "http2.keep_alive.timeout")?;
        let while_idle = if keep_alive.while_idle { WhileIdle::Ping } else { WhileIdle::Quiet };
        http2.keep_alive = interval.map(|interval| KeepAlive { interval, timeout: timeout.unwrap_or(Duration::from_secs(20)), while_idle });
    }
    if let Some(internals) = params.internals {
        http2.max_concurrent_reset_streams = set(internals.max_concurrent_reset_streams);
        http2.max_frame_size = set(internals.max_frame_size);
        http2.max_send_buf_size = set(internals.max_send_buf_size);
    }
    Ok(http2)
}

/// Writes an endpoint, without the labels that its set carries.
pub(crate) fn endpoint_to(endpoint: &Endpoint, set_labels: &BTreeMap<String, String>) -> proto::WeightedAddr {
    let own = endpoint.labels.iter().filter(|(k, v)| set_labels.get(*k) != Some(v));
    let protocol = match endpoint.protocol {
        ProtocolHint::Http2 => Some(proto::protocol_hint::Protocol::H2(proto::protocol_hint::H2 {})),
        ProtocolHint::Opaque => Some(proto::protocol_hint::Protocol::Opaque(proto::protocol_hint::Opaque {})),
        _ => None,
    };
    let opaque_transport = endpoint.tagged_port.map(|port| proto::protocol_hint::OpaqueTransport { inbound_port: port.get().into() });
    let hint = proto::ProtocolHint { opaque_transport, protocol };
    proto::WeightedAddr {
        addr: Some(net::tcp_address(endpoint.addr)),
        weight: endpoint.weight,
        metric_labels: own.map(|(k, v)| (k.clone(), v.clone())).collect(),
        tls_identity: endpoint.tls.as_ref().map(server_tls_to),
        protocol_hint: (hint.opaque_transport.is_some() || hint.protocol.is_some()).then_some(hint),
        authority_override: endpoint.authority_override.as_ref().map(|a| proto::AuthorityOverride { authority_override: a.to_string() }),
        http2: http2_to(&endpoint.http2),
        resource_ref: None,
    }
}

fn server_tls_to(tls: &ServerTls) -> proto::TlsIdentity {
    use proto::tls_identity::{DnsLikeIdentity, Strategy, UriLikeIdentity};
    let name = tls.identity.as_str().to_owned();
    let strategy = match tls.identity.is_uri() {
        true => Strategy::UriLikeIdentity(UriLikeIdentity { uri: name }),
        false => Strategy::DnsLikeIdentity(DnsLikeIdentity { name }),
    };
    proto::TlsIdentity { server_name: Some(DnsLikeIdentity { name: tls.server_name.to_string() }), strategy: Some(strategy) }
}

fn http2_to(http2: &Http2) -> Option<proto::Http2ClientParams> {
    use proto::http2_client_params as params;
    if *http2 == Http2::default() {
        return None;
    }
    Some(proto::Http2ClientParams {
        flow_control: Some(params::FlowControl {
            initial_connection_window_size: http2.connection_window.unwrap_or_default(),
            initial_stream_window_size: http2.stream_window.unwrap_or_default(),
            adaptive_flow_control: http2.adaptive_window,
        }),
        keep_alive: http2.keep_alive.map(|k| params::KeepAlive {
            interval: Some(net::duration_to(k.interval)),
            timeout: Some(net::duration_to(k.timeout)),
            while_idle: k.while_idle == WhileIdle::Ping,
        }),
        internals: Some(params::Internals {
            max_concurrent_reset_streams: http2.max_concurrent_reset_streams.unwrap_or_default(),
            max_frame_size: http2.max_frame_size.unwrap_or_default(),
            max_send_buf_size: http2.max_send_buf_size.unwrap_or_default(),
        }),
    })
}
