//! Tells a collector of spans.

use std::{collections::BTreeMap, fs, io, time::Duration};

use meshkit_core::Clock;
use meshkit_wire::{
    Channel,
    trace::{self, Attribute, Span},
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tracing::warn;

use crate::{config::Tracing, metrics::TraceCounters};

/// The most spans in one message.
const BATCH_MAX: usize = 1000;
/// How long a span waits for others, at most.
const INTERVAL: Duration = Duration::from_secs(10);

/// Sends spans to a collector. What it does not take is lost: nobody waits for it.
pub(crate) struct Exporter {
    pub(crate) channel: Channel,
    pub(crate) resource: Vec<Attribute>,
    pub(crate) spans: mpsc::Receiver<Span>,
    pub(crate) counters: TraceCounters,
}

impl Exporter {
    /// Runs until the last tracer is gone.
    pub(crate) async fn run(mut self) {
        self.counters.streams.incr();
        while let Some(batch) = batch(&mut self.spans).await {
            let count = batch.len();
            self.counters.requests.incr();
            match trace::export(self.channel.clone(), &self.resource, batch).await {
                Ok(()) => self.counters.exports.add(count as u64),
                Err(error) => {
                    self.counters.dropped.add(count as u64);
                    warn!(%error, count, "the collector of traces did not take spans, and they are lost");
                }
            }
        }
    }
}

/// The spans of one message: as many as came in the time that the first may wait.
async fn batch(spans: &mut mpsc::Receiver<Span>) -> Option<Vec<Span>> {
    let mut batch = vec![spans.recv().await?];
    let deadline = Instant::now() + INTERVAL;
    while batch.len() < BATCH_MAX {
        let room = BATCH_MAX - batch.len();
        match timeout_at(deadline, spans.recv_many(&mut batch, room)).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => break,
        }
    }
    Some(batch)
}

/// Whose the spans are. Later sources win: the process, the service's name, the file, the extra ones, those of the resource.
pub(crate) fn resource(settings: &Tracing, clock: &dyn Clock) -> io::Result<Vec<Attribute>> {
    let started = clock.now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    let file = match &settings.attributes_file {
        Some(path) => fs::read_to_string(path)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}; see LINKERD2_PROXY_TRACE_ATTRIBUTES_PATH", path.display())))?,
        None => String::new(),
    };
    let mut all = BTreeMap::new();
    all.insert("process.start_timestamp".to_owned(), started.as_millis().to_string());
    all.extend(settings.host_name.clone().map(|name| ("host.name".to_owned(), name)));
    all.extend(settings.service_name.clone().map(|name| ("service.name".to_owned(), name)));
    all.extend(file.lines().filter_map(line));
    all.extend(settings.extra.iter().chain(&settings.resource).cloned());
    let mut all: Vec<_> = all.into_iter().map(|(key, value)| Attribute::text(key, value)).collect();
    all.push(Attribute::number("process.pid", std::process::id().into()));
    Ok(all)
}

/// `key="value"`, as the downward API writes labels.
fn line(line: &str) -> Option<(String, String)> {
    let (key, value) = line.trim().split_once('=')?;
    Some((key.trim().to_owned(), value.trim().trim_matches('"').to_owned()))
}

#[cfg(test)]
mod tests {
    use meshkit_core::SystemClock;
    use meshkit_wire::trace::{Kind, Value};

    use super::*;
    use crate::control::Controller;

    fn span() -> Span {
        let epoch = std::time::SystemTime::UNIX_EPOCH;
        let name = String::new();
        Span {
            trace_id: [1; 16],
            span_id: [1; 8],
            parent: [1; 8],
            name,
            kind: Kind::Server,
            start: epoch,
            end: epoch,
            attributes: Vec::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_waits_ten_seconds_for_more_and_not_at_all_when_it_is_full() {
        let (sender, mut spans) = mpsc::channel(2 * BATCH_MAX);
        let begun = Instant::now();
        sender.send(span()).await.unwrap();
        let late = sender.clone();
        tokio::spawn(async move {
            tokio::time::sleep(INTERVAL / 2).await;
            late.send(span()).await
        });
        assert_eq!(batch(&mut spans).await.unwrap().len(), 2);
        assert_eq!(begun.elapsed(), INTERVAL);

        for _ in 0..BATCH_MAX + 1 {
            sender.send(span()).await.unwrap();
        }
        let begun = Instant::now();
        assert_eq!(batch(&mut spans).await.unwrap().len(), BATCH_MAX);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        drop(sender);
        assert_eq!(batch(&mut spans).await.unwrap().len(), 1, "the last ones are told before the end");
        assert_eq!(batch(&mut spans).await, None);
    }

    #[test]
    fn the_resource_is_what_all_sources_say_together() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("labels");
        fs::write(&file, "app=\"web\"\nk8s.pod.name=web-0\nnonsense\n").unwrap();
        let mut settings = Tracing::new(Controller { addr: meshkit_core::Authority::parse("collector:4317", 0).unwrap(), identity: None });
        settings.service_name = Some("from-setting".to_owned());
        settings.attributes_file = Some(file);
        settings.extra = vec![("app".to_owned(), "extra".to_owned())];
        settings.resource = vec![("service.name".to_owned(), "from-resource".to_owned())];
        let all = resource(&settings, &SystemClock).unwrap();
        let value = |key: &str| all.iter().find(|a| a.key == key).map(|a| a.value.clone());
        for (key, text) in [("app", "extra"), ("k8s.pod.name", "web-0"), ("service.name", "from-resource")] {
            assert_eq!(value(key), Some(Value::Text(text.to_owned())), "{key}");
        }
        assert!(matches!(value("process.pid"), Some(Value::Number(1..))));
        settings.attributes_file = Some(dir.path().join("none"));
        assert!(resource(&settings, &SystemClock).unwrap_err().to_string().contains("TRACE_ATTRIBUTES_PATH"));
    }
}
