use std::{net::SocketAddr, sync::Arc};

use futures_util::StreamExt as _;
use linkerd2_proxy_api::outbound as proto;
use tonic::{Request, Response, Status};

use super::{Policy, policy_to};
use crate::{Refused, destination::Answers, net};

/// Where traffic is headed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // The two of the API.
pub enum Target {
    /// To an address.
    Addr(SocketAddr),
    /// To a name, with or without a port.
    Authority(String),
}

/// Answers what the outbound policy API is asked.
pub trait Policies: Send + Sync + 'static {
    /// The policy of a destination, as the workload sees it, as it changes.
    ///
    /// # Errors
    /// The workload or the target is malformed, or there is no such destination.
    fn policy(&self, workload: &str, target: &Target) -> Result<Answers<Arc<Policy>>, Refused>;
}

/// Serves policies over gRPC.
#[must_use]
pub fn server<P: Policies>(policies: Arc<P>) -> proto::outbound_policies_server::OutboundPoliciesServer<Server<P>> {
    proto::outbound_policies_server::OutboundPoliciesServer::new(Server(policies)).max_decoding_message_size(64 * 1024)
}

/// Adapts [`Policies`] to the generated service.
#[derive(Debug)]
pub struct Server<P>(Arc<P>);

impl<P: Policies> Server<P> {
    fn answers(&self, spec: proto::TrafficSpec) -> Result<Answers<Arc<Policy>>, Status> {
        let malformed = |e: crate::Invalid| Status::invalid_argument(e.to_string());
        let target = match spec.target.ok_or_else(|| Status::invalid_argument("target: is missing"))? {
            proto::traffic_spec::Target::Addr(addr) => Target::Addr(net::socket_addr(Some(addr)).map_err(malformed)?),
            proto::traffic_spec::Target::Authority(authority) => Target::Authority(authority),
        };
        self.0.policy(&spec.source_workload, &target).map_err(Refused::into_status)
    }
}

pub(crate) fn target_to(target: &Target) -> proto::traffic_spec::Target {
    match target {
        Target::Addr(addr) => proto::traffic_spec::Target::Addr(net::tcp_address(*addr)),
        Target::Authority(authority) => proto::traffic_spec::Target::Authority(authority.clone()),
    }
}

#[tonic::async_trait]
impl<P: Policies> proto::outbound_policies_server::OutboundPolicies for Server<P> {
    type WatchStream = Answers<Result<proto::OutboundPolicy, Status>>;

    async fn get(&self, request: Request<proto::TrafficSpec>) -> Result<Response<proto::OutboundPolicy>, Status> {
        let first = self.answers(request.into_inner())?.next().await;
        first.map(|policy| Response::new(policy_to(&policy))).ok_or_else(|| Status::unavailable("the controller is stopping"))
    }

    async fn watch(&self, request: Request<proto::TrafficSpec>) -> Result<Response<Self::WatchStream>, Status> {
        let policies = self.answers(request.into_inner())?;
        Ok(Response::new(policies.map(|policy| Ok(policy_to(&policy))).boxed()))
    }
}
