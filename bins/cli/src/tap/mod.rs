//! `mesh viz tap`: live requests of a running local mesh.

mod show;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, pin_mut};
use http::{Method, Request, uri::Authority};
use meshkit_core::{Clock as _, Identity, SystemClock, endpoint, endpoint::ServerTls};
use meshkit_http::{Body, client::Connect};
use meshkit_identity::{Issuer, Lifetimes, authority};
use meshkit_tls::{Connector, Store, Tag, TrustAnchors};
use meshkit_wire::{
    Channel,
    tap::{Event, Headers, Match, Observe, Text, observe},
};
use tokio::{net::TcpStream, sync::mpsc, task::JoinSet, time::timeout};
use tower::{ServiceExt as _, service_fn};
use tracing::{debug, warn};

use self::show::{Output, show};
use crate::{
    STATE_DIR,
    answer::{Reader, go_on},
    run::{Described, Description, control_plane, names},
};

/// How long a proxy may take to accept and shake hands.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A tap sees so many requests each time, and is begun anew once a second.
const ROUND: Duration = Duration::from_secs(1);
/// So many rounds in a row may fail: a replica that restarts is back by then.
const FAILURES_MAX: u32 = 10;
/// Events that wait to be printed.
const BACKLOG: usize = 1024;

/// Shows live requests of a workload
#[derive(Debug, clap::Args)]
pub(crate) struct Tap {
    /// What to look at: deploy/web, po/web-0, or web
    resource: String,
    /// The namespace of what is looked at [default: any]
    #[arg(short, long)]
    namespace: Option<String>,
    /// Only requests to this workload, as deploy/voting
    #[arg(long)]
    to: Option<String>,
    /// Only requests to this namespace
    #[arg(long)]
    to_namespace: Option<String>,
    /// Only requests with this scheme
    #[arg(long)]
    scheme: Option<String>,
    /// Only requests with this method
    #[arg(long)]
    method: Option<Method>,
    /// Only requests with this authority, port included
    #[arg(long)]
    authority: Option<String>,
    /// Only requests whose path begins so
    #[arg(long)]
    path: Option<String>,
    /// How many requests a second are shown, all replicas together
    #[arg(long, default_value_t = 100.0)]
    max_rps: f32,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = Output::Plain)]
    output: Output,
    /// The folder that `mesh run` or `mesh demo` was started with [default: the demo's]
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl Tap {
    /// Prints requests until `stop` ends.
    pub(crate) async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Vec<String>> {
        let dir = self.dir.clone().unwrap_or_else(|| std::env::temp_dir().join("mesh-demo"));
        let state = dir.join(STATE_DIR);
        let description = Description::of_run(&state).map_err(|e| vec![e])?;
        let replicas = self.replicas(&description).map_err(|e| vec![e])?;
        let observed = Observe {
            limit: share(self.max_rps, replicas.len()),
            matches: self.matches().map_err(|e| vec![e])?,
            headers: if self.output == Output::Json { Headers::Shown } else { Headers::Hidden },
        };
        let store = Arc::new(credentials(&state).map_err(|e| vec![format!("{}: {e}", state.display())])?);

        let (sender, mut events) = mpsc::channel(BACKLOG);
        let mut tasks = JoinSet::new();
        for replica in replicas {
            tasks.spawn(follow(replica, observed.clone(), Arc::clone(&store), sender.clone()));
        }
        drop(sender);
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return Ok(()),
                event = events.recv() => match event {
                    Some(event) => {
                        if go_on(&format!("{}\n", show(&event, self.output)))? == Reader::Gone {
                            return Ok(());
                        }
                    }
                    None => return Err(vec!["no proxy shows its requests any more; is the mesh still running?".to_owned()]),
                },
            }
        }
    }

    /// The replicas that are meant.
    fn replicas(&self, description: &Description) -> Result<Vec<Described>, String> {
        let (kind, name) = resource(&self.resource);
        let meant = |replica: &&Described| {
            let named = match kind {
                Some("po" | "pod" | "pods") => replica.pod == name,
                Some("ns" | "namespace" | "namespaces") => replica.namespace == name,
                _ => replica.workload == name || (kind.is_none() && replica.pod == name),
            };
            named && self.namespace.as_ref().is_none_or(|namespace| *namespace == replica.namespace)
        };
        let found: Vec<_> = description.replicas.iter().filter(meant).cloned().collect();
        if found.is_empty() {
            let known: Vec<_> = description.replicas.iter().map(|replica| format!("{}/{}", replica.namespace, replica.pod)).collect();
            return Err(format!("{} is not there; there are {}", self.resource, known.join(", ")));
        }
        Ok(found)
    }

    fn matches(&self) -> Result<Match, String> {
        let label = |key: &str, value: &str| Match::DestinationLabel(key.to_owned(), value.to_owned());
        let mut all = Vec::new();
        if let Some(to) = &self.to {
            let (kind, name) = resource(to);
            let key = match kind {
                None | Some("deploy" | "deployment" | "deployments") => "deployment",
                Some("sts" | "statefulset" | "statefulsets") => "statefulset",
                Some("po" | "pod" | "pods") => "pod",
                Some("svc" | "service" | "services") => "service",
                Some(other) => return Err(format!("{other} cannot be looked for with --to; try deploy, sts, po or svc")),
            };
            all.push(label(key, name));
        }
        all.extend(self.to_namespace.as_ref().map(|namespace| label("namespace", namespace)));
        all.extend(self.scheme.clone().map(Match::Scheme));
        all.extend(self.method.clone().map(Match::Method));
        all.extend(self.authority.clone().map(|authority| Match::Authority(Text::Exact(authority))));
        all.extend(self.path.clone().map(|path| Match::Path(Text::Prefix(path))));
        Ok(Match::All(all))
    }
}

/// `kind/name`, or a name.
fn resource(text: &str) -> (Option<&str>, &str) {
    match text.split_once('/') {
        Some((kind, name)) => (Some(kind), name),
        None => (None, text),
    }
}

/// What one of several proxies may show in a second: at least one request.
fn share(max_rps: f32, replicas: usize) -> u32 {
    // The cast saturates, and takes what is not a number for nothing.
    ((max_rps / replicas.max(1) as f32) as u32).max(1)
}

/// Credentials of the one whom the proxies of a run let look, signed with the run's own authority.
fn credentials(state: &Path) -> std::io::Result<Store> {
    let now = SystemClock.now();
    let name: Identity = names::tap_identity().parse().map_err(std::io::Error::other)?;
    let authority = authority::Authority::load_or_generate(&names::identity_dir(state), names::NAMESPACE, names::DOMAIN, now)?;
    let anchors = TrustAnchors::from_pem(authority.anchors_pem()).map_err(std::io::Error::other)?;
    let issuer = Issuer::from_pem(authority.issuer_pem(), authority.issuer_key_pem(), authority.anchors_pem(), now);
    let issuer = issuer.map_err(std::io::Error::other)?;
    let provider = Arc::new(meshkit_tls::provider());
    let store = Store::new(Arc::clone(&provider), anchors.clone(), name.clone()).map_err(std::io::Error::other)?;
    control_plane::certify(&store, &provider, &issuer, (&anchors, &name), Lifetimes::default(), now)?;
    Ok(store)
}

/// Looks at one replica, round after round, until it has not been there for some of them.
async fn follow(replica: Described, observed: Observe, store: Arc<Store>, events: mpsc::Sender<Event>) {
    let mut failures = 0;
    while failures < FAILURES_MAX && !events.is_closed() {
        let next = tokio::time::sleep(ROUND);
        match round(&replica, &observed, &store, &events).await {
            Ok(()) => failures = 0,
            Err(error) => {
                failures += 1;
                warn!(pod = %replica.pod, %error, "cannot be looked at");
            }
        }
        next.await;
    }
}

async fn round(replica: &Described, observed: &Observe, store: &Store, events: &mpsc::Sender<Event>) -> Result<(), String> {
    let channel = timeout(CONNECT_LIMIT, connect(replica, store)).await.map_err(|_| "its proxy does not answer".to_owned())??;
    let seen = observe(channel, observed).await.map_err(|e| e.to_string())?;
    pin_mut!(seen);
    while let Some(event) = seen.next().await {
        if events.send(event.map_err(|e| e.to_string())?).await.is_err() {
            return Ok(());
        }
    }
    debug!(pod = %replica.pod, "a round is over");
    Ok(())
}

async fn connect(replica: &Described, store: &Store) -> Result<Channel, String> {
    let identity: Identity = replica.identity.parse().map_err(|e| format!("{}: {e}", replica.identity))?;
    let to = SocketAddr::new(replica.admin.ip(), names::PROXY_CONTROL_PORT);
    let connector = Connector::new(ServerTls::new(identity), Tag::Plain, store.subscribe());
    let open = service_fn(move |()| {
        let connector = connector.clone();
        async move {
            let failed = |e| meshkit_core::Error::new(meshkit_core::Cause::Io).caused_by(e);
            let tcp = TcpStream::connect(to).await.map_err(failed)?;
            connector.connect(tcp, None).await.map_err(|e| meshkit_core::Error::new(meshkit_core::Cause::Io).message(e.to_string()))
        }
    });
    let connection = Connect::new(open, endpoint::Http2::default()).oneshot(()).await.map_err(|e| format!("{to}: {e}"))?;
    let authority = Authority::try_from(to.to_string()).map_err(|e| e.to_string())?;
    Ok(Channel::new(connection.map_request(|request: Request<tonic::body::Body>| request.map(Body::wrap)), authority))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        tap: Tap,
    }

    fn tap(line: &str) -> Tap {
        Line::parse_from(std::iter::once("tap").chain(line.split_whitespace())).tap
    }

    fn description() -> Description {
        let replica = |namespace: &str, pod: &str, workload: &str| Described {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            workload: workload.to_owned(),
            identity: String::new(),
            admin: SocketAddr::from(([127, 0, 0, 1], 4191)),
        };
        Description {
            replicas: vec![replica("a", "web-0", "web"), replica("a", "web-1", "web"), replica("b", "web-0", "web")],
            urls: Vec::new(),
        }
    }

    #[test]
    fn a_resource_is_a_workload_a_pod_or_a_namespace() {
        let count = |line: &str| tap(line).replicas(&description()).map(|found| found.len());
        for (line, wanted) in [("deploy/web", 3), ("web", 3), ("deploy/web -n a", 2), ("po/web-0", 2), ("web-1", 1), ("ns/b", 1)] {
            assert_eq!(count(line), Ok(wanted), "{line}");
        }
        assert_eq!(count("deploy/web-0").unwrap_err(), "deploy/web-0 is not there; there are a/web-0, a/web-1, b/web-0");
    }

    #[test]
    fn every_flag_is_a_condition() {
        let all = tap("web --to deploy/voting --to-namespace ns --scheme http --method POST --authority a:80 --path /x").matches().unwrap();
        let Match::All(all) = all else { panic!("{all:?}") };
        assert_eq!(all.len(), 6);
        assert_eq!(all[0], Match::DestinationLabel("deployment".to_owned(), "voting".to_owned()));
        assert_eq!(all[5], Match::Path(Text::Prefix("/x".to_owned())));
        assert!(tap("web --to cronjob/x").matches().is_err());
        assert_eq!(tap("web").matches(), Ok(Match::All(Vec::new())));
    }

    #[test]
    fn replicas_share_the_rate_and_each_has_one() {
        assert_eq!((share(100.0, 3), share(1.0, 3), share(f32::NAN, 1), share(100.0, 0)), (33, 1, 1, 100));
    }
}
