use std::{net::SocketAddr, sync::Arc};

use futures_util::StreamExt as _;
use tonic::{Request, Response, Status};

use super::{FaultPlan, convert::to_proto, proto};
use crate::{Refused, destination::Answers, outbound::Target};

/// Answers what the extension is asked.
pub trait Planned: Send + Sync + 'static {
    /// The faults of a workload's requests to a destination, as they change.
    ///
    /// # Errors
    /// The workload or the target is malformed, or there is no such destination.
    fn outbound(&self, workload: &str, target: &Target) -> Result<Answers<Arc<FaultPlan>>, Refused>;

    /// The faults of requests to a workload's port, as they change.
    ///
    /// # Errors
    /// The workload is malformed, or there is none of this name.
    fn inbound(&self, workload: &str, port: u16) -> Result<Answers<Arc<FaultPlan>>, Refused>;
}

/// Serves the extension over gRPC.
#[must_use]
pub fn server<P: Planned>(planned: Arc<P>) -> proto::faults_server::FaultsServer<Server<P>> {
    proto::faults_server::FaultsServer::new(Server(planned)).max_decoding_message_size(64 * 1024)
}

/// Adapts [`Planned`] to the generated service.
#[derive(Debug)]
pub struct Server<P>(Arc<P>);

type Plans = Answers<Result<proto::FaultPlan, Status>>;

fn plans(answers: Answers<Arc<FaultPlan>>) -> Response<Plans> {
    Response::new(answers.map(|plan| Ok(to_proto(&plan))).boxed())
}

#[tonic::async_trait]
impl<P: Planned> proto::faults_server::Faults for Server<P> {
    type WatchOutboundStream = Plans;
    type WatchInboundStream = Plans;

    async fn watch_outbound(&self, request: Request<proto::OutboundTarget>) -> Result<Response<Plans>, Status> {
        let proto::OutboundTarget { workload, target } = request.into_inner();
        let target = match target.ok_or_else(|| Status::invalid_argument("target: is missing"))? {
            proto::outbound_target::Target::Addr(text) => {
                let malformed = |_| Status::invalid_argument(format!("addr: {text:?} is not ip:port"));
                Target::Addr(text.parse::<SocketAddr>().map_err(malformed)?)
            }
            proto::outbound_target::Target::Authority(name) => Target::Authority(name),
        };
        self.0.outbound(&workload, &target).map(plans).map_err(Refused::into_status)
    }

    async fn watch_inbound(&self, request: Request<proto::InboundTarget>) -> Result<Response<Plans>, Status> {
        let proto::InboundTarget { workload, port } = request.into_inner();
        let port = u16::try_from(port).ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| Status::invalid_argument("port: is not from 1 to 65535"))?;
        self.0.inbound(&workload, port).map(plans).map_err(Refused::into_status)
    }
}
