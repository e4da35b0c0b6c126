//! What injection adds, as a patch.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use serde_json::Value;

use crate::{
    annotation::{
        Annotations, COMPONENT, CONFIG, CONTROL_PLANE_NS, CREATED_BY, OPAQUE_PORTS, PROXY_VERSION, TRUST_ROOT_SHA256, UnknownKey,
        WORKLOAD_NS, inherit, unknown,
    },
    overrides::{BadAnnotation, Overridden},
    patch::{Additions, Patch},
    redirect, sidecar,
    template::{Template, list, number, strings},
    values::Values,
};

/// The parts of the control plane whose proxies are not like others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Component {
    /// Its own proxy cannot be ready before it is: it waits for nothing, and nothing for it.
    Identity,
    /// Asks itself.
    Destination,
    /// Any other.
    Other,
}

/// Who makes pods from a template.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// `Deployment`, `StatefulSet`, ...
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// A workload to be injected.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The document that holds the template.
    pub document: &'a Value,
    /// Where in it the template is: empty for a Pod, `/spec/template`, ...
    pub prefix: &'a str,
    /// The namespace's name; may be empty if nobody knows it yet.
    pub namespace: &'a str,
    /// The namespace's annotations.
    pub namespace_annotations: &'a Annotations,
    /// Who makes the pods, if not a person.
    pub owner: Option<&'a Owner>,
    /// Who injects, with the version: `linkerd/proxy-injector 1.0.0`.
    pub created_by: &'a str,
}

/// What is added to a workload, and what is to be told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Injection {
    /// The additions.
    pub patch: Patch,
    /// Annotations that have no effect because of their values.
    pub faults: Vec<BadAnnotation>,
    /// Annotations that have no effect because nobody knows them.
    pub unknown: Vec<UnknownKey>,
}

impl Component {
    /// The part of the control plane that a pod is.
    #[must_use]
    pub fn of(template: Template<'_>) -> Option<Self> {
        Some(match template.label(COMPONENT)? {
            "identity" => Self::Identity,
            "destination" => Self::Destination,
            _ => Self::Other,
        })
    }
}

/// What injection adds to a workload. Whether it is to be injected has been decided.
///
/// # Errors
/// An annotation whose value may not be guessed.
pub fn inject(values: &Values, target: &Target<'_>) -> Result<Injection, BadAnnotation> {
    let template = target.document.pointer(target.prefix).unwrap_or(&Value::Null);
    let pod = Template::new(template);
    let own = pod.annotations();
    let added = inherit(&own, target.namespace_annotations);
    let all: Annotations = own.iter().chain(&added).map(|(key, value)| (key.clone(), value.clone())).collect();
    let Overridden { values, faults } = effective(values, target, &own, &all, pod);
    if let Some(fatal) = faults.iter().find(|fault| fault.is_fatal()) {
        return Err(fatal.clone());
    }

    let mut additions = Additions::new(target.document, target.prefix);
    metadata(&mut additions, &values, target, pod, added);
    additions.list("/spec/volumes");
    additions.list("/spec/initContainers");
    containers(&mut additions, &values, pod);
    Ok(Injection { patch: additions.patch, faults, unknown: unknown(&all) })
}

/// The values of this workload.
fn effective(values: &Values, target: &Target<'_>, own: &Annotations, all: &Annotations, pod: Template<'_>) -> Overridden {
    let named = pod.named_ports();
    let additional = format!("{CONFIG}proxy-additional-env");
    let mut below = values.clone();
    let mut faults = Vec::new();
    // The namespace's variables stand even if the workload has some itself: they are merged by their names.
    if let (true, Some(env)) = (own.contains_key(&additional), target.namespace_annotations.get(&additional)) {
        let of_namespace = Overridden::of(values, &[(additional, env.clone())].into(), &[]);
        below = of_namespace.values;
        faults = of_namespace.faults;
    }
    let mut overridden = Overridden::of(&below, all, &named);
    faults.append(&mut overridden.faults);
    overridden.faults = faults;
    let values = &mut overridden.values;
    match Component::of(pod) {
        None => {}
        Some(component) => {
            values.proxy_init.ignore_outbound_ports.clone_from(&values.proxy_init.kube_api_server_ports);
            if component == Component::Identity {
                values.proxy.native_sidecar = false;
                values.proxy.r#await = false;
                "8080".clone_into(&mut values.proxy.require_tls_on_inbound_ports);
            }
        }
    }
    overridden
}

fn metadata(additions: &mut Additions<'_>, values: &Values, target: &Target<'_>, pod: Template<'_>, mut annotations: Annotations) {
    let mut labels = Annotations::new();
    annotations.insert(CREATED_BY.to_owned(), target.created_by.to_owned());
    annotations.insert(PROXY_VERSION.to_owned(), values.proxy_version().to_owned());
    annotations.insert(TRUST_ROOT_SHA256.to_owned(), sha256(&values.identity_trust_anchors_pem));
    if !pod.annotations().contains_key(OPAQUE_PORTS) && !target.namespace_annotations.contains_key(OPAQUE_PORTS) {
        let opaque = pod.opaque_ports(&values.proxy.opaque_ports);
        if !opaque.is_empty() {
            annotations.insert(OPAQUE_PORTS.to_owned(), opaque);
        }
    }
    labels.insert(CONTROL_PLANE_NS.to_owned(), values.namespace.clone());
    if !target.namespace.is_empty() {
        labels.insert(WORKLOAD_NS.to_owned(), target.namespace.to_owned());
    }
    if let Some(owner) = target.owner {
        labels.insert(format!("linkerd.io/proxy-{}", owner.kind.to_lowercase()), owner.name.clone());
    }
    additions.object("/metadata");
    additions.object("/metadata/annotations");
    additions.members("/metadata/annotations", annotations);
    additions.object("/metadata/labels");
    additions.members("/metadata/labels", labels);
}

fn containers(additions: &mut Additions<'_>, values: &Values, pod: Template<'_>) {
    // The user's own init containers come behind a native sidecar: then they are proxied.
    let native = values.proxy.native_sidecar;
    let first = if values.cni_enabled {
        redirect::validator(values, pod)
    } else {
        additions.add("/spec/volumes/-", redirect::volume(values));
        redirect::init(values, pod)
    };
    additions.add(if native { "/spec/initContainers/0" } else { "/spec/initContainers/-" }, first);
    if values.debug_container.enabled {
        additions.add("/spec/containers/-", redirect::debug(values));
    }
    for volume in sidecar::volumes(values) {
        additions.add("/spec/volumes/-", volume);
    }
    let place = match (native, values.proxy.r#await) {
        (true, _) => "/spec/initContainers/1",
        (false, true) => "/spec/containers/0",
        (false, false) => "/spec/containers/-",
    };
    additions.add(place, sidecar::container(values, pod, Component::of(pod)));
}

/// What the webhook adds to a pod that is not injected: the ports whose protocol is not looked at. Proxies of others ask for them.
#[must_use]
pub fn annotate_pod(values: &Values, pod: &Value, namespace: &Annotations) -> Patch {
    opaque_patch(pod, namespace, || Template::new(pod).opaque_ports(&values.proxy.opaque_ports))
}

/// What the webhook adds to a Service: the ports whose protocol is not looked at.
#[must_use]
pub fn annotate_service(values: &Values, service: &Value, namespace: &Annotations) -> Patch {
    opaque_patch(service, namespace, || {
        let ports = list(&service["spec"], "ports").filter_map(|port| {
            let (of_service, target) = (number(&port["port"])?, &port["targetPort"]);
            let behind = if target.is_null() { Some(of_service) } else { number(target) };
            let opaque = crate::ports::within(behind, &values.proxy.opaque_ports);
            (!opaque.is_empty()).then_some(of_service)
        });
        crate::ports::join(&ports.collect::<Vec<_>>())
    })
}

fn opaque_patch(document: &Value, namespace: &Annotations, default: impl FnOnce() -> String) -> Patch {
    let mut additions = Additions::new(document, "");
    if strings(document, "/metadata/annotations").contains_key(OPAQUE_PORTS) {
        return Patch::default();
    }
    let ports = match namespace.get(OPAQUE_PORTS) {
        Some(ports) => ports.clone(),
        None => match default() {
            ports if ports.is_empty() => return Patch::default(),
            ports => ports,
        },
    };
    additions.object("/metadata");
    additions.object("/metadata/annotations");
    additions.members("/metadata/annotations", [(OPAQUE_PORTS, ports)]);
    additions.patch
}

fn sha256(text: &str) -> String {
    digest::digest(&digest::SHA256, text.as_bytes()).as_ref().iter().fold(String::new(), |mut hex, byte| {
        // Writing to a `String` does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
