//! A proxy from a [`Config`] value: sockets, threads, and their order.

mod accepting;
mod admin;
mod assembly;
mod settings;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use meshkit_core::{Clock, Error, drain};
use meshkit_http::{Body, BoxError};
use meshkit_runtime::{
    admin::{Access, Admin, Readiness},
    metrics::Registry,
    process, shutdown, threads,
};
use tokio::{
    runtime::Handle,
    sync::{oneshot, watch},
    task::JoinSet,
    time::timeout,
};
use tower::{Service, ServiceExt as _};
use tracing::{debug, info, warn};

use self::assembly::{Assembly, assemble};
use crate::{
    Config,
    config::transport,
    endpoint::Application,
    inbound::Inbound,
    metrics::Metrics,
    net::{Listener, accept::Destination},
    outbound::Client,
    tap,
};

/// How often idle metric series are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// How long readers of the log may take to read the last of it.
const STREAMS_LIMIT: Duration = Duration::from_secs(1);

/// A proxy whose sockets are bound, and which serves nothing yet.
#[derive(Debug)]
pub struct Proxy {
    config: Config,
    clock: Arc<dyn Clock>,
    registry: Registry,
    inbound: Listener,
    outbound: Vec<Listener>,
    admin: std::net::TcpListener,
    /// None where nobody may look at requests.
    tap: Option<std::net::TcpListener>,
    logs: Option<meshkit_runtime::logs::Level>,
    environment: Vec<(String, String)>,
    build: process::BuildInfo,
}

/// A proxy that serves. Dropping it ends everything at once.
#[derive(Debug)]
pub struct Running {
    client: Client,
    inbound: Inbound,
    accept: transport::Accept,
    snapshots: watch::Receiver<Arc<meshkit_tls::Snapshot>>,
    tasks: JoinSet<()>,
    signal: drain::Signal,
    grace: Duration,
    admin: Admin,
    /// The control thread ends with it.
    _control: oneshot::Sender<()>,
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
        let admin = bind_control(listeners.admin)?;
        let tap = config.tap.as_ref().map(|_| bind_control(listeners.control)).transpose()?;
        let registry = Registry::new(config.admin.metrics_retain_idle);
        Ok(Self {
            config,
            clock,
            registry,
            inbound,
            outbound,
            admin,
            tap,
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
        let running = self.start(trigger)?;
        stop.await;
        running.stop().await;
        Ok(())
    }

    /// Begins to serve, as soon as there is a certificate.
    ///
    /// # Errors
    /// The identity's files or the trust anchors cannot be used, or a controller's address cannot.
    ///
    /// # Panics
    /// Outside of a Tokio runtime with I/O enabled.
    pub fn start(self, trigger: Option<shutdown::Trigger>) -> io::Result<Running> {
        let Self { config, clock, registry, inbound, outbound, admin, tap, logs, environment, build } = self;
        for warning in &config.warnings {
            warn!(%warning, "setting");
        }
        let metrics = Metrics::register(&registry, &clock);
        process::register(&registry, Arc::clone(&clock));
        build.register(&registry);
        let readiness = Readiness::new();
        let certified = readiness.latch();

        // The control thread: a saturated data path can still be asked what is wrong.
        let (end_control, ended) = oneshot::channel::<()>();
        let control = threads::spawn("control", move || async move {
            let _ = ended.await;
        })?;
        let handle = control.handle().clone();
        let admin_addr = admin.local_addr()?;
        let assembly = assemble(&config, &clock, &registry, &metrics, &handle, admin_addr.port())?;

        let admin_server = Admin::new(readiness, registry.clone())
            .logs(logs)
            .shutdown(trigger.filter(|_| config.admin.shutdown_endpoint))
            .environment(environment)
            .route("/edges.json", Access::Anyone, edges(metrics));
        let entered = handle.enter();
        let admin_listener = tokio::net::TcpListener::from_std(admin)?;
        drop(entered);
        let (server_name, tls) = (Arc::from(config.identity.server_name.as_str()), assembly.store.subscribe());
        assembly.inbound.host(admin_addr.port(), admin::application(admin_server.clone()));
        let door = admin::Door { server_name, tls, guards: assembly.inbound.guards(admin_addr) };
        let open = move |io, peer| door.clone().open(io, peer);
        let serving = admin_server.clone().serve_with(admin_listener, open);
        handle.spawn(async move { match serving.await {} });
        serve_tap(tap, &config, &assembly, &handle)?;
        handle.spawn(async move {
            loop {
                tokio::time::sleep(SWEEP_INTERVAL).await;
                registry.sweep();
            }
        });

        info!("Admin interface on {admin_addr}");
        info!("Inbound interface on {}", inbound.local_addr()?);
        for listener in &outbound {
            info!("Outbound interface on {}", listener.local_addr()?);
        }
        info!("Local identity is {}", config.identity.name);
        info!("Destinations resolved via {}", config.control.destination.addr);

        let Assembly { inbound: inbound_side, outbound: outbound_side, store, signal, .. } = assembly;
        let running = Running {
            client: Client::new(outbound_side.clone()),
            inbound: inbound_side.clone(),
            accept: config.inbound.accept.clone(),
            snapshots: store.subscribe(),
            tasks: JoinSet::new(),
            signal,
            grace: config.runtime.shutdown_grace_period,
            admin: admin_server,
            _control: end_control,
        };
        let certificate = store.subscribe();
        let accepting = async move {
            first_certificate(certificate).await;
            certified.release();
            let mut accepting = JoinSet::new();
            accepting.spawn(accepting::accept_inbound(inbound, inbound_side.clone()));
            for listener in outbound {
                accepting.spawn(accepting::accept_outbound(listener, outbound_side.clone(), None));
            }
            if let Some(file) = config.listeners.file {
                let options = (config.inbound.accept.socket, config.outbound.accept.socket);
                accepting.spawn(accepting::follow_listeners(file, options, inbound_side, outbound_side));
            } else {
                drop((inbound_side, outbound_side));
            }
            while accepting.join_next().await.is_some() {}
        };
        Ok(running.and(accepting))
    }
}

impl Running {
    fn and(mut self, task: impl Future<Output = ()> + Send + 'static) -> Self {
        self.tasks.spawn(task);
        self
    }

    /// Sends requests to other workloads, as this one.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Answers the requests for an address of this workload with a service of this process, instead of sending them on to a server. `addr` is
    /// listened at, as the server would, and returned as the system gave it; requests that come to the proxy's own port are answered the same
    /// way. What is served is HTTP, without upgrades; the policy of the port is asked before the service is.
    ///
    /// # Errors
    /// The address cannot be bound; the error names it.
    ///
    /// # Panics
    /// Outside of a Tokio runtime with I/O enabled.
    pub fn host<S, B>(&mut self, addr: SocketAddr, app: S) -> io::Result<SocketAddr>
    where
        S: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>, Future: Send> + Clone + Send + Sync + 'static,
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let listener = Listener::bind(addr, self.accept.backlog, self.accept.socket, Destination::Own)?;
        let addr = listener.local_addr()?;
        let app = app.map_response(|response: Response<B>| response.map(Body::wrap));
        let app = app.map_err(|error: S::Error| Error::from_boxed(error.into()));
        self.inbound.host(addr.port(), Application::new(app));
        let (certificate, inbound) = (self.snapshots.clone(), self.inbound.clone());
        self.tasks.spawn(async move {
            first_certificate(certificate).await;
            accepting::accept_inbound(listener, inbound).await;
        });
        Ok(addr)
    }

    /// Waits until there is a certificate: before that, nobody believes who this is.
    pub async fn certified(&self) {
        first_certificate(self.snapshots.clone()).await;
    }

    /// Ends: nothing new begins, and what is in flight is waited for, up to the grace period.
    pub async fn stop(self) {
        let Self { mut tasks, signal, grace, client, inbound, admin, _control, .. } = self;
        // Closes the listeners: their sockets belong to these tasks.
        tasks.shutdown().await;
        // They would hold the drain up.
        drop((client, inbound));
        info!("draining");
        match shutdown::drain(signal, grace).await {
            Ok(()) => info!("drained"),
            Err(elapsed) => warn!(error = %elapsed, "what is still in flight is cut off"),
        }
        // Who reads the log is told what is above, if it reads at all.
        if timeout(STREAMS_LIMIT, admin.end_streams()).await.is_err() {
            debug!("a reader of the log is cut off");
        }
    }
}

/// Binds a socket that is served by the control thread.
fn bind_control(addr: SocketAddr) -> io::Result<std::net::TcpListener> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("cannot listen on {addr}: {e}"));
    let listener = std::net::TcpListener::bind(addr).map_err(named)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Lets the one who may look at requests do so.
fn serve_tap(listener: Option<std::net::TcpListener>, config: &Config, assembly: &Assembly, control: &Handle) -> io::Result<()> {
    let (Some(listener), Some(tap), Some(taps)) = (listener, &config.tap, &assembly.taps) else {
        info!("Tap DISABLED");
        return Ok(());
    };
    info!("Tap interface on {}", listener.local_addr()?);
    let server = tap::Server {
        taps: taps.clone(),
        client: tap.client.clone(),
        server_name: config.identity.server_name.clone(),
        tls: assembly.store.subscribe(),
    };
    let _entered = control.enter();
    control.spawn(server.run(tokio::net::TcpListener::from_std(listener)?));
    Ok(())
}

fn invalid(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error.to_string())
}

async fn first_certificate(mut snapshots: watch::Receiver<Arc<meshkit_tls::Snapshot>>) {
    if snapshots.wait_for(|snapshot| snapshot.credentials().is_some()).await.is_err() {
        // The store is gone: there will be none.
        std::future::pending().await
    }
}

/// `/edges.json`: whom this proxy calls, and how long that takes.
fn edges(metrics: Metrics) -> impl Fn(http::Request<Bytes>) -> std::future::Ready<Response<Bytes>> + Send + Sync + 'static {
    move |_| {
        let mut reply = Response::new(Bytes::from(metrics.http.edges().to_string()));
        reply.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        std::future::ready(reply)
    }
}
