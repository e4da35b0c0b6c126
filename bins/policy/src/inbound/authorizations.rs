//! Who may call a Server, and who may call on one of its routes.

use std::{collections::BTreeSet, sync::Arc};

use meshkit_core::Identity;
use meshkit_manifest::{
    Kind, Object,
    meta::Metadata,
    policy::{AuthorizationPolicy, MeshTLSAuthentication, Network as Cidr, Reference, Server, ServerAuthorization},
};
use meshkit_policy::{Authentication, Authorization, authorization::Suffix, net::Network};

use super::meta;
use crate::{
    model::Model,
    view::{GROUP, Route},
};

impl Model<'_> {
    /// Everybody whom an object lets call a Server, on every route.
    pub(super) fn server_authorizations(&self, server: &Server) -> Vec<Authorization> {
        let direct = self.selecting(server).filter_map(|it| self.of_server_authorization(it).ok());
        direct.chain(self.targeting(server).filter_map(|policy| self.of_policy(policy).ok())).collect()
    }

    /// Everybody whom an object lets call on a route.
    pub(super) fn route_authorizations(&self, route: &Route) -> Vec<Authorization> {
        self.targeting_route(route).filter_map(|policy| self.of_policy(policy).ok()).collect()
    }

    /// The ServerAuthorizations of a Server.
    pub(super) fn selecting(&self, server: &Server) -> impl Iterator<Item = &ServerAuthorization> {
        let selects = |it: &&Arc<ServerAuthorization>| {
            let by_name = it.spec.server.name.as_ref() == Some(&server.metadata.name);
            by_name || it.spec.server.selector.as_ref().is_some_and(|selector| selector.matches(&server.metadata.labels))
        };
        self.view.server_authorizations(&server.metadata.namespace).iter().filter(selects).map(|it| &**it)
    }

    /// The AuthorizationPolicies of a Server, or of its whole namespace.
    pub(super) fn targeting(&self, server: &Server) -> impl Iterator<Item = &AuthorizationPolicy> {
        let Metadata { namespace, name, .. } = &server.metadata;
        let is_meant = move |policy: &&Arc<AuthorizationPolicy>| {
            let target = &policy.spec.target_ref;
            (target.is(GROUP, "Server") && target.name == *name) || (target.is("", "Namespace") && target.name == *namespace)
        };
        self.view.authorization_policies(namespace).iter().filter(is_meant).map(|policy| &**policy)
    }

    /// The AuthorizationPolicies of a route.
    pub(super) fn targeting_route(&self, route: &Route) -> impl Iterator<Item = &AuthorizationPolicy> {
        let (Metadata { namespace, name, .. }, kind) = (route.metadata(), route.kind());
        let is_meant = move |policy: &&Arc<AuthorizationPolicy>| {
            let target = &policy.spec.target_ref;
            target.is(kind.group(), kind.as_str()) && target.name == *name
        };
        self.view.authorization_policies(namespace).iter().filter(is_meant).map(|policy| &**policy)
    }

    /// Whom an object permits; or why nobody.
    pub(super) fn of_server_authorization(&self, authorization: &ServerAuthorization) -> Result<Authorization, String> {
        let (metadata, client) = (&authorization.metadata, &authorization.spec.client);
        let authentication = match &client.mesh_tls {
            _ if client.unauthenticated => Authentication::Unauthenticated,
            Some(tls) if tls.unauthenticated_tls => Authentication::TlsUnauthenticated,
            Some(tls) => {
                let accounts = tls.service_accounts.iter().map(|account| {
                    let namespace = account.namespace.as_ref().unwrap_or(&metadata.namespace);
                    self.mesh.account(namespace, &account.name)
                });
                identities(tls.identities.iter().cloned().chain(accounts)).ok_or("it names no identity that a client could have")?
            }
            None => return Err("it names neither unauthenticated nor meshTLS clients".to_owned()),
        };
        let networks = self.networks(client.networks.as_deref().unwrap_or_default());
        Ok(Authorization { networks, authentication, meta: meta("serverauthorization", metadata) })
    }

    /// Whom an object permits; or why nobody. A policy whose references do not all exist, or contradict each other, permits nobody.
    pub(super) fn of_policy(&self, policy: &AuthorizationPolicy) -> Result<Authorization, String> {
        let (mut networks, mut clients) = (None, None);
        for reference in &policy.spec.required_authentication_refs {
            let namespace = reference.namespace.as_ref().unwrap_or(&policy.metadata.namespace);
            let found = |kind: Kind| {
                let missing = || format!("{} {namespace}/{} does not exist", kind.as_str(), reference.name);
                self.view.cluster().get(kind, namespace, &reference.name).ok_or_else(missing)
            };
            let nobody = || format!("{} {namespace}/{} names no identity that a client could have", reference.kind, reference.name);
            let is_second = if reference.is(GROUP, "NetworkAuthentication") {
                let Object::NetworkAuthentication(found) = found(Kind::NetworkAuthentication)? else { return Err(nobody()) };
                networks.replace(self.networks(&found.spec.networks)).is_some()
            } else if reference.is(GROUP, "MeshTLSAuthentication") {
                let Object::MeshTLSAuthentication(found) = found(Kind::MeshTLSAuthentication)? else { return Err(nobody()) };
                clients.replace(self.mesh_tls(found).ok_or_else(nobody)?).is_some()
            } else if reference.is("", "ServiceAccount") {
                clients.replace(identities([self.mesh.account(namespace, &reference.name)]).ok_or_else(nobody)?).is_some()
            } else {
                return Err(format!("{} of group {:?} is no authentication", reference.kind, reference.group));
            };
            if is_second {
                return Err("at most one authentication by network and one by identity may be required".to_owned());
            }
        }
        Ok(Authorization {
            networks: networks.unwrap_or_else(Network::all),
            authentication: clients.unwrap_or(Authentication::Unauthenticated),
            meta: meta("authorizationpolicy", &policy.metadata),
        })
    }

    /// `None` if it refers to what has no identity, or names none that a client could have.
    fn mesh_tls(&self, authentication: &MeshTLSAuthentication) -> Option<Authentication> {
        let own = &authentication.metadata.namespace;
        let referred = |reference: &Reference| {
            if reference.is("", "Namespace") {
                return Some(format!("*.{}", self.mesh.accounts(&reference.name)));
            }
            let namespace = reference.namespace.as_ref().unwrap_or(own);
            reference.is("", "ServiceAccount").then(|| self.mesh.account(namespace, &reference.name))
        };
        let spec = &authentication.spec;
        let accounts = spec.identity_refs.iter().map(referred).collect::<Option<Vec<_>>>()?;
        identities(spec.identities.iter().cloned().chain(accounts))
    }

    /// The networks; those of the cluster stand in for none.
    fn networks(&self, all: &[Cidr]) -> Vec<Network> {
        match all {
            [] => self.mesh.networks.iter().copied().map(Network::from).collect(),
            some => some.iter().map(|network| Network { net: network.cidr, except: network.except.clone() }).collect(),
        }
    }
}

/// Names, with `*` for any and `*.suffix` for any below. `None` if there is no name that could match.
fn identities(names: impl IntoIterator<Item = String>) -> Option<Authentication> {
    let (mut exact, mut suffixes) = (BTreeSet::new(), Vec::new());
    for name in names {
        match name.strip_prefix("*.") {
            Some(suffix) => suffixes.push(Suffix::of_labels(&suffix.split('.').collect::<Vec<_>>())),
            None if name == "*" => suffixes.push(Suffix::of_labels::<&str>(&[])),
            None => exact.extend(name.parse::<Identity>().ok()),
        }
    }
    let some = !(exact.is_empty() && suffixes.is_empty());
    some.then_some(Authentication::TlsAuthenticated { identities: exact, suffixes })
}
