//! Counters of the application, as Prometheus reads them.

use std::{
    fmt::Write,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{Method, StatusCode};

use crate::{
    Error,
    http1::{self, answer},
    stop::Stop,
};

/// Counters that share a name and differ in one label, whose values are known from the start.
#[derive(Debug)]
pub(crate) struct Counters {
    name: &'static str,
    help: &'static str,
    label: &'static str,
    cells: Vec<(&'static str, AtomicU64)>,
}

impl Counters {
    pub(crate) fn new(name: &'static str, help: &'static str, label: &'static str, values: impl IntoIterator<Item = &'static str>) -> Self {
        let cells = values.into_iter().map(|value| (value, AtomicU64::new(0))).collect();
        Self { name, help, label, cells }
    }

    /// Adds one to the cell at `index`, in the order of the label's values.
    pub(crate) fn add(&self, index: usize) {
        if let Some((_, cell)) = self.cells.get(index) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Label values and counts, without those that are 0.
    pub(crate) fn counted(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.cells.iter().map(|(value, cell)| (*value, cell.load(Ordering::Relaxed))).filter(|(_, count)| *count > 0)
    }

    fn expose(&self) -> String {
        let Self { name, help, label, .. } = self;
        let mut text = format!("# HELP {name} {help}\n# TYPE {name} counter\n");
        for (value, count) in self.counted() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name}{{{label}=\"{value}\"}} {count}");
        }
        text
    }
}

/// Serves `/metrics` until the stop, at once if there is no address.
pub(crate) async fn serve(address: Option<SocketAddr>, counters: Arc<Counters>, stop: Stop) -> Result<(), Error> {
    let Some(address) = address else { return Ok(()) };
    let listener = http1::bind("PROM_PORT", address).await?;
    http1::serve(listener, stop, move |request| {
        let answer = match (request.method(), request.uri().path()) {
            (&Method::GET, "/metrics") => answer(StatusCode::OK, "text/plain; version=0.0.4", counters.expose()),
            _ => answer(StatusCode::NOT_FOUND, "text/plain", "metrics are at /metrics\n"),
        };
        async { answer }
    })
    .await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_counted_is_exposed() {
        let counters = Counters::new("emojivoto_votes", "Votes", "emoji", [":joy:", ":poop:"]);
        counters.add(0);
        counters.add(0);
        counters.add(7);
        assert_eq!(counters.expose(), "# HELP emojivoto_votes Votes\n# TYPE emojivoto_votes counter\nemojivoto_votes{emoji=\":joy:\"} 2\n");
    }
}
