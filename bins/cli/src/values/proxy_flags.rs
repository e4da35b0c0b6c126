//! Flags about proxies, which `install`, `upgrade` and `inject` share.

use meshkit_injector::{documents, overrides::Overridden, quantity, values::Values};
use meshkit_runtime::logs;
use serde_json::{Value, json};

use super::Tree;

/// Flags about proxies. What is not said stays as it is in the mesh.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Proxy")]
#[group(skip)]
pub(crate) struct ProxyFlags {
    /// Where proxies accept what comes to a pod [default: 4143]
    #[arg(long, value_name = "PORT")]
    inbound_port: Option<u16>,
    /// Where proxies accept what an application sends [default: 4140]
    #[arg(long, value_name = "PORT")]
    outbound_port: Option<u16>,
    /// Where proxies serve tap [default: 4190]
    #[arg(long, value_name = "PORT")]
    control_port: Option<u16>,
    /// Where proxies serve metrics and probes [default: 4191]
    #[arg(long, value_name = "PORT")]
    admin_port: Option<u16>,
    /// Ports and ranges (a-b) that do not go through the proxy when they come in
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    skip_inbound_ports: Option<Vec<String>>,
    /// Ports and ranges (a-b) of others that do not go through the proxy
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    skip_outbound_ports: Option<Vec<String>>,
    /// The user that proxies run as [default: 2102]
    #[arg(long, value_name = "UID", allow_negative_numbers = true)]
    proxy_uid: Option<i64>,
    /// The group that proxies run as [default: that of the image]
    #[arg(long, value_name = "GID", allow_negative_numbers = true)]
    proxy_gid: Option<i64>,
    /// What proxies log [default: warn,linkerd=info,hickory=error]
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    proxy_log_level: Option<String>,
    /// What a port without a Server allows [default: all-unauthenticated]
    #[arg(long, value_name = "POLICY")]
    default_inbound_policy: Option<String>,
    /// Processors that proxies ask for
    #[arg(long, alias = "proxy-cpu", value_name = "QUANTITY")]
    proxy_cpu_request: Option<String>,
    /// Processors that proxies may use
    #[arg(long, value_name = "QUANTITY")]
    proxy_cpu_limit: Option<String>,
    /// Memory that proxies ask for
    #[arg(long, alias = "proxy-memory", value_name = "QUANTITY")]
    proxy_memory_request: Option<String>,
    /// Memory that proxies may use
    #[arg(long, value_name = "QUANTITY")]
    proxy_memory_limit: Option<String>,
    /// Destinations outside of the cluster may have profiles
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    enable_external_profiles: Option<bool>,
    /// The registry of all images [default: ghcr.io/meshkit]
    #[arg(long, env = "LINKERD_DOCKER_REGISTRY", value_name = "REGISTRY")]
    registry: Option<String>,
    /// The proxy's image
    #[arg(long, value_name = "IMAGE")]
    proxy_image: Option<String>,
    /// The proxy's version [default: that of this program]
    #[arg(short = 'v', long, value_name = "TAG")]
    proxy_version: Option<String>,
    /// When images are pulled [default: IfNotPresent]
    #[arg(long, value_name = "POLICY")]
    image_pull_policy: Option<String>,
}

impl ProxyFlags {
    /// Puts what was said over the values of a mesh. Whether it can be meant, [`faults`] says.
    pub(crate) fn apply(&self, tree: &mut Tree) {
        let mut put = |path: &str, value: Option<Value>| {
            if let Some(value) = value {
                tree.set(path, value);
            }
        };
        put("proxy.ports.inbound", self.inbound_port.map(Value::from));
        put("proxy.ports.outbound", self.outbound_port.map(Value::from));
        put("proxy.ports.control", self.control_port.map(Value::from));
        put("proxy.ports.admin", self.admin_port.map(Value::from));
        put("proxyInit.ignoreInboundPorts", self.skip_inbound_ports.as_ref().map(|ports| json!(ports.join(","))));
        put("proxyInit.ignoreOutboundPorts", self.skip_outbound_ports.as_ref().map(|ports| json!(ports.join(","))));
        put("proxy.uid", self.proxy_uid.map(Value::from));
        put("proxy.gid", self.proxy_gid.map(Value::from));
        for (path, said) in [
            ("proxy.logLevel", &self.proxy_log_level),
            ("proxy.defaultInboundPolicy", &self.default_inbound_policy),
            ("proxy.resources.cpu.request", &self.proxy_cpu_request),
            ("proxy.resources.cpu.limit", &self.proxy_cpu_limit),
            ("proxy.resources.memory.request", &self.proxy_memory_request),
            ("proxy.resources.memory.limit", &self.proxy_memory_limit),
            ("proxy.image.version", &self.proxy_version),
            ("imagePullPolicy", &self.image_pull_policy),
            ("proxy.image.pullPolicy", &self.image_pull_policy),
        ] {
            put(path, said.as_ref().map(|text| json!(text)));
        }
        put("proxy.enableExternalProfiles", self.enable_external_profiles.map(Value::from));
        let cores = |said: &Option<String>| said.as_ref().and_then(|text| quantity::whole_cores(text)).map(|cores| json!(cores.max(1)));
        put("proxy.runtime.workers.minimum", cores(&self.proxy_cpu_request));
        put("proxy.runtime.workers.maximum", cores(&self.proxy_cpu_limit));
        if let Some(registry) = &self.registry {
            images_from(registry, tree);
        }
        if let Some(image) = &self.proxy_image {
            tree.set("proxy.image.name", json!(image));
        }
    }
}

/// Everything that values say and cannot be meant. What an annotation may not say, a value may not say either: there is one list of rules.
pub(crate) fn faults(tree: &Tree) -> Vec<String> {
    let values = match tree.of_injection("linkerd") {
        Ok(values) => values,
        Err(error) => return vec![error],
    };
    let annotations = documents::overrides(&Values::default(), &values);
    let read = Overridden::of(&Values::default(), &annotations, &[]);
    let mut faults: Vec<_> =
        read.faults().iter().map(|fault| fault.to_string().replace("annotation config.linkerd.io/", "setting ")).collect();
    let resources = &values.proxy.resources;
    for (name, bounds) in [("cpu", &resources.cpu), ("memory", &resources.memory)] {
        if let (Some(request), Some(limit)) = (quantity::parse(&bounds.request), quantity::parse(&bounds.limit))
            && request > limit
        {
            faults.push(format!("the {name} request {} of proxies is above their limit {}", bounds.request, bounds.limit));
        }
    }
    faults
}

/// Lets every image of ours come from another registry.
fn images_from(registry: &str, tree: &mut Tree) {
    for path in ["controllerImage", "proxy.image.name", "proxyInit.image.name", "debugContainer.image.name", "image.name"] {
        let name = tree.text(path);
        if let Some((_, last)) = name.rsplit_once('/') {
            tree.set(path, json!(format!("{}/{last}", registry.trim_end_matches('/'))));
        }
    }
}

fn filter(text: &str) -> Result<String, String> {
    let parsed = logs::subscriber(text, logs::Format::Plain, std::io::sink);
    parsed.map(|_| text.to_owned()).map_err(|error| format!("{error} (as warn,linkerd=info)"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        flags: ProxyFlags,
    }

    fn applied(words: &[&str]) -> Result<Values, Vec<String>> {
        let mut tree = Tree::defaults();
        let alone = Alone::try_parse_from([&["x"], words].concat()).map_err(|error| vec![error.to_string()])?;
        alone.flags.apply(&mut tree);
        let faults = faults(&tree);
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(tree.of_injection("linkerd").unwrap())
    }

    #[test]
    fn flags_become_values() {
        let values = applied(&[
            "--admin-port=5191",
            "--skip-inbound-ports=25,8000-8080",
            "--proxy-cpu-request=1500m",
            "--proxy-cpu-limit=3",
            "--enable-external-profiles",
            "--registry=example.com/mirror/",
            "--image-pull-policy=Always",
            "--proxy-log-level=debug,h2=off",
        ])
        .unwrap();
        assert_eq!(values.proxy.ports.admin, 5191);
        assert_eq!(values.proxy_init.ignore_inbound_ports, "25,8000-8080");
        assert_eq!((values.proxy.runtime.workers.minimum, values.proxy.runtime.workers.maximum), (2, Some(3)));
        assert!(values.proxy.enable_external_profiles);
        assert_eq!(values.proxy.image.name, "example.com/mirror/meshkit-proxy");
        assert_eq!(values.proxy_init.image.name, "example.com/mirror/meshkit-init");
        assert_eq!((values.image_pull_policy.as_str(), values.proxy.image.pull_policy.as_str()), ("Always", "Always"));
        assert_eq!(applied(&[]).unwrap(), Values::default());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (words, part) in [
            (&["--admin-port=0"][..], "admin-port"),
            (&["--skip-inbound-ports=9-1"], "skip-inbound-ports"),
            (&["--proxy-memory-limit=lots"], "proxy-memory-limit"),
            (&["--default-inbound-policy=open"], "default-inbound-policy"),
            (&["--image-pull-policy=Sometimes"], "image-pull-policy"),
            (&["--proxy-cpu-request=2", "--proxy-cpu-limit=1"], "cpu request 2"),
            (&["--proxy-log-level=info,="], "--proxy-log-level"),
            (&["--proxy-uid=-7"], "proxy-uid"),
        ] {
            let faults = applied(words).unwrap_err().join("\n");
            assert!(faults.contains(part), "{words:?}: {faults}");
        }
    }
}
