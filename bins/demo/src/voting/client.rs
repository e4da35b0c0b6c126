//! Calls voting, by the name of the rpc.

use std::time::Duration;

use http::uri::{Authority, PathAndQuery};
use tonic::{
    Request, Status,
    client::Grpc,
    metadata::MetadataMap,
    transport::{Channel, Endpoint, Uri},
};
use tonic_prost::ProstCodec;

use super::VERSION_KEY;
use crate::proto::{
    VOTING_PREFIX,
    voting::{ResultsRequest, ResultsResponse, VoteRequest, VoteResponse, VotingResult},
};

/// Longer than anything here takes, so that a mesh's own timeouts are seen first.
const CALL_LIMIT: Duration = Duration::from_secs(15);

/// A client that connects when first used, and again whenever it must.
#[derive(Clone, Debug)]
pub(crate) struct VotingClient(Channel);

/// The votes that one version of voting has counted.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) version: Option<String>,
    pub(crate) results: Vec<VotingResult>,
}

/// A channel to `http://HOST`, whose authority is the host as given.
pub(crate) fn channel(host: &Authority) -> Channel {
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(http::uri::Scheme::HTTP);
    uri.authority = Some(host.clone());
    uri.path_and_query = Some(PathAndQuery::from_static("/"));
    let uri = Uri::from_parts(uri).expect("scheme, authority and path are all there");
    Endpoint::from(uri).connect_timeout(Duration::from_secs(5)).timeout(CALL_LIMIT).tcp_nodelay(true).connect_lazy()
}

/// The version that a response or a refusal came from.
pub(crate) fn version(metadata: &MetadataMap) -> Option<String> {
    Some(metadata.get(VERSION_KEY)?.to_str().ok()?.to_owned())
}

impl VotingClient {
    pub(crate) fn new(host: &Authority) -> Self {
        Self(channel(host))
    }

    /// Calls `rpc`, and returns the version that counted the vote.
    pub(crate) async fn vote(&self, rpc: &str, context: MetadataMap) -> Result<Option<String>, Status> {
        let response = self.call::<_, VoteResponse>(rpc, VoteRequest {}, context).await?;
        Ok(version(response.metadata()))
    }

    pub(crate) async fn results(&self, context: MetadataMap) -> Result<Results, Status> {
        let response = self.call::<_, ResultsResponse>("Results", ResultsRequest {}, context).await?;
        Ok(Results { version: version(response.metadata()), results: response.into_inner().results })
    }

    async fn call<M, A>(&self, rpc: &str, message: M, context: MetadataMap) -> Result<tonic::Response<A>, Status>
    where
        M: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let path = PathAndQuery::try_from(format!("{VOTING_PREFIX}{rpc}")).map_err(|_| Status::invalid_argument("not an rpc's name"))?;
        let mut request = Request::new(message);
        *request.metadata_mut() = context;
        let mut grpc = Grpc::new(self.0.clone());
        grpc.ready().await.map_err(|error| Status::unavailable(format!("no connection to voting: {error}")))?;
        grpc.unary(request, path, ProstCodec::default()).await
    }
}
