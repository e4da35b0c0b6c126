//! Answers the container runtime. Specification: CNI 1.1.0, sections 2 to 5.

use std::{collections::BTreeMap, ffi::OsString, fmt, path::Path};

use meshkit_manifest::{
    core::{Pod, Service},
    meta::Metadata,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::{debug, info};

use super::{
    api::Lookup,
    conf::{InvalidConf, NetConf},
    workload::{self, Annotations, Verdict},
};
use crate::apply::ApplyError;

/// Versions of the specification that are spoken: the plugin hands on what it is given, which works in all of them.
pub const VERSIONS: [&str; 8] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0", ""];

/// What the runtime asks, from its variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// `CNI_COMMAND`.
    pub command: String,
    /// `CNI_NETNS`: the network namespace of the pod.
    pub netns: String,
    /// `CNI_ARGS`: which pod it is.
    pub args: BTreeMap<String, String>,
    /// `PATH`: where iptables is looked for.
    pub path: OsString,
}

/// An answer that the runtime understands: the pod does not start, or is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    code: u32,
    message: String,
    details: String,
}

const SYSTEM_FOLDERS: &str = ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Codes of section 5; those from 100 on are ours.
const IO_FAILED: u32 = 5;
const BAD_VERSION: u32 = 1;
const BAD_VARIABLES: u32 = 4;
const BAD_JSON: u32 = 6;
const BAD_CONF: u32 = 7;
const NO_POD: u32 = 100;
const NO_RULES: u32 = 101;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Namespace {
    metadata: Metadata,
}

impl Call {
    /// Reads the variables of the process.
    #[must_use]
    pub fn from_env(vars: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut call = Self::default();
        for (name, value) in vars {
            let text = value.to_string_lossy().into_owned();
            match name.to_str() {
                Some("CNI_COMMAND") => call.command = text,
                Some("CNI_NETNS") => call.netns = text,
                Some("CNI_ARGS") => call.args = parse_args(&text),
                Some("PATH") => call.path = value,
                _ => {}
            }
        }
        call
    }

    /// Does what is asked, and says what is to be printed, if anything. `connect` makes the look-up from the path of a kubeconfig; it is called for pods only.
    ///
    /// # Errors
    /// What the runtime is told.
    ///
    /// # Cancel safety
    /// Rules may be half made; the runtime asks again for a new sandbox.
    pub async fn answer<L, E>(&self, conf: &[u8], connect: impl FnOnce(&Path) -> Result<L, E>) -> Result<Option<Value>, Refusal>
    where
        L: Lookup,
        E: std::error::Error,
    {
        match self.command.as_str() {
            "ADD" => self.add(&parse_conf(conf)?, connect).await.map(Some),
            // The rules go with the namespace. STATUS and GC: nothing is kept.
            "DEL" | "CHECK" | "STATUS" | "GC" => Ok(None),
            "VERSION" => Ok(Some(json!({"cniVersion": "1.1.0", "supportedVersions": VERSIONS[..7]}))),
            "" => Err(Refusal::new(BAD_VARIABLES, "CNI_COMMAND is not set", "this is a CNI plugin: a container runtime calls it")),
            other => Err(Refusal::new(BAD_VARIABLES, format!("unknown CNI_COMMAND {other:?}"), "")),
        }
    }

    /// The runtime's `PATH`, and behind it where iptables lives: services are often started without these.
    fn search_path(&self) -> OsString {
        let given = self.path.as_os_str();
        let mut path = given.to_owned();
        path.push(if given.is_empty() { SYSTEM_FOLDERS.trim_start_matches(':') } else { SYSTEM_FOLDERS });
        path
    }

    async fn add<L, E>(&self, conf: &NetConf, connect: impl FnOnce(&Path) -> Result<L, E>) -> Result<Value, Refusal>
    where
        L: Lookup,
        E: std::error::Error,
    {
        let result = conf.prev_result.clone().unwrap_or_else(|| json!({"cniVersion": conf.cni_version, "dns": {}}));
        let pod = |name| self.args.get(name).filter(|value: &&String| !value.is_empty());
        let (Some(namespace), Some(name)) = (pod("K8S_POD_NAMESPACE"), pod("K8S_POD_NAME")) else {
            debug!("no pod of Kubernetes: nothing to do");
            return Ok(result);
        };
        if self.netns.is_empty() {
            return Err(Refusal::new(BAD_VARIABLES, "CNI_NETNS is not set", ""));
        }
        let unread =
            |error: &dyn std::error::Error| Refusal::new(NO_POD, format!("pod {namespace}/{name} cannot be looked up"), chain(error));
        let lookup = connect(&conf.kubernetes.kubeconfig).map_err(|error| unread(&error))?;
        let get_pod = lookup.get::<Pod>(&format!("/api/v1/namespaces/{namespace}/pods/{name}")).await;
        let Some(pod) = get_pod.map_err(|error| unread(&error))? else {
            return Err(Refusal::new(NO_POD, format!("pod {namespace}/{name} does not exist"), "it was deleted while it was made"));
        };
        match workload::verdict(&pod) {
            Verdict::Redirect => {}
            verdict @ (Verdict::NotMeshed | Verdict::HasInitContainer) => {
                debug!(namespace, pod = name, ?verdict, "no rules to make");
                return Ok(result);
            }
        }
        let get_namespace = lookup.get::<Namespace>(&format!("/api/v1/namespaces/{namespace}")).await;
        let of_namespace = get_namespace.map_err(|error| unread(&error))?.unwrap_or_default();
        let api_ports = if workload::is_control_plane(&pod) {
            let service = lookup.get::<Service>("/api/v1/namespaces/default/services/kubernetes").await;
            let service = service.inspect_err(|error| info!(error = chain(error), "the Service of the API server cannot be read"));
            workload::api_ports(service.ok().flatten().as_ref())
        } else {
            Vec::new()
        };
        let annotations = Annotations { pod: &pod.metadata.annotations, namespace: &of_namespace.metadata.annotations };
        let settings = workload::settings(&conf.linkerd, annotations, &api_ports).map_err(InvalidConf::from)?;
        let target = settings.target(&self.netns, &self.search_path())?;
        target.apply(&settings.redirect()?).await?;
        info!(namespace, pod = name, "made the rules");
        Ok(result)
    }
}

fn parse_conf(text: &[u8]) -> Result<NetConf, Refusal> {
    let conf = NetConf::parse(text).map_err(|error| Refusal::new(BAD_JSON, "the configuration cannot be read", error.to_string()))?;
    if VERSIONS.contains(&conf.cni_version.as_str()) {
        return Ok(conf);
    }
    Err(Refusal::new(
        BAD_VERSION,
        format!("incompatible CNI version {:?}", conf.cni_version),
        format!("spoken are {}", VERSIONS[..7].join(", ")),
    ))
}

/// `KEY=VALUE;KEY=VALUE`. What is none of these is passed over.
fn parse_args(text: &str) -> BTreeMap<String, String> {
    text.split(';').filter_map(|pair| pair.split_once('=')).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// An error and what is behind it.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl Refusal {
    fn new(code: u32, message: impl Into<String>, details: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: details.into() }
    }

    /// The number that the specification gives it.
    #[must_use]
    pub const fn code(&self) -> u32 {
        self.code
    }

    /// What is printed on standard output.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({"cniVersion": "1.0.0", "code": self.code, "msg": self.message, "details": self.details})
    }
}

impl From<InvalidConf> for Refusal {
    fn from(error: InvalidConf) -> Self {
        Self::new(BAD_CONF, "the configuration cannot be used", error.to_string())
    }
}

impl From<ApplyError> for Refusal {
    fn from(error: ApplyError) -> Self {
        Self::new(NO_RULES, "the rules cannot be made", chain(&error))
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Self::new(IO_FAILED, "the plugin cannot run", chain(&error))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.details.is_empty() { Ok(()) } else { write!(f, ": {}", self.details) }
    }
}

impl std::error::Error for Refusal {}
