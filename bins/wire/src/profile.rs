//! Service profiles as the proxy uses them: routes by regular expression and method, response classes, a retry budget, and weighted targets.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::{Method, StatusCode, request};
use meshkit_core::{Authority, Endpoint};
use meshkit_policy::{Meta, route::Regex};
use meshkit_retry::budget;

/// What a service profile says about one destination.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// The name of the service, without a port; absent for a lone endpoint.
    pub name: Option<Arc<str>>,
    /// Bytes that are not to be looked at.
    pub opaque: bool,
    /// Tried in order; the first match decides.
    pub routes: Vec<Route>,
    /// Shared by the retryable routes.
    pub budget: Option<budget::Params>,
    /// Where the traffic goes instead of to the service itself.
    pub targets: Vec<Target>,
    /// The destination is this one endpoint, not a service.
    pub endpoint: Option<Endpoint>,
    /// The service.
    pub parent: Option<Meta>,
    /// The profile object.
    pub object: Option<Meta>,
}

/// One route of a profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Which requests are meant.
    pub condition: RequestMatch,
    /// Which responses are failures; the first match decides, and what none matches is decided by the status alone.
    pub classes: Vec<ResponseClass>,
    /// Metric labels, usually one: `route`.
    pub labels: Arc<BTreeMap<String, String>>,
    /// May a failed request be sent again?
    pub retry: Retryable,
    /// From the request to the head of the response.
    pub timeout: Option<Duration>,
}

/// Whether a route's requests may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // They may or they may not.
pub enum Retryable {
    /// Once is all.
    Never,
    /// As long as the budget lasts.
    WithinBudget,
}

/// A condition on a request.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::exhaustive_enums)] // The grammar of the API.
pub enum RequestMatch {
    /// All of them hold; none at all hold, too.
    All(Vec<RequestMatch>),
    /// One of them holds; of none, none does.
    Any(Vec<RequestMatch>),
    /// It does not hold.
    Not(Box<RequestMatch>),
    /// The whole path matches.
    Path(Regex),
    /// The method is this one.
    Method(Method),
}

/// What a response counts as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseClass {
    /// Which responses are meant.
    pub condition: ResponseMatch,
    /// What they count as.
    pub outcome: meshkit_core::Outcome,
}

/// A condition on a response.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // The grammar of the API.
pub enum ResponseMatch {
    /// All of them hold.
    All(Vec<ResponseMatch>),
    /// One of them holds.
    Any(Vec<ResponseMatch>),
    /// It does not hold.
    Not(Box<ResponseMatch>),
    /// The status lies between these, inclusive.
    Status(u16, u16),
}

/// A share of the traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Resolved by discovery.
    pub authority: Authority,
    /// Relative to the other targets; zero takes none.
    pub weight: u32,
    /// The service behind it, where the control plane says so.
    pub backend: Option<Meta>,
}

impl Profile {
    /// The first route that matches.
    #[must_use]
    pub fn route(&self, request: &request::Parts) -> Option<&Route> {
        self.routes.iter().find(|route| route.condition.matches(request))
    }
}

impl Route {
    /// What a status counts as: the first class that matches, else 5xx is failure.
    #[must_use]
    pub fn classify(&self, status: StatusCode) -> meshkit_core::Outcome {
        let class = self.classes.iter().find(|class| class.condition.matches(status));
        class.map_or_else(|| meshkit_core::Outcome::of_status(status), |class| class.outcome)
    }
}

impl RequestMatch {
    /// Does the condition hold for the request?
    #[must_use]
    pub fn matches(&self, request: &request::Parts) -> bool {
        match self {
            Self::All(all) => all.iter().all(|m| m.matches(request)),
            Self::Any(any) => any.iter().any(|m| m.matches(request)),
            Self::Not(not) => !not.matches(request),
            Self::Path(regex) => regex.is_match(request.uri.path()),
            Self::Method(method) => request.method == *method,
        }
    }
}

impl ResponseMatch {
    /// Does the condition hold for the status?
    #[must_use]
    pub fn matches(&self, status: StatusCode) -> bool {
        match self {
            Self::All(all) => all.iter().all(|m| m.matches(status)),
            Self::Any(any) => any.iter().any(|m| m.matches(status)),
            Self::Not(not) => !not.matches(status),
            Self::Status(min, max) => (*min..=*max).contains(&status.as_u16()),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use meshkit_core::Outcome;

    use super::*;

    fn route(pattern: &str, method: Method) -> Route {
        Route {
            condition: RequestMatch::All(vec![RequestMatch::Path(Regex::new(pattern).unwrap()), RequestMatch::Method(method)]),
            classes: Vec::new(),
            labels: Arc::default(),
            retry: Retryable::Never,
            timeout: None,
        }
    }

    fn request(method: Method, path: &str) -> request::Parts {
        Request::builder().method(method).uri(path).body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_first_route_whose_whole_path_and_method_match_is_taken() {
        let profile = Profile { routes: vec![route("/books", Method::GET), route("/books/\\d+", Method::GET)], ..Profile::default() };
        let found = |method, path| profile.route(&request(method, path)).map(|r| &r.condition);
        assert_eq!(found(Method::GET, "/books"), Some(&profile.routes[0].condition));
        assert_eq!(found(Method::GET, "/books/17?page=2"), Some(&profile.routes[1].condition));
        assert_eq!(found(Method::GET, "/books/17/pages"), None);
        assert_eq!(found(Method::POST, "/books"), None);
    }

    #[test]
    fn response_classes_override_the_status() {
        let mut route = route("/", Method::GET);
        assert_eq!(route.classify(StatusCode::BAD_GATEWAY), Outcome::Failure);
        route.classes = vec![
            ResponseClass { condition: ResponseMatch::Status(502, 502), outcome: Outcome::Success },
            ResponseClass { condition: ResponseMatch::Status(400, 599), outcome: Outcome::Failure },
        ];
        assert_eq!(route.classify(StatusCode::BAD_GATEWAY), Outcome::Success);
        assert_eq!(route.classify(StatusCode::NOT_FOUND), Outcome::Failure);
    }
}
