use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use tracing::warn;

use super::{FaultPlan, convert::from_proto, proto};
use crate::{
    Channel, Refused,
    client::Watches,
    outbound::Target,
    watch::{is_absent, watch},
};

/// The faults of a workload's requests to a destination. A plan that cannot be understood is passed over with a log line. Ends with a
/// refusal: the peer has no plans, or not for this.
pub fn outbound_faults(
    channel: Channel,
    watches: &Watches,
    workload: &str,
    target: &Target,
) -> impl Stream<Item = FaultPlan> + Send + use<> {
    let asked = match target {
        Target::Addr(addr) => proto::outbound_target::Target::Addr(addr.to_string()),
        Target::Authority(name) => proto::outbound_target::Target::Authority(name.clone()),
    };
    let request = proto::OutboundTarget { workload: workload.to_owned(), target: Some(asked) };
    let open = move || {
        let (mut client, request) = (proto::faults_client::FaultsClient::new(channel.clone()), request.clone());
        async move {
            let stream = client.watch_outbound(request).await.map_err(|s| Refused::of(&s))?.into_inner();
            Ok(Box::pin(stream.map(|item| item.map_err(|s| Refused::of(&s)))))
        }
    };
    watch(open, watches.resume(is_absent)).filter_map(|item| std::future::ready(understood(item.map(|item| item.value))))
}

/// The faults of requests to a workload's port, likewise.
pub fn inbound_faults(channel: Channel, watches: &Watches, workload: Arc<str>, port: u16) -> impl Stream<Item = FaultPlan> + Send + use<> {
    let request = proto::InboundTarget { workload: workload.to_string(), port: port.into() };
    let open = move || {
        let (mut client, request) = (proto::faults_client::FaultsClient::new(channel.clone()), request.clone());
        async move {
            let stream = client.watch_inbound(request).await.map_err(|s| Refused::of(&s))?.into_inner();
            Ok(Box::pin(stream.map(|item| item.map_err(|s| Refused::of(&s)))))
        }
    };
    watch(open, watches.resume(is_absent)).filter_map(|item| std::future::ready(understood(item.map(|item| item.value))))
}

fn understood(item: Result<proto::FaultPlan, Refused>) -> Option<FaultPlan> {
    let plan = item.inspect_err(|refused| tracing::debug!(error = %refused, "the peer plans no faults")).ok()?;
    from_proto(plan).inspect_err(|invalid| warn!(error = %invalid, "a plan of faults cannot be understood and is passed over")).ok()
}
