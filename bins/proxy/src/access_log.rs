//! One line for each request that comes to the workload, once the head of its response is there.

use std::{
    io::Write as _,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version, header};
use meshkit_core::{Clock, Identity};
use meshkit_runtime::metrics::Counter;
use pin_project::pin_project;
use serde_json::json;
use tokio::{sync::mpsc, time::Instant};

use crate::config::AccessLog as Format;

/// Lines that wait to be written. Further ones are dropped, and counted: a terminal that is stuck must not hold requests up.
const BACKLOG: usize = 1024;

/// Takes what is known of requests. Clones write to the same place.
#[derive(Clone, Debug)]
pub struct AccessLog {
    format: Format,
    lines: mpsc::Sender<String>,
    clock: Arc<dyn Clock>,
    dropped: Arc<Counter>,
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Entry {
    log: AccessLog,
    client: SocketAddr,
    id: Option<Identity>,
    at: SystemTime,
    begun: Instant,
    method: Method,
    uri: Uri,
    version: Version,
    trace_id: String,
    request_bytes: String,
    user_agent: String,
    host: String,
}

/// An answer, and how long its making held the processor. The response carries its [`Entry`] away.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Logged<F> {
    #[pin]
    answer: F,
    entry: Option<Entry>,
    polled: Duration,
}

impl AccessLog {
    /// A log, and what writes it, to be run somewhere.
    pub(crate) fn new(format: Format, clock: Arc<dyn Clock>, dropped: Arc<Counter>) -> (Self, impl Future<Output = ()> + Send) {
        let (lines, receiver) = mpsc::channel(BACKLOG);
        (Self { format, lines, clock, dropped }, write(receiver))
    }

    pub(crate) fn begin<B>(&self, request: &Request<B>, client: SocketAddr, id: Option<&Identity>) -> Entry {
        let headers = request.headers();
        let first =
            ["x-b3-traceid", "x-request-id", "x-amzn-trace-id"].into_iter().map(|name| text(headers, name)).find(|id| !id.is_empty());
        Entry {
            log: self.clone(),
            client,
            id: id.cloned(),
            at: self.clock.now(),
            begun: Instant::now(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            trace_id: first.unwrap_or_default(),
            request_bytes: text(headers, header::CONTENT_LENGTH.as_str()),
            user_agent: text(headers, header::USER_AGENT.as_str()),
            host: request.uri().authority().map_or_else(|| text(headers, header::HOST.as_str()), ToString::to_string),
        }
    }
}

impl Entry {
    /// Writes the line when the answer is there.
    pub(crate) fn follow<F>(self, answer: F) -> Logged<F> {
        Logged { answer, entry: Some(self), polled: Duration::ZERO }
    }

    fn write<B>(self, response: &Response<B>, polled: Duration) {
        let line = self.line(response.status(), response.headers(), polled);
        if self.log.lines.try_send(line).is_err() {
            self.log.dropped.incr();
        }
    }

    fn line(&self, status: StatusCode, headers: &HeaderMap, polled: Duration) -> String {
        let id = self.id.as_ref().map_or("-", Identity::as_str);
        // A clock before 1970 or after the year 9999 has no timestamp in this form.
        let timestamp = jiff::Timestamp::try_from(self.at).unwrap_or_default();
        let (method, uri, version) = (&self.method, &self.uri, self.version);
        match self.log.format {
            Format::Apache => format!("{} {id} - [{timestamp}] \"{method} {uri} {version:?}\" {}\n", self.client, status.as_u16()),
            Format::Json => {
                let fields = json!({
                    "client.addr": self.client.to_string(),
                    "client.id": id,
                    "timestamp": timestamp.to_string(),
                    "method": method.as_str(),
                    "uri": uri.to_string(),
                    "version": format!("{version:?}"),
                    "trace_id": self.trace_id,
                    "request_bytes": self.request_bytes,
                    "response_bytes": text(headers, header::CONTENT_LENGTH.as_str()),
                    "status": status.as_u16(),
                    "total_ns": self.begun.elapsed().as_nanos() as u64,
                    "processing_ns": polled.as_nanos() as u64,
                    "user_agent": self.user_agent,
                    "host": self.host,
                });
                format!("{fields}\n")
            }
        }
    }
}

impl<F, B, E> Future for Logged<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let begun = Instant::now();
        let polled = this.answer.poll(cx);
        *this.polled += begun.elapsed();
        // A stream that is reset has no response, and no line.
        if let Poll::Ready(Ok(response)) = &polled
            && let Some(entry) = this.entry.take()
        {
            entry.write(response, *this.polled);
        }
        polled
    }
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// Writes lines to standard error, as many at once as there are.
async fn write(mut lines: mpsc::Receiver<String>) {
    let mut batch = Vec::new();
    while lines.recv_many(&mut batch, BACKLOG).await > 0 {
        let text = batch.drain(..).collect::<String>();
        // A write may block: it has a thread for that. Where nobody reads, there is nobody to tell.
        let _ = tokio::task::spawn_blocking(move || std::io::stderr().write_all(text.as_bytes())).await;
    }
}

#[cfg(test)]
mod tests {
    use meshkit_core::SystemClock;

    use super::*;

    fn log(format: Format) -> (AccessLog, mpsc::Receiver<String>) {
        let (lines, receiver) = mpsc::channel(1);
        (AccessLog { format, lines, clock: Arc::new(SystemClock), dropped: Arc::default() }, receiver)
    }

    async fn answer(log: &AccessLog, id: Option<&str>) {
        let request =
            Request::get("http://web/a?b=c").header("user-agent", "curl/8").header("x-request-id", "7").header("content-length", "3");
        let id = id.map(|id| id.parse().unwrap());
        let entry = log.begin(&request.body(()).unwrap(), "10.0.0.1:4000".parse().unwrap(), id.as_ref());
        let response = Response::builder().status(404).header("content-length", "12").body(()).unwrap();
        entry.follow(std::future::ready(Ok::<_, ()>(response))).await.unwrap();
    }

    #[tokio::test]
    async fn a_line_of_apache_and_one_of_json() {
        let (apache, mut lines) = log(Format::Apache);
        answer(&apache, Some("web.ns.serviceaccount.identity.linkerd.cluster.local")).await;
        let line = lines.try_recv().unwrap();
        let (before, rest) = line.split_once('[').unwrap();
        assert_eq!(before, "10.0.0.1:4000 web.ns.serviceaccount.identity.linkerd.cluster.local - ");
        let (timestamp, after) = rest.split_once(']').unwrap();
        assert!(timestamp.parse::<jiff::Timestamp>().is_ok(), "{timestamp}");
        assert_eq!(after, " \"GET http://web/a?b=c HTTP/1.1\" 404\n");

        let (json, mut lines) = log(Format::Json);
        answer(&json, None).await;
        let line: serde_json::Value = serde_json::from_str(&lines.try_recv().unwrap()).unwrap();
        for (key, want) in [
            ("client.addr", "10.0.0.1:4000"),
            ("client.id", "-"),
            ("method", "GET"),
            ("uri", "http://web/a?b=c"),
            ("version", "HTTP/1.1"),
            ("trace_id", "7"),
            ("request_bytes", "3"),
            ("response_bytes", "12"),
            ("user_agent", "curl/8"),
            ("host", "web"),
        ] {
            assert_eq!(line[key], want, "{key}");
        }
        assert_eq!(line["status"], 404);
        assert!(line["total_ns"].as_u64() >= line["processing_ns"].as_u64());
    }

    #[tokio::test]
    async fn lines_that_nobody_writes_are_dropped_and_counted() {
        let (log, _lines) = log(Format::Apache);
        answer(&log, None).await;
        answer(&log, None).await;
        assert_eq!(log.dropped.value(), 1);
    }
}
