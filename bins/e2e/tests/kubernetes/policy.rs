use meshkit_e2e::installed::{Installed, TOOLS, sum};

use crate::exec;

/// A server behind a namespace that denies, and two callers.
fn objects(namespace: &str) -> String {
    let pod = |name: &str, script: &str, more: &str| {
        format!(
            "
---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {name}, namespace: {namespace}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}}}
spec:
  serviceAccountName: {name}
  terminationGracePeriodSeconds: 1
  containers:
  - name: {name}
    image: {TOOLS}
    command: [sh, -c, '{script}']
{more}"
        )
    };
    let server = "mkdir -p /tmp/www/open /tmp/www/shut; echo ok >/tmp/www/healthy; echo open >/tmp/www/open/index.html; echo shut >/tmp/www/shut/index.html; httpd -p 9000 -h /tmp/www; exec httpd -f -p 8080 -h /tmp/www";
    let ports = "    ports: [{name: http, containerPort: 8080}, {name: plain, containerPort: 9000}]
    readinessProbe: {httpGet: {path: /healthy, port: 9000}, periodSeconds: 1}
";
    format!(
        "
apiVersion: v1
kind: Namespace
metadata:
  name: {namespace}
  annotations: {{linkerd.io/inject: enabled, config.linkerd.io/default-inbound-policy: deny}}
---
apiVersion: v1
kind: Service
metadata: {{name: server, namespace: {namespace}}}
spec:
  selector: {{app: server}}
  ports: [{{name: http, port: 80, targetPort: http}}, {{name: plain, port: 90, targetPort: plain}}]
{}{}{}",
        pod("server", server, ports),
        pod("friend", "exec sleep 100000", ""),
        pod("stranger", "exec sleep 100000", ""),
    )
}

/// One path for one caller.
const ONE_PATH: &str = "
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: http}
spec: {podSelector: {matchLabels: {app: server}}, port: http, proxyProtocol: HTTP/1}
---
apiVersion: policy.linkerd.io/v1beta3
kind: HTTPRoute
metadata: {name: open}
spec:
  parentRefs: [{group: policy.linkerd.io, kind: Server, name: http}]
  rules: [{matches: [{path: {type: PathPrefix, value: /open}}]}]
---
apiVersion: policy.linkerd.io/v1alpha1
kind: MeshTLSAuthentication
metadata: {name: friend}
spec: {identityRefs: [{kind: ServiceAccount, name: friend}]}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: friend-may-open}
spec:
  targetRef: {group: policy.linkerd.io, kind: HTTPRoute, name: open}
  requiredAuthenticationRefs: [{group: policy.linkerd.io, kind: MeshTLSAuthentication, name: friend}]
";

/// Anybody who shows a certificate.
const MTLS_ONLY: &str = "
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: plain}
spec: {podSelector: {matchLabels: {app: server}}, port: plain, proxyProtocol: HTTP/1, accessPolicy: all-authenticated}
";

const RATE_LIMIT: &str = "
apiVersion: policy.linkerd.io/v1alpha1
kind: HTTPLocalRateLimitPolicy
metadata: {name: slow}
spec:
  targetRef: {group: policy.linkerd.io, kind: Server, name: plain}
  identity: {requestsPerSecond: 1}
";

const NO_EGRESS: &str = "
apiVersion: policy.linkerd.io/v1alpha1
kind: EgressNetwork
metadata: {name: nowhere}
spec: {networks: [{cidr: 192.0.2.0/24}], trafficPolicy: Deny}
";

#[test]
fn a_namespace_that_denies_lets_in_what_it_is_told_to() {
    let Some(mesh) = Installed::shared() else { return };
    let namespace = "denying";
    mesh.cluster().apply(&objects(namespace));
    // The probe is a request like any other, on a port that denies: it passes, for it is the kubelet's.
    mesh.sh("kubectl -n denying wait --for=condition=Ready pod --all --timeout=120s");
    // The body, and then the status.
    let get = |pod: &str, url: &str| {
        let told = exec(mesh, namespace, pod, pod, &["curl", "-s", "-m", "5", "-w", "%{http_code}", url]);
        told.unwrap_or_else(|error| panic!("{pod} {url}: {error}"))
    };
    let apply =
        |objects: &str| mesh.cluster().apply(&objects.replace("metadata: {name:", &format!("metadata: {{namespace: {namespace}, name:")));
    // The namespace denies scrapes from elsewhere, too.
    let scrape = || {
        let told = exec(mesh, namespace, "server", "server", &["curl", "-s", "-m", "5", "http://127.0.0.1:4191/metrics"]);
        told.unwrap_or_else(|error| panic!("{error}"))
    };

    assert_eq!(get("friend", "http://server/open/"), "403");
    assert!(sum(&scrape(), "inbound_http_authz_deny_total", &[r#"srv_name="deny""#]) > 0.0);

    apply(ONE_PATH);
    mesh.wait("the friend may open", || (get("friend", "http://server/open/") == "open\n200").then_some(()));
    assert_eq!(get("friend", "http://server/shut/"), "404", "no route has the path");
    assert_eq!(get("stranger", "http://server/open/"), "403");
    let seen = scrape();
    assert!(sum(&seen, "inbound_http_authz_allow_total", &[r#"route_name="open""#, r#"authz_name="friend-may-open""#]) > 0.0);
    assert!(sum(&seen, "inbound_http_authz_deny_total", &[r#"route_name="open""#, r#"client_id="stranger."#]) > 0.0);
    let log = mesh.sh("kubectl -n denying logs server -c linkerd-proxy");
    let reason = log.lines().rev().find(|line| line.contains("enied")).unwrap_or_default();
    assert!(reason.contains("stranger."), "the log says who was refused: {log}");

    // A port for certificates only: every pod of the mesh, and nobody from the host.
    apply(MTLS_ONLY);
    mesh.wait("the stranger has a certificate", || (get("stranger", "http://server:90/open/") == "open\n200").then_some(()));
    let address = mesh.sh("kubectl -n denying get pod server -o jsonpath='{.status.podIP}'");
    let status = mesh.sh(&format!("curl -s -o /dev/null -w '%{{http_code}}' --max-time 5 http://{address}:9000/open/"));
    assert_eq!(status, "403");

    apply(RATE_LIMIT);
    mesh.wait("one request a second", || (0..5).any(|_| get("stranger", "http://server:90/open/") == "429").then_some(()));
    let limited = [r#"ratelimit_name="slow""#, r#"ratelimit_scope="identity""#];
    assert!(sum(&scrape(), "inbound_http_local_ratelimit_total", &limited) > 0.0);

    apply(NO_EGRESS);
    mesh.wait("egress is denied", || (get("friend", "http://192.0.2.1/") == "403").then_some(()));
    mesh.sh("kubectl delete namespace denying --wait=false");
}
