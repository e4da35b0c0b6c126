use std::{io::Write, net::IpAddr, os::unix::ffi::OsStringExt, path::PathBuf, time::Duration};

use meshkit_core::Backoff;
use meshkit_policy::DefaultPolicy;
use proptest::prelude::*;

use super::{
    super::{CertificateSource, DnsSuffix, FlowControl, Http2Server, KeepAlive},
    *,
};

const REQUIRED: [(&str, &str); 10] = [
    ("LINKERD2_PROXY_DESTINATION_SVC_ADDR", "dst.linkerd.svc:8086"),
    ("LINKERD2_PROXY_DESTINATION_SVC_NAME", "dst.test"),
    ("LINKERD2_PROXY_POLICY_SVC_ADDR", "127.0.0.1:8090"),
    ("LINKERD2_PROXY_POLICY_WORKLOAD", "{\"ns\":\"n\",\"pod\":\"p\"}"),
    ("LINKERD2_PROXY_IDENTITY_DIR", "/id"),
    ("LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS", "-----BEGIN CERTIFICATE-----"),
    ("LINKERD2_PROXY_IDENTITY_TOKEN_FILE", "/token"),
    ("LINKERD2_PROXY_IDENTITY_LOCAL_NAME", "web.test"),
    ("LINKERD2_PROXY_IDENTITY_SVC_ADDR", "localhost.:8080"),
    ("LINKERD2_PROXY_INBOUND_DEFAULT_POLICY", "all-unauthenticated"),
];

/// The required settings, with others over them. Names are without the Linkerd prefix, and `unset` unsets.
fn read(changes: &[(&str, &str)]) -> Result<Config, Vec<EnvError>> {
    let mut vars: std::collections::BTreeMap<String, String> = REQUIRED.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    for (name, value) in changes {
        let full = if name.starts_with("MESH_") || ["HOSTNAME", "OTEL_RESOURCE_ATTRIBUTES"].contains(name) {
            (*name).to_owned()
        } else {
            format!("LINKERD2_PROXY_{name}")
        };
        match *value {
            "unset" => drop(vars.remove(&full)),
            value => drop(vars.insert(full, value.to_owned())),
        }
    }
    Config::from_env(vars.into_iter().map(|(name, value)| (name.into(), value.into())))
}

fn good(changes: &[(&str, &str)]) -> Config {
    read(changes).unwrap_or_else(|errors| panic!("{changes:?}: {errors:?}"))
}

/// The names of the settings that are refused, without prefix.
fn refused(changes: &[(&str, &str)]) -> Vec<String> {
    let errors = read(changes).expect_err("a mistake");
    errors.iter().map(|error| error.name().replace("LINKERD2_PROXY_", "")).collect()
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn with_the_required_settings_alone_everything_is_at_its_default() {
    let config = good(&[]);
    assert_eq!(config, Config::new(config.identity.clone(), config.control.clone()));
    assert_eq!(
        config.control,
        Control::new(config.control.destination.clone(), config.control.policy.clone(), config.control.workload.clone())
    );
    assert_eq!(config.control.destination.identity.as_ref().unwrap().as_str(), "dst.test");
    assert_eq!((config.control.policy.identity.clone(), config.control.workload.contains("pod")), (None, true));
    assert_eq!(config.listeners.outbound, ["127.0.0.1:4140".parse().unwrap()]);
    assert_eq!(config.inbound.connect.backoff, Backoff::new(Duration::from_millis(100), secs(10), 0.1).unwrap());
    assert_eq!(config.outbound.connect.backoff, Backoff::new(Duration::from_millis(100), secs(60), 0.1).unwrap());
    assert_eq!((config.inbound.connect.timeout, config.outbound.connect.timeout), (Duration::from_millis(300), secs(1)));
    assert_eq!((config.inbound.http_queue.failfast_timeout, config.outbound.http_queue.failfast_timeout), (secs(1), secs(3)));
    assert_eq!(config.control.profile_suffixes[0].to_string(), "svc.cluster.local.");
    let CertificateSource::Controller { min_refresh, max_refresh, dir, .. } = config.identity.source else { panic!() };
    assert_eq!((min_refresh, max_refresh, dir), (secs(10), secs(86_400), PathBuf::from("/id")));
}

#[test]
fn every_mistake_is_reported_at_once() {
    let vars = [("LINKERD2_PROXY_INBOUND_LISTEN_ADDR", "here"), ("LINKERD2_PROXY_METRICS_RETAIN_IDLE", "10"), ("MESH_PROXY_TYPO", "")];
    let errors = Config::from_env(vars.map(|(name, value)| (name.into(), value.into()))).unwrap_err();
    let names: Vec<_> = errors.iter().map(|error| error.name().replace("LINKERD2_PROXY_", "")).collect();
    let want = [
        "MESH_PROXY_TYPO",
        "INBOUND_LISTEN_ADDR",
        "DESTINATION_SVC_ADDR",
        "POLICY_SVC_ADDR",
        "POLICY_WORKLOAD",
        "IDENTITY_TRUST_ANCHORS",
        "IDENTITY_LOCAL_NAME",
        "IDENTITY_DIR",
        "IDENTITY_TOKEN_FILE",
        "IDENTITY_SVC_ADDR",
        "METRICS_RETAIN_IDLE",
    ];
    assert_eq!(names, want);
    assert_eq!(errors[1].to_string(), r#"LINKERD2_PROXY_INBOUND_LISTEN_ADDR: "here" is not ip:port, with brackets around an IPv6 address"#);
}

#[test]
fn durations_go_where_their_names_say() {
    type Get = fn(&Config) -> Option<Duration>;
    let all: [(&str, Get); 36] = [
        ("METRICS_RETAIN_IDLE", |c| Some(c.admin.metrics_retain_idle)),
        ("SHUTDOWN_GRACE_PERIOD", |c| Some(c.runtime.shutdown_grace_period)),
        ("INBOUND_DETECT_TIMEOUT", |c| Some(c.inbound.accept.detect_timeout)),
        ("OUTBOUND_DETECT_TIMEOUT", |c| Some(c.outbound.accept.detect_timeout)),
        ("INBOUND_CONNECT_TIMEOUT", |c| Some(c.inbound.connect.timeout)),
        ("OUTBOUND_CONNECT_TIMEOUT", |c| Some(c.outbound.connect.timeout)),
        ("INBOUND_ACCEPT_KEEPALIVE", |c| c.inbound.accept.socket.keepalive),
        ("OUTBOUND_ACCEPT_KEEPALIVE", |c| c.outbound.accept.socket.keepalive),
        ("INBOUND_CONNECT_KEEPALIVE", |c| c.inbound.connect.socket.keepalive),
        ("OUTBOUND_CONNECT_KEEPALIVE", |c| c.outbound.connect.socket.keepalive),
        ("INBOUND_ACCEPT_USER_TIMEOUT", |c| c.inbound.accept.socket.user_timeout),
        ("OUTBOUND_ACCEPT_USER_TIMEOUT", |c| c.outbound.accept.socket.user_timeout),
        ("INBOUND_CONNECT_USER_TIMEOUT", |c| c.inbound.connect.socket.user_timeout),
        ("OUTBOUND_CONNECT_USER_TIMEOUT", |c| c.outbound.connect.socket.user_timeout),
        ("INBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT", |c| Some(c.inbound.connect.http1_pool.idle_timeout)),
        ("OUTBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT", |c| Some(c.outbound.connect.http1_pool.idle_timeout)),
        ("INBOUND_HTTP_FAILFAST_TIMEOUT", |c| Some(c.inbound.http_queue.failfast_timeout)),
        ("OUTBOUND_HTTP_FAILFAST_TIMEOUT", |c| Some(c.outbound.http_queue.failfast_timeout)),
        ("OUTBOUND_TCP_FAILFAST_TIMEOUT", |c| Some(c.outbound.tcp_queue.failfast_timeout)),
        ("INBOUND_DISCOVERY_IDLE_TIMEOUT", |c| Some(c.inbound.discovery_idle_timeout)),
        ("OUTBOUND_DISCOVERY_IDLE_TIMEOUT", |c| Some(c.outbound.discovery_idle_timeout)),
        ("DESTINATION_PROFILE_INITIAL_TIMEOUT", |c| Some(c.inbound.profile_timeout)),
        ("DNS_MIN_TTL", |c| c.dns.min_ttl),
        ("DNS_MAX_TTL", |c| c.dns.max_ttl),
        ("CONTROL_STREAM_INITIAL_TIMEOUT", |c| c.control.stream_limits.initial),
        ("CONTROL_STREAM_IDLE_TIMEOUT", |c| c.control.stream_limits.idle),
        ("CONTROL_STREAM_LIFETIME", |c| c.control.stream_limits.lifetime),
        ("IDENTITY_MIN_REFRESH", |c| refresh(c).map(|(min, _)| min)),
        ("IDENTITY_MAX_REFRESH", |c| refresh(c).map(|(_, max)| max)),
        ("MESH_PROXY_HEADER_READ_TIMEOUT", |c| Some(c.limits.header_read_timeout)),
        ("INBOUND_CONNECT_EXP_BACKOFF_MIN", |c| Some(c.inbound.connect.backoff.min())),
        ("INBOUND_CONNECT_EXP_BACKOFF_MAX", |c| Some(c.inbound.connect.backoff.max())),
        ("OUTBOUND_CONNECT_EXP_BACKOFF_MIN", |c| Some(c.outbound.connect.backoff.min())),
        ("OUTBOUND_CONNECT_EXP_BACKOFF_MAX", |c| Some(c.outbound.connect.backoff.max())),
        ("INBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL", |c| c.inbound.accept.http2.keep_alive.map(|k| k.interval)),
        ("OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT", |c| c.outbound.accept.http2.keep_alive.map(|k| k.timeout)),
    ];
    for (name, get) in all {
        // Settings that are only good together.
        let partner = match name {
            _ if name.ends_with("BACKOFF_MIN") => Some((name.replace("_MIN", "_MAX"), "600s")),
            _ if name.ends_with("BACKOFF_MAX") => Some((name.replace("_MAX", "_MIN"), "1ms")),
            _ if name.ends_with("KEEP_ALIVE_INTERVAL") => Some((name.replace("_INTERVAL", "_TIMEOUT"), "1s")),
            _ if name.ends_with("KEEP_ALIVE_TIMEOUT") => Some((name.replace("_TIMEOUT", "_INTERVAL"), "1s")),
            _ => None,
        };
        let mut vars = vec![(name, "123s")];
        vars.extend(partner.as_ref().map(|(name, value)| (name.as_str(), *value)));
        assert_eq!(get(&good(&vars)), Some(secs(123)), "{name}");
        vars[0].1 = "123";
        assert!(refused(&vars).contains(&name.to_owned()), "{name}");
    }
}

fn refresh(config: &Config) -> Option<(Duration, Duration)> {
    match &config.identity.source {
        CertificateSource::Controller { min_refresh, max_refresh, .. } => Some((*min_refresh, *max_refresh)),
        CertificateSource::WorkloadApi { .. } => None,
    }
}

#[test]
fn numbers_go_where_their_names_say() {
    type Get = fn(&Config) -> usize;
    let all: [(&str, Get); 21] = [
        ("INBOUND_TCP_LISTEN_BACKLOG", |c| c.inbound.accept.backlog.unwrap_or_default() as usize),
        ("OUTBOUND_TCP_LISTEN_BACKLOG", |c| c.outbound.accept.backlog.unwrap_or_default() as usize),
        ("MAX_IDLE_CONNS_PER_ENDPOINT", |c| c.inbound.connect.http1_pool.max_idle),
        ("OUTBOUND_MAX_IDLE_CONNS_PER_ENDPOINT", |c| c.outbound.connect.http1_pool.max_idle),
        ("INBOUND_MAX_IN_FLIGHT", |c| c.inbound.max_in_flight),
        ("OUTBOUND_MAX_IN_FLIGHT", |c| c.outbound.max_in_flight),
        ("INBOUND_HTTP_QUEUE_CAPACITY", |c| c.inbound.http_queue.capacity),
        ("OUTBOUND_HTTP_QUEUE_CAPACITY", |c| c.outbound.http_queue.capacity),
        ("OUTBOUND_TCP_QUEUE_CAPACITY", |c| c.outbound.tcp_queue.capacity),
        ("HTTP2_INITIAL_STREAM_WINDOW_SIZE", |c| c.http2_client.stream_window as usize),
        ("HTTP2_INITIAL_CONNECTION_WINDOW_SIZE", |c| c.http2_client.connection_window as usize),
        ("INBOUND_SERVER_HTTP2_MAX_CONCURRENT_STREAMS", |c| c.inbound.accept.http2.max_concurrent_streams.unwrap_or_default() as usize),
        ("OUTBOUND_SERVER_HTTP2_MAX_FRAME_SIZE", |c| c.outbound.accept.http2.max_frame_size.unwrap_or_default() as usize),
        ("INBOUND_SERVER_HTTP2_MAX_HEADER_LIST_SIZE", |c| c.inbound.accept.http2.max_header_list_size.unwrap_or_default() as usize),
        ("INBOUND_SERVER_HTTP2_MAX_PENDING_ACCEPT_RESET_STREAMS", |c| {
            c.inbound.accept.http2.max_pending_accept_reset_streams.unwrap_or_default()
        }),
        ("OUTBOUND_SERVER_HTTP2_MAX_SEND_BUF_SIZE", |c| c.outbound.accept.http2.max_send_buf_size.unwrap_or_default()),
        ("MESH_PROXY_MAX_HEADER_BYTES", |c| c.limits.max_header_bytes),
        ("MESH_PROXY_OUTBOUND_MAX_DESTINATIONS", |c| c.outbound.max_destinations),
        ("CORES", |c| c.runtime.cores_min),
        ("CORES_MIN", |c| c.runtime.cores_min),
        ("CORES_MAX", |c| c.runtime.cores_max.unwrap_or_default()),
    ];
    for (name, get) in all {
        assert_eq!(get(&good(&[(name, "77777")])), 77_777, "{name}");
        if name.starts_with("CORES") {
            let config = good(&[(name, "many")]);
            assert_eq!(config.runtime, Runtime::default());
            assert!(config.warnings[0].to_string().ends_with("; ignored"), "{:?}", config.warnings);
        } else {
            assert_eq!(refused(&[(name, "-1")]), [name]);
        }
    }
    assert_eq!(good(&[("CORES", "3"), ("CORES_MIN", "2")]).runtime.cores_min, 2);
    assert_eq!(good(&[("CORES_MAX_RATIO", "0.5")]).runtime.worker_count(8), 4);
    assert_eq!(good(&[("CORES_MAX_RATIO", "1.5")]).warnings.len(), 1);
}

#[test]
fn booleans_go_where_their_names_say() {
    assert!(good(&[("SHUTDOWN_ENDPOINT_ENABLED", "true")]).admin.shutdown_endpoint);
    assert!(good(&[("OUTBOUND_METRICS_HOSTNAME_LABELS", "true")]).outbound.hostname_labels);
    let ingress = good(&[("INGRESS_MODE", "true")]).outbound;
    assert!(ingress.ingress_mode && !ingress.informational_headers);
    assert!(good(&[("INGRESS_MODE", "true"), ("OUTBOUND_DISABLE_INFORMATIONAL_HEADERS", "false")]).outbound.informational_headers);
    assert!(!good(&[("OUTBOUND_DISABLE_INFORMATIONAL_HEADERS", "true")]).outbound.informational_headers);
    for (value, labels) in [("", false), ("unsafe", true), ("UNSAFE", true)] {
        assert_eq!(good(&[("INBOUND_METRICS_AUTHORITY_LABELS", value)]).inbound.authority_labels, labels);
    }
    assert_eq!(refused(&[("INBOUND_METRICS_AUTHORITY_LABELS", "true")]), ["INBOUND_METRICS_AUTHORITY_LABELS"]);
    assert_eq!(refused(&[("INGRESS_MODE", "yes"), ("SHUTDOWN_ENDPOINT_ENABLED", "1")]), ["INGRESS_MODE", "SHUTDOWN_ENDPOINT_ENABLED"]);
}

#[test]
fn listeners_have_an_older_name_and_a_second_address() {
    let two = good(&[("OUTBOUND_LISTEN_ADDRS", "127.0.0.1:1,[::1]:1"), ("OUTBOUND_LISTEN_ADDR", "ignored")]);
    assert_eq!(two.listeners.outbound.len(), 2);
    let older = good(&[("OUTBOUND_LISTEN_ADDR", "127.0.0.1:2"), ("CONTROL_LISTEN_ADDR", "[::]:3"), ("ADMIN_LISTEN_ADDR", "127.0.0.2:4")]);
    assert_eq!(older.listeners.outbound[0].port(), 2);
    assert_eq!((older.listeners.control.port(), older.listeners.admin.port()), (3, 4));
    assert_eq!(refused(&[("OUTBOUND_LISTEN_ADDR", "127.0.0.1:1,127.0.0.1:2")]), ["OUTBOUND_LISTEN_ADDR"]);
}

#[test]
fn the_ports_of_the_proxy_itself_are_watched_too() {
    let ports = |changes: &[(&str, &str)]| good(changes).inbound.ports.into_iter().collect::<Vec<_>>();
    assert_eq!(ports(&[]), [4191]);
    assert_eq!(ports(&[("INBOUND_PORTS", "80,8080-8081"), ("ADMIN_LISTEN_ADDR", "0.0.0.0:99")]), [80, 99, 8080, 8081]);
    assert_eq!(ports(&[("INBOUND_GATEWAY_SUFFIXES", "svc.cluster.local.")]), [4143, 4191]);
    assert!(good(&[("INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION", "25,3306")]).inbound.opaque_ports.contains(3306));
    assert!(good(&[("INBOUND_IPS", "10.0.0.1,fe80::1")]).inbound.ips.contains(&"fe80::1".parse::<IpAddr>().unwrap()));
    assert!(good(&[("DESTINATION_PROFILE_SUFFIXES", ".")]).control.profile_suffixes.contains(&DnsSuffix::root()));
    assert_eq!(good(&[("DESTINATION_PROFILE_NETWORKS", "10.0.0.0/8,fd00::/8")]).control.profile_networks.len(), 2);
    assert_eq!(good(&[("DESTINATION_CONTEXT", "{}")]).control.context, "{}");
}

#[test]
fn default_policies_that_mean_the_cluster_need_its_networks() {
    let name = "INBOUND_DEFAULT_POLICY";
    for policy in ["cluster-authenticated", "cluster-unauthenticated", "audit"] {
        assert_eq!(refused(&[(name, policy)]), [name]);
        let config = good(&[(name, policy), ("POLICY_CLUSTER_NETWORKS", "10.0.0.0/8")]);
        assert_eq!(config.inbound.default_policy.name(), policy);
        assert_eq!(refused(&[(name, policy), ("POLICY_CLUSTER_NETWORKS", "10")]), ["POLICY_CLUSTER_NETWORKS"]);
    }
    for policy in ["deny", "all-authenticated", "all-unauthenticated"] {
        assert_eq!(good(&[(name, policy)]).inbound.default_policy.name(), policy);
    }
    assert_eq!(refused(&[(name, "allow")]), [name]);
    let unset = good(&[(name, "unset")]);
    assert_eq!((unset.inbound.default_policy, unset.warnings.len()), (DefaultPolicy::AllUnauthenticated, 1));
}

#[test]
fn stream_limits_are_in_order_and_may_be_empty() {
    let names = ["CONTROL_STREAM_INITIAL_TIMEOUT", "CONTROL_STREAM_IDLE_TIMEOUT", "CONTROL_STREAM_LIFETIME"];
    let chart = good(&[(names[0], "3s"), (names[1], "5m"), (names[2], "1h")]).control;
    assert_eq!(chart.stream_limits.lifetime, Some(secs(3600)));
    assert_eq!(chart.limits_of(&chart.destination), chart.stream_limits);
    assert_eq!(chart.limits_of(&chart.policy), StreamLimits::default(), "plaintext on this machine has no limits");
    assert_eq!(good(&[(names[0], ""), (names[1], "5s")]).control.stream_limits.initial, None);
    assert_eq!(refused(&[(names[0], "2s"), (names[1], "1s")]), [names[1]]);
    assert_eq!(refused(&[(names[0], "2s"), (names[2], "1s")]), [names[2]]);
}

#[test]
fn controllers_elsewhere_must_have_a_name() {
    let (addr, name) = ("DESTINATION_SVC_ADDR", "DESTINATION_SVC_NAME");
    assert_eq!(refused(&[(name, "unset")]), [name]);
    assert_eq!(refused(&[(addr, "localhost:1"), (name, "unset")]), [name]);
    assert_eq!(refused(&[(addr, "unset")]), [addr]);
    assert_eq!(refused(&[(addr, "dst")]), [addr]);
    assert_eq!(refused(&[(name, "not a name")]), [name]);
    let plain = good(&[(addr, "127.0.0.1:1"), (name, "unset")]).control.destination;
    assert_eq!((plain.addr.port(), plain.identity), (1, None));
    assert!(good(&[(addr, "127.0.0.9:1")]).control.destination.identity.is_some());
    for own in ["127.0.0.1:1", "[::1]:1", "localhost.:1"] {
        assert_eq!(good(&[(addr, own)]).control.destination.identity, None, "{own} is this pod, named or not");
    }
}

#[test]
fn backoffs_are_whole_or_absent() {
    let prefix = "OUTBOUND_CONNECT_EXP_BACKOFF";
    let [min, max, jitter] = ["MIN", "MAX", "JITTER"].map(|end| format!("{prefix}_{end}"));
    let backoff = good(&[(&min, "1s"), (&max, "2s")]).outbound.connect.backoff;
    assert_eq!(backoff, Backoff::new(secs(1), secs(2), 0.0).unwrap());
    let backoff = good(&[(&min, "1s"), (&max, "2s"), (&jitter, "0.5")]).outbound.connect.backoff;
    assert_eq!(backoff, Backoff::new(secs(1), secs(2), 0.5).unwrap());
    assert_eq!(refused(&[(&min, "1s")]), [max.as_str()]);
    assert_eq!(refused(&[(&max, "1s")]), [min.as_str()]);
    assert_eq!(refused(&[(&jitter, "1")]), [min.as_str()]);
    for (low, high, random) in [("2s", "1s", "0"), ("0", "0", "0"), ("1s", "2s", "101"), ("1s", "2s", "-1"), ("1s", "2s", "NaN")] {
        assert_eq!(refused(&[(&min, low), (&max, high), (&jitter, random)]), [max.as_str()]);
    }
}

#[test]
fn http2_settings_of_servers_go_in_pairs() {
    let server = |changes: &[(&str, &str)]| good(changes).inbound.accept.http2;
    let (stream, connection) = ("INBOUND_SERVER_HTTP2_INITIAL_STREAM_WINDOW_SIZE", "INBOUND_SERVER_HTTP2_INITIAL_CONNECTION_WINDOW_SIZE");
    let (interval, timeout) = ("INBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL", "INBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT");
    assert_eq!(server(&[(stream, "1"), (interval, "1s")]), Http2Server::default());
    assert_eq!(server(&[(connection, "1"), (timeout, "1s")]), Http2Server::default());
    let both = server(&[(stream, "1"), (connection, "2"), (interval, "10s"), (timeout, "3s")]);
    assert_eq!(both.flow_control, FlowControl::Fixed { stream: 1, connection: 2 });
    assert_eq!(both.keep_alive, Some(KeepAlive { interval: secs(10), timeout: secs(3) }));
    let (frame, client) = ("OUTBOUND_SERVER_HTTP2_MAX_FRAME_SIZE", "HTTP2_INITIAL_STREAM_WINDOW_SIZE");
    assert_eq!(refused(&[(client, "2147483648"), (frame, "16383"), (stream, "4294967295")]), [stream, frame, client]);
    let adaptive = server(&[(stream, "1"), (connection, "2"), ("INBOUND_SERVER_HTTP2_ADAPTIVE_FLOW_CONTROL", "true")]);
    assert_eq!(adaptive.flow_control, FlowControl::Adaptive);
}

#[test]
fn an_identity_has_one_name_or_two_that_agree() {
    let (local, id, server) = ("IDENTITY_LOCAL_NAME", "IDENTITY_SERVER_ID", "IDENTITY_SERVER_NAME");
    let both = good(&[(local, "unset"), (id, "a.b"), (server, "a.b")]).identity;
    assert_eq!((both.name.as_str(), both.server_name.as_str()), ("a.b", "a.b"));
    assert_eq!(good(&[(id, "not looked at"), (server, "")]).identity.server_name, "web.test");
    assert_eq!(refused(&[(local, "unset"), (id, "a.b"), (server, "c.d")]), [id]);
    assert_eq!(refused(&[(local, "unset"), (id, "spiffe://td/x"), (server, "c.d")]), [id]);
    assert_eq!(refused(&[(local, "unset"), (id, "a.b")]), [server]);
    assert_eq!(refused(&[(local, "spiffe://td/x")]), [local]);
    assert_eq!(refused(&[("IDENTITY_DISABLED", "1")]), ["IDENTITY_DISABLED"]);
    good(&[("IDENTITY_DISABLED", "")]);
    assert_eq!(refused(&[("IDENTITY_TRUST_ANCHORS", " ")]), ["IDENTITY_TRUST_ANCHORS"]);
}

#[test]
fn a_workload_api_stands_in_for_the_identity_controller() {
    let spiffe = [
        ("IDENTITY_LOCAL_NAME", "unset"),
        ("IDENTITY_SERVER_ID", "spiffe://td/web"),
        ("IDENTITY_SERVER_NAME", "web.test"),
        ("IDENTITY_SVC_ADDR", "unset"),
        ("IDENTITY_DIR", "unset"),
        ("IDENTITY_TOKEN_FILE", "unset"),
    ];
    for name in ["IDENTITY_SPIRE_WORKLOAD_API_ADDRESS", "IDENTITY_SPIRE_SOCKET"] {
        for address in ["unix:/run/spire.sock", "/run/spire.sock"] {
            let config = good(&[&spiffe[..], &[(name, address)]].concat());
            let CertificateSource::WorkloadApi { socket, backoff } = &config.identity.source else { panic!() };
            assert_eq!(socket, &PathBuf::from("/run/spire.sock"));
            assert_eq!(*backoff, Backoff::new(Duration::from_millis(100), secs(1), 0.1).unwrap());
            config.check_files().unwrap();
        }
        assert_eq!(refused(&[(name, "/run/spire.sock")]), ["IDENTITY_LOCAL_NAME"]);
    }
    let twice = [
        ("IDENTITY_SPIRE_SOCKET", "/s"),
        ("LINKERD2_PROXY_IDENTITY_SPIRE_EXP_BACKOFF_MIN", "2s"),
        ("LINKERD2_PROXY_IDENTITY_SPIRE_EXP_BACKOFF_MAX", "3s"),
    ];
    let config = good(&[&spiffe[..], &twice].concat());
    let CertificateSource::WorkloadApi { backoff, .. } = &config.identity.source else { panic!() };
    assert_eq!(*backoff, Backoff::new(secs(2), secs(3), 0.0).unwrap());
}

#[test]
fn tap_and_tracing_are_off_unless_named() {
    assert_eq!(good(&[("TAP_SVC_NAME", "tap.test")]).tap.unwrap().client.as_str(), "tap.test");
    assert_eq!(refused(&[("TAP_SVC_NAME", "")]), ["TAP_SVC_NAME"]);
    let tracing = good(&[
        ("TRACE_COLLECTOR_SVC_ADDR", "collector:4317"),
        ("TRACE_COLLECTOR_SVC_NAME", "collector.test"),
        ("TRACE_SERVICE_NAME", "web"),
        ("TRACE_ATTRIBUTES_PATH", "/labels"),
        ("TRACE_EXTRA_ATTRIBUTES", "b=extra\nc=extra"),
        ("TRACE_PROTOCOL", "ignored"),
        ("OTEL_RESOURCE_ATTRIBUTES", "c=otel\nd=x,e=y"),
        ("HOSTNAME", "pod-1"),
    ]);
    let tracing = tracing.tracing.unwrap();
    let attributes: Vec<_> =
        tracing.attributes("a=\"file\"\nb=file\nc=file\n").into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(attributes, ["a=file", "b=extra", "c=otel", "d=x,e=y", "host.name=pod-1", "service.name=web"]);
    assert_eq!(refused(&[("TRACE_COLLECTOR_SVC_ADDR", "collector:4317")]), ["TRACE_COLLECTOR_SVC_NAME"]);
}

#[test]
fn the_log_is_known_before_the_rest_is_right() {
    let config = good(&[("LOG", "off"), ("LOG_FORMAT", "json"), ("ACCESS_LOG", "apache")]).runtime;
    assert_eq!((config.log.as_str(), config.log_format, config.access_log), ("off", logs::Format::Json, Some(AccessLog::Apache)));
    for (name, value) in [("LOG_FORMAT", "xml"), ("ACCESS_LOG", "on")] {
        let config = good(&[(name, value)]);
        assert_eq!((config.runtime, config.warnings.len()), (Runtime::default(), 1));
    }
    let vars = [("LINKERD2_PROXY_LOG", "debug"), ("LINKERD2_PROXY_INBOUND_LISTEN_ADDR", "wrong")];
    assert_eq!(log_settings(vars.map(|(name, value)| (name.into(), value.into()))), ("debug".to_owned(), logs::Format::Plain));
}

#[test]
fn own_settings_are_checked_and_strangers_are_not() {
    let config = good(&[
        ("MESH_PROXY_LISTENERS_FILE", "/run/listeners"),
        ("MESH_PROXY_OUTBOUND_BIND", "127.3.0.1"),
        ("INBOUND_PORTS_REQUIRE_TLS", "no effect"),
        ("INBOUND_PORTS_REQUIRE_IDENTITY", "80"),
        ("TRACE_ANNOTATIONS_PATH", ""),
        ("SOMETHING_NEW", "x"),
    ]);
    assert_eq!(config.listeners.file, Some("/run/listeners".into()));
    assert_eq!(config.outbound.bind, Some("127.3.0.1".parse().unwrap()));
    assert_eq!(refused(&[("MESH_PROXY_OUTBOUND_BND", "127.3.0.1")]), ["MESH_PROXY_OUTBOUND_BND"]);
    assert_eq!(refused(&[("MESH_PROXY_MAX_HEADER_BYTES", "8191")]), ["MESH_PROXY_MAX_HEADER_BYTES"]);
    assert_eq!(refused(&[("MESH_PROXY_LISTENERS_FILE", "")]), ["MESH_PROXY_LISTENERS_FILE"]);
}

#[test]
fn a_value_that_is_not_unicode_is_a_mistake() {
    let bad = ("LINKERD2_PROXY_DESTINATION_CONTEXT".into(), OsString::from_vec(vec![0xff]));
    let vars = REQUIRED.map(|(name, value)| (name.into(), value.into())).into_iter().chain([bad]);
    assert_eq!(Config::from_env(vars).unwrap_err()[0].to_string(), "LINKERD2_PROXY_DESTINATION_CONTEXT: is not Unicode");
}

#[test]
fn the_token_must_be_there_and_not_empty() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let check = || good(&[("IDENTITY_TOKEN_FILE", &path)]).check_files();
    assert!(check().unwrap_err()[0].to_string().ends_with("is empty"));
    file.write_all(b"token").unwrap();
    check().unwrap();
    drop(file);
    assert!(check().unwrap_err()[0].to_string().contains("cannot be read"));
}

proptest! {
    #[test]
    fn no_environment_panics(values in proptest::collection::vec(("[A-Z0-9_]{0,20}", any::<String>()), 0..20), pick in any::<String>()) {
        let known = REQUIRED.map(|(name, _)| (name.to_owned(), pick.clone()));
        let vars = values.into_iter().map(|(name, value)| (format!("LINKERD2_PROXY_{name}"), value)).chain(known);
        let _ = Config::from_env(vars.map(|(name, value)| (name.into(), value.into())));
    }
}
