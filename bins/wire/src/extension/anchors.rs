//! Trust anchors, as they change.
//!
//! Offered beside the identity API. Proxies of others have their anchors from their environment, and keep them until they are restarted.

use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use super::proto;
use crate::{
    Channel, Refused,
    client::Watches,
    destination::Answers,
    watch::{is_absent, watch},
};

/// The path prefix of the service, by which a port that serves several is told where a call goes.
pub const PATH: &str = "/mesh.extension.v1.TrustAnchors/";

/// Trust anchors, all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)] // The two fields of the message.
pub struct Bundle {
    /// Certificates, PEM.
    pub pem: Arc<str>,
    /// When the controller was given them, in milliseconds since 1970. A larger number is newer.
    pub generation: u64,
}

/// Tells trust anchors.
pub trait Anchored: Send + Sync + 'static {
    /// The anchors now, and at each change, for as long as the client of this name listens. Nobody has proved the name.
    fn anchors(&self, identity: &str) -> Answers<Bundle>;
}

/// Serves trust anchors over gRPC.
#[must_use]
pub fn server<A: Anchored>(anchored: Arc<A>) -> proto::trust_anchors_server::TrustAnchorsServer<Server<A>> {
    proto::trust_anchors_server::TrustAnchorsServer::new(Server(anchored)).max_decoding_message_size(64 * 1024)
}

/// Adapts [`Anchored`] to the generated service.
#[derive(Debug)]
pub struct Server<A>(Arc<A>);

#[tonic::async_trait]
impl<A: Anchored> proto::trust_anchors_server::TrustAnchors for Server<A> {
    type WatchStream = Answers<Result<proto::TrustAnchorBundle, Status>>;

    async fn watch(&self, request: Request<proto::TrustAnchorsTarget>) -> Result<Response<Self::WatchStream>, Status> {
        let bundles = self.0.anchors(&request.into_inner().identity);
        let message = |Bundle { pem, generation }: Bundle| proto::TrustAnchorBundle { pem: pem.to_string(), generation };
        Ok(Response::new(bundles.map(move |bundle| Ok(message(bundle))).boxed()))
    }
}

/// The trust anchors of a mesh, for the workload of this name. Ends with a refusal: the peer does not tell.
///
/// Whether its calls go over connections that are authenticated is for whoever made the channel to know.
pub fn anchors(channel: Channel, watches: &Watches, identity: &str) -> impl Stream<Item = Result<Bundle, Refused>> + Send + use<> {
    let request = proto::TrustAnchorsTarget { identity: identity.to_owned() };
    let open = move || {
        let (mut client, request) = (proto::trust_anchors_client::TrustAnchorsClient::new(channel.clone()), request.clone());
        async move {
            let stream = client.watch(request).await.map_err(|s| Refused::of(&s))?.into_inner();
            Ok(Box::pin(stream.map(|item| item.map_err(|s| Refused::of(&s)))))
        }
    };
    let bundle = |proto::TrustAnchorBundle { pem, generation }| Bundle { pem: pem.into(), generation };
    watch(open, watches.resume(is_absent)).map(move |item| item.map(|item| bundle(item.value)))
}
