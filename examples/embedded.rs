//! How does my service take part in a mesh, without a proxy beside it?
//!
//! ```text
//! cargo build -p meshkit-examples --example embedded
//! cargo run --bin mesh -- run examples/embedded     # in another terminal: curl http://127.0.0.1:18081/
//! ```
//!
//! The folder holds the manifests: two replicas of `greeter`, and `front`, which calls them. All are this program. `config.mesh/in-process` says that
//! they need no proxy; what a proxy would be told, they are told. Identity, endpoints and policies come from the control plane of the mesh, and
//! `mesh stat examples/embedded` shows them like everything else.

use std::{env, error::Error};

use axum::{Router, http::Request, routing::get};
use http_body_util::BodyExt as _;
use meshkit_core::SystemClock;
use meshkit_proxy::{Client, Config, Proxy};
use tower::ServiceExt as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::from_env(env::vars_os()).map_err(|faults| faults.iter().map(|f| format!("{f}\n")).collect::<String>())?;
    let mut mesh = Proxy::bind(config, std::sync::Arc::new(SystemClock))?.start(None)?;
    let (client, name) = (mesh.client(), env::var("POD_NAME").unwrap_or_default());

    // The application knows nothing of certificates, retries and endpoints.
    let app = match env::var("PEER") {
        Ok(peer) => Router::new().route("/", get(async move || format!("{name}: {}", ask(client, &peer).await))),
        Err(_) => Router::new().route("/", get(async move || format!("hello from {name}\n"))),
    };
    let addr = format!("{}:8080", env::var("POD_IP")?);
    println!("listening at {}", mesh.host(addr.parse()?, app)?);

    let mut end = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    end.recv().await;
    mesh.stop().await;
    Ok(())
}

/// What another workload answers, or why it does not.
async fn ask(client: Client, peer: &str) -> String {
    let answer = async {
        let request = Request::get(peer).body(axum::body::Body::empty())?;
        let response = client.oneshot(request).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        Ok::<_, Box<dyn Error + Send + Sync>>(format!("{status} {}", String::from_utf8_lossy(&bytes)))
    };
    answer.await.unwrap_or_else(|error| format!("{error}\n"))
}
