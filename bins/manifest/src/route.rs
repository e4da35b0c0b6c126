//! Routes: HTTPRoute of both groups, GRPCRoute, TLSRoute and TCPRoute.

use serde::{Deserialize, Serialize};

use crate::{
    GoDuration,
    core::object,
    meta::{Condition, Metadata},
};

object! {
    /// Where HTTP requests go, and what happens to them on the way. The group `policy.linkerd.io` has a kind of the same shape.
    HTTPRoute {
        /// Name and labels.
        metadata: Metadata,
        /// What it does.
        spec: HttpRouteSpec,
        /// Who took it.
        status: RouteStatus,
    }
}

object! {
    /// What an HTTPRoute does.
    HttpRouteSpec {
        /// Whose requests.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        parent_refs: Vec<ParentRef>,
        /// For which authorities; for all if there are none. `*.` may stand first.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        hostnames: Vec<String>,
        /// What happens to them.
        rules: Vec<HttpRule>,
    }
}

object! {
    /// What happens to some requests.
    HttpRule {
        /// Which: those that meet one of these; all if there are none.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        matches: Vec<HttpMatch>,
        /// What is changed.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        filters: Vec<HttpFilter>,
        /// Where they go; to the parent if there are none.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        backend_refs: Vec<BackendRef>,
        /// How long it may take.
        #[serde(skip_serializing_if = "Option::is_none")]
        timeouts: Option<HttpTimeouts>,
    }
}

object! {
    /// Requests that meet all of these.
    HttpMatch {
        /// The path; below `/` stands in.
        #[serde(skip_serializing_if = "Option::is_none")]
        path: Option<PathMatch>,
        /// Headers.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        headers: Vec<ValueMatch>,
        /// Parameters of the query.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        query_params: Vec<ValueMatch>,
        /// The method.
        #[serde(skip_serializing_if = "Option::is_none")]
        method: Option<String>,
    }
}

object! {
    /// A condition on the path.
    PathMatch {
        /// How it is compared: `PathPrefix` stands in.
        #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
        kind: Option<PathMatchKind>,
        /// With what: `/` stands in.
        #[serde(skip_serializing_if = "Option::is_none")]
        value: Option<String>,
    }
}

/// How a path is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::exhaustive_enums)] // The three of the Gateway API.
pub enum PathMatchKind {
    /// It is this.
    Exact,
    /// Its first segments are these.
    #[default]
    PathPrefix,
    /// The expression describes it.
    RegularExpression,
}

/// How a value is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::exhaustive_enums)] // The two of the Gateway API.
pub enum ValueMatchKind {
    /// It is this.
    #[default]
    Exact,
    /// The expression describes it.
    RegularExpression,
}

object! {
    /// A condition on a header or on a parameter of the query.
    ValueMatch {
        /// How it is compared: `Exact` stands in.
        #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
        kind: Option<ValueMatchKind>,
        /// Its name.
        name: String,
        /// With what.
        value: String,
    }
}

object! {
    /// A change of a request or response. `kind` says which of the other fields counts.
    HttpFilter {
        /// `RequestHeaderModifier`, `ResponseHeaderModifier`, `RequestRedirect`, `URLRewrite`, `RequestMirror`, `ExtensionRef`, ...
        #[serde(rename = "type")]
        kind: String,
        /// Headers of the request.
        #[serde(skip_serializing_if = "Option::is_none")]
        request_header_modifier: Option<HeaderModifier>,
        /// Headers of the response.
        #[serde(skip_serializing_if = "Option::is_none")]
        response_header_modifier: Option<HeaderModifier>,
        /// The answer is that it is elsewhere.
        #[serde(skip_serializing_if = "Option::is_none")]
        request_redirect: Option<Redirect>,
        /// Another authority or path.
        #[serde(rename = "urlRewrite", skip_serializing_if = "Option::is_none")]
        url_rewrite: Option<Rewrite>,
    }
}

object! {
    /// Changes of headers, in this order.
    HeaderModifier {
        /// In place of what there is.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        set: Vec<Header>,
        /// Beside what there is.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        add: Vec<Header>,
        /// Taken away.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        remove: Vec<String>,
    }
}

object! {
    /// A header.
    Header {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    }
}

object! {
    /// Where a redirected request finds what it asked for. What is not said stays as it is.
    Redirect {
        /// `http` or `https`.
        #[serde(skip_serializing_if = "Option::is_none")]
        scheme: Option<String>,
        /// The host.
        #[serde(skip_serializing_if = "Option::is_none")]
        hostname: Option<String>,
        /// The path.
        #[serde(skip_serializing_if = "Option::is_none")]
        path: Option<PathModifier>,
        /// The port.
        #[serde(skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
        /// 302 stands in.
        #[serde(skip_serializing_if = "Option::is_none")]
        status_code: Option<u16>,
    }
}

object! {
    /// What a request asks for instead.
    Rewrite {
        /// The host.
        #[serde(skip_serializing_if = "Option::is_none")]
        hostname: Option<String>,
        /// The path.
        #[serde(skip_serializing_if = "Option::is_none")]
        path: Option<PathModifier>,
    }
}

object! {
    /// Another path.
    PathModifier {
        /// `ReplaceFullPath` or `ReplacePrefixMatch`.
        #[serde(rename = "type")]
        kind: String,
        /// In place of the whole path.
        #[serde(skip_serializing_if = "Option::is_none")]
        replace_full_path: Option<String>,
        /// In place of the prefix that matched.
        #[serde(skip_serializing_if = "Option::is_none")]
        replace_prefix_match: Option<String>,
    }
}

object! {
    /// How long a request may take. Zero is no limit.
    HttpTimeouts {
        /// From the request to the end of the response.
        #[serde(skip_serializing_if = "Option::is_none")]
        request: Option<GoDuration>,
        /// The same for one try.
        #[serde(skip_serializing_if = "Option::is_none")]
        backend_request: Option<GoDuration>,
    }
}

object! {
    /// Where gRPC calls go, and what happens to them on the way.
    GRPCRoute {
        /// Name and labels.
        metadata: Metadata,
        /// What it does.
        spec: GrpcRouteSpec,
        /// Who took it.
        status: RouteStatus,
    }
}

object! {
    /// What a GRPCRoute does.
    GrpcRouteSpec {
        /// Whose calls.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        parent_refs: Vec<ParentRef>,
        /// For which authorities; for all if there are none.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        hostnames: Vec<String>,
        /// What happens to them.
        rules: Vec<GrpcRule>,
    }
}

object! {
    /// What happens to some calls.
    GrpcRule {
        /// Which: those that meet one of these; all if there are none.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        matches: Vec<GrpcMatch>,
        /// What is changed: the same as for HTTP, of which gRPC has fewer.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        filters: Vec<HttpFilter>,
        /// Where they go; to the parent if there are none.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        backend_refs: Vec<BackendRef>,
    }
}

object! {
    /// Calls that meet all of these.
    GrpcMatch {
        /// The method.
        #[serde(skip_serializing_if = "Option::is_none")]
        method: Option<GrpcMethodMatch>,
        /// Headers.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        headers: Vec<ValueMatch>,
    }
}

object! {
    /// A condition on the method.
    GrpcMethodMatch {
        /// How it is compared: `Exact` stands in, the only one that is supported.
        #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
        kind: Option<ValueMatchKind>,
        /// The service; any if there is none.
        #[serde(skip_serializing_if = "Option::is_none")]
        service: Option<String>,
        /// The method; any if there is none.
        #[serde(skip_serializing_if = "Option::is_none")]
        method: Option<String>,
    }
}

object! {
    /// Where TLS connections go that are not ended here.
    TLSRoute {
        /// Name and labels.
        metadata: Metadata,
        /// What it does.
        spec: TlsRouteSpec,
        /// Who took it.
        status: RouteStatus,
    }
}

object! {
    /// What a TLSRoute does.
    TlsRouteSpec {
        /// Whose connections.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        parent_refs: Vec<ParentRef>,
        /// For which server names; for all if there are none.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        hostnames: Vec<String>,
        /// Exactly one.
        rules: Vec<ConnectionRule>,
    }
}

object! {
    /// Where connections go.
    TCPRoute {
        /// Name and labels.
        metadata: Metadata,
        /// What it does.
        spec: TcpRouteSpec,
        /// Who took it.
        status: RouteStatus,
    }
}

object! {
    /// What a TCPRoute does.
    TcpRouteSpec {
        /// Whose connections.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        parent_refs: Vec<ParentRef>,
        /// Exactly one.
        rules: Vec<ConnectionRule>,
    }
}

object! {
    /// Where connections go.
    ConnectionRule {
        /// The backends.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        backend_refs: Vec<BackendRef>,
    }
}

object! {
    /// What a route is attached to.
    ParentRef {
        /// Its group; `gateway.networking.k8s.io` stands in, `core` or empty is the core group.
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<String>,
        /// Its kind; `Gateway` stands in.
        #[serde(skip_serializing_if = "Option::is_none")]
        kind: Option<String>,
        /// Its namespace; the route's stands in.
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        /// Its name.
        name: String,
        /// A part of it.
        #[serde(skip_serializing_if = "Option::is_none")]
        section_name: Option<String>,
        /// A port of it; all if there is none.
        #[serde(skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
    }
}

object! {
    /// Where requests or connections go.
    BackendRef {
        /// Its group; the core group stands in.
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<String>,
        /// Its kind; `Service` stands in.
        #[serde(skip_serializing_if = "Option::is_none")]
        kind: Option<String>,
        /// Its namespace; the route's stands in.
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        /// Its name.
        name: String,
        /// Its port; a Service needs one.
        #[serde(skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
        /// Its part of the whole; 1 stands in.
        #[serde(skip_serializing_if = "Option::is_none")]
        weight: Option<u32>,
        /// What is changed on the way to it; routes of connections have none.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        filters: Vec<HttpFilter>,
    }
}

impl ParentRef {
    /// Is the parent of this group and kind? An absent group is the Gateway API's, an absent kind is Gateway; `core` is another name of the
    /// empty group.
    #[must_use]
    pub fn is(&self, group: &str, kind: &str) -> bool {
        let own = self.group.as_deref().unwrap_or("gateway.networking.k8s.io");
        is_group(own, group) && self.kind.as_deref().unwrap_or("Gateway").eq_ignore_ascii_case(kind)
    }
}

impl BackendRef {
    /// Is the backend of this group and kind? An absent group is the core group, an absent kind is Service.
    #[must_use]
    pub fn is(&self, group: &str, kind: &str) -> bool {
        is_group(self.group.as_deref().unwrap_or_default(), group) && self.kind.as_deref().unwrap_or("Service").eq_ignore_ascii_case(kind)
    }
}

/// Are the groups the same? `core` is another name of the empty one.
pub(crate) fn is_group(a: &str, b: &str) -> bool {
    let core = |group: &str| group.is_empty() || group.eq_ignore_ascii_case("core");
    a.eq_ignore_ascii_case(b) || (core(a) && core(b))
}

object! {
    /// Who took a route.
    RouteStatus {
        /// One for each parent and controller.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        parents: Vec<ParentStatus>,
    }
}

object! {
    /// What a controller says of a route at one parent.
    ParentStatus {
        /// The parent.
        parent_ref: ParentRef,
        /// The controller.
        controller_name: String,
        /// `Accepted`, `ResolvedRefs`.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        conditions: Vec<Condition>,
    }
}
