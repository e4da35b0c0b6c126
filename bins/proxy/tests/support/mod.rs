//! A proxy in this process, on an address of its own, with a control plane and an application that the test plays itself.

pub(crate) mod app;
pub(crate) mod authority;
pub(crate) mod control;
pub(crate) mod grpc;
pub(crate) mod identity;
pub(crate) mod logs;
pub(crate) mod openssl;
pub(crate) mod peer;

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use meshkit_core::{Clock, SystemClock};
use meshkit_proxy::{
    Config, Proxy,
    config::{CertificateSource, Control, Controller, Identity},
};
use tokio::sync::oneshot;

use self::{app::App, authority::Authority, control::ControlPlane, logs::Logs, peer::Peer};

/// Who the proxy under test is.
pub(crate) const NAME: &str = "web.test.serviceaccount.identity.linkerd.cluster.local";
/// Who its meshed clients are.
pub(crate) const CLIENT: &str = "client.test.serviceaccount.identity.linkerd.cluster.local";

/// Where the application listens, on the proxy's address.
const APP_PORT: u16 = 8080;
/// Where strangers reach it, through the inbound side.
const PUBLISHED_PORT: u16 = 18080;
/// Where the application reaches a peer, through the outbound side: this port and those that follow.
const OUTBOUND_PORT: u16 = 19090;

/// A proxy that serves, with everything around it, until it is dropped.
pub(crate) struct Running {
    pub(crate) ip: Ipv4Addr,
    pub(crate) app: App,
    pub(crate) authority: Authority,
    pub(crate) control: ControlPlane,
    logs: Logs,
    dir: tempfile::TempDir,
    outbounds: AtomicU16,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// A proxy with the defaults.
pub(crate) fn start() -> Running {
    start_with(|_| {})
}

/// A proxy whose settings are changed a little.
pub(crate) fn start_with(change: impl FnOnce(&mut Config)) -> Running {
    start_in(Authority::new(), NAME, change)
}

/// A proxy of this name, trusted by this authority.
pub(crate) fn start_in(authority: Authority, name: &str, change: impl FnOnce(&mut Config)) -> Running {
    let logs = Logs::capture();
    let ip = own_address();
    let dir = tempfile::tempdir().unwrap();
    let control = ControlPlane::start(SocketAddr::new(ip.into(), 8086), &authority);
    let (token, listeners) = (dir.path().join("token"), dir.path().join("listeners"));
    fs::write(&token, "token").unwrap();
    fs::write(&listeners, format!("inbound {ip}:{PUBLISHED_PORT} {ip}:{APP_PORT}\n")).unwrap();

    let plane = || Controller { addr: format!("{ip}:8086").parse().unwrap(), identity: None };
    let source = CertificateSource::controller(plane(), dir.path().into(), token);
    let identity = Identity::new(name.parse().unwrap(), authority.anchor_pem(), source);
    let mut config = Config::new(identity, Control::new(plane(), plane(), "test".to_owned()));
    let on = |port| SocketAddr::new(IpAddr::V4(ip), port);
    config.listeners.inbound = on(4143);
    config.listeners.outbound = vec![on(4140)];
    config.listeners.control = on(4190);
    config.listeners.admin = on(4191);
    config.listeners.file = Some(listeners);
    config.outbound.bind = Some(ip.into());
    config.control.profile_networks = vec!["127.0.0.0/8".parse().unwrap()];
    config.runtime.shutdown_grace_period = Duration::from_secs(1);
    change(&mut config);

    let (stop, stopped) = oneshot::channel::<()>();
    let thread = thread::Builder::new().name(format!("proxy {ip}")).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let stopped = async { drop(stopped.await) };
        runtime.block_on(async { Proxy::bind(config, clock).unwrap().run(stopped, None).await.unwrap() });
    });
    let running = Running {
        ip,
        app: App::start(on(APP_PORT)),
        authority,
        control,
        logs,
        dir,
        outbounds: AtomicU16::new(0),
        stop: Some(stop),
        thread: Some(thread.unwrap()),
    };
    let ready = eventually(|| Peer::connect_if(running.published()).filter(|_| running.admin("/ready").starts_with("HTTP/1.1 200")));
    assert!(ready.is_some(), "the proxy is not ready: {}", running.logs.all());
    running
}

impl Running {
    /// Where strangers reach the application.
    pub(crate) fn published(&self) -> SocketAddr {
        self.on(PUBLISHED_PORT)
    }

    /// Any port of the proxy's address.
    pub(crate) fn on(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip.into(), port)
    }

    /// A stranger's connection to the application.
    pub(crate) fn peer(&self) -> Peer {
        Peer::connect(self.published())
    }

    /// A connection of the application to `destination`, as the outbound side serves it.
    pub(crate) fn outbound(&self, destination: SocketAddr) -> SocketAddr {
        let file = self.dir.path().join("listeners");
        let inbound = format!("inbound {} {}\n", self.published(), self.on(APP_PORT));
        let listen = self.on(OUTBOUND_PORT + self.outbounds.fetch_add(1, Ordering::Relaxed));
        fs::write(file, format!("{inbound}outbound {listen} {destination} there.test.svc.cluster.local:80\n")).unwrap();
        assert!(eventually(|| Peer::connect_if(listen)).is_some(), "the outbound listener is not there");
        listen
    }

    /// What the admin server answers to `GET`.
    pub(crate) fn admin(&self, path: &str) -> String {
        let Some(mut peer) = Peer::connect_if(self.on(4191)) else { return String::new() };
        peer.send(format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", peer.remote()).as_bytes());
        peer.rest()
    }

    /// The sum of all series of a family whose labels hold all of `labels`.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let scrape = self.admin("/metrics");
        let named = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let series = scrape.lines().filter(named).filter(|line| labels.iter().all(|label| line.contains(label)));
        series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until `count` more are counted than there were.
    pub(crate) fn counted(&self, name: &str, labels: &[&str], at_least: f64) {
        let seen = eventually(|| (self.metric(name, labels) >= at_least).then_some(()));
        assert!(seen.is_some(), "{name}{labels:?} is {} and not {at_least}\n{}", self.metric(name, labels), self.logs.all());
    }

    /// Waits for a line of the log that holds all of `words`.
    pub(crate) fn logged(&self, words: &[&str]) {
        let seen = eventually(|| self.logs.all().lines().any(|line| words.iter().all(|word| line.contains(word))).then_some(()));
        assert!(seen.is_some(), "no line with {words:?} in\n{}", self.logs.all());
    }

    /// A well-behaved client on a thread of its own: every one of its requests is answered with 200 until it is dropped.
    pub(crate) fn steady(&self) -> Steady {
        let (to, stop, count) = (self.published(), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&count));
        let thread = thread::Builder::new().name("well-behaved client".to_owned()).spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let mut peer = Peer::connect(to);
                for _ in 0..5 {
                    peer.send(b"GET /steady HTTP/1.1\r\nhost: web\r\n\r\n");
                    let answer = peer.until("ok");
                    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                    counted.fetch_add(1, Ordering::Relaxed);
                    pause(Duration::from_millis(2));
                }
            }
        });
        Steady { stop, count, thread: Some(thread.unwrap()) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(thread::JoinHandle::join);
        if !thread::panicking() {
            assert!(matches!(ended, Some(Ok(()))), "the proxy panicked");
            let panics = self.logs.panics();
            assert!(panics.is_empty(), "{panics:?}");
        }
    }
}

/// A client that behaves while others do not.
pub(crate) struct Steady {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU32>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Steady {
    /// Ends the client. It was served all the time.
    pub(crate) fn was_served(mut self) {
        let before = self.count.load(Ordering::Relaxed);
        let served = eventually(|| (self.count.load(Ordering::Relaxed) >= before + 3).then_some(()));
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(thread::JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))) && served.is_some(), "a well-behaved client is not served");
    }
}

/// Looks again and again, for a while.
pub(crate) fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..500 {
        if let Some(found) = look() {
            return Some(found);
        }
        pause(Duration::from_millis(20));
    }
    None
}

/// The peers under test run by the wall clock, which no test can stop.
#[allow(clippy::disallowed_methods)]
pub(crate) fn pause(time: Duration) {
    thread::sleep(time);
}

/// An address of this machine that no other test has: 127/8 is all its own.
fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let id = std::process::id();
    let [_, _, high, low] = (id & 0xffff).to_be_bytes();
    let next = u8::try_from(NEXT.fetch_add(1, Ordering::Relaxed) % 120).unwrap();
    Ipv4Addr::new(127, 130 + next, high, low.clamp(1, 254))
}
