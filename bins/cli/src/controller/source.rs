//! Objects from the API server, and how that fares.

use std::sync::Arc;

use meshkit_kube::{Client, Failure, Observe, Selection, Source};
use meshkit_manifest::{Event, Kind as ObjectKind};
use meshkit_runtime::metrics::{CellKey, Cells, Counter, Gauge, LabelWriter, Labels, Registry};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::program::{Fault, Program, chain};

/// Changes that wait to be applied.
const BACKLOG: usize = 64;

/// Tells `apply` of all objects that there are, as they are listed, and returns the changes after that. Nobody is answered before.
pub(super) async fn follow(
    program: &mut Program,
    client: &Client,
    selections: Vec<Selection>,
    apply: impl FnMut(Event),
) -> Result<mpsc::Receiver<Event>, Fault> {
    let watches = Arc::new(Watches::register(&program.registry));
    let (listing, watching) = Source::new(client.clone(), selections).observe(watches).start(BACKLOG);
    program.endless("the watch of the API server", watching);
    info!(server = client.server(), "reading objects");
    Ok(listing.read(apply).await?)
}

/// Counts what becomes of watches, and tells what a person should know.
#[derive(Debug)]
struct Watches {
    connected: Arc<Cells<OfKind, Counter>>,
    failed: Arc<Cells<OfKind, Counter>>,
    passed_over: Arc<Cells<OfKind, Counter>>,
    known: Arc<Cells<OfKind, Gauge>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct OfKind(&'static str);

impl Watches {
    fn register(registry: &Registry) -> Self {
        let scope = registry.legacy();
        Self {
            connected: scope.counter_cells("kube_watch_connected_total", "Watches of the API server that were opened.").handle(&()),
            failed: scope
                .counter_cells("kube_watch_failed_total", "Lists and watches of the API server that failed, and are tried again.")
                .handle(&()),
            passed_over: scope
                .counter_cells("kube_watch_passed_over_total", "Objects that cannot be read, and are passed over.")
                .handle(&()),
            known: scope.family("kube_watch_objects", "Objects of the API server that are known.", ()).handle(&()),
        }
    }
}

impl Observe for Watches {
    fn connected(&self, kind: ObjectKind) {
        self.connected.cell(&OfKind(kind.as_str())).incr();
    }

    fn listed(&self, kind: ObjectKind, again: bool, count: usize) {
        info!(kind = kind.as_str(), count, again, "objects listed");
    }

    fn failed(&self, kind: ObjectKind, failure: &Failure) {
        // Not every cluster has every kind. The source has said so once.
        if failure.is_absent() {
            return;
        }
        self.failed.cell(&OfKind(kind.as_str())).incr();
        warn!(kind = kind.as_str(), error = %chain(failure), "objects cannot be followed; trying again");
    }

    fn passed_over(&self, kind: ObjectKind, why: &str) {
        self.passed_over.cell(&OfKind(kind.as_str())).incr();
        warn!(kind = kind.as_str(), why, "object passed over: correct it and apply it again");
    }

    fn known(&self, kind: ObjectKind, count: usize) {
        self.known.cell(&OfKind(kind.as_str())).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

impl Labels for OfKind {
    fn write(&self, out: &mut LabelWriter<'_>) {
        out.pair("kind", self.0);
    }
}

impl CellKey for OfKind {
    // There are fewer kinds than cells.
    fn catch_all() -> Self {
        Self("other")
    }
}
