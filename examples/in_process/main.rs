//! How do I put the mesh into my own service, without a proxy beside it?
//!
//! ```text
//! cargo run -p meshkit-examples --example in_process             # until Ctrl-C
//! cargo run --bin mesh -- stat /tmp/mesh-in-process              # meanwhile, in another terminal
//! cargo run -p meshkit-examples --example in_process -- --once   # two hundred requests, and the end
//! ```
//!
//! One process, three workloads: `web` calls the two replicas of `voting`, an axum service, over mutual TLS, balanced by P2C over peak EWMA.
//! The policy of `voting` allows `web` and nobody else; `bot` tries it, and is refused. There is no proxy process and no control plane:
//! certificates, endpoints and policy are values here. Where they come from a control plane, they arrive in the same types.

#[path = "../ca.rs"]
mod ca;
mod client;
mod run_file;
mod server;
mod telemetry;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use http::Request;
use http_body_util::BodyExt;
use meshkit_core::{Endpoint, Identity, drain};
use meshkit_http::Body;
use meshkit_policy::{
    Authorization, Meta, Resource,
    inbound::{Policy, Protocol, default_route},
};
use meshkit_tls::Store;
use tokio::{sync::watch, time::sleep};

use ca::LocalCa;
use client::Calls;
use run_file::RunFile;
use server::Server;
use telemetry::Telemetry;

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What every part of the mesh in this process has: who it is, and what it counts.
struct Workload {
    name: &'static str,
    identity: Identity,
    store: Arc<Store>,
    telemetry: Telemetry,
}

impl Workload {
    fn new(name: &'static str, ca: &LocalCa) -> Result<Self, BoxError> {
        let identity: Identity = format!("{name}.emojivoto.serviceaccount.identity.linkerd.cluster.local").parse()?;
        let store = Arc::new(ca.store(&identity)?);
        Ok(Self { name, identity, store, telemetry: Telemetry::new() })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let (mut once, mut dir) = (false, std::env::temp_dir().join("mesh-in-process"));
    for arg in std::env::args().skip(1) {
        if arg == "--once" { once = true } else { dir = PathBuf::from(arg) }
    }

    let ca = LocalCa::new("root.local")?;
    let (web, bot, voting) = (Workload::new("web", &ca)?, Workload::new("bot", &ca)?, Workload::new("voting", &ca)?);

    // The server side: two replicas, one policy. Whoever holds `_policies` may change it while requests pass.
    let (_policies, policy) = watch::channel(Arc::new(only(&web.identity)));
    let (signal, watch) = drain::channel();
    let mut endpoints = Vec::new();
    for replica in ["voting-1", "voting-2"] {
        let server = Server::new(server::voting(replica), Arc::clone(&voting.store), policy.clone(), voting.telemetry.clone());
        let labels = [("deployment", voting.name), ("namespace", "emojivoto"), ("pod", replica)];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        endpoints.push(Endpoint::new(server.start(watch.clone()).await?).identity(voting.identity.clone()).labels(labels));
    }
    drop(watch);

    // The client side. In a program of one's own, only one of the two sides is here.
    let calls = |of: &Workload| Calls::new(endpoints.clone(), Arc::clone(&of.store), of.telemetry.clone());
    let (from_web, from_bot) = (calls(&web)?, calls(&bot)?);

    // `mesh stat DIR` finds the workloads in here.
    let _run_file = RunFile::write(&dir, &[&web, &bot, &voting]).await?;
    let ((allowed, answer), (refused, why)) = (vote(&from_web).await?, vote(&from_bot).await?);
    println!("web asks:  {allowed}, {answer}");
    println!("bot asks:  {refused}, {why}");
    println!("to look at it: cargo run --bin mesh -- stat {}", dir.display());

    let mut taken = BTreeMap::<String, u32>::new();
    let traffic = async {
        for n in 1u32.. {
            // At the same time, as the requests of a service are: one after the other would always find the faster replica idle.
            let four = tokio::try_join!(vote(&from_web), vote(&from_web), vote(&from_web), vote(&from_web))?;
            for (_, answer) in <[_; 4]>::from(four) {
                *taken.entry(answer.split(' ').take(1).collect()).or_default() += 1;
            }
            if n % 10 == 0 {
                vote(&from_bot).await?;
            }
            match once {
                true if n == 50 => break,
                true => {}
                false => sleep(Duration::from_millis(40)).await,
            }
        }
        Ok::<_, BoxError>(())
    };
    tokio::select! {
        done = traffic => done?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }

    // The servers take nothing new, tell their clients so, and finish what is in flight.
    signal.drain().await;
    println!("drained; votes of web by replica: {taken:?}");
    Ok(())
}

/// The policy of a port that takes HTTP/2 from one client.
fn only(client: &Identity) -> Policy {
    let resource = |group: &str, kind: &str, name: &str| {
        let part = |text: &str| text.to_owned();
        Meta::Resource(Arc::new(Resource {
            group: part(group),
            kind: part(kind),
            namespace: part("emojivoto"),
            name: part(name),
            ..Resource::default()
        }))
    };
    let allowed = Authorization::new(resource("policy.linkerd.io", "authorizationpolicy", "voting-clients")).identities([client.clone()]);
    Policy {
        protocol: Protocol::Http2 { routes: [default_route([allowed].into())].into(), rate_limit: None },
        server: resource("policy.linkerd.io", "server", "voting-http"),
        authorizations: [].into(),
    }
}

/// The status, and the answer or why there is none.
async fn vote(calls: &Calls) -> Result<(u16, String), BoxError> {
    let request = Request::post("http://voting-svc.emojivoto/vote").body(Body::from(":doughnut:"))?;
    let response = calls.send(request).await?;
    let (status, refusal) = (response.status(), response.headers().get("l5d-proxy-error").cloned());
    let text = match refusal {
        Some(why) => why.as_bytes().to_vec().into(),
        None => response.into_body().collect().await?.to_bytes(),
    };
    Ok((status.as_u16(), String::from_utf8_lossy(&text).into_owned()))
}
