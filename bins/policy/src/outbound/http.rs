//! Routes of HTTP requests.

use std::sync::Arc;

use ::http::StatusCode;
use meshkit_core::Ratio;
use meshkit_manifest::{
    route::{HTTPRoute, HttpRule},
    traffic::TrafficPolicy,
};
use meshkit_policy::{
    Meta,
    http::{FailureInjector, Filter, Match},
    route::{Route as Routed, Rule as RoutedRule},
};
use meshkit_retry::Timeouts;
use meshkit_wire::outbound::Rule;

use super::{
    backend::Filters,
    default_route, first,
    parent::{self, Parent, Use},
    rule,
};
use crate::{
    convert::{self, Unsupported},
    model::Model,
    view::Route,
};

pub(super) type HttpRoute = Routed<Match, Rule<Filter>>;

const FILTERS: Filters<Filter> = Filters { usage: Use::Requests, read: convert::http_filter, fail: |message| fail(500, message) };

impl Model<'_> {
    /// The HTTP routes among some, as far as they can be understood.
    pub(super) fn http_routes(&self, parent: &Parent<'_>, routes: &[&Route]) -> Vec<HttpRoute> {
        let of = |route: &&Route| match route {
            Route::PolicyHttp(it) | Route::Http(it) => self.outbound_http(parent, route, it).ok(),
            _ => None,
        };
        routes.iter().filter_map(of).collect()
    }

    /// HTTP routes with what becomes of requests that none of them describes. At a Service there is no such route beside others: those
    /// requests find none.
    pub(super) fn http_with_default(&self, parent: &Parent<'_>, mut routes: Vec<HttpRoute>) -> Arc<[HttpRoute]> {
        let default = |name: &str, filters: Vec<Filter>| {
            let rule = rule(first(parent.own(Use::Requests)), parent.timeouts, parent.http_retry.clone(), self.settings.overrides);
            default_route(Meta::builtin(name), vec![Match::prefix("/")], Rule { filters: filters.into(), ..rule })
        };
        match parent.egress {
            Some((TrafficPolicy::Allow, _)) => routes.push(default("http-egress-allow", Vec::new())),
            Some((TrafficPolicy::Deny, _)) => {
                routes.push(default("http-egress-deny", vec![fail(403, "traffic not allowed".to_owned())]));
            }
            None if routes.is_empty() => routes.push(default("http", Vec::new())),
            None => {}
        }
        routes.into()
    }

    fn outbound_http(&self, parent: &Parent<'_>, route: &Route, it: &HTTPRoute) -> Result<HttpRoute, Unsupported> {
        let notes = &it.metadata.annotations;
        let retry = parent::http_retry(notes).or_else(|| parent.http_retry.clone());
        let of = |it: &HttpRule| {
            let filters = it.filters.iter().map(convert::http_filter).collect::<Result<_, _>>()?;
            let distribution = self.distribution(parent, &it.backend_refs, &FILTERS);
            let rule = rule(distribution, timeouts(parent, parent::timeouts(notes), it), retry.clone(), self.settings.overrides);
            let matches = it.matches.iter().map(convert::http_match).collect::<Result<_, _>>()?;
            Ok(RoutedRule { matches, policy: Rule { filters, ..rule } })
        };
        let rules = it.spec.rules.iter().map(of).collect::<Result<_, _>>()?;
        Ok(Routed { meta: route.meta(), hosts: convert::hosts(&it.spec.hostnames)?, rules })
    }
}

/// A rule that sets any timeout has none of its parent's.
fn timeouts(parent: &Parent<'_>, mut own: Timeouts, rule: &HttpRule) -> Timeouts {
    let request = rule.timeouts.as_ref().and_then(|timeouts| timeouts.request.as_ref()?.to_std());
    own.request = own.request.or(request.filter(|request| !request.is_zero()));
    if own == Timeouts::default() { parent.timeouts } else { own }
}

fn fail(status: u16, message: String) -> Filter {
    let response = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Filter::Fail(FailureInjector { response, message: message.into(), share: Ratio::ONE })
}
