//! Watches of the control plane, over one channel.

use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use linkerd2_proxy_api::{
    destination::{GetDestination, destination_client::DestinationClient},
    inbound::{PortSpec, inbound_server_policies_client::InboundServerPoliciesClient},
    outbound::{TrafficSpec, outbound_policies_client::OutboundPoliciesClient},
};
use meshkit_core::{Update, grpc::Code};
use meshkit_policy::inbound;
use tracing::warn;

use crate::{
    Channel, Invalid, Refused, destination,
    profile::Profile,
    watch::{Away, Item, Limits, Resume, is_absent, is_malformed, watch},
};

/// How watches come back, without what is particular to each.
#[derive(Clone, Debug)]
pub struct Watches {
    /// Limits of each stream.
    pub limits: Limits,
    /// Waits between streams.
    pub backoff: meshkit_core::Backoff,
    /// Jitter of the waits.
    pub dice: meshkit_core::Dice,
    /// Counts those that have lost their server.
    pub away: Away,
}

impl Watches {
    pub(crate) fn resume(&self, is_final: fn(Code) -> bool) -> Resume {
        Resume { limits: self.limits, backoff: self.backoff, dice: self.dice.clone(), away: self.away.clone(), is_final }
    }
}

/// The endpoints of `authority`. The first update of each connection is a reset: what it does not name is gone. An update that cannot be
/// read is passed over with a log line. Ends with a final refusal.
pub fn endpoints(channel: Channel, watches: &Watches, authority: String, context: Arc<str>) -> impl Stream<Item = Update> + Send + use<> {
    let request = GetDestination { scheme: "k8s".to_owned(), path: authority.clone(), context_token: context.to_string() };
    let open = move || {
        let (mut client, request) = (DestinationClient::new(channel.clone()), request.clone());
        async move {
            let stream = client.get(request).await.map_err(|s| Refused::of(&s))?.into_inner();
            Ok(Box::pin(stream.map(|item| item.map_err(|s| Refused::of(&s)))))
        }
    };
    watch(open, watches.resume(is_malformed)).filter_map(move |item| {
        let update = match understood(&authority, item, destination::update) {
            Some(Item { first: true, value: Update::Add(endpoints) }) => Some(Update::Reset(endpoints)),
            Some(Item { value, .. }) => Some(value),
            None => None,
        };
        std::future::ready(update)
    })
}

/// The profile of a name or address.
pub fn profile(
    channel: Channel,
    watches: &Watches,
    target: String,
    context: Arc<str>,
) -> impl Stream<Item = Result<Profile, Refused>> + Send + use<> {
    let request = GetDestination { scheme: "k8s".to_owned(), path: target.clone(), context_token: context.to_string() };
    let open = move || {
        let (mut client, request) = (DestinationClient::new(channel.clone()), request.clone());
        async move {
            let stream = client.get_profile(request).await.map_err(|s| Refused::of(&s))?.into_inner();
            Ok(Box::pin(stream.map(|item| item.map_err(|s| Refused::of(&s)))))
        }
    };
    watch(open, watches.resume(is_malformed)).filter_map(move |item| {
        std::future::ready(match item {
            Err(refused) => Some(Err(refused)),
            item => understood(&target, item, destination::profile).map(|item| Ok(item.value)),
        })
    })
}

/// The policy of one of a workload's ports. A policy that cannot be understood is told as such: it must not be taken for the one before.
pub fn inbound_policy(
    channel: Channel,
    watches: &Watches,
    workload: Arc<str>,
    port: u16,
) -> impl Stream<Item = Result<Result<inbound::Policy, Invalid>, Refused>> + Send + use<> {
    let request = PortSpec { workload: workload.to_string(), port: port.into() };
    let open = move || {
        let (mut client, request) = (InboundServerPoliciesClient::new(channel.clone()), request.clone());
        async move {
            let stream = client.watch_port(request).await.map_err(|s| Refused::of(&s))?.into_inner();
            Ok(Box::pin(stream.map(|item| item.map_err(|s| Refused::of(&s)))))
        }
    };
    watch(open, watches.resume(is_malformed)).map(|item| item.map(|item| crate::inbound::policy(item.value)))
}

/// The policy of a destination. Ends with a refusal: there is none, or the server knows of no policies.
pub fn outbound_policy(
    channel: Channel,
    watches: &Watches,
    workload: Arc<str>,
    target: &crate::outbound::Target,
) -> impl Stream<Item = Result<Result<crate::outbound::Policy, Invalid>, Refused>> + Send + use<> {
    let request = TrafficSpec { source_workload: workload.to_string(), target: Some(crate::outbound::target_to(target)) };
    let open = move || {
        let (mut client, request) = (OutboundPoliciesClient::new(channel.clone()), request.clone());
        async move {
            let stream = client.watch(request).await.map_err(|s| Refused::of(&s))?.into_inner();
            Ok(Box::pin(stream.map(|item| item.map_err(|s| Refused::of(&s)))))
        }
    };
    watch(open, watches.resume(is_absent)).map(|item| item.map(|item| crate::outbound::policy(item.value)))
}

fn understood<T, U>(target: &str, item: Result<Item<T>, Refused>, convert: impl FnOnce(T) -> Result<U, Invalid>) -> Option<Item<U>> {
    match item {
        Ok(Item { first, value }) => match convert(value) {
            Ok(value) => Some(Item { first, value }),
            Err(invalid) => {
                warn!(target, error = %invalid, "an update of discovery is malformed and passed over");
                None
            }
        },
        Err(refused) => {
            warn!(target, error = %refused, "discovery is refused for good");
            None
        }
    }
}
