//! The service profiles that requests name: their routes are counted here as at the other end.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ::http::{Request, Response, header::HOST};
use meshkit_core::{Authority, Error};
use meshkit_http::{Body, hop};
use meshkit_wire::{
    outbound::Target,
    profile::{Profile, Route},
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use crate::{
    control::{
        Discovery,
        discovery::{ProfileState, Watching},
    },
    endpoint::Classified,
    metrics::{ProfileFamilies, ProfileHandle, decided},
};

/// Names that are watched at a time. Clients choose the names; the requests of further ones go without a profile.
const MAX_NAMES: usize = 1000;

/// How the profiles of names are found out.
#[derive(Debug)]
pub(super) struct Profiles {
    discovery: Discovery,
    metrics: ProfileFamilies,
    limit: Duration,
    idle_timeout: Duration,
    names: Mutex<HashMap<Box<str>, Named>>,
}

/// A name that requests were for.
#[derive(Debug)]
struct Named {
    known: Arc<Known>,
    used_at: Instant,
}

/// What is known of a name.
#[derive(Debug)]
pub(super) struct Known {
    authority: Authority,
    watching: Watching<watch::Receiver<ProfileState>>,
    metrics: ProfileFamilies,
    limit: Duration,
    /// The handles of the newest profile that a request has met.
    routes: Mutex<Option<Routes>>,
}

#[derive(Clone, Debug)]
struct Routes {
    of: Arc<Profile>,
    /// One for each route, in their order, and one for what no route is meant for.
    handles: Arc<[Handle]>,
}

#[derive(Clone, Debug)]
struct Handle {
    route: Option<Arc<Route>>,
    metrics: Arc<ProfileHandle>,
}

/// A request of a profile's route, from its start to its response.
#[derive(Debug)]
pub(super) struct Following {
    handle: Handle,
    since: Instant,
}

impl Profiles {
    pub(super) fn new(discovery: Discovery, metrics: ProfileFamilies, limit: Duration, idle_timeout: Duration) -> Self {
        Self { discovery, metrics, limit, idle_timeout, names: Mutex::default() }
    }

    /// What is known of the name that a request is for; `None` of one that has no profile, as far as the settings say.
    pub(super) fn of<B>(&self, request: &Request<B>) -> Option<Arc<Known>> {
        let name = name(request)?;
        let now = Instant::now();
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(named) = names.get_mut(name) {
            named.used_at = now;
            return Some(Arc::clone(&named.known));
        }
        let authority = Authority::parse(name, 80).ok()?;
        let target = Target::Authority(authority.to_string());
        if !self.discovery.may_have_profile(&target) || authority.name().is_none() {
            return None;
        }
        names.retain(|_, named| now.saturating_duration_since(named.used_at) < self.idle_timeout);
        if names.len() >= MAX_NAMES {
            return None;
        }
        let known = Arc::new(Known {
            watching: self.discovery.profile(&target),
            authority,
            metrics: self.metrics.clone(),
            limit: self.limit,
            routes: Mutex::default(),
        });
        names.insert(name.into(), Named { known: Arc::clone(&known), used_at: now });
        Some(known)
    }
}

impl Known {
    /// Has the control plane not answered yet?
    pub(super) fn is_pending(&self) -> bool {
        self.watching.values().borrow().is_none()
    }

    /// Waits for the first answer, but not for long: the request then goes without.
    pub(super) async fn answered(&self) {
        let _ = timeout(self.limit, self.watching.values().clone().wait_for(Option::is_some)).await;
    }

    /// Begins to count a request for its route; `None` without a profile. The endpoint learns how its response is judged.
    pub(super) fn follow(&self, request: Request<Body>) -> (Request<Body>, Option<Following>) {
        let Some(routes) = self.routes() else { return (request, None) };
        let (mut parts, body) = request.into_parts();
        let found = routes.of.routes.iter().position(|route| route.condition.matches(&parts));
        let handle = routes.handles[found.unwrap_or(routes.of.routes.len())].clone();
        if let Some(route) = &handle.route {
            parts.extensions.insert(Classified(Arc::clone(route)));
        }
        let since = handle.metrics.route.request();
        (Request::from_parts(parts, body), Some(Following { handle, since }))
    }

    fn routes(&self) -> Option<Routes> {
        let profile = self.watching.values().borrow().clone().flatten().filter(|profile| !profile.routes.is_empty())?;
        let mut known = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.as_ref().filter(|known| Arc::ptr_eq(&known.of, &profile)) {
            return Some(known.clone());
        }
        let dst = profile.name.as_ref().map_or_else(|| self.authority.to_string(), |name| format!("{name}:{}", self.authority.port()));
        let handle = |route: Option<&Route>| Handle {
            metrics: Arc::new(self.metrics.route("inbound", &dst, route)),
            route: route.cloned().map(Arc::new),
        };
        let handles = profile.routes.iter().map(|route| handle(Some(route))).chain([handle(None)]).collect();
        Some(known.insert(Routes { of: profile, handles }).clone())
    }
}

impl Following {
    /// Follows the response to its end.
    pub(super) fn ended(self, result: Result<Response<Body>, Error>) -> Result<Response<Body>, Error> {
        let Self { handle: Handle { route, metrics }, since } = self;
        match result {
            Ok(response) => {
                let class = decided(route.as_deref(), response.status());
                Ok(metrics.route.response(response, since, class))
            }
            Err(error) => {
                metrics.route.failed(&error);
                Err(error)
            }
        }
    }
}

/// The name that a request is for: the one that the other proxy found, or else its own.
fn name<B>(request: &Request<B>) -> Option<&str> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    header(hop::L5D_DST_CANONICAL).or_else(|| request.uri().authority().map(|a| a.as_str())).or_else(|| header(HOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_other_proxys_then_the_requests_own() {
        let request = |uri: &str, headers: &[(&str, &str)]| {
            let builder = headers.iter().fold(Request::get(uri), |builder, (key, value)| builder.header(*key, *value));
            builder.body(()).unwrap()
        };
        assert_eq!(name(&request("/a", &[("host", "a.b")])), Some("a.b"));
        assert_eq!(name(&request("http://c.d:8080/a", &[("host", "a.b")])), Some("c.d:8080"));
        assert_eq!(name(&request("http://c.d/a", &[("l5d-dst-canonical", "e.f:80"), ("host", "a.b")])), Some("e.f:80"));
        assert_eq!(name(&request("/a", &[])), None);
    }
}
