//! A proxy from a [`Config`] value: sockets, threads, and their order.

mod accepting;
mod settings;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use meshkit_core::{Clock, Dice, drain};
use meshkit_http::{client::PoolSettings, edge::Told};
use meshkit_runtime::{
    admin::{Access, Admin, Readiness},
    metrics::Registry,
    process, shutdown, threads,
};
use meshkit_tls::{Store, TrustAnchors, key::Files, renewal::Schedule};
use meshkit_wire::{client::Watches, watch::Limits};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::{
    Config,
    config::{CertificateSource, transport},
    control::{self, Channels, Controller, Defaults, Discovery, Policies, channel::Caller, discovery::MayHaveProfile, dns::Dns},
    endpoint, inbound,
    inbound::Inbound,
    metrics::{Certificates, ControlFamilies, Metrics, tls_info},
    net::{Listener, accept::Destination},
    outbound,
    outbound::Outbound,
};

/// How long a first answer about a destination is waited for.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// How often idle metric series are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// A proxy whose sockets are bound, and which serves nothing yet.
#[derive(Debug)]
pub struct Proxy {
    config: Config,
    clock: Arc<dyn Clock>,
    registry: Registry,
    inbound: Listener,
    outbound: Vec<Listener>,
    admin: std::net::TcpListener,
    logs: Option<meshkit_runtime::logs::Level>,
    environment: Vec<(String, String)>,
    build: process::BuildInfo,
}

impl Proxy {
    /// Binds every socket: connections wait from here on until there is a certificate.
    ///
    /// # Errors
    /// An address cannot be bound; the error names it.
    ///
    /// # Panics
    /// Outside of a Tokio runtime with I/O enabled.
    pub fn bind(config: Config, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let listeners = &config.listeners;
        let bind = |addr, accept: &transport::Accept| Listener::bind(addr, accept.backlog, accept.socket, Destination::Redirected);
        // Where nothing redirects, connections to the proxy's own port are meant for the proxy.
        let destination = match listeners.file {
            Some(_) => Destination::Mapped(listeners.inbound),
            None => Destination::Redirected,
        };
        let inbound = Listener::bind(listeners.inbound, config.inbound.accept.backlog, config.inbound.accept.socket, destination)?;
        let outbound = listeners.outbound.iter().map(|addr| bind(*addr, &config.outbound.accept)).collect::<io::Result<_>>()?;
        let named = |e: io::Error| io::Error::new(e.kind(), format!("cannot listen on {}: {e}", listeners.admin));
        let admin = std::net::TcpListener::bind(listeners.admin).map_err(named)?;
        admin.set_nonblocking(true)?;
        let registry = Registry::new(config.admin.metrics_retain_idle);
        Ok(Self {
            config,
            clock,
            registry,
            inbound,
            outbound,
            admin,
            logs: None,
            environment: Vec::new(),
            build: process::BuildInfo::default(),
        })
    }

    /// Lets the admin server read and replace the log filter.
    #[must_use]
    pub fn logs(mut self, level: Option<meshkit_runtime::logs::Level>) -> Self {
        self.logs = level;
        self
    }

    /// What the admin server tells of the environment.
    #[must_use]
    pub fn environment(mut self, vars: Vec<(String, String)>) -> Self {
        self.environment = vars;
        self
    }

    /// Which build this is, for `proxy_build_info`.
    #[must_use]
    pub fn build_info(mut self, build: process::BuildInfo) -> Self {
        self.build = build;
        self
    }

    /// The admin server's address.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn admin_addr(&self) -> io::Result<SocketAddr> {
        self.admin.local_addr()
    }

    /// Serves until `stop` ends, then drains: nothing new begins, and what is in flight is waited for, up to the grace period.
    ///
    /// The data path runs on this runtime, of however many threads; identity, watches and the admin server on a thread of their own.
    ///
    /// # Errors
    /// The identity's files or the trust anchors cannot be used, or a controller's address cannot.
    ///
    /// # Cancel safety
    /// Dropping the future ends everything at once.
    pub async fn run(self, stop: impl Future<Output = ()>, trigger: Option<shutdown::Trigger>) -> io::Result<()> {
        let Self { config, clock, registry, inbound, outbound, admin, logs, environment, build } = self;
        for warning in &config.warnings {
            warn!(%warning, "setting");
        }
        let metrics = Metrics::register(&registry, &clock);
        process::register(&registry, Arc::clone(&clock));
        build.register(&registry);
        let readiness = Readiness::new();
        let certified = readiness.latch();

        let provider = Arc::new(meshkit_tls::provider());
        tls_info(&registry, &provider);
        let anchors = TrustAnchors::from_pem(&config.identity.trust_anchors).map_err(invalid)?;
        let store = Arc::new(Store::new(Arc::clone(&provider), anchors, config.identity.name.clone()).map_err(invalid)?);

        // The control thread: a saturated data path can still be asked what is wrong.
        let (end_control, ended) = tokio::sync::oneshot::channel::<()>();
        let control = threads::spawn("control", move || async move {
            let _ = ended.await;
        })?;
        let handle = control.handle().clone();
        let _end_control = end_control;

        let dice = Dice::new(seed(&config.identity.name.to_string(), clock.now()));
        let settings = |connect: &transport::Connect, bind, told| endpoint::Settings {
            connect: settings::tcp_connect(connect, bind),
            backoff: connect.backoff,
            dice: dice.clone(),
            pool: PoolSettings { max_idle_count: connect.http1_pool.max_idle, idle_timeout: connect.http1_pool.idle_timeout },
            tls: store.subscribe(),
            told,
        };
        let control_metrics = ControlFamilies::register(&registry, &clock);
        let channels = Channels {
            dns: Dns::system(control_metrics.clone()),
            endpoint: settings(&config.outbound.connect, config.outbound.bind, Told::Everything),
            local: settings::tcp_connect(&config.inbound.connect, None),
            metrics: control_metrics,
            control: handle.clone(),
        };
        let open = |client, controller: &Controller| channels.open(client, controller, Caller::Certified).map_err(invalid);
        let watches = |controller: &Controller| {
            let limits = config.control.limits_of(controller);
            Watches {
                limits: Limits { initial: limits.initial, idle: limits.idle, lifetime: limits.lifetime },
                backoff: config.outbound.connect.backoff,
                dice: dice.clone(),
            }
        };

        let CertificateSource::Controller { controller, dir, token_file, min_refresh, max_refresh } = &config.identity.source else {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "certificates from a SPIFFE Workload API are not supported yet"));
        };
        let identity = control::Identity {
            store: Arc::clone(&store),
            provider,
            files: Files::load_or_generate(dir, &config.identity.name)?,
            token_file: token_file.clone(),
            schedule: Schedule { min: *min_refresh, max: *max_refresh },
            clock: Arc::clone(&clock),
            metrics: Certificates::register(&registry),
        };
        {
            let (controller, channels) = (controller.clone(), channels.clone());
            // Each request for a certificate gets connections of its own, made with the credentials of its time.
            let fresh = move || channels.open("identity", &controller, Caller::Anyone).map_err(|e| e.to_string());
            control.handle().spawn(identity.run(fresh));
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
            handle.clone(),
        );
        policies.keep(config.inbound.ports.iter().copied());
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
            control: handle.clone(),
        };

        let admin_server = Admin::new(readiness.clone(), registry.clone())
            .logs(logs)
            .shutdown(trigger.filter(|_| config.admin.shutdown_endpoint))
            .environment(environment)
            .route("/edges.json", Access::Anyone, edges(metrics.clone()));
        let admin_addr = admin.local_addr()?;
        let entered = handle.enter();
        let admin_listener = tokio::net::TcpListener::from_std(admin)?;
        drop(entered);
        handle.spawn(async move { match admin_server.serve(admin_listener).await {} });
        handle.spawn({
            let registry = registry.clone();
            async move {
                loop {
                    tokio::time::sleep(SWEEP_INTERVAL).await;
                    registry.sweep();
                }
            }
        });

        info!("Admin interface on {admin_addr}");
        info!("Inbound interface on {}", inbound.local_addr()?);
        for listener in &outbound {
            info!("Outbound interface on {}", listener.local_addr()?);
        }
        info!("Local identity is {}", config.identity.name);
        info!("Destinations resolved via {}", config.control.destination.addr);

        let (signal, watch) = drain::channel();
        let server = |accept: &transport::Accept| settings::server_settings(&config, accept);
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
                hostname_labels: config.outbound.hostname_labels,
                mode: if config.outbound.ingress_mode { outbound::Mode::Ingress } else { outbound::Mode::Sidecar },
                failfast: config.outbound.http_queue.failfast_timeout,
                server: server(&config.outbound.accept),
                endpoint: settings(&config.outbound.connect, config.outbound.bind, told),
                loopback: vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
            },
            discovery.clone(),
            metrics.clone(),
            watch.clone(),
        );
        let inbound_side = Inbound::new(
            inbound::Settings {
                port: config.listeners.inbound.port(),
                ips: local_ips,
                detect_timeout: config.inbound.accept.detect_timeout,
                server: server(&config.inbound.accept),
                endpoint: settings(&config.inbound.connect, None, Told::Everything),
                max_in_flight: config.inbound.max_in_flight,
                profile_timeout: config.inbound.profile_timeout,
                idle_timeout: config.inbound.discovery_idle_timeout,
                gateway: (!config.inbound.gateway_suffixes.is_empty()).then(|| inbound::Gateway {
                    suffixes: config.inbound.gateway_suffixes.clone(),
                    outbound: outbound_side.clone(),
                    id: config.identity.name.clone(),
                }),
            },
            policies,
            discovery,
            metrics,
            watch.clone(),
        );
        drop(watch);

        let mut stop = std::pin::pin!(stop);
        let mut accepting = tokio::task::JoinSet::new();
        tokio::select! {
            () = first_certificate(store.subscribe()) => certified.release(),
            () = &mut stop => return Ok(()),
        }
        accepting.spawn(accepting::accept_inbound(inbound, inbound_side.clone()));
        for listener in outbound {
            accepting.spawn(accepting::accept_outbound(listener, outbound_side.clone(), None));
        }
        if let Some(file) = config.listeners.file.clone() {
            let options = (config.inbound.accept.socket, config.outbound.accept.socket);
            accepting.spawn(accepting::follow_listeners(file, options, inbound_side, outbound_side));
        } else {
            drop((inbound_side, outbound_side));
        }

        stop.await;
        // Closes the listeners: their sockets belong to these tasks.
        accepting.shutdown().await;
        info!("draining");
        match shutdown::drain(signal, config.runtime.shutdown_grace_period).await {
            Ok(()) => info!("drained"),
            Err(elapsed) => warn!(error = %elapsed, "what is still in flight is cut off"),
        }
        Ok(())
    }
}

fn invalid(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error.to_string())
}

/// Two proxies, or two lives of one, do not roll the same numbers.
fn seed(name: &str, now: std::time::SystemTime) -> u64 {
    let nanos = now.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let start = u64::try_from(nanos & u128::from(u64::MAX)).unwrap_or_default() ^ u64::from(std::process::id());
    name.bytes().fold(start, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
}

async fn first_certificate(mut snapshots: watch::Receiver<Arc<meshkit_tls::Snapshot>>) {
    if snapshots.wait_for(|snapshot| snapshot.credentials().is_some()).await.is_err() {
        // The store is gone: there will be none.
        std::future::pending().await
    }
}

/// `/edges.json`: whom this proxy calls, and how long that takes.
fn edges(metrics: Metrics) -> impl Fn(http::Request<Bytes>) -> std::future::Ready<meshkit_runtime::admin::Reply> + Send + Sync + 'static {
    move |_| {
        let mut reply = http::Response::new(Full::new(Bytes::from(metrics.http.edges().to_string())));
        reply.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        std::future::ready(reply)
    }
}
