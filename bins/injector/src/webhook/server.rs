use std::{convert::Infallible, fmt, pin::pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError};
use hyper::body::Body;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use meshkit_core::drain;
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
};
use tower::{Layer, service_fn};
use tower_http::{catch_panic::CatchPanicLayer, limit::RequestBodyLimitLayer, timeout::TimeoutLayer};
use tracing::{Instrument, debug, info_span, warn};

use super::{
    admit::{Admitted, Event, admit, direct_owner},
    certificates::Certificates,
    metrics::Metrics,
    review::{Answer, Request},
    source::{Cluster, Files, Unavailable},
};

/// The longest body, in bytes.
pub const BODY_MAX: usize = 10 << 20;
/// The longest body that is read to its end, in bytes: its sender hears why it was refused.
const DISCARD_MAX: usize = 4 * BODY_MAX;
/// Connections at once.
const CONNECTIONS_MAX: usize = 1024;
/// How long a handshake, the head of a request, and a request may take: the API server waits ten seconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long nothing is accepted after accepting has failed, for want of files or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers the API server.
#[derive(Debug)]
pub struct Webhook<C> {
    cluster: C,
    files: Files,
    metrics: Metrics,
    events: mpsc::Sender<Event>,
}

/// Answers what the API server asks before it takes an object.
pub trait Review: Send + Sync + 'static {
    /// The `AdmissionReview` with the answer. What goes wrong on the way is a refusal, in words.
    fn review(&self, request: &Request) -> impl Future<Output = Value> + Send;
}

impl<C: Cluster> Webhook<C> {
    /// Asks `cluster`, goes by `files`, and gives `events` to whoever writes them. Those that find no place are counted.
    #[must_use]
    pub const fn new(cluster: C, files: Files, metrics: Metrics, events: mpsc::Sender<Event>) -> Self {
        Self { cluster, files, metrics, events }
    }

    async fn judge(&self, request: &Request) -> Result<Admitted, Unavailable> {
        let values = self.files.read().await?;
        let namespace = self.cluster.namespace(&request.namespace).await?;
        let mut owner = direct_owner(&request.object);
        // Only these stand between a workload and its pods. A Job of a CronJob is a workload itself.
        if let Some(direct) = owner.as_ref().filter(|owner| owner.kind == "ReplicaSet") {
            owner = self.cluster.controller(&request.namespace, direct).await.or(owner);
        }
        Ok(admit(&values, request, &namespace, owner.as_ref()))
    }
}

impl<C: Cluster> Review for Webhook<C> {
    /// # Cancel safety
    /// A dropped answer has been neither told nor counted.
    async fn review(&self, request: &Request) -> Value {
        let answer = match self.judge(request).await {
            Ok(Admitted { answer, events, labels }) => {
                if let Some(labels) = labels {
                    self.metrics.answered(&labels);
                }
                for event in events.into_iter().filter(|_| !request.is_dry_run()) {
                    if self.events.try_send(event).is_err() {
                        self.metrics.event_dropped();
                    }
                }
                answer
            }
            Err(unavailable) => {
                self.metrics.failed();
                warn!(namespace = request.namespace, kind = request.kind, error = %unavailable, "object refused");
                Answer::refused(unavailable)
            }
        };
        request.respond(&answer)
    }
}

async fn respond<B>(webhook: &impl Review, request: http::Request<B>) -> Response<Full<Bytes>>
where
    B: Body<Data = Bytes, Error: Into<BodyError>>,
{
    let text = |status: StatusCode, text: String| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response
    };
    if request.method() != Method::POST {
        return text(StatusCode::METHOD_NOT_ALLOWED, "an admission review is posted\n".to_owned());
    }
    let body = match read(request.into_body()).await {
        Ok(body) => body,
        Err(error) => {
            let status = if error.is::<TooLong>() || error.is::<LengthLimitError>() {
                StatusCode::PAYLOAD_TOO_LARGE
            } else {
                StatusCode::BAD_REQUEST
            };
            return text(status, format!("{error}\n"));
        }
    };
    match Request::parse(&body) {
        Err(invalid) => text(StatusCode::BAD_REQUEST, format!("{invalid}\n")),
        Ok(review) => {
            let mut response = text(StatusCode::OK, webhook.review(&review).await.to_string());
            response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
            response
        }
    }
}

type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Reads a body to its end, and keeps what is allowed of it: clients that are answered before they have sent everything may not
/// hear the answer.
async fn read<B: Body<Data = Bytes, Error: Into<BodyError>>>(body: B) -> Result<Bytes, BodyError> {
    let mut body = pin!(body);
    let mut kept = BytesMut::new();
    let mut len = 0_usize;
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(Into::into)?.into_data() {
            len = len.saturating_add(data.len());
            if len <= BODY_MAX {
                kept.extend_from_slice(&data);
            }
        }
    }
    if len > BODY_MAX { Err(Box::new(TooLong(len))) } else { Ok(kept.freeze()) }
}

/// The body is longer than it may be.
#[derive(Debug)]
struct TooLong(usize);

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a body of {} bytes is longer than the limit of {BODY_MAX} (BODY_MAX)", self.0)
    }
}

impl std::error::Error for TooLong {}

/// Serves until it is told to stop, and then until the last request has its answer.
///
/// # Cancel safety
/// Connections that are open go on until they end.
pub async fn serve<W: Review>(listener: TcpListener, certificates: Certificates, webhook: Arc<W>, drain: drain::Watch) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let stop = drain.clone().signaled();
    tokio::pin!(stop);
    loop {
        // A place first: what nobody can serve waits in the kernel, and is not accepted to be forgotten.
        let accept = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        let ((socket, _), place) = tokio::select! {
            _ = &mut stop => return,
            (accepted, place) = accept => match accepted {
                Ok(accepted) => (accepted, place),
                Err(error) => {
                    warn!(%error, "nothing accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let (certificates, webhook, drain) = (certificates.clone(), Arc::clone(&webhook), drain.clone());
        let connection = async move {
            let _place = place;
            connection(socket, &certificates, webhook, drain).await;
        };
        tokio::spawn(connection.instrument(info_span!("webhook")));
    }
}

async fn connection<W: Review>(socket: TcpStream, certificates: &Certificates, webhook: Arc<W>, drain: drain::Watch) {
    let acceptor = tokio_rustls::TlsAcceptor::from(certificates.config());
    let io = match tokio::time::timeout(PATIENCE, acceptor.accept(socket)).await {
        Ok(Ok(io)) => TokioIo::new(io),
        Ok(Err(error)) => return debug!(%error, "handshake failed"),
        Err(_) => return debug!("handshake took too long"),
    };
    let service = service_fn(move |request| {
        let webhook = Arc::clone(&webhook);
        async move { Ok::<_, Infallible>(respond(&*webhook, request).await) }
    });
    // Innermost first. The limit holds for the body that is read; the time, for reading and answering together.
    let service = RequestBodyLimitLayer::new(DISCARD_MAX).layer(service);
    let service = TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, PATIENCE).layer(service);
    let service = CatchPanicLayer::new().layer(service);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(128);
    let serving = builder.serve_connection(io, TowerToHyperService::new(service));
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = &mut serving => ended,
        _watch = drain.signaled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "connection failed");
    }
}
