use meshkit_policy::DefaultPolicy;

use super::{
    super::{Accept, Connect, FlowControl, Http1Pool, Http2Server, Inbound, KeepAlive, Listeners, Outbound, Queue, syntax},
    reader::Reader,
    window,
};

pub(super) fn inbound(env: &mut Reader, listeners: &Listeners, no_networks: bool) -> Inbound {
    let mut inbound = Inbound::default();
    accept(env, "INBOUND", &mut inbound.accept);
    connect(env, "INBOUND", &mut inbound.connect);
    // The name does not say that it is the inbound one.
    http1_pool(env, "INBOUND", "MAX_IDLE_CONNS_PER_ENDPOINT", &mut inbound.connect.http1_pool);
    queue(env, "INBOUND_HTTP", &mut inbound.http_queue);
    env.set(&mut inbound.max_in_flight, "INBOUND_MAX_IN_FLIGHT", syntax::number);
    env.set(&mut inbound.discovery_idle_timeout, "INBOUND_DISCOVERY_IDLE_TIMEOUT", syntax::duration);
    env.set(&mut inbound.profile_timeout, "DESTINATION_PROFILE_INITIAL_TIMEOUT", syntax::duration);
    inbound.default_policy = default_policy(env, inbound.default_policy, no_networks);
    env.set(&mut inbound.opaque_ports, "INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION", syntax::port_ranges);
    env.set(&mut inbound.ips, "INBOUND_IPS", syntax::ips);
    env.set(&mut inbound.gateway_suffixes, "INBOUND_GATEWAY_SUFFIXES", syntax::dns_suffixes);
    inbound.ports = env.read("INBOUND_PORTS", syntax::port_ranges).map(|ranges| ranges.ports()).unwrap_or_default();
    inbound.ports.insert(listeners.admin.port());
    if !inbound.gateway_suffixes.is_empty() {
        inbound.ports.insert(listeners.inbound.port());
    }
    let unsafe_or_not = |text: &str| match text {
        "" => Ok(false),
        _ if text.eq_ignore_ascii_case("unsafe") => Ok(true),
        _ => Err(syntax::InvalidSyntax::new(text, "unsafe, or empty")),
    };
    env.set(&mut inbound.authority_labels, "INBOUND_METRICS_AUTHORITY_LABELS", unsafe_or_not);
    inbound
}

pub(super) fn outbound(env: &mut Reader) -> Outbound {
    let mut outbound = Outbound::default();
    accept(env, "OUTBOUND", &mut outbound.accept);
    connect(env, "OUTBOUND", &mut outbound.connect);
    http1_pool(env, "OUTBOUND", "OUTBOUND_MAX_IDLE_CONNS_PER_ENDPOINT", &mut outbound.connect.http1_pool);
    queue(env, "OUTBOUND_TCP", &mut outbound.tcp_queue);
    queue(env, "OUTBOUND_HTTP", &mut outbound.http_queue);
    env.set(&mut outbound.max_in_flight, "OUTBOUND_MAX_IN_FLIGHT", syntax::number);
    env.set(&mut outbound.discovery_idle_timeout, "OUTBOUND_DISCOVERY_IDLE_TIMEOUT", syntax::duration);
    env.set(&mut outbound.ingress_mode, "INGRESS_MODE", syntax::boolean);
    let disable = env.read("OUTBOUND_DISABLE_INFORMATIONAL_HEADERS", syntax::boolean);
    outbound.informational_headers = !disable.unwrap_or(outbound.ingress_mode);
    env.set(&mut outbound.hostname_labels, "OUTBOUND_METRICS_HOSTNAME_LABELS", syntax::boolean);
    let destinations = |text: &str| syntax::number_within(text, 1, usize::MAX);
    outbound.max_destinations = env.read_own("OUTBOUND_MAX_DESTINATIONS", destinations).unwrap_or(outbound.max_destinations);
    outbound.bind = env.read_own("OUTBOUND_BIND", syntax::ip);
    outbound
}

fn default_policy(env: &mut Reader, default: DefaultPolicy, no_networks: bool) -> DefaultPolicy {
    const NAME: &str = "INBOUND_DEFAULT_POLICY";
    if !env.has(NAME) {
        env.warn(NAME, format!("is not set; {} it is", default.name()));
        return default;
    }
    let Some(policy) = env.read(NAME, str::parse::<DefaultPolicy>) else {
        return default;
    };
    use DefaultPolicy::{AllAuthenticated, AllUnauthenticated, Audit, ClusterAuthenticated, ClusterUnauthenticated, Deny};
    match policy {
        // `audit` names no network, and the proxy whose setting this is refuses it all the same.
        Audit | ClusterAuthenticated | ClusterUnauthenticated if no_networks => {
            env.refuse(NAME, format!("is {}, which needs LINKERD2_PROXY_POLICY_CLUSTER_NETWORKS", policy.name()));
        }
        Audit | ClusterAuthenticated | ClusterUnauthenticated | AllAuthenticated | AllUnauthenticated | Deny => {}
    }
    policy
}

fn accept(env: &mut Reader, direction: &str, accept: &mut Accept) {
    accept.socket.keepalive = env.read(&format!("{direction}_ACCEPT_KEEPALIVE"), syntax::duration);
    accept.socket.user_timeout = env.read(&format!("{direction}_ACCEPT_USER_TIMEOUT"), syntax::duration);
    accept.backlog = env.read(&format!("{direction}_TCP_LISTEN_BACKLOG"), syntax::number);
    env.set(&mut accept.detect_timeout, &format!("{direction}_DETECT_TIMEOUT"), syntax::duration);
    accept.http2 = http2_server(env, direction);
}

fn connect(env: &mut Reader, direction: &str, connect: &mut Connect) {
    env.set(&mut connect.timeout, &format!("{direction}_CONNECT_TIMEOUT"), syntax::duration);
    connect.socket.keepalive = env.read(&format!("{direction}_CONNECT_KEEPALIVE"), syntax::duration);
    connect.socket.user_timeout = env.read(&format!("{direction}_CONNECT_USER_TIMEOUT"), syntax::duration);
    connect.backoff = env.backoff(&format!("{direction}_CONNECT"), connect.backoff);
}

fn http1_pool(env: &mut Reader, direction: &str, max_idle: &str, pool: &mut Http1Pool) {
    env.set(&mut pool.max_idle, max_idle, syntax::number);
    env.set(&mut pool.idle_timeout, &format!("{direction}_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT"), syntax::duration);
}

fn queue(env: &mut Reader, prefix: &str, queue: &mut Queue) {
    env.set(&mut queue.capacity, &format!("{prefix}_QUEUE_CAPACITY"), syntax::number);
    env.set(&mut queue.failfast_timeout, &format!("{prefix}_FAILFAST_TIMEOUT"), syntax::duration);
}

fn http2_server(env: &mut Reader, direction: &str) -> Http2Server {
    let name = |end: &str| format!("{direction}_SERVER_HTTP2_{end}");
    // RFC 9113 section 6.5.2.
    let frame_size = |text: &str| syntax::number_within(text, 1 << 14, (1 << 24) - 1);
    let adaptive = env.read(&name("ADAPTIVE_FLOW_CONTROL"), syntax::boolean).unwrap_or_default();
    let stream = env.read(&name("INITIAL_STREAM_WINDOW_SIZE"), window);
    let connection = env.read(&name("INITIAL_CONNECTION_WINDOW_SIZE"), window);
    // One window without the other is ignored, and so is one half of the probes.
    let flow_control = match stream.zip(connection) {
        _ if adaptive => FlowControl::Adaptive,
        Some((stream, connection)) => FlowControl::Fixed { stream, connection },
        None => FlowControl::default(),
    };
    let interval = env.read(&name("KEEP_ALIVE_INTERVAL"), syntax::duration);
    let timeout = env.read(&name("KEEP_ALIVE_TIMEOUT"), syntax::duration);
    Http2Server {
        flow_control,
        keep_alive: interval.zip(timeout).map(|(interval, timeout)| KeepAlive { interval, timeout }),
        max_concurrent_streams: env.read(&name("MAX_CONCURRENT_STREAMS"), syntax::number),
        max_frame_size: env.read(&name("MAX_FRAME_SIZE"), frame_size),
        max_header_list_size: env.read(&name("MAX_HEADER_LIST_SIZE"), syntax::number),
        max_pending_accept_reset_streams: env.read(&name("MAX_PENDING_ACCEPT_RESET_STREAMS"), syntax::number),
        max_send_buf_size: env.read(&name("MAX_SEND_BUF_SIZE"), syntax::number),
    }
}
