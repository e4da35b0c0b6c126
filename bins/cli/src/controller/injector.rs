//! `mesh controller proxy-injector`.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use meshkit_injector::{
    annotation::Annotations,
    inject::Owner,
    webhook::{Certificates, Cluster as Asked, Event, EventKind, Files, Metrics, Unavailable, Webhook, serve},
};
use meshkit_kube::{About, Client, Happening, Recorder, Resource, Selection};
use meshkit_manifest::{Cluster, Kind, Object};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tracing::debug;

use super::{
    flags::{Logs, listen},
    program::{self, Fault, Program, bind, chain},
    source::follow,
};

/// What happened and is not written yet; more is dropped, and counted.
const EVENTS: usize = 256;
/// How often the files of the certificate are looked at.
pub(super) const CERTIFICATE_LOOK: Duration = Duration::from_secs(1);
/// Where charts put the certificate of a webhook.
pub(super) const CERTIFICATE_DIR: &str = "/var/run/linkerd/tls";

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Flags {
    /// Where the API server asks: an address and a port, or a port alone behind a colon
    #[arg(long, default_value = ":8443", value_parser = listen, value_name = "ADDR")]
    addr: SocketAddr,
    /// Where it is looked after
    #[arg(long, default_value = ":9995", value_parser = listen, value_name = "ADDR")]
    metrics_addr: SocketAddr,
    /// The namespace of the control plane
    #[arg(long, default_value = "linkerd", value_name = "NAMESPACE")]
    linkerd_namespace: String,
    /// The folder of the certificate that the API server is shown
    #[arg(long, default_value = CERTIFICATE_DIR, value_name = "DIR")]
    tls: PathBuf,
    #[command(flatten)]
    logs: Logs,
}

/// Namespaces are followed; who owns a ReplicaSet is asked for when a pod of it is made.
#[derive(Debug)]
struct Kubernetes {
    client: Client,
    namespaces: watch::Receiver<Arc<Cluster>>,
}

pub(super) fn run(flags: Flags) -> ExitCode {
    let (logs, admin) = (flags.logs.clone(), flags.metrics_addr);
    program::run("proxy-injector", &logs, admin, async move |program| start(program, flags).await)
}

async fn start(program: &mut Program, flags: Flags) -> Result<(), Fault> {
    let files = Files::mounted(&flags.linkerd_namespace);
    // Better said now than to everybody who makes a pod.
    files.read().await?;
    let certificates = Certificates::load(flags.tls).await?;
    let listener = bind(flags.addr).await?;
    let client = Client::from_environment().await?;

    let mut known = Cluster::default();
    let received = follow(program, &client, vec![Selection::all(Kind::Namespace)], |event| known.apply(event, |_| true)).await?;
    let (cluster, namespaces) = watch::channel(Arc::new(known));
    program.endless("the watch of namespaces", Cluster::follow(received, Arc::new(cluster), |_| true));

    let (recorder, writer) = Recorder::new("linkerd-proxy-injector", &program.pod);
    program.endless("the writer of events", writer.run(client.clone(), Arc::clone(&program.clock)));
    let (events, told) = mpsc::channel(EVENTS);
    program.endless("events", tell(told, recorder));
    let looked_at = certificates.clone();
    program.endless("the certificate", async move { looked_at.watch(CERTIFICATE_LOOK).await });

    let metrics = Metrics::register(&program.registry);
    let webhook = Arc::new(Webhook::new(Kubernetes { client, namespaces }, files, metrics, events));
    program.endless("the webhook", serve(listener, certificates, webhook, program.drain.clone()));
    program.ready();
    Ok(())
}

impl Asked for Kubernetes {
    async fn namespace(&self, name: &str) -> Result<Annotations, Unavailable> {
        let of = |object: &Object| object.metadata().annotations.clone().into_iter().collect();
        if let Some(known) = self.namespaces.borrow().get(Kind::Namespace, "", name) {
            return Ok(of(known));
        }
        // One that has just been made may not have been told of yet.
        match self.client.get(Kind::Namespace, "", name).await {
            Ok(Some(known)) => Ok(of(&known)),
            Ok(None) => Err(Unavailable::new(format!("there is no namespace {name}"))),
            Err(failure) => Err(Unavailable::new(format!("the namespace {name} cannot be read: {}", chain(&failure)))),
        }
    }

    async fn controller(&self, namespace: &str, owner: &Owner) -> Option<Owner> {
        let kind = Kind::ALL.iter().copied().find(|kind| kind.as_str() == owner.kind)?;
        match self.client.get_value(&Resource::from(kind), namespace, &owner.name).await {
            Ok(object) => controller(&object?),
            Err(failure) => {
                debug!(namespace, name = owner.name, error = %chain(&failure), "its owner is not known");
                None
            }
        }
    }
}

/// Who controls an object.
fn controller(object: &Value) -> Option<Owner> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    let owner = owners.iter().find(|owner| owner["controller"].as_bool() == Some(true))?;
    Some(Owner { kind: owner["kind"].as_str()?.to_owned(), name: owner["name"].as_str()?.to_owned() })
}

async fn tell(mut told: mpsc::Receiver<Event>, recorder: Recorder) {
    while let Some(event) = told.recv().await {
        let owner = &event.subject.owner;
        let about = About::new(api_version(&owner.kind), &owner.kind, &event.subject.namespace, &owner.name);
        recorder.tell(match event.kind {
            EventKind::Normal => Happening::normal(about, event.reason, &event.message),
            EventKind::Warning => Happening::warning(about, event.reason, &event.message),
        });
    }
}

/// Of the kinds that make pods.
fn api_version(kind: &str) -> &'static str {
    match kind {
        "Pod" | "ReplicationController" => "v1",
        "Job" | "CronJob" => "batch/v1",
        _ => "apps/v1",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_controller_is_the_owner_that_says_so() {
        let object = json!({"metadata": {"ownerReferences": [
            {"kind": "Other", "name": "a"}, {"kind": "Deployment", "name": "web", "controller": true}]}});
        assert_eq!(controller(&object), Some(Owner { kind: "Deployment".to_owned(), name: "web".to_owned() }));
        assert_eq!(controller(&json!({"metadata": {"ownerReferences": [{"kind": "Other", "name": "a"}]}})), None);
        assert_eq!(controller(&json!({})), None);
    }
}
