//! Verdicts against a naive model: who is admitted is admitted by the first authorization that admits him.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests, too.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{Request, request::Parts};
use meshkit_core::Identity;
use meshkit_policy::{
    Authentication, Authorization, Client, DefaultPolicy, Meta, TlsState,
    authorization::Suffix,
    inbound::{HttpRoute, Policy, Protocol, default_route},
    net::Network,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

const IDENTITIES: [&str; 5] = ["web.ns.mesh", "bot.ns.mesh", "web.other.mesh", "ns.mesh", "spiffe://td/web.ns.mesh"];
const NETWORKS: [&str; 4] = ["10.0.0.0/8", "10.1.0.0/16", "fd00::/8", "0.0.0.0/0"];
const CLIENTS: [&str; 4] = ["10.0.0.1", "10.1.0.1", "fd00::1", "192.168.0.1"];

fn identity() -> impl Strategy<Value = Identity> {
    select(IDENTITIES.to_vec()).prop_map(|id| id.parse().unwrap())
}

fn authentication() -> impl Strategy<Value = Authentication> {
    let suffix = select(vec![vec![], vec!["mesh"], vec!["ns", "mesh"]]).prop_map(|labels| Suffix::of_labels(&labels));
    let listed = (vec(identity(), 0..3), vec(suffix, 0..2));
    prop_oneof![
        Just(Authentication::Unauthenticated),
        Just(Authentication::TlsUnauthenticated),
        listed.prop_map(|(ids, suffixes)| Authentication::TlsAuthenticated { identities: ids.into_iter().collect(), suffixes }),
    ]
}

fn authorizations() -> impl Strategy<Value = Vec<Authorization>> {
    let net = || select(NETWORKS.to_vec()).prop_map(|net| net.parse().unwrap());
    let network = (net(), vec(net(), 0..2)).prop_map(|(net, except)| Network { net, except });
    let one = (vec(network, 0..3), authentication());
    let named = |(networks, authentication)| Authorization { networks, authentication, meta: Meta::builtin("") };
    vec(one.prop_map(named), 0..4)
}

fn client() -> impl Strategy<Value = Client> {
    let tls = prop_oneof![
        Just(TlsState::NoTls),
        Just(TlsState::Passthrough { sni: "other".into() }),
        option::of(identity()).prop_map(|client_id| TlsState::Terminated { client_id }),
    ];
    let ip = select(CLIENTS.to_vec()).prop_map(|ip| ip.parse::<IpAddr>().unwrap());
    (ip, tls).prop_map(|(ip, tls)| Client { ip, tls })
}

fn admits(authorization: &Authorization, client: &Client) -> bool {
    let inside = |network: &Network| network.net.contains(&client.ip) && network.except.iter().all(|part| !part.contains(&client.ip));
    let proven = match (&authorization.authentication, &client.tls) {
        (Authentication::Unauthenticated, _) | (Authentication::TlsUnauthenticated, TlsState::Terminated { .. }) => true,
        (Authentication::TlsAuthenticated { identities, suffixes }, TlsState::Terminated { client_id: Some(id) }) => {
            let ends = |suffix: &Suffix| {
                let (name, labels) = (id.as_str(), suffix.labels().join("."));
                !name.starts_with("spiffe:") && (labels.is_empty() || name.ends_with(&format!(".{labels}")))
            };
            identities.iter().any(|listed| listed.as_str() == id.as_str()) || suffixes.iter().any(ends)
        }
        _ => false,
    };
    authorization.networks.iter().any(inside) && proven
}

fn request() -> Parts {
    Request::new(()).into_parts().0
}

proptest! {
    #[test]
    fn the_first_authorization_that_admits_the_client_is_the_verdict(
        own in authorizations(), server in authorizations(), client in client(),
    ) {
        let name = |list: Vec<Authorization>, prefix: &str| -> Arc<[Authorization]> {
            list.into_iter().enumerate().map(|(n, a)| Authorization { meta: Meta::builtin(&format!("{prefix}{n}")), ..a }).collect()
        };
        let (own, server) = (name(own, "route"), name(server, "server"));
        let routes: [HttpRoute; 1] = [default_route(Arc::clone(&own))];
        let protocol = Protocol::Detect { timeout: Duration::ZERO, routes: routes.into(), rate_limit: None };
        let policy = Policy { protocol, server: Meta::builtin("server"), authorizations: Arc::clone(&server) };

        let expected = own.iter().chain(&*server).find(|a| admits(a, &client)).map(|a| &a.meta);
        let request = request();
        let verdict = policy.authorize_request(&client, &policy.route(&request).unwrap());
        prop_assert_eq!(verdict.as_ref().ok().copied(), expected);
        if let Err(denied) = verdict {
            prop_assert_eq!(denied.nearest().is_none(), own.is_empty() && server.is_empty());
            prop_assert_eq!(denied.client(), client.tls.client_id());
        }
        let expected = server.iter().find(|a| admits(a, &client)).map(|a| &a.meta);
        prop_assert_eq!(policy.authorize_tcp(&client).ok(), expected);
    }
}

#[test]
fn every_policy_that_names_the_cluster_is_closed_where_there_is_none() {
    let anyone = Client { ip: [10, 0, 0, 1].into(), tls: TlsState::Terminated { client_id: Some(IDENTITIES[0].parse().unwrap()) } };
    for policy in [DefaultPolicy::ClusterAuthenticated, DefaultPolicy::ClusterUnauthenticated] {
        assert!(policy.policy(&[], Duration::ZERO).authorize_tcp(&anyone).is_err(), "{policy}");
    }
}
