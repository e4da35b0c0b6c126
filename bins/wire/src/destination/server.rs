use std::{collections::BTreeMap, pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt as _};
use linkerd2_proxy_api::destination as proto;
use meshkit_core::Update;
use tonic::{Request, Response, Status};

use super::{profile_to, update_to};
use crate::{Refused, profile::Profile};

/// Answers that follow one another for as long as the client listens.
pub type Answers<T> = Pin<Box<dyn Stream<Item = T> + Send>>;

/// Answers what the destination API is asked.
pub trait Resolve: Send + Sync + 'static {
    /// The endpoints of `path`, and the labels that all of them have, as seen by the client of `context`.
    ///
    /// # Errors
    /// The path is malformed or names nothing.
    fn endpoints(&self, path: &str, context: &str) -> Result<(Answers<Update>, BTreeMap<String, String>), Refused>;

    /// The profile of `path`, as seen by the client of `context`.
    ///
    /// # Errors
    /// The path is malformed or names nothing.
    fn profile(&self, path: &str, context: &str) -> Result<Answers<Arc<Profile>>, Refused>;
}

/// Serves a resolver over gRPC.
#[must_use]
pub fn server<R: Resolve>(resolve: Arc<R>) -> proto::destination_server::DestinationServer<Server<R>> {
    proto::destination_server::DestinationServer::new(Server(resolve)).max_decoding_message_size(64 * 1024)
}

/// Adapts [`Resolve`] to the generated service.
#[derive(Debug)]
pub struct Server<R>(Arc<R>);

#[tonic::async_trait]
impl<R: Resolve> proto::destination_server::Destination for Server<R> {
    type GetStream = Answers<Result<proto::Update, Status>>;
    type GetProfileStream = Answers<Result<proto::DestinationProfile, Status>>;

    async fn get(&self, request: Request<proto::GetDestination>) -> Result<Response<Self::GetStream>, Status> {
        let request = request.into_inner();
        let (updates, labels) = self.0.endpoints(&request.path, &request.context_token).map_err(Refused::into_status)?;
        Ok(Response::new(updates.map(move |update| Ok(update_to(&update, &labels))).boxed()))
    }

    async fn get_profile(&self, request: Request<proto::GetDestination>) -> Result<Response<Self::GetProfileStream>, Status> {
        let request = request.into_inner();
        let profiles = self.0.profile(&request.path, &request.context_token).map_err(Refused::into_status)?;
        Ok(Response::new(profiles.map(|profile| Ok(profile_to(&profile))).boxed()))
    }
}
