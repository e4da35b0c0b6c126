//! The tap API, served and asked.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt as _};
use linkerd2_proxy_api::tap as proto;
use meshkit_core::grpc::Code;
use tonic::{Request, Response, Status};
use tracing::warn;

use super::{
    Event, Observe,
    convert::{event, event_to, observe_to, read_observe},
};
use crate::{Channel, Refused};

/// What a tap sees, for as long as it looks.
pub type Events = Pin<Box<dyn Stream<Item = Event> + Send>>;

/// Lets live requests be seen.
pub trait Tap: Send + Sync + 'static {
    /// Begins to tell of requests.
    ///
    /// # Errors
    /// Whoever asks may not see them.
    fn observe(&self, observe: Observe) -> Result<Events, Refused>;
}

/// Serves a tap over gRPC.
#[must_use]
pub fn server<T: Tap>(tap: Arc<T>) -> proto::tap_server::TapServer<Server<T>> {
    proto::tap_server::TapServer::new(Server(tap)).max_decoding_message_size(64 * 1024)
}

/// Adapts [`Tap`] to the generated service.
#[derive(Debug)]
pub struct Server<T>(Arc<T>);

#[tonic::async_trait]
impl<T: Tap> proto::tap_server::Tap for Server<T> {
    type ObserveStream = Pin<Box<dyn Stream<Item = Result<proto::TapEvent, Status>> + Send>>;

    async fn observe(&self, request: Request<proto::ObserveRequest>) -> Result<Response<Self::ObserveStream>, Status> {
        let invalid = |error: crate::Invalid| Refused::new(Code::INVALID_ARGUMENT, error.to_string()).into_status();
        let observe = read_observe(request.into_inner()).map_err(invalid)?;
        let shown = observe.headers;
        let events = self.0.observe(observe).map_err(Refused::into_status)?;
        Ok(Response::new(events.map(move |event| Ok(event_to(&event, shown))).boxed()))
    }
}

/// Asks a proxy for live requests. Events that cannot be read are passed over with a log line.
///
/// # Errors
/// The proxy refuses, or cannot be reached.
pub async fn observe(channel: Channel, observe: &Observe) -> Result<impl Stream<Item = Result<Event, Refused>> + Send + use<>, Refused> {
    let mut client = proto::tap_client::TapClient::new(channel);
    let events = client.observe(observe_to(observe)).await.map_err(|status| Refused::of(&status))?.into_inner();
    Ok(events.filter_map(|message| {
        std::future::ready(match message {
            Ok(message) => {
                event(message).inspect_err(|error| warn!(%error, "an event of the tap is malformed and passed over")).ok().map(Ok)
            }
            Err(status) => Some(Err(Refused::of(&status))),
        })
    }))
}
