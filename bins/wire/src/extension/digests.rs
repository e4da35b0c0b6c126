//! Digests, by which a client of the destination API notices that an update was lost.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::proto;
use crate::{Channel, Refused};

/// The path prefix of the service, by which a port that serves several is told where a call goes.
pub const PATH: &str = "/mesh.extension.v1.Digests/";

/// Knows what watches of endpoints have been told.
pub trait Digested: Send + Sync + 'static {
    /// The digest ([`meshkit_balance::digest`]) of the endpoints of `path`, as seen by the client of `context`.
    ///
    /// # Errors
    /// The path is malformed or names nothing.
    fn digest(&self, path: &str, context: &str) -> Result<u64, Refused>;
}

/// Serves digests over gRPC.
#[must_use]
pub fn server<D: Digested>(digested: Arc<D>) -> proto::digests_server::DigestsServer<Server<D>> {
    proto::digests_server::DigestsServer::new(Server(digested)).max_decoding_message_size(64 * 1024)
}

/// Adapts [`Digested`] to the generated service.
#[derive(Debug)]
pub struct Server<D>(Arc<D>);

#[tonic::async_trait]
impl<D: Digested> proto::digests_server::Digests for Server<D> {
    async fn get(&self, request: Request<proto::DigestTarget>) -> Result<Response<proto::EndpointDigest>, Status> {
        let proto::DigestTarget { path, context_token } = request.into_inner();
        let digest = self.0.digest(&path, &context_token).map_err(Refused::into_status)?;
        Ok(Response::new(proto::EndpointDigest { digest }))
    }
}

/// Asks for the digest of the endpoints of `path`, as seen by the client of `context`.
///
/// # Errors
/// The peer refuses, cannot be reached, or knows of no digests.
///
/// # Cancel safety
/// Dropping the future gives the question up.
pub async fn digest(channel: Channel, path: String, context: Arc<str>) -> Result<u64, Refused> {
    let request = proto::DigestTarget { path, context_token: context.to_string() };
    let answer = proto::digests_client::DigestsClient::new(channel).get(request).await.map_err(|status| Refused::of(&status))?;
    Ok(answer.into_inner().digest)
}
