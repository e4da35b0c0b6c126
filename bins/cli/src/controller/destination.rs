//! `mesh controller destination`.

use std::{process::ExitCode, sync::Arc};

use meshkit_destination::{Service, args::DestinationArgs, metrics};
use meshkit_kube::{Client, Selection};
use meshkit_manifest::Kind;
use meshkit_wire::{destination::server, extension};

use super::{
    flags::Logs,
    grpc,
    program::{self, Fault, Program, bind},
    source::follow,
};
use crate::run::control_plane::ByPath;

/// What answers are made of.
const KINDS: [Kind; 7] =
    [Kind::Service, Kind::EndpointSlice, Kind::Pod, Kind::Node, Kind::ServiceProfile, Kind::Server, Kind::ExternalWorkload];
/// Changes that are taken in at once.
const BATCH: usize = 256;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    own: DestinationArgs,
    #[command(flatten)]
    logs: Logs,
}

pub(super) fn run(flags: Flags) -> ExitCode {
    let Flags { own, logs } = flags;
    program::run("destination", &logs, own.metrics_addr, async move |program| start(program, &own).await)
}

async fn start(program: &mut Program, args: &DestinationArgs) -> Result<(), Fault> {
    let settings = args.settings()?;
    let listener = bind(args.addr).await?;
    let client = Client::from_environment().await?;
    let service = Service::fed(args.mesh(), settings);
    metrics::register(&program.registry, service.index());
    let mut events = follow(program, &client, KINDS.map(Selection::all).to_vec(), |event| service.apply(event, |_| true)).await?;
    let fed = service.clone();
    program.endless("the index", async move {
        let mut batch = Vec::with_capacity(BATCH);
        while events.recv_many(&mut batch, BATCH).await > 0 {
            batch.drain(..).for_each(|event| fed.apply(event, |_| true));
        }
    });
    let service = Arc::new(service);
    let apis = ByPath { prefix: extension::digests::PATH, first: extension::digests::server(Arc::clone(&service)), other: server(service) };
    program.endless("the server", grpc::serve(listener, apis, program.drain.clone()));
    program.ready();
    Ok(())
}
