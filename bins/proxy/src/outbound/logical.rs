//! The policy in force where the policy API has none: made from what the profile says, or from the address alone.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use meshkit_core::Endpoint;
use meshkit_policy::{
    Meta,
    outbound::OpaqueRoute,
    route::{Route, Rule as RouteRule},
};
use meshkit_retry::Timeouts;
use meshkit_wire::{
    outbound::{Backend, Dispatch, Distribution, Load, OpaqueRule, Overrides, Policy, Protocol, RouteBackend, Rule},
    profile::Profile,
};

const DETECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The policy of a destination that the policy API does not know.
///
/// An endpoint that the profile names is forwarded to, with its identity; a service that it names is balanced over; else the address is
/// forwarded to as it is. Without an address there is nowhere to go, and no policy.
pub(super) fn policy(profile: Option<&Profile>, addr: Option<SocketAddr>, port: u16) -> Option<Policy> {
    let (meta, dispatch) = match profile {
        Some(Profile { endpoint: Some(endpoint), .. }) => (Meta::builtin("endpoint"), Dispatch::Forward(endpoint.clone())),
        Some(Profile { name: Some(name), parent, .. }) => {
            let meta = parent.clone().unwrap_or_else(|| Meta::builtin("fallback"));
            (meta, Dispatch::Balance { path: format!("{name}:{port}"), load: Load::default() })
        }
        _ => (Meta::builtin("fallback"), Dispatch::Forward(Endpoint::new(addr?))),
    };
    let backend = Arc::new(Backend { meta: meta.clone(), dispatch, accrual: None });
    let opaque = OpaqueRoute { meta: meta.clone(), policy: OpaqueRule { filters: [].into(), distribution: first(Arc::clone(&backend)) } };
    let protocol = if profile.is_some_and(|profile| profile.opaque) {
        Protocol::Opaque(Some(opaque))
    } else {
        let routes = || -> Arc<[_]> {
            let policy = Rule {
                filters: [].into(),
                distribution: first(Arc::clone(&backend)),
                timeouts: Timeouts::default(),
                retry: None,
                overrides: Overrides::PassedOn,
            };
            [Route { meta: meta.clone(), hosts: Vec::new(), rules: vec![RouteRule { matches: Vec::new(), policy }] }].into()
        };
        Protocol::Detect { timeout: DETECT_TIMEOUT, http1: routes(), http2: routes(), opaque: Some(opaque) }
    };
    Some(Policy { parent: meta, protocol })
}

fn first<F>(backend: Arc<Backend>) -> Distribution<F> {
    Distribution::First([RouteBackend { backend, filters: [].into() }].into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr() -> SocketAddr {
        "10.0.0.1:80".parse().unwrap()
    }

    fn dispatch(policy: &Policy) -> Dispatch {
        let route = policy.protocol.opaque().unwrap();
        route.policy.distribution.backends().next().unwrap().0.backend.dispatch.clone()
    }

    #[test]
    fn an_unknown_address_is_reached_as_it_is() {
        let policy = policy(None, Some(addr()), 80).unwrap();
        assert_eq!(policy.parent, Meta::builtin("fallback"));
        assert_eq!(dispatch(&policy), Dispatch::Forward(Endpoint::new(addr())));
        assert!(policy.protocol.http1().is_some() && policy.protocol.http2().is_some());
    }

    #[test]
    fn an_endpoint_of_the_profile_keeps_what_is_known_of_it() {
        let endpoint = Endpoint::new("10.0.0.2:81".parse().unwrap()).weight(7);
        let profile = Profile { endpoint: Some(endpoint.clone()), opaque: true, ..Profile::default() };
        let policy = policy(Some(&profile), Some(addr()), 80).unwrap();
        assert_eq!(policy.parent, Meta::builtin("endpoint"));
        assert_eq!(dispatch(&policy), Dispatch::Forward(endpoint));
        assert!(policy.protocol.http1().is_none(), "it is opaque");
    }

    #[test]
    fn a_service_is_balanced_over_though_no_policy_speaks_of_it() {
        let profile = Profile { name: Some("web.ns.svc.cluster.local".into()), ..Profile::default() };
        let policy = policy(Some(&profile), None, 80).unwrap();
        assert!(matches!(dispatch(&policy), Dispatch::Balance { path, .. } if path == "web.ns.svc.cluster.local:80"));
    }

    #[test]
    fn a_name_that_nobody_knows_leads_nowhere() {
        assert_eq!(policy(None, None, 80), None);
    }
}
