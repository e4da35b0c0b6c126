//! One replica of a workload: its processes, its proxy, and what they are told.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use meshkit_injector::{Mesh, Workload, environment};
use meshkit_manifest::{
    Object,
    core::{Container, PodSpec, Service, ServicePort},
};

use super::{
    child::{Restart, Spec},
    names,
    plan::{Exhausted, Name, Plan},
    substitute::{Place, Target, substitute},
};

/// Opens 127.0.0.1 at a port for people: on a Service, for its first port.
const PUBLISH: &str = "config.mesh/publish";
/// Leaves `env`, `args` and `command` as they are: on a Pod template.
const SUBSTITUTE: &str = "config.mesh/substitute";
/// `enabled` on a Pod template: its first container is its own proxy, by way of `meshkit-proxy` as a library. It is given the settings that a
/// proxy would be, and names of Services stay as they are.
const IN_PROCESS: &str = "config.mesh/in-process";

/// One replica.
#[derive(Clone, Debug)]
pub struct Replica {
    /// Its Pod.
    pub name: Name,
    /// Its address.
    pub ip: Ipv4Addr,
    /// What it belongs to.
    pub workload: String,
    /// The kind of that.
    pub owner_kind: String,
    /// Labels of the Pod.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the Pod, with those of its namespace.
    pub annotations: BTreeMap<String, String>,
    /// What it runs.
    pub spec: PodSpec,
    /// What to do when a process of it ends.
    pub restart: Restart,
    /// Where it reaches each Service.
    pub services: Vec<Reachable>,
    /// Ports for people: listen address, and the port of the replica behind it.
    pub published: Vec<(SocketAddr, u16)>,
}

/// A Service as one replica sees it.
#[derive(Clone, Debug)]
pub struct Reachable {
    /// The Service.
    pub service: Arc<Service>,
    /// Its cluster IP.
    pub cluster_ip: Ipv4Addr,
    /// Where the replica's own proxy accepts for it.
    pub address: Ipv4Addr,
}

/// The replicas of all workloads among `objects`, in their order.
///
/// # Errors
/// There are more than there are addresses.
pub fn replicas(objects: &[Object], plan: &mut Plan) -> Result<Vec<Replica>, Exhausted> {
    let mut services = Vec::new();
    for object in objects {
        if let Object::Service(service) = object {
            let name = Name::new(&service.metadata.namespace, &service.metadata.name);
            services.push((Arc::clone(service), name.clone(), plan.service(&name)?));
        }
    }
    let namespace_annotations = |namespace: &str| {
        let found = objects.iter().find_map(|object| match object {
            Object::Namespace(ns) if ns.metadata.name == namespace => Some(ns.metadata.annotations.clone()),
            _ => None,
        });
        found.unwrap_or_default()
    };
    let mut all: Vec<Replica> = Vec::new();
    for object in objects {
        let (workload, count, restart) = match object {
            Object::Deployment(w) | Object::StatefulSet(w) => (w, w.spec.replicas.unwrap_or(1), Restart::Always),
            Object::Job(w) => (w, 1, Restart::OnFailure),
            _ => continue,
        };
        let (metadata, template) = (&workload.metadata, &workload.spec.template);
        for index in 0..count {
            let name = Name::new(&metadata.namespace, &format!("{}-{index}", metadata.name));
            let mut annotations = namespace_annotations(&metadata.namespace);
            annotations.extend(template.metadata.annotations.clone());
            let mut reachable = Vec::new();
            for (service, service_name, cluster_ip) in &services {
                let address = plan.pair(&name, service_name)?;
                reachable.push(Reachable { service: Arc::clone(service), cluster_ip: *cluster_ip, address });
            }
            let mut replica = Replica {
                ip: plan.replica(&name)?,
                name,
                workload: metadata.name.clone(),
                owner_kind: object.kind().as_str().to_owned(),
                labels: template.metadata.labels.clone(),
                annotations,
                spec: template.spec.clone(),
                restart,
                services: reachable,
                published: Vec::new(),
            };
            replica.published = published(&replica, &all, &services);
            all.push(replica);
        }
    }
    Ok(all)
}

/// The first replica that a published Service selects takes its port.
fn published(replica: &Replica, before: &[Replica], services: &[(Arc<Service>, Name, Ipv4Addr)]) -> Vec<(SocketAddr, u16)> {
    let publish = |service: &Arc<Service>| {
        let port: u16 = service.metadata.annotations.get(PUBLISH)?.parse().ok()?;
        let taken = before.iter().any(|other| other.is_selected_by(service));
        let inside = replica.target_port(service.spec.ports.first()?)?;
        (!taken && replica.is_selected_by(service)).then_some((SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port), inside))
    };
    services.iter().filter_map(|(service, ..)| publish(service)).collect()
}

impl Replica {
    /// Does a Service stand for this replica?
    #[must_use]
    pub fn is_selected_by(&self, service: &Service) -> bool {
        let selector = &service.spec.selector;
        let same = service.metadata.namespace == self.name.namespace;
        same && !selector.is_empty() && selector.iter().all(|(key, value)| self.labels.get(key) == Some(value))
    }

    /// The replica's port behind a Service's port.
    #[must_use]
    pub fn target_port(&self, port: &ServicePort) -> Option<u16> {
        match &port.target_port {
            Some(target) => target.port(self.spec.ports()),
            None => Some(port.port),
        }
    }

    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> String {
        names::workload_identity(&self.name.namespace, self.spec.service_account())
    }

    /// Ports that its containers declare.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        self.spec.ports().map(|(_, port)| port).collect()
    }

    /// Is its first container its own proxy?
    #[must_use]
    pub fn is_in_process(&self) -> bool {
        self.annotations.get(IN_PROCESS).map(String::as_str) == Some("enabled")
    }

    /// The text of its proxy's listeners file.
    #[must_use]
    pub fn listeners(&self) -> String {
        let mut text = String::new();
        for Reachable { service, cluster_ip, address } in &self.services {
            let (name, namespace) = (&service.metadata.name, &service.metadata.namespace);
            for port in service.spec.ports.iter().map(|p| p.port) {
                text += &format!("outbound {address}:{port} {cluster_ip}:{port} {name}.{namespace}.svc.{}:{port}\n", names::DOMAIN);
            }
        }
        for (listen, inside) in &self.published {
            text += &format!("inbound {listen} {}:{inside}\n", self.ip);
        }
        text
    }

    /// The proxy's process.
    ///
    /// # Errors
    /// An annotation has a value that the proxy would refuse.
    pub fn proxy(&self, mesh: &Mesh, state: &Path, program: &Path) -> Result<Spec, String> {
        let dir = names::replica_dir(state, &self.name.namespace, &self.name.name);
        let path = |name: &str| dir.join(name).display().to_string();
        let (identity_dir, token_file) = (path("identity"), path("token"));
        let ip = IpAddr::V4(self.ip);
        let (ports, ips) = (self.ports(), [ip]);
        let workload = Workload {
            namespace: &self.name.namespace,
            pod: &self.name.name,
            service_account: self.spec.service_account(),
            node: names::NODE,
            ips: &ips,
            ports: &ports,
            annotations: &self.annotations,
            listen: ip,
            listen_outbound: ip,
            identity_dir: &identity_dir,
            token_file: &token_file,
        };
        let mut env = environment(mesh, &workload).map_err(|faults| {
            let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
            format!("{}: {}", self.name, faults.join("; "))
        })?;
        env.push(("MESH_PROXY_LISTENERS_FILE".to_owned(), path("listeners")));
        env.push(("LINKERD2_PROXY_TAP_SVC_NAME".to_owned(), names::tap_identity()));
        env.push(("MESH_PROXY_OUTBOUND_BIND".to_owned(), ip.to_string()));
        Ok(Spec {
            name: format!("{} linkerd-proxy", self.name),
            program: program.to_owned(),
            args: vec!["proxy".to_owned()],
            env,
            log: self.log(state, "linkerd-proxy"),
            restart: Restart::Always,
        })
    }

    /// The processes of its containers.
    ///
    /// # Errors
    /// A container names no command.
    pub fn containers(&self, state: &Path, program: &Path) -> Result<Vec<Spec>, String> {
        self.spec.containers.iter().map(|container| self.container(container, state, program)).collect()
    }

    fn container(&self, container: &Container, state: &Path, program: &Path) -> Result<Spec, String> {
        let mut env: Vec<(String, String)> = inherited();
        for var in &container.env {
            let from_field = || self.field(&var.value_from.as_ref()?.field_ref.as_ref()?.field_path);
            let value = var.value.clone().or_else(from_field).unwrap_or_default();
            let value = self.place(&expand(&value, &env), Place::Env);
            env.push((var.name.clone(), value));
        }
        let mut words = container.command.iter().chain(&container.args).map(|word| self.place(&expand(word, &env), Place::Argument));
        let what = format!("{} {}", self.name, container.name);
        let command =
            words.next().ok_or_else(|| format!("{what}: a container needs `command` to run as a process; its image is not looked at"))?;
        // In a manifest `mesh` is this very program.
        let command = if command == "mesh" { program.to_owned() } else { PathBuf::from(command) };
        Ok(Spec { args: words.collect(), name: what, program: command, env, log: self.log(state, &container.name), restart: self.restart })
    }

    fn place(&self, value: &str, place: Place) -> String {
        if self.is_in_process() || self.annotations.get(SUBSTITUTE).map(String::as_str) == Some("disabled") {
            return value.to_owned();
        }
        let lookup = |namespace: Option<&str>, name: &str| {
            let namespace = namespace.unwrap_or(&self.name.namespace);
            let meant = |r: &&Reachable| r.service.metadata.name == name && r.service.metadata.namespace == namespace;
            let found = self.services.iter().find(meant)?;
            Some(Target { address: found.address, ports: found.service.spec.ports.iter().map(|p| p.port).collect() })
        };
        substitute(value, place, names::DOMAIN, lookup)
    }

    fn field(&self, path: &str) -> Option<String> {
        Some(match path {
            "status.podIP" | "status.podIPs" => self.ip.to_string(),
            "status.hostIP" => Ipv4Addr::LOCALHOST.to_string(),
            "metadata.name" => self.name.name.clone(),
            "metadata.namespace" => self.name.namespace.clone(),
            "spec.nodeName" => names::NODE.to_owned(),
            "spec.serviceAccountName" => self.spec.service_account().to_owned(),
            _ => return None,
        })
    }

    fn log(&self, state: &Path, container: &str) -> PathBuf {
        names::logs_dir(state).join(format!("{}.{}.{container}.log", self.name.namespace, self.name.name))
    }
}

/// What a process needs to run at all. Everything else comes from the manifest.
fn inherited() -> Vec<(String, String)> {
    ["PATH", "HOME", "LANG", "TZ"].into_iter().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))).collect()
}

/// Replaces `$(NAME)` by variables that stand before; `$$(NAME)` is `$(NAME)`, and what is not known stays.
fn expand(text: &str, env: &[(String, String)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(tail) = rest.strip_prefix("$$") {
            out.push('$');
            rest = tail;
            continue;
        }
        let known = rest.strip_prefix("$(").and_then(|inner| inner.split_once(')')).and_then(|(name, tail)| {
            let (_, value) = env.iter().rev().find(|(known, _)| known == name)?;
            Some((value, tail))
        });
        match known {
            Some((value, tail)) => {
                out.push_str(value);
                rest = tail;
            }
            None => {
                out.push('$');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use meshkit_manifest::Manifest;

    use super::*;

    const OBJECTS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: ns, annotations: {linkerd.io/inject: enabled, config.linkerd.io/proxy-log-level: debug}}
---
apiVersion: v1
kind: Service
metadata: {name: web-svc, namespace: ns, annotations: {config.mesh/publish: '18080'}}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: ns}
spec:
  replicas: 2
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        command: [mesh, demo-app, web]
        args: ['--peer=web-svc:80', '$(POD_IP)', '$$(POD_IP)', '$(NOTHING)']
        ports: [{name: http, containerPort: 8080}]
        env:
        - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
        - {name: WEB_HOST, value: 'web-svc.ns:80'}
";

    fn fixture() -> Vec<Replica> {
        let objects = Manifest::parse(Path::new("x"), OBJECTS).unwrap().objects;
        replicas(&objects, &mut Plan::new(Path::new("/state"))).unwrap()
    }

    #[test]
    fn every_replica_has_its_own_addresses_and_the_first_takes_the_published_port() {
        let all = fixture();
        assert_eq!(all.iter().map(|r| r.name.to_string()).collect::<Vec<_>>(), ["ns/web-0", "ns/web-1"]);
        assert_ne!(all[0].ip, all[1].ip);
        assert_ne!(all[0].services[0].address, all[1].services[0].address);
        assert_eq!(all[0].services[0].cluster_ip, all[1].services[0].cluster_ip);
        assert_eq!(all[0].published, [("127.0.0.1:18080".parse().unwrap(), 8080)]);
        assert!(all[1].published.is_empty());
        assert_eq!(all[0].listeners().lines().count(), 2);
    }

    #[test]
    fn a_process_is_told_its_address_and_where_services_are() {
        let all = fixture();
        let spec = all[0].containers(Path::new("/state"), Path::new("/bin/mesh")).unwrap().remove(0);
        let (ip, near) = (all[0].ip.to_string(), all[0].services[0].address);
        assert_eq!(spec.program, Path::new("/bin/mesh"));
        assert_eq!(spec.args, ["demo-app", "web", &format!("--peer={near}:80"), &ip, "$(POD_IP)", "$(NOTHING)"]);
        assert!(spec.env.contains(&("POD_IP".to_owned(), ip)));
        assert!(spec.env.contains(&("WEB_HOST".to_owned(), format!("{near}:80"))));
    }
}
