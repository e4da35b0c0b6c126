use std::path::Path;

use crate::Manifest;

fn refused_with(kind: &str, annotations: &str, spec: &str) -> Vec<String> {
    let version = match kind {
        "Server" => "policy.linkerd.io/v1beta3",
        "ServerAuthorization" => "policy.linkerd.io/v1beta1",
        "HTTPRoute" | "GRPCRoute" => "gateway.networking.k8s.io/v1",
        "TLSRoute" | "TCPRoute" => "gateway.networking.k8s.io/v1alpha2",
        "PolicyHTTPRoute" => "policy.linkerd.io/v1beta3",
        "ServiceProfile" => "linkerd.io/v1alpha2",
        "ExternalWorkload" => "workload.linkerd.io/v1beta1",
        _ => "policy.linkerd.io/v1alpha1",
    };
    let kind = kind.trim_start_matches("Policy");
    let text =
        format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a, namespace: ns, annotations: {annotations}}}\nspec: {spec}\n");
    match Manifest::parse(Path::new("a.yaml"), &text) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.into_iter().map(|f| f.what).collect(),
    }
}

fn refused(kind: &str, spec: &str) -> Vec<String> {
    refused_with(kind, "{}", spec)
}

/// Each row: kind, spec, and what the fault says; nothing if there is none.
fn check(table: &[(&str, &str, &str)]) {
    for (kind, spec, wanted) in table {
        let faults = refused(kind, spec);
        match *wanted {
            "" => assert!(faults.is_empty(), "{kind} {spec}: {faults:?}"),
            wanted => assert!(faults.len() == 1 && faults[0].contains(wanted), "{kind} {spec}: {faults:?}"),
        }
    }
}

#[test]
fn what_the_webhook_admits_is_admitted_and_what_it_refuses_is_refused_with_its_field() {
    let table = [
        ("Server", "{podSelector: {}, port: 80, proxyProtocol: gRPC}", ""),
        ("Server", "{podSelector: {}, port: 0}", "spec.port"),
        ("Server", "{port: 80}", "spec.podSelector"),
        ("Server", "{podSelector: {}, port: 80, accessPolicy: allow}", "spec.accessPolicy"),
        ("Server", "{podSelector: {}, port: 80, proxyProtocol: http}", "unknown variant `http`"),
        ("AuthorizationPolicy", "{targetRef: {group: policy.linkerd.io, kind: Server, name: x}, requiredAuthenticationRefs: []}", ""),
        ("AuthorizationPolicy", "{targetRef: {kind: Namespace, name: other}, requiredAuthenticationRefs: []}", "spec.targetRef"),
        ("AuthorizationPolicy", "{targetRef: {kind: Pod, name: x}, requiredAuthenticationRefs: []}", "spec.targetRef"),
        (
            "AuthorizationPolicy",
            "{targetRef: {kind: Server, name: x}, requiredAuthenticationRefs: [{kind: ServiceAccount, name: a}, {group: policy.linkerd.io, kind: MeshTLSAuthentication, name: b}]}",
            "at most one",
        ),
        ("AuthorizationPolicy", "{targetRef: {kind: Server, name: x}, requiredAuthenticationRefs: []}", "spec.targetRef"),
        (
            "AuthorizationPolicy",
            "{targetRef: {group: core, kind: Namespace, name: ns}, requiredAuthenticationRefs: [{group: policy.linkerd.io, kind: NetworkAuthentication, name: a}, {group: policy.linkerd.io, kind: NetworkAuthentication, name: b}]}",
            "at most one NetworkAuthentication",
        ),
        (
            "AuthorizationPolicy",
            "{targetRef: {group: gateway.networking.k8s.io, kind: GRPCRoute, name: x}, requiredAuthenticationRefs: [{kind: Pod, name: a}]}",
            "spec.requiredAuthenticationRefs[0]",
        ),
        (
            "AuthorizationPolicy",
            "{targetRef: {group: policy.linkerd.io, kind: httproute, name: x}}",
            "missing field `requiredAuthenticationRefs`",
        ),
        ("Server", "{podSelector: {}, externalWorkloadSelector: {}, port: 80}", "spec.externalWorkloadSelector"),
        ("Server", "{externalWorkloadSelector: {matchLabels: {a: b}}, port: http}", ""),
        ("Server", "{podSelector: {}, port: 80, accesPolicy: deny}", "spec.accesPolicy: there is no such field"),
        (
            "Server",
            "{podSelector: {matchExpressions: [{key: a, operator: Is}]}, port: 80}",
            "spec.podSelector.matchExpressions[0].operator",
        ),
        ("MeshTLSAuthentication", "{identityRefs: [{kind: Namespace, namespace: a, name: b}]}", "spec.identityRefs[0]"),
        ("MeshTLSAuthentication", "{identityRefs: [{kind: Pod, name: b}]}", "spec.identityRefs[0]"),
        ("MeshTLSAuthentication", "{identityRefs: [{kind: ServiceAccount, name: b}]}", ""),
        ("MeshTLSAuthentication", "{identities: ['spiffe://TD/x/']}", "spec.identities[0]"),
        ("MeshTLSAuthentication", "{identities: []}", "exactly one"),
        (
            "ServerAuthorization",
            "{server: {name: x}, client: {meshTLS: {unauthenticatedTLS: true, identities: ['*']}}}",
            "unauthenticatedTLS leaves",
        ),
        ("ServerAuthorization", "{server: {selector: {}}, client: {networks: [{cidr: '::/0', except: ['::/0']}]}}", "leaves nothing"),
        ("MeshTLSAuthentication", "{identities: ['*', '*.a.b', 'spiffe://td/x']}", ""),
        ("MeshTLSAuthentication", "{identities: ['a b']}", "spec.identities"),
        ("MeshTLSAuthentication", "{}", "exactly one"),
        ("NetworkAuthentication", "{networks: [{cidr: 10.0.0.0/8, except: [10.1.0.0/16]}]}", ""),
        ("NetworkAuthentication", "{networks: [{cidr: 10.0.0.1}]}", ""),
        ("NetworkAuthentication", "{networks: []}", "spec.networks"),
        ("NetworkAuthentication", "{networks: [{cidr: 10.0.0.0/8, except: [0.0.0.0/0]}]}", "leaves nothing"),
        ("NetworkAuthentication", "{networks: [{cidr: 10.0.0.0/8, except: [11.0.0.0/16]}]}", "not a part"),
        ("NetworkAuthentication", "{networks: [{cidr: ten}]}", "neither a network"),
        ("ServerAuthorization", "{server: {name: x}, client: {unauthenticated: true, meshTLS: {identities: ['*']}}}", "spec.client"),
        ("ServerAuthorization", "{server: {}, client: {unauthenticated: true}}", "spec.server"),
    ];
    for (kind, spec, wanted) in table {
        let faults = refused(kind, spec);
        match wanted {
            "" => assert!(faults.is_empty(), "{kind} {spec}: {faults:?}"),
            wanted => assert!(faults.iter().any(|f| f.contains(wanted)), "{kind} {spec}: {faults:?}"),
        }
    }
}

#[test]
fn limits_name_a_server_and_do_not_exceed_the_total() {
    check(&[
        ("HTTPLocalRateLimitPolicy", "{targetRef: {group: policy.linkerd.io, kind: Server, name: x}, total: {requestsPerSecond: 10}}", ""),
        ("HTTPLocalRateLimitPolicy", "{targetRef: {kind: Server, name: x}}", "spec.targetRef"),
        ("HTTPLocalRateLimitPolicy", "{targetRef: {group: policy.linkerd.io, kind: HTTPRoute, name: x}}", "spec.targetRef"),
        (
            "HTTPLocalRateLimitPolicy",
            "{targetRef: {group: policy.linkerd.io, kind: Server, name: x}, total: {requestsPerSecond: 0}}",
            "spec.total.requestsPerSecond",
        ),
        (
            "HTTPLocalRateLimitPolicy",
            "{targetRef: {group: policy.linkerd.io, kind: Server, name: x}, identity: {requestsPerSecond: 0}}",
            "spec.identity.requestsPerSecond",
        ),
        (
            "HTTPLocalRateLimitPolicy",
            "{targetRef: {group: policy.linkerd.io, kind: Server, name: x}, total: {requestsPerSecond: 5}, identity: {requestsPerSecond: 6}}",
            "spec.identity.requestsPerSecond: 6 requests per second are more than the total of 5",
        ),
        (
            "HTTPLocalRateLimitPolicy",
            "{targetRef: {group: policy.linkerd.io, kind: Server, name: x}, total: {requestsPerSecond: 5}, overrides: [{requestsPerSecond: 6, clientRefs: []}]}",
            "spec.overrides[0].requestsPerSecond",
        ),
        (
            "HTTPLocalRateLimitPolicy",
            "{targetRef: {group: policy.linkerd.io, kind: Server, name: x}, overrides: [{requestsPerSecond: 0}]}",
            "spec.overrides[0].requestsPerSecond",
        ),
        (
            "HTTPLocalRateLimitPolicy",
            "{targetRef: {group: policy.linkerd.io, kind: Server, name: x}, overrides: [{requestsPerSecond: 1, clientRefs: [{kind: Pod, name: a}]}]}",
            "spec.overrides[0].clientRefs[0]",
        ),
    ]);
}

#[test]
fn egress_networks_say_whether_they_may_be_called() {
    check(&[
        ("EgressNetwork", "{trafficPolicy: Allow}", ""),
        ("EgressNetwork", "{}", "spec.trafficPolicy: is missing"),
        ("EgressNetwork", "{trafficPolicy: Perhaps}", "spec.trafficPolicy: unknown variant"),
        ("EgressNetwork", "{trafficPolicy: Deny, networks: []}", "spec.networks"),
        ("EgressNetwork", "{trafficPolicy: Deny, networks: [{cidr: 1.0.0.0/8, except: [0.0.0.0/0]}]}", "spec.networks[0].except[0]"),
        ("EgressNetwork", "{trafficPolicy: Deny, networks: [{cidr: 1.0.0.0/8, except: ['::/64']}]}", "not a part"),
    ]);
}

#[test]
fn routes_of_both_groups_have_matches_and_filters_that_can_be_used() {
    for kind in ["HTTPRoute", "PolicyHTTPRoute"] {
        let rule = |rule: &str| format!("{{parentRefs: [{{group: core, kind: Service, name: a, port: 80}}], rules: [{rule}]}}");
        let table = [
            ("{}", ""),
            ("{matches: [{path: {type: Exact, value: a}}]}", "spec.rules[0].matches[0].path.value"),
            ("{matches: [{path: {value: a}}]}", "does not begin with a slash"),
            ("{matches: [{path: {type: RegularExpression, value: 'a('}}]}", "not a regular expression: unclosed group"),
            ("{matches: [{path: {type: RegularExpression, value: 'a+'}}]}", ""),
            ("{matches: [{path: {type: RegularExpression, value: '((a{1000}){1000}){1000}'}}]}", "not a regular expression"),
            ("{matches: [{headers: [{name: 'a b', value: c}]}]}", "spec.rules[0].matches[0].headers[0].name"),
            ("{matches: [{headers: [{name: a, value: \"c\\n\"}]}]}", "spec.rules[0].matches[0].headers[0].value"),
            ("{matches: [{headers: [{name: a, type: RegularExpression, value: '['}]}]}", "headers[0].value"),
            ("{matches: [{queryParams: [{name: a, type: RegularExpression, value: '['}]}]}", "queryParams[0].value"),
            ("{matches: [{method: 'G T'}]}", "spec.rules[0].matches[0].method"),
            ("{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: ':a', value: b}]}}]}", "set[0].name"),
            ("{filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: a, value: \"\\0\"}]}}]}", "add[0].value"),
            ("{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: ['']}}]}", "remove[0]"),
            (
                "{filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: a}}}]}",
                "spec.rules[0].filters[0].requestRedirect.path.replaceFullPath",
            ),
            (
                "{backendRefs: [{name: a, port: 80, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: ['']}}]}]}",
                "spec.rules[0].backendRefs[0].filters[0]",
            ),
        ];
        for (text, wanted) in table {
            check(&[(kind, &rule(text), wanted)]);
        }
        let egress = "{parentRefs: [{group: policy.linkerd.io, kind: EgressNetwork, name: a}], rules: []}";
        check(&[(kind, egress, "spec.parentRefs[0].port")]);
    }
}

#[test]
fn only_routes_of_the_mesh_s_own_group_have_their_timeouts_checked() {
    let spec = |timeouts: &str| format!("{{rules: [{{timeouts: {{{timeouts}}}}}]}}");
    let (negative, less, zero) = (spec("request: -1s"), spec("request: 1s, backendRequest: 2s"), spec("request: 0s, backendRequest: 2s"));
    check(&[
        ("PolicyHTTPRoute", &negative, "spec.rules[0].timeouts.request: -1s is negative"),
        ("PolicyHTTPRoute", &less, "spec.rules[0].timeouts.backendRequest"),
        ("PolicyHTTPRoute", &zero, ""),
        ("PolicyHTTPRoute", &spec("request: soon"), "not a duration"),
        ("HTTPRoute", &less, ""),
    ]);
}

#[test]
fn routes_of_the_gateway_api_name_the_port_of_a_service() {
    let backend = |backend: &str| format!("{{rules: [{{backendRefs: [{backend}]}}]}}");
    for kind in ["HTTPRoute", "GRPCRoute"] {
        check(&[
            (kind, &backend("{name: a}"), "spec.rules[0].backendRefs[0].port"),
            (kind, &backend("{name: a, group: core, kind: Service, port: 0}"), "spec.rules[0].backendRefs[0].port"),
            (kind, &backend("{name: a, port: 80}"), ""),
            (kind, &backend("{name: a, group: policy.linkerd.io, kind: EgressNetwork}"), ""),
            (kind, &backend("{name: a, group: example.com, kind: Thing}"), ""),
        ]);
    }
    check(&[("PolicyHTTPRoute", &backend("{name: a}"), "")]);
}

#[test]
fn routes_of_grpc_match_methods_by_name() {
    check(&[
        ("GRPCRoute", "{rules: [{matches: [{method: {service: a}}]}]}", ""),
        ("GRPCRoute", "{rules: [{matches: [{method: {}}]}]}", "spec.rules[0].matches[0].method"),
        ("GRPCRoute", "{rules: [{matches: [{method: {service: '', method: ''}}]}]}", "spec.rules[0].matches[0].method"),
        ("GRPCRoute", "{rules: [{matches: [{method: {type: RegularExpression, service: a}}]}]}", "spec.rules[0].matches[0].method.type"),
        ("GRPCRoute", "{rules: [{matches: [{headers: [{name: 'a b', value: c}]}]}]}", "spec.rules[0].matches[0].headers[0].name"),
        ("GRPCRoute", "{parentRefs: [{group: policy.linkerd.io, kind: EgressNetwork, name: a}]}", "spec.parentRefs[0].port"),
    ]);
}

#[test]
fn routes_of_connections_have_one_rule() {
    for kind in ["TLSRoute", "TCPRoute"] {
        check(&[
            (kind, "{rules: [{}]}", ""),
            (kind, "{rules: []}", "spec.rules"),
            (kind, "{rules: [{}, {}]}", "spec.rules"),
            (kind, "{parentRefs: [{group: policy.linkerd.io, kind: EgressNetwork, name: a}], rules: [{}]}", "spec.parentRefs[0].port"),
        ]);
    }
}

#[test]
fn annotations_are_checked_where_they_count() {
    let with = |kind: &str, annotations: &str, parent: &str| {
        refused_with(kind, annotations, &format!("{{parentRefs: [{{group: '{parent}', name: a, port: 80}}], rules: []}}"))
    };
    let (service, server) = ("', kind: 'Service", "policy.linkerd.io', kind: 'Server");
    for kind in ["HTTPRoute", "PolicyHTTPRoute"] {
        let bad = "{retry.linkerd.io/http: 7xx, timeout.linkerd.io/request: soon}";
        let faults = with(kind, bad, service);
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("metadata.annotations[\"retry.linkerd.io/http\"]"), "{faults:?}");
        assert_eq!(with(kind, bad, server), Vec::<String>::new());
        assert_eq!(with(kind, "{retry.linkerd.io/grpc: nonsense}", service), Vec::<String>::new(), "of another kind of route");
    }
    assert_eq!(with("GRPCRoute", "{retry.linkerd.io/grpc: nonsense}", service).len(), 1);
    assert_eq!(with("GRPCRoute", "{retry.linkerd.io/limit: '-1'}", "policy.linkerd.io', kind: 'EgressNetwork").len(), 1);
}

#[test]
fn profiles_have_conditions_that_say_something() {
    let route = |rest: &str| format!("{{routes: [{{name: a, {rest}}}]}}");
    check(&[
        ("ServiceProfile", "{}", ""),
        ("ServiceProfile", &route("condition: {pathRegex: /a, not: {method: GET}}, timeout: 1s"), ""),
        ("ServiceProfile", "{routes: [{condition: {method: GET}}]}", "spec.routes[0].name"),
        ("ServiceProfile", "{routes: [{name: a}]}", "spec.routes[0].condition"),
        ("ServiceProfile", &route("condition: {all: [{}]}"), "spec.routes[0].condition.all[0]"),
        ("ServiceProfile", &route("condition: {not: {}}"), "spec.routes[0].condition.not"),
        ("ServiceProfile", &route("condition: {pathRegex: '('}"), "spec.routes[0].condition.pathRegex"),
        ("ServiceProfile", &route("condition: {method: GET}, timeout: 1 day"), "spec.routes[0].timeout"),
        ("ServiceProfile", &route("condition: {method: GET}, retryable: true"), "spec.routes[0].retryable: there is no such field"),
        ("ServiceProfile", &route("condition: {method: GET}, responseClasses: [{}]"), "responseClasses[0].condition"),
        ("ServiceProfile", &route("condition: {method: GET}, responseClasses: [{condition: {status: {min: 99}}}]"), "status.min: 99"),
        ("ServiceProfile", &route("condition: {method: GET}, responseClasses: [{condition: {status: {max: 600}}}]"), "status.max: 600"),
        ("ServiceProfile", &route("condition: {method: GET}, responseClasses: [{condition: {status: {min: 500, max: 400}}}]"), "min 500"),
        ("ServiceProfile", "{retryBudget: {retryRatio: -1, minRetriesPerSecond: 1, ttl: 1s}}", "spec.retryBudget.retryRatio"),
        ("ServiceProfile", "{retryBudget: {retryRatio: 1, minRetriesPerSecond: 1, ttl: 1}}", "spec.retryBudget.ttl"),
        ("ServiceProfile", "{retryBudget: {retryRatio: 1, ttl: 1s}}", "missing field `minRetriesPerSecond`"),
        ("ServiceProfile", "{dstOverrides: [{authority: a, weight: some}]}", "spec.dstOverrides[0].weight"),
    ]);
}

#[test]
fn workloads_outside_have_an_identity() {
    check(&[
        ("ExternalWorkload", "{meshTLS: {identity: a, serverName: b}, ports: [{port: 80}], workloadIPs: [{ip: 1.2.3.4}]}", ""),
        ("ExternalWorkload", "{meshTls: {identity: a, serverName: b}}", ""),
        ("ExternalWorkload", "{meshTLS: {identity: a}}", "spec.meshTLS.serverName"),
        ("ExternalWorkload", "{meshTLS: {identity: a, serverName: b}, ports: [{port: 0}]}", "spec.ports[0].port"),
        ("ExternalWorkload", "{meshTLS: {identity: a, serverName: b}, workloadIPs: [{ip: here}]}", "spec.workloadIPs[0].ip"),
    ]);
}
