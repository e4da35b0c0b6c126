//! voting: takes votes and counts them. The doughnut's always fails.

mod client;
mod service;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tonic::{
    metadata::AsciiMetadataValue,
    transport::server::{Server, TcpIncoming},
};
use tracing::info;

pub(crate) use client::{Results, VotingClient, channel, version};

use self::service::{Ballot, VotingServer};
use crate::{Error, environment::Reader, http1::bind, metrics, stop::Stop};

/// Response metadata that names the version that answered, so that a split can be seen.
pub(crate) const VERSION_KEY: &str = "x-voting-version";

pub(crate) struct Settings {
    grpc: SocketAddr,
    prom: Option<SocketAddr>,
    failure_rate: f64,
    delay: Option<Duration>,
    version: AsciiMetadataValue,
}

impl Settings {
    pub(crate) fn read(env: &mut Reader<'_>) -> Self {
        Self {
            grpc: env.listen("GRPC_PORT"),
            prom: env.listen_if_set("PROM_PORT"),
            failure_rate: env.share("FAILURE_RATE"),
            delay: env.duration("ARTIFICIAL_DELAY"),
            version: env.metadata("VERSION").unwrap_or(AsciiMetadataValue::from_static("v1")),
        }
    }
}

pub(crate) async fn run(settings: Settings, mut stop: Stop) -> Result<(), Error> {
    let listener = bind("GRPC_PORT", settings.grpc).await?;
    info!(grpc.addr = %settings.grpc, version = ?settings.version, failure_rate = settings.failure_rate, "voting is serving");
    let ballot = Arc::new(Ballot::new(settings.failure_rate, settings.delay, settings.version));
    let prom = metrics::serve(settings.prom, ballot.counters(), stop.clone());
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let grpc = Server::builder().serve_with_incoming_shutdown(VotingServer::new(ballot), incoming, async move { stop.given().await });
    tokio::try_join!(async { grpc.await.map_err(|error| Error::serve("gRPC", error)) }, prom)?;
    Ok(())
}
