//! Envoy: one worker, statistics on, no access log.

use std::{io, net::SocketAddr};

use serde_json::{Value, json};

use super::{AUTHORITY, Lab, Servers, Setup, Topology, lab::text};
use crate::{
    certificates::{Certificates, NAME},
    floor::Ports,
    process::Process,
};

const API: &str = "type.googleapis.com/envoy.extensions";

pub(super) fn start(setup: Setup, lab: &Lab, servers: &Servers) -> io::Result<Topology> {
    let program = lab.tools.envoy.as_ref().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "Envoy is not installed"))?;
    let run = |name: &str, config: &Value| {
        let file = lab.write(&format!("{name}.json"), &config.to_string())?;
        let args = ["-c", &text(&file), "--concurrency", "1", "--disable-hot-restart", "-l", "error"].map(str::to_owned);
        Process::start(program, args, &lab.log(name))
    };
    let (mut children, mut to) = (Vec::new(), Vec::new());
    for (index, server) in servers.addresses.iter().enumerate() {
        let ports = lab.ports();
        let tls = |alpn: &[&str]| Some(server_tls(&lab.certificates, alpn));
        let config = bootstrap(
            &[
                http(ports.http1(), "http1", Setup::Plain, tls(&["h2"])),
                http(ports.http2(), "http2", Setup::Plain, tls(&["h2"])),
                bytes(ports.tcp(), tls(&[])),
            ],
            &[
                cluster("http1", &[server.http], Version::Http1, None),
                cluster("http2", &[server.http], Version::Http2, None),
                cluster("tcp", &[server.tcp], Version::None, None),
            ],
        );
        children.push(run(&format!("envoy-inbound-{index}"), &config)?);
        to.push(ports);
    }
    let inbound = children.iter().map(Process::id).collect();

    let ports = lab.ports();
    let all = |of: fn(Ports) -> SocketAddr| to.iter().map(|ports| of(*ports)).collect::<Vec<_>>();
    let tls = |alpn: &[&str]| Some(client_tls(&lab.certificates, alpn));
    let config = bootstrap(
        &[http(ports.http1(), "http1", setup, None), http(ports.http2(), "http2", setup, None), bytes(ports.tcp(), None)],
        &[
            cluster("http1", &all(Ports::http1), Version::Http2, tls(&["h2"])),
            cluster("http2", &all(Ports::http2), Version::Http2, tls(&["h2"])),
            cluster("tcp", &all(Ports::tcp), Version::None, tls(&[])),
        ],
    );
    let outbound = run("envoy-outbound", &config)?;
    let id = outbound.id();
    children.push(outbound);
    Ok(Topology {
        http1: Some(ports.http1()),
        http2: Some(ports.http2()),
        tcp: Some(ports.tcp()),
        authority: AUTHORITY.to_owned(),
        outbound: vec![id],
        inbound,
        children,
    })
}

/// Of a cluster.
#[derive(Clone, Copy)]
enum Version {
    Http1,
    Http2,
    None,
}

fn bootstrap(listeners: &[Value], clusters: &[Value]) -> Value {
    json!({ "static_resources": { "listeners": listeners, "clusters": clusters } })
}

fn address(of: SocketAddr) -> Value {
    json!({ "socket_address": { "address": of.ip().to_string(), "port_value": of.port() } })
}

fn listener(at: SocketAddr, filter: &Value, tls: Option<Value>) -> Value {
    let mut chain = json!({ "filters": [filter] });
    if let Some(tls) = tls {
        chain["transport_socket"] = tls;
    }
    json!({ "name": at.to_string(), "address": address(at), "filter_chains": [chain] })
}

fn http(at: SocketAddr, cluster: &str, setup: Setup, tls: Option<Value>) -> Value {
    let action = match setup {
        Setup::Retries => json!({ "cluster": cluster, "retry_policy": { "retry_on": "5xx", "num_retries": 3 } }),
        Setup::Plain | Setup::Slow | Setup::Routes => json!({ "cluster": cluster }),
    };
    let route = |prefix: &str| json!({ "match": { "prefix": prefix }, "route": action.clone() });
    let mut routes = Vec::new();
    if setup == Setup::Routes {
        routes.extend((0..100).map(|n| route(&format!("/route-{n}/"))));
    }
    routes.push(route("/"));
    let manager = json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": format!("{API}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": cluster,
            "codec_type": "AUTO",
            "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }] },
            "http_filters": [{ "name": "envoy.filters.http.router", "typed_config": { "@type": format!("{API}.filters.http.router.v3.Router") } }],
        },
    });
    listener(at, &manager, tls)
}

fn bytes(at: SocketAddr, tls: Option<Value>) -> Value {
    let proxy = json!({
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": { "@type": format!("{API}.filters.network.tcp_proxy.v3.TcpProxy"), "stat_prefix": "tcp", "cluster": "tcp" },
    });
    listener(at, &proxy, tls)
}

fn cluster(name: &str, to: &[SocketAddr], version: Version, tls: Option<Value>) -> Value {
    let endpoints: Vec<_> = to.iter().map(|at| json!({ "endpoint": { "address": address(*at) } })).collect();
    let mut cluster = json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": endpoints }] },
        "circuit_breakers": { "thresholds": [{ "max_connections": 20000, "max_pending_requests": 20000, "max_requests": 20000, "max_retries": 20000 }] },
    });
    let options = match version {
        Version::Http1 => Some(json!({ "http_protocol_options": {} })),
        Version::Http2 => Some(json!({ "http2_protocol_options": {} })),
        Version::None => None,
    };
    if let Some(options) = options {
        let kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        let options = json!({ "@type": format!("type.googleapis.com/{kind}"), "explicit_http_config": options });
        cluster["typed_extension_protocol_options"] = json!({ kind: options });
    }
    if let Some(tls) = tls {
        cluster["transport_socket"] = tls;
    }
    cluster
}

fn common_tls(certificates: &Certificates, alpn: &[&str]) -> Value {
    let file = |path: std::path::PathBuf| json!({ "filename": text(&path) });
    json!({
        // Those of ours, in its order.
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_3",
            "tls_maximum_protocol_version": "TLSv1_3",
            "ecdh_curves": ["X25519MLKEM768", "X25519"],
        },
        "alpn_protocols": alpn,
        "tls_certificates": [{ "certificate_chain": file(certificates.leaf()), "private_key": file(certificates.key()) }],
        "validation_context": { "trusted_ca": file(certificates.anchor()) },
    })
}

fn socket(kind: &str, mut context: Value) -> Value {
    context["@type"] = format!("{API}.transport_sockets.tls.v3.{kind}").into();
    json!({ "name": "envoy.transport_sockets.tls", "typed_config": context })
}

fn client_tls(certificates: &Certificates, alpn: &[&str]) -> Value {
    // No resumption: nobody here has it.
    socket("UpstreamTlsContext", json!({ "sni": NAME, "max_session_keys": 0, "common_tls_context": common_tls(certificates, alpn) }))
}

fn server_tls(certificates: &Certificates, alpn: &[&str]) -> Value {
    let context = json!({
        "require_client_certificate": true,
        "disable_stateless_session_resumption": true,
        "common_tls_context": common_tls(certificates, alpn),
    });
    socket("DownstreamTlsContext", context)
}
