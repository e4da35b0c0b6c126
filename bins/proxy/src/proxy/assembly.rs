//! The two sides of the data path and what keeps them fresh, from a configuration.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use meshkit_core::{Clock, Dice, drain};
use meshkit_http::{client::PoolSettings, edge::Told};
use meshkit_runtime::metrics::Registry;
use meshkit_tls::{Store, TrustAnchors, key::Files, renewal::Schedule};
use meshkit_wire::{
    client::Watches,
    identity::Trust,
    tap::Direction,
    watch::{Away, Limits},
};
use tokio::runtime::Handle;
use tracing::info;

use super::{invalid, settings};
use crate::{
    AccessLog, Config, Taps,
    config::{CertificateSource, transport},
    control::{
        self, Channels, Controller, Defaults, Digests, Discovery, Policies,
        anchors::{Beginning, Kept},
        channel::Caller,
        discovery::MayHaveProfile,
        dns::Dns,
    },
    endpoint, inbound,
    inbound::Inbound,
    metrics::{Certificates, ControlFamilies, DigestCounters, Metrics, TRACE_COLLECTOR, TraceCounters, TrustAnchorCounters, tls_info},
    outbound,
    outbound::Outbound,
    trace,
    trace::{Exporter, Tracer},
};

/// How long a first answer about a destination is waited for.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// The data path of a proxy.
pub(super) struct Assembly {
    pub(super) inbound: Inbound,
    pub(super) outbound: Outbound,
    pub(super) store: Arc<Store>,
    /// Who looks at requests; none where nobody may.
    pub(super) taps: Option<Taps>,
    pub(super) signal: drain::Signal,
}

/// Makes both sides; what they ask controllers runs on `control`.
pub(super) fn assemble(
    config: &Config,
    clock: &Arc<dyn Clock>,
    registry: &Registry,
    metrics: &Metrics,
    control: &Handle,
    admin_port: u16,
) -> io::Result<Assembly> {
    let provider = Arc::new(meshkit_tls::provider());
    tls_info(registry, &provider);
    let environment = TrustAnchors::from_pem(&config.identity.trust_anchors).map_err(invalid)?;
    let (kept, Beginning { anchors, generation, .. }) = match &config.identity.source {
        CertificateSource::Controller { dir, .. } => {
            let (kept, beginning) = Kept::open(dir, environment);
            (Some(kept), beginning)
        }
        CertificateSource::WorkloadApi { .. } => (None, Beginning::environment(environment)),
    };
    let store = Arc::new(Store::new(Arc::clone(&provider), anchors, config.identity.name.clone()).map_err(invalid)?);
    let anchor_counters = TrustAnchorCounters::register(registry, &store);

    let dice = Dice::new(seed(&config.identity.name.to_string(), clock.now()));
    let settings = |connect: &transport::Connect, bind, told, tracer, tap| endpoint::Settings {
        connect: settings::tcp_connect(connect, bind),
        backoff: connect.backoff,
        dice: dice.clone(),
        pool: PoolSettings { max_idle_count: connect.http1_pool.max_idle, idle_timeout: connect.http1_pool.idle_timeout },
        tls: store.subscribe(),
        told,
        tracer,
        tap,
    };
    let control_metrics = ControlFamilies::register(registry, clock);
    let channels = Channels {
        dns: Dns::system(control_metrics.clone()),
        endpoint: settings(&config.outbound.connect, config.outbound.bind, Told::Everything, None, None),
        local: settings::tcp_connect(&config.inbound.connect, None),
        metrics: control_metrics,
        control: control.clone(),
    };
    let open = |client, controller: &Controller| channels.open(client, controller, Caller::Certified).map_err(invalid);
    let watches = |controller: &Controller| {
        let limits = config.control.limits_of(controller);
        Watches {
            limits: Limits { initial: limits.initial, idle: limits.idle, lifetime: limits.lifetime },
            backoff: config.outbound.connect.backoff,
            dice: dice.clone(),
            away: Away::default(),
        }
    };

    let certificates = Certificates::register(registry);
    match &config.identity.source {
        CertificateSource::Controller { controller, dir, token_file, min_refresh, max_refresh } => {
            let identity = control::Identity {
                store: Arc::clone(&store),
                provider,
                files: Files::load_or_generate(dir, &config.identity.name)?,
                token_file: token_file.clone(),
                // Who does not prove to be the controller is not believed.
                trust: if controller.identity.is_some() { Trust::Followed } else { Trust::Fixed },
                schedule: Schedule { min: *min_refresh, max: *max_refresh },
                clock: Arc::clone(clock),
                metrics: certificates,
            };
            if let Some(kept) = kept.filter(|_| controller.identity.is_some()) {
                let (store, watches, metrics) = (Arc::clone(&store), watches(controller), anchor_counters);
                let (controller, channels) = (controller.clone(), channels.clone());
                let fresh = move || channels.open("trust_anchors", &controller, Caller::Certified).map_err(|e| e.to_string());
                control.spawn(control::Anchors { store, kept, generation, watches, metrics }.run(fresh));
            }
            let (controller, channels) = (controller.clone(), channels.clone());
            // Each request for a certificate gets connections of its own, made with the credentials of its time.
            let fresh = move || channels.open("identity", &controller, Caller::Anyone).map_err(|e| e.to_string());
            control.spawn(identity.run(fresh));
        }
        CertificateSource::WorkloadApi { socket, backoff } => {
            let agent = control::WorkloadApi {
                store: Arc::clone(&store),
                provider,
                socket: socket.clone(),
                backoff: *backoff,
                dice: dice.clone(),
                clock: Arc::clone(clock),
                metrics: certificates,
            };
            control.spawn(agent.run());
        }
    }

    let policy = &config.control.policy;
    let policy_channel = open("policy", policy)?;
    let policies = Policies::new(
        policy_channel.clone(),
        watches(policy),
        config.control.workload.as_str().into(),
        Defaults {
            policy: config.inbound.default_policy,
            cluster: config.control.cluster_networks.clone(),
            detect_timeout: config.inbound.accept.detect_timeout,
            idle_timeout: config.inbound.discovery_idle_timeout,
            opaque_ports: config.inbound.opaque_ports.ranges().to_vec(),
        },
        control.clone(),
    );
    policies.keep(config.inbound.ports.iter().copied().chain([admin_port]));
    let destination = &config.control.destination;
    let discovery = Discovery {
        channel: open("destination", destination)?,
        policies: policy_channel,
        watches: watches(destination),
        workload: config.control.workload.as_str().into(),
        context: config.control.context.as_str().into(),
        profiles: Arc::new(MayHaveProfile {
            suffixes: config.control.profile_suffixes.clone(),
            networks: config.control.profile_networks.clone(),
        }),
        digests: Digests::new(DigestCounters::register(registry)),
        control: control.clone(),
    };

    let taps = config.tap.is_some().then(|| {
        let help = "Events of the tap that are lost: whoever looks is too slow";
        Taps::new(dice.clone(), registry.open().prefix("mesh_tap").counter("dropped_events", help))
    });
    let tap = |direction| taps.as_ref().map(|taps| taps.of(direction));
    let tracers = tracers(config, clock, &dice, &TraceCounters::register(registry), &channels, control)?;

    let access_log = config.runtime.access_log.map(|format| {
        let dropped =
            registry.open().prefix("mesh_access_log").counter("dropped_lines", "Lines of the access log that are lost: too many wait");
        let (log, writer) = AccessLog::new(format, Arc::clone(clock), dropped);
        control.spawn(writer);
        log
    });

    let (signal, watch) = drain::channel();
    let server = |accept: &transport::Accept| settings::server_settings(config, accept);
    let local_ips: Vec<_> = config.inbound.ips.iter().copied().collect();
    let told = if config.outbound.informational_headers { Told::Everything } else { Told::Status };
    let outbound_side = Outbound::new(
        outbound::Settings {
            id: config.identity.name.clone(),
            local_ips: local_ips.clone(),
            detect_timeout: config.outbound.accept.detect_timeout,
            idle_timeout: config.outbound.discovery_idle_timeout,
            discovery_timeout: DISCOVERY_TIMEOUT,
            queue_capacity: config.outbound.http_queue.capacity,
            tcp_queue_capacity: config.outbound.tcp_queue.capacity,
            max_in_flight: config.outbound.max_in_flight,
            max_destinations: config.outbound.max_destinations,
            hostname_labels: config.outbound.hostname_labels,
            mode: if config.outbound.ingress_mode { outbound::Mode::Ingress } else { outbound::Mode::Sidecar },
            failfast: config.outbound.http_queue.failfast_timeout,
            server: server(&config.outbound.accept),
            endpoint: settings(&config.outbound.connect, config.outbound.bind, told, tracers.1, tap(Direction::Outbound)),
            loopback: vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
        },
        discovery.clone(),
        metrics.clone(),
        watch.clone(),
    );
    let inbound_side = Inbound::new(
        inbound::Settings {
            port: config.listeners.inbound.port(),
            tap_port: config.tap.as_ref().map(|_| config.listeners.control.port()),
            server_name: config.identity.server_name.clone(),
            ips: local_ips,
            detect_timeout: config.inbound.accept.detect_timeout,
            server: server(&config.inbound.accept),
            endpoint: settings(&config.inbound.connect, None, Told::Everything, tracers.0, tap(Direction::Inbound)),
            max_in_flight: config.inbound.max_in_flight,
            profile_timeout: config.inbound.profile_timeout,
            idle_timeout: config.inbound.discovery_idle_timeout,
            access_log,
            gateway: (!config.inbound.gateway_suffixes.is_empty()).then(|| inbound::Gateway {
                suffixes: config.inbound.gateway_suffixes.clone(),
                outbound: outbound_side.clone(),
                id: config.identity.name.clone(),
            }),
        },
        policies,
        discovery,
        metrics.clone(),
        watch,
    );
    Ok(Assembly { inbound: inbound_side, outbound: outbound_side, store, taps, signal })
}

/// What makes spans of both directions' requests, if anybody collects them.
fn tracers(
    config: &Config,
    clock: &Arc<dyn Clock>,
    dice: &Dice,
    counters: &TraceCounters,
    channels: &Channels,
    control: &Handle,
) -> io::Result<(Option<Tracer>, Option<Tracer>)> {
    let Some(tracing) = &config.tracing else { return Ok((None, None)) };
    let (inbound, outbound, spans) = Tracer::pair(clock, dice, &counters.dropped);
    let channel = channels.open(TRACE_COLLECTOR, &tracing.collector, Caller::Certified).map_err(invalid)?;
    let resource = trace::resource(tracing, &**clock)?;
    control.spawn(Exporter { channel, resource, spans, counters: counters.clone() }.run());
    info!("Tracing collector at {}", tracing.collector.addr);
    Ok((Some(inbound), Some(outbound)))
}

/// Two proxies, or two lives of one, do not roll the same numbers.
fn seed(name: &str, now: std::time::SystemTime) -> u64 {
    let nanos = now.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let start = u64::try_from(nanos & u128::from(u64::MAX)).unwrap_or_default() ^ u64::from(std::process::id());
    name.bytes().fold(start, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
}
