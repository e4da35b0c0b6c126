//! What the annotations of a workload make of the mesh's values.

use std::{fmt, time::Duration};

use ipnet::IpNet;
use meshkit_manifest::GoDuration;
use serde_json::Value;

use crate::{
    annotation::{Annotations, CONFIG, CONFIG_ALPHA, CONFIG_BETA, Inject, OPAQUE_PORTS, PROXY_LAYOUT},
    ports, quantity,
    values::Values,
};

const DEFAULT_POLICIES: &[&str] =
    &["all-unauthenticated", "all-authenticated", "cluster-unauthenticated", "cluster-authenticated", "deny", "audit"];
const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];

/// An annotation whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAnnotation {
    key: String,
    value: String,
    wanted: &'static str,
    fatal: bool,
}

/// The values of one workload, and what was left out of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Overridden {
    pub(crate) values: Values,
    pub(crate) faults: Vec<BadAnnotation>,
}

impl BadAnnotation {
    /// May the workload not be injected because of it? Otherwise the mesh's own value stands.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        self.fatal
    }

    /// The annotation.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl Overridden {
    /// The mesh's values with those of a workload over them. `named` are the ports of its containers that have names.
    #[must_use]
    pub fn of(values: &Values, annotations: &Annotations, named: &[(String, u16)]) -> Self {
        let mut reading = Reading { annotations, faults: Vec::new() };
        let mut values = values.clone();
        reading.images(&mut values);
        reading.network(&mut values, named);
        reading.proxy(&mut values);
        reading.resources(&mut values);
        reading.timeouts(&mut values);
        reading.additional_env(&mut values);
        if let Ok(inject) = Inject::of(annotations) {
            values.proxy.is_ingress |= inject == Some(Inject::Ingress);
        }
        Self { values, faults: reading.faults }
    }

    /// The values.
    #[must_use]
    pub const fn values(&self) -> &Values {
        &self.values
    }

    /// What was wrong.
    #[must_use]
    pub fn faults(&self) -> &[BadAnnotation] {
        &self.faults
    }
}

/// Annotations while they are read.
struct Reading<'a> {
    annotations: &'a Annotations,
    faults: Vec<BadAnnotation>,
}

impl Reading<'_> {
    /// Reads one annotation of the usual prefix; a value that is not what is wanted is noted.
    fn read<T>(&mut self, name: &str, wanted: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        self.read_key(&format!("{CONFIG}{name}"), wanted, parse)
    }

    fn read_key<T>(&mut self, key: &str, wanted: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let value = self.annotations.get(key)?;
        let parsed = parse(value);
        if parsed.is_none() {
            self.faults.push(BadAnnotation { key: key.to_owned(), value: value.clone(), wanted, fatal: false });
        }
        parsed
    }

    fn flag(&mut self, name: &str, to: &mut bool) {
        set(to, self.read(name, "true or false", boolean));
    }

    fn text(&self, name: &str, to: &mut String) {
        set(to, self.annotations.get(&format!("{CONFIG}{name}")).cloned());
    }

    fn one_of(&mut self, name: &str, wanted: &'static str, known: &[&str], to: &mut String) {
        set(to, self.read(name, wanted, |value| known.contains(&value).then(|| value.to_owned())));
    }

    fn images(&mut self, values: &mut Values) {
        const PULL: &str = "one of Always, IfNotPresent, Never";
        self.text("proxy-image", &mut values.proxy.image.name);
        self.text("proxy-version", &mut values.proxy.image.version);
        self.one_of("image-pull-policy", PULL, PULL_POLICIES, &mut values.proxy.image.pull_policy);
        if self.annotations.contains_key(&format!("{CONFIG}image-pull-policy")) {
            values.proxy.image.pull_policy.clone_into(&mut values.proxy_init.image.pull_policy);
            values.proxy.image.pull_policy.clone_into(&mut values.debug_container.image.pull_policy);
        }
        self.text("debug-image", &mut values.debug_container.image.name);
        self.text("debug-image-version", &mut values.debug_container.image.version);
        self.one_of("debug-image-pull-policy", PULL, PULL_POLICIES, &mut values.debug_container.image.pull_policy);
        self.flag("enable-debug-sidecar", &mut values.debug_container.enabled);
        let layout = |value: &str| ["meshkit", "linkerd"].contains(&value).then(|| value.to_owned());
        set(&mut values.proxy.image.layout, self.read_key(PROXY_LAYOUT, "one of meshkit, linkerd", layout));
    }

    fn network(&mut self, values: &mut Values, named: &[(String, u16)]) {
        const PORT: &str = "a port from 1 to 65535";
        const PORTS: &str = "a list of ports and ranges such as 25,8000-8080";
        let port = |value: &str| value.parse::<u16>().ok().filter(|port| *port != 0);
        let list = |value: &str| ports::is_list(value).then(|| ports::resolve(value, &[]));
        let (ports, init) = (&mut values.proxy.ports, &mut values.proxy_init);
        set(&mut ports.control, self.read("control-port", PORT, port));
        set(&mut ports.admin, self.read("admin-port", PORT, port));
        set(&mut ports.inbound, self.read("inbound-port", PORT, port));
        set(&mut ports.outbound, self.read("outbound-port", PORT, port));
        set(&mut init.ignore_inbound_ports, self.read("skip-inbound-ports", PORTS, list));
        set(&mut init.ignore_outbound_ports, self.read("skip-outbound-ports", PORTS, list));
        let subnets = |value: &str| ports::items(value).all(|net| net.parse::<IpNet>().is_ok()).then(|| value.to_owned());
        set(&mut init.skip_subnets, self.read("skip-subnets", "a list of networks such as 10.0.0.0/8", subnets));
        let require = self.read("proxy-require-identity-inbound-ports", PORTS, list);
        set(&mut values.proxy.require_identity_on_inbound_ports, require);
        let with_names = |value: &str| ports::is_list_with_names(value).then(|| ports::resolve(value, named));
        let wanted = "a list of ports, ranges and names of container ports";
        set(&mut values.proxy.opaque_ports, self.read_key(OPAQUE_PORTS, wanted, with_names));
        let close_wait = self.read("close-wait-timeout", "a length of time such as 3m", duration);
        set(&mut init.close_wait_timeout_secs, close_wait.map(|timeout| timeout.as_secs()));
    }

    fn proxy(&mut self, values: &mut Values) {
        const ID: &str = "a number from 0 to 4294967295, or -1";
        let id = |value: &str| value.parse::<i64>().ok().filter(|id| (-1..=i64::from(u32::MAX)).contains(id));
        let switch = |value: &str| match value {
            "enabled" => Some(true),
            "disabled" => Some(false),
            _ => None,
        };
        let proxy = &mut values.proxy;
        set(&mut proxy.uid, self.read("proxy-uid", ID, id));
        set(&mut proxy.gid, self.read("proxy-gid", ID, id));
        self.text("proxy-log-level", &mut proxy.log_level);
        self.one_of("proxy-log-format", "one of plain, json", &["plain", "json"], &mut proxy.log_format);
        let before = self.faults.len();
        self.one_of("proxy-log-http-headers", "one of insecure, off", &["insecure", "off", ""], &mut proxy.log_http_headers);
        // What somebody wants to have in their logs, or not, is not to be guessed.
        self.faults.iter_mut().skip(before).for_each(|fault| fault.fatal = true);
        self.text("access-log", &mut proxy.access_log);
        let wanted = "one of all-unauthenticated, all-authenticated, cluster-unauthenticated, cluster-authenticated, deny, audit";
        self.one_of("default-inbound-policy", wanted, DEFAULT_POLICIES, &mut proxy.default_inbound_policy);
        set(&mut proxy.r#await, self.read("proxy-await", "one of enabled, disabled", switch));
        set(&mut proxy.enable_shutdown_endpoint, self.read("proxy-admin-shutdown", "one of enabled, disabled", switch));
        self.flag("proxy-metrics-hostname-labels", &mut proxy.metrics.hostname_labels);
        self.flag("enable-external-profiles", &mut proxy.enable_external_profiles);
        self.flag("enable-gateway", &mut proxy.is_gateway);
        self.flag("proxy-disable-outbound-protocol-detect-timeout", &mut proxy.disable_outbound_protocol_detect_timeout);
        self.flag("proxy-disable-inbound-protocol-detect-timeout", &mut proxy.disable_inbound_protocol_detect_timeout);
        let seconds = format!("{CONFIG_ALPHA}proxy-wait-before-exit-seconds");
        set(&mut proxy.wait_before_exit_seconds, self.read_key(&seconds, "a number of seconds", |value| value.parse().ok()));
        let native = [CONFIG, CONFIG_BETA, CONFIG_ALPHA].map(|prefix| format!("{prefix}proxy-enable-native-sidecar"));
        if let Some(key) = native.iter().find(|key| self.annotations.contains_key(*key)) {
            set(&mut proxy.native_sidecar, self.read_key(key, "true or false", boolean));
        }
    }

    fn resources(&mut self, values: &mut Values) {
        const QUANTITY: &str = "a quantity such as 100m or 64Mi";
        let proxy = &mut values.proxy;
        let quantity = |value: &str| quantity::parse(value).map(|_| value.to_owned());
        let workers = &mut proxy.runtime.workers;
        if let Some(request) = self.read("proxy-cpu-request", QUANTITY, quantity) {
            set(&mut workers.minimum, quantity::whole_cores(&request).map(|cores| cores.max(1)));
            proxy.resources.cpu.request = request;
        }
        if let Some(limit) = self.read("proxy-cpu-limit", QUANTITY, quantity) {
            workers.maximum = quantity::whole_cores(&limit).map(|cores| cores.max(1)).or(workers.maximum);
            proxy.resources.cpu.limit = limit;
        }
        let ratio = |value: &str| value.parse::<f64>().ok().filter(|ratio| *ratio > 0.0 && *ratio < 1.0);
        let ratio = self.read("proxy-cpu-ratio-limit", "a number between 0 and 1", ratio);
        workers.maximum_cpu_ratio = ratio.or(workers.maximum_cpu_ratio);
        let (memory, storage) = (&mut proxy.resources.memory, &mut proxy.resources.ephemeral_storage);
        set(&mut memory.request, self.read("proxy-memory-request", QUANTITY, quantity));
        set(&mut memory.limit, self.read("proxy-memory-limit", QUANTITY, quantity));
        set(&mut storage.request, self.read("proxy-ephemeral-storage-request", QUANTITY, quantity));
        set(&mut storage.limit, self.read("proxy-ephemeral-storage-limit", QUANTITY, quantity));
    }

    fn timeouts(&mut self, values: &mut Values) {
        const TIME: &str = "a length of time such as 1s or 300ms";
        let (proxy, millis, secs) =
            (&mut values.proxy, |time: Duration| format!("{}ms", time.as_millis()), |time: Duration| format!("{}s", time.as_secs()));
        let mut time =
            |name: &str, to: &mut String, spell: &dyn Fn(Duration) -> String| set(to, self.read(name, TIME, duration).map(spell));
        time("proxy-outbound-connect-timeout", &mut proxy.outbound_connect_timeout, &millis);
        time("proxy-inbound-connect-timeout", &mut proxy.inbound_connect_timeout, &millis);
        time("proxy-outbound-discovery-cache-unused-timeout", &mut proxy.outbound_discovery_cache_unused_timeout, &secs);
        time("proxy-inbound-discovery-cache-unused-timeout", &mut proxy.inbound_discovery_cache_unused_timeout, &secs);
        time("shutdown-grace-period", &mut proxy.shutdown_grace_period, &millis);
    }

    fn additional_env(&mut self, values: &mut Values) {
        let named = |variable: &Value| variable.get("name").is_some_and(Value::is_string);
        let list = |value: &str| serde_json::from_str::<Vec<Value>>(value).ok().filter(|list| list.iter().all(named));
        let wanted = "a JSON list of variables, each with a name";
        if let Some(list) = self.read("proxy-additional-env", wanted, list) {
            merge_env(&mut values.proxy.additional_env, list);
        }
    }
}

/// Puts variables over those of the same name, and behind the others.
pub(crate) fn merge_env(into: &mut Vec<Value>, from: Vec<Value>) {
    for variable in from {
        match into.iter_mut().find(|known| known["name"] == variable["name"]) {
            Some(known) => *known = variable,
            None => into.push(variable),
        }
    }
}

fn set<T>(to: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *to = value;
    }
}

/// As Go reads truth values.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn duration(text: &str) -> Option<Duration> {
    text.parse::<GoDuration>().ok()?.to_std()
}

impl fmt::Display for BadAnnotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "annotation {}: {:?} is not {}", self.key, self.value, self.wanted)
    }
}

impl std::error::Error for BadAnnotation {}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(annotations: &[(&str, &str)]) -> Overridden {
        let annotations = annotations.iter().map(|(k, v)| (format!("config.{k}"), (*v).to_owned())).collect();
        Overridden::of(&Values::default(), &annotations, &[("mysql".to_owned(), 3306)])
    }

    #[test]
    fn each_annotation_has_its_effect() {
        let Overridden { values, faults } = with(&[
            ("linkerd.io/proxy-image", "example.com/proxy"),
            ("linkerd.io/proxy-cpu-request", "1500m"),
            ("linkerd.io/proxy-cpu-limit", "3"),
            ("linkerd.io/opaque-ports", "mysql, 9000-9010"),
            ("linkerd.io/skip-inbound-ports", "22"),
            ("linkerd.io/proxy-outbound-connect-timeout", "1.5s"),
            ("linkerd.io/proxy-inbound-discovery-cache-unused-timeout", "1m1s"),
            ("linkerd.io/close-wait-timeout", "2m"),
            ("alpha.linkerd.io/proxy-wait-before-exit-seconds", "7"),
            ("alpha.linkerd.io/proxy-enable-native-sidecar", "true"),
            ("beta.linkerd.io/proxy-enable-native-sidecar", "false"),
            ("linkerd.io/proxy-await", "disabled"),
        ]);
        assert_eq!(faults, []);
        let proxy = &values.proxy;
        assert_eq!(proxy.image.name, "example.com/proxy");
        assert_eq!((proxy.runtime.workers.minimum, proxy.runtime.workers.maximum), (2, Some(3)));
        assert_eq!((proxy.opaque_ports.as_str(), values.proxy_init.ignore_inbound_ports.as_str()), ("3306,9000-9010", "22"));
        assert_eq!((proxy.outbound_connect_timeout.as_str(), proxy.inbound_discovery_cache_unused_timeout.as_str()), ("1500ms", "61s"));
        assert_eq!((values.proxy_init.close_wait_timeout_secs, proxy.wait_before_exit_seconds), (120, 7));
        assert!(!proxy.native_sidecar && !proxy.r#await, "beta goes before alpha");
    }

    #[test]
    fn what_cannot_be_read_is_told_and_changes_nothing() {
        let bad = [
            ("linkerd.io/admin-port", "0"),
            ("linkerd.io/close-wait-timeout", "3"),
            ("linkerd.io/default-inbound-policy", "allow"),
            ("linkerd.io/enable-gateway", "yes"),
            ("linkerd.io/image-pull-policy", "Sometimes"),
            ("linkerd.io/proxy-additional-env", "[{}]"),
            ("linkerd.io/proxy-await", "true"),
            ("linkerd.io/proxy-cpu-ratio-limit", "1"),
            ("linkerd.io/proxy-memory-limit", "lots"),
            ("linkerd.io/proxy-uid", "root"),
            ("linkerd.io/skip-outbound-ports", "http"),
            ("linkerd.io/skip-subnets", "10.0.0.0/33"),
        ];
        let Overridden { values, faults } = with(&bad);
        assert_eq!(values, Values::default());
        assert_eq!(faults.len(), bad.len(), "{faults:#?}");
        assert!(faults.iter().all(|fault| !fault.is_fatal()));
        assert_eq!(
            faults[0].to_string(),
            r#"annotation config.linkerd.io/image-pull-policy: "Sometimes" is not one of Always, IfNotPresent, Never"#
        );
    }

    #[test]
    fn a_doubt_about_headers_in_logs_is_fatal() {
        assert!(with(&[("linkerd.io/proxy-log-http-headers", "secure")]).faults[0].is_fatal());
        assert_eq!(with(&[("linkerd.io/proxy-log-http-headers", "insecure")]).values.proxy.log_http_headers, "insecure");
    }

    #[test]
    fn variables_of_the_workload_go_before_those_of_the_mesh() {
        let mut values = Values::default();
        values.proxy.additional_env =
            vec![serde_json::json!({"name": "A", "value": "mesh"}), serde_json::json!({"name": "B", "value": "mesh"})];
        let list = r#"[{"name":"B","value":"pod"},{"name":"C","value":"pod"}]"#;
        let annotations = [("config.linkerd.io/proxy-additional-env".to_owned(), list.to_owned())].into();
        let env = Overridden::of(&values, &annotations, &[]).values.proxy.additional_env;
        let said: Vec<_> = env.iter().map(|v| format!("{}={}", v["name"].as_str().unwrap(), v["value"].as_str().unwrap())).collect();
        assert_eq!(said, ["A=mesh", "B=pod", "C=pod"]);
    }
}
