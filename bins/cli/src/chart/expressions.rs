//! Values that stand for themselves, and the expressions that they become.

use std::collections::BTreeMap;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::{
    install::{WEBHOOKS, Webhook},
    values::Tree,
};

/// The version of the chart's program, if the values say no other.
const VERSION: &str = "(default .Chart.AppVersion .Values.linkerdVersion)";

/// Values that go through as text, and are not looked at on the way.
const TEXTS: &[&str] = &[
    "clusterDomain",
    "clusterNetworks",
    "controllerImage",
    "controllerLogFormat",
    "controllerLogLevel",
    "egress.globalEgressNetworkNamespace",
    "enableEndpointSlices",
    "enableH2Upgrade",
    "enablePprof",
    "identity.issuer.clockSkewAllowance",
    "identity.issuer.issuanceLifetime",
    "identity.issuer.tls.crtPEM",
    "identity.issuer.tls.keyPEM",
    "imagePullPolicy",
    "kubeAPI.clientBurst",
    "kubeAPI.clientQPS",
    "networkValidator.logFormat",
    "networkValidator.logLevel",
    "networkValidator.timeout",
    "policyController.logLevel",
    "proxy.control.streams.idleTimeout",
    "proxy.control.streams.initialTimeout",
    "proxy.control.streams.lifetime",
    "proxy.defaultInboundPolicy",
    "proxy.image.name",
    "proxy.inboundConnectTimeout",
    "proxy.inboundDiscoveryCacheUnusedTimeout",
    "proxy.logFormat",
    "proxy.logLevel",
    "proxy.opaquePorts",
    "proxy.outboundConnectTimeout",
    "proxy.outboundDiscoveryCacheUnusedTimeout",
    "proxy.outboundTransportMode",
    "proxyInit.ignoreInboundPorts",
    "proxyInit.image.name",
    "proxyInit.kubeAPIServerPorts",
    "webhookFailurePolicy",
];

/// Numbers, of which some must fit into 16 bits.
const NUMBERS: &[(&str, u64)] = &[
    ("proxy.ports.admin", 60_001),
    ("proxy.ports.control", 60_002),
    ("proxy.ports.inbound", 60_003),
    ("proxy.ports.outbound", 60_004),
    ("controllerReplicas", 900_000_001),
    ("controllerUID", 900_000_002),
    ("proxy.uid", 900_000_003),
    ("proxyInit.runAsGroup", 900_000_004),
    ("proxyInit.runAsUser", 900_000_005),
    ("proxyInjector.timeoutSeconds", 900_000_006),
    ("proxy.runtime.workers.minimum", 900_000_007),
    ("revisionHistoryLimit", 900_000_008),
];

/// Values that go through whole, whatever they are.
const WHOLE: &[&str] = &[
    "controller.podDisruptionBudget.maxUnavailable",
    "deploymentStrategy.rollingUpdate",
    "imagePullSecrets",
    "nodeAffinity",
    "nodeSelector",
    "policyValidator.namespaceSelector",
    "profileValidator.namespaceSelector",
    "proxyInjector.namespaceSelector",
    "proxyInjector.objectSelector",
    "tolerations",
];

/// What their expressions end with.
const WHOLE_END: &str = " | default nil)";

/// Values that are left out where they are empty.
const NULLABLE: &[&str] = &["priorityClassName", "runtimeClassName"];

/// What values stand for, and what has been made of them.
pub(super) struct Expressions {
    /// Text that shows up, and the expression that is meant. The longest come first.
    texts: Vec<(String, String)>,
    numbers: BTreeMap<u64, String>,
    /// What stands in documents until they are text, and what then replaces it.
    tokens: Vec<String>,
}

fn sentinel(path: &str) -> String {
    format!("zz-{}-zz", path.replace('.', "-").to_lowercase())
}

/// The namespace of the release.
pub(super) fn namespace() -> String {
    sentinel("namespace")
}

impl Expressions {
    /// Values that stand for themselves.
    pub(super) fn new() -> (Self, Tree) {
        let mut tree = Tree::defaults();
        let mut texts = Vec::new();
        let mut put = |tree: &mut Tree, path: &str, expression: &str| {
            let text = sentinel(path);
            texts.push((base64::engine::general_purpose::STANDARD.encode(&text), format!("(b64enc {expression})")));
            texts.push((text.clone(), expression.to_owned()));
            tree.set(path, json!(text));
        };
        for path in TEXTS {
            put(&mut tree, path, &format!(".Values.{path}"));
        }
        for path in WHOLE.iter().chain(NULLABLE) {
            put(&mut tree, path, &format!("(.Values.{path}{WHOLE_END}"));
        }
        put(&mut tree, "linkerdVersion", VERSION);
        put(&mut tree, "identityTrustDomain", "(default .Values.clusterDomain .Values.identityTrustDomain)");
        put(&mut tree, "identityTrustAnchorsPEM", "(trim .Values.identityTrustAnchorsPEM)");
        for path in ["controllerImageVersion", "proxy.image.version", "proxyInit.image.version"] {
            let last = if path == "proxyInit.image.version" {
                "(default .Values.proxy.image.version .Values.proxyInit.image.version)".to_owned()
            } else {
                format!(".Values.{path}")
            };
            put(&mut tree, path, &format!("(default {VERSION} {last})"));
        }
        for Webhook { values, .. } in WEBHOOKS {
            for key in ["crtPEM", "keyPEM", "caBundle"] {
                put(&mut tree, &format!("{values}.{key}"), &format!("${values}.{key}"));
            }
        }
        // It is written as JSON on the way.
        let params = "destinationController.meshedHttp2ClientProtobuf";
        let text = sentinel(params);
        texts.push((format!("\"{text}\""), format!("(toJson .Values.{params})")));
        tree.set(params, json!(text));

        texts.push((namespace(), ".Release.Namespace".to_owned()));
        // The injector's function makes this of the anchors.
        texts.push((ANCHORS_SHA256.to_owned(), "(sha256sum .Values.identityTrustAnchorsPEM)".to_owned()));
        // Scheme and networks are looked at on the way.
        texts.push((
            "--identity-scheme=linkerd.io/tls".to_owned(),
            "(printf \"--identity-scheme=%s\" .Values.identity.issuer.scheme)".to_owned(),
        ));
        texts.push((
            "--probe-networks=0.0.0.0/0,::/0".to_owned(),
            "(printf \"--probe-networks=%s\" (join \",\" .Values.policyController.probeNetworks))".to_owned(),
        ));
        texts.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));

        let mut numbers = BTreeMap::new();
        for (path, number) in NUMBERS {
            tree.set(path, json!(number));
            numbers.insert(*number, format!("(int64 .Values.{path})"));
        }
        // Where programs lie in an image follows from its name, which stands for itself here.
        tree.set("proxy.image.layout", json!("meshkit"));
        (Self { texts, numbers, tokens: Vec::new() }, tree)
    }

    /// Texts of any other chart, by their paths among its values, that stand for themselves.
    pub(super) fn of(tree: &mut Tree, paths: &[&str]) -> Self {
        let mut texts = vec![(namespace(), ".Release.Namespace".to_owned())];
        for path in paths {
            texts.push((sentinel(path), format!(".Values.{path}")));
            tree.set(path, json!(sentinel(path)));
        }
        Self { texts, numbers: BTreeMap::new(), tokens: Vec::new() }
    }

    /// Puts tokens where expressions belong.
    pub(super) fn replace(&mut self, value: &mut Value) {
        match value {
            Value::Object(map) => map.values_mut().for_each(|value| self.replace(value)),
            Value::Array(list) => list.iter_mut().for_each(|value| self.replace(value)),
            Value::Number(number) => {
                if let Some(expression) = number.as_u64().and_then(|number| self.numbers.get(&number)) {
                    let text = format!("{{{{ {expression} }}}}");
                    *value = self.token(text);
                }
            }
            Value::String(text) => {
                if let Some(expression) = self.expression(text) {
                    *value = self.token(format!("{{{{ {expression} | toJson }}}}"));
                }
            }
            _ => {}
        }
    }

    /// The expression for a text that values show up in.
    fn expression(&self, text: &str) -> Option<String> {
        let (mut format, mut arguments, mut rest) = (String::new(), Vec::new(), text);
        'next: while let Some(c) = rest.chars().next() {
            for (found, expression) in &self.texts {
                if let Some(behind) = rest.strip_prefix(found.as_str()) {
                    format.push_str("%v");
                    arguments.push(expression.as_str());
                    rest = behind;
                    continue 'next;
                }
            }
            for (number, expression) in &self.numbers {
                if let Some(behind) = rest.strip_prefix(&number.to_string()) {
                    format.push_str("%v");
                    arguments.push(expression);
                    rest = behind;
                    continue 'next;
                }
            }
            format.push_str(if c == '%' { "%%" } else { &rest[..c.len_utf8()] });
            rest = &rest[c.len_utf8()..];
        }
        match arguments.as_slice() {
            [] => None,
            [one] if format == "%v" && one.ends_with(WHOLE_END) => Some((*one).to_owned()),
            // A number that was text must stay text.
            [one] if format == "%v" => Some(format!("toString {one}")),
            all => Some(format!("printf {} {}", json!(format), all.join(" "))),
        }
    }

    /// Something that stands for this text until the document is text.
    pub(super) fn token(&mut self, text: String) -> Value {
        let known = self.tokens.iter().position(|token| *token == text);
        let n = known.unwrap_or_else(|| {
            self.tokens.push(text);
            self.tokens.len() - 1
        });
        json!(format!("zzhelm{n:04}zz"))
    }

    /// The text of a document with tokens in it.
    pub(super) fn resolve(&self, document: &str) -> String {
        let (mut text, mut rest) = (String::with_capacity(document.len()), document);
        while let Some(at) = rest.find("zzhelm") {
            let n = rest.get(at + 6..at + 10).and_then(|n| n.parse::<usize>().ok());
            let Some(token) = n.and_then(|n| self.tokens.get(n)) else {
                break;
            };
            let quoted = rest[..at].ends_with('"') && rest[at + 12..].starts_with('"');
            text.push_str(if quoted { &rest[..at - 1] } else { &rest[..at] });
            text.push_str(&self.resolve(token));
            rest = &rest[at + if quoted { 13 } else { 12 }..];
        }
        text.push_str(rest);
        text
    }
}

/// SHA-256 of the text that stands for the trust anchors.
const ANCHORS_SHA256: &str = "0280e8aeeee50380e3d02a6d0ce08d08d48c59168f3821c2f6b1a497cf86d346";
