//! `mesh inject` and `mesh uninject`: documents in, documents out, a report on standard error.

mod inputs;

use std::{io::IsTerminal as _, path::PathBuf, time::Duration};

use clap::ValueEnum;
use meshkit_injector::{
    annotation::OPAQUE_PORTS,
    documents::{self, Format, Mode, Options, Report, Settings, Style},
};
use serde_json::{Value, json};

use crate::{
    access::Access,
    answer::answer,
    cluster,
    values::{self, ProxyFlags, Tree},
};

/// How documents are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Each followed by a line `---`
    #[default]
    Yaml,
    /// One per line
    Json,
}

/// `mesh inject`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Inject {
    /// Files, folders, and - for standard input
    #[arg(required = true, value_name = "FILE")]
    inputs: Vec<PathBuf>,
    /// Writes the whole proxy into the pods' templates, instead of annotations that ask for it
    #[arg(long)]
    manual: bool,
    /// Does not ask the cluster for the mesh's settings
    #[arg(long)]
    ignore_cluster: bool,
    /// Makes proxies that go by the header l5d-dst-override
    #[arg(long)]
    ingress: bool,
    /// Adds a container with tools
    #[arg(long)]
    enable_debug_sidecar: bool,
    /// How long the kernel remembers connections that one side has closed, as 60s
    #[arg(long, value_name = "TIME", value_parser = crate::args::parse_duration)]
    close_wait_timeout: Option<Duration>,
    /// The proxy is an init container that goes on running
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    native_sidecar: Option<bool>,
    /// How long the proxy goes on after it is told to stop
    #[arg(long, value_name = "SECONDS")]
    wait_before_exit_seconds: Option<u32>,
    /// Ports that admit only meshed clients
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    require_identity_on_inbound_ports: Option<Vec<String>>,
    /// Ports whose protocol is not looked at; of Services, too
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    opaque_ports: Option<Vec<String>>,
    /// How documents are written
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    proxy: ProxyFlags,
    #[command(flatten)]
    access: Access,
}

/// `mesh uninject`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Uninject {
    /// Files, folders, and - for standard input
    #[arg(required = true, value_name = "FILE")]
    inputs: Vec<PathBuf>,
    /// Takes away every setting of a proxy, too
    #[arg(long)]
    all_config: bool,
    /// How documents are written
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Tells what is well, too
    #[arg(long)]
    verbose: bool,
}

impl From<Output> for Format {
    fn from(output: Output) -> Self {
        match output {
            Output::Yaml => Self::Yaml,
            Output::Json => Self::Json,
        }
    }
}

impl Inject {
    /// Injects what there is to be read.
    ///
    /// # Errors
    /// Nothing was written: why.
    pub(crate) async fn run(self) -> Result<(), Vec<String>> {
        let mesh = self.mesh().await?;
        let options = self.options(mesh)?;
        transform(&self.inputs, self.output, self.access.verbose, |documents| {
            documents::inject(documents, &options).map_err(|errors| errors.iter().map(ToString::to_string).collect())
        })
    }

    /// The mesh that workloads are injected for.
    async fn mesh(&self) -> Result<Tree, Vec<String>> {
        if self.ignore_cluster {
            return Ok(Tree::defaults());
        }
        let hint = "if there is no cluster, say --ignore-cluster; if there is no mesh in it, `mesh check` says what is missing";
        let cluster = cluster::connect(&self.access);
        match cluster::values(&cluster, &self.access.linkerd_namespace).await {
            Ok(Some(mesh)) => Ok(mesh),
            Ok(None) => {
                let namespace = &self.access.linkerd_namespace;
                Err(vec![format!("there is no ConfigMap linkerd-config in namespace {namespace:?}"), hint.to_owned()])
            }
            Err(error) => Err(vec![error.to_string(), hint.to_owned()]),
        }
    }

    fn options(&self, mesh: Tree) -> Result<Options, Vec<String>> {
        let namespace = &self.access.linkerd_namespace;
        let of_mesh = mesh.of_injection(namespace).map_err(|error| vec![error])?;
        let mut wanted = mesh;
        self.proxy.apply(&mut wanted);
        self.apply(&mut wanted);
        let faults = values::faults(&wanted);
        if !faults.is_empty() {
            return Err(faults);
        }
        let wanted = wanted.of_injection(namespace).map_err(|error| vec![error])?;
        let mut overrides = documents::overrides(&of_mesh, &wanted);
        if let Some(ports) = &self.opaque_ports {
            // Services get what was said even if it is the mesh's own list.
            overrides.insert(OPAQUE_PORTS.to_owned(), ports.join(","));
        }
        let mode = if self.manual { Mode::Manual } else { Mode::Annotate };
        Ok(Options::new(of_mesh).mode(mode).overrides(overrides))
    }

    fn apply(&self, wanted: &mut Tree) {
        let mut put = |path: &str, value: Option<Value>| {
            if let Some(value) = value {
                wanted.set(path, value);
            }
        };
        put("proxy.isIngress", self.ingress.then_some(json!(true)));
        put("debugContainer.enabled", self.enable_debug_sidecar.then_some(json!(true)));
        put("proxyInit.closeWaitTimeoutSecs", self.close_wait_timeout.map(|time| json!(time.as_secs())));
        put("proxy.nativeSidecar", self.native_sidecar.map(Value::from));
        put("proxy.waitBeforeExitSeconds", self.wait_before_exit_seconds.map(Value::from));
        let list = |ports: &Option<Vec<String>>| ports.as_ref().map(|ports| json!(ports.join(",")));
        put("proxy.requireIdentityOnInboundPorts", list(&self.require_identity_on_inbound_ports));
        put("proxy.opaquePorts", list(&self.opaque_ports));
    }
}

impl Uninject {
    /// Takes away what was injected.
    ///
    /// # Errors
    /// Nothing was written: why.
    pub(crate) fn run(self) -> Result<(), Vec<String>> {
        let settings = if self.all_config { Settings::Removed } else { Settings::Kept };
        transform(&self.inputs, self.output, self.verbose, |documents| Ok(documents::uninject(documents, settings)))
    }
}

/// Reads everything, and writes it only if nothing is wrong with any of it. Reports follow the documents, so that both make sense in a terminal.
fn transform(
    inputs: &[PathBuf],
    output: Output,
    verbose: bool,
    each: impl Fn(Vec<Value>) -> Result<(Vec<Value>, Report), Vec<String>>,
) -> Result<(), Vec<String>> {
    let (mut written, mut reports, mut faults) = (String::new(), String::new(), Vec::new());
    let style = Style::default().verbose(verbose).colour(std::io::stderr().is_terminal());
    for input in inputs::find(inputs)? {
        let result = inputs::read(&input).map_err(|error| vec![error]).and_then(&each);
        match result.and_then(|(made, report)| Ok((documents::write(&made, output.into()).map_err(|e| vec![e.to_string()])?, report))) {
            Ok((text, report)) => {
                written.push_str(&text);
                reports.push_str(&report.render(style));
            }
            Err(errors) => faults.extend(errors),
        }
    }
    if !faults.is_empty() {
        faults.insert(0, "nothing was written, because of errors while transforming resources:".to_owned());
        return Err(faults);
    }
    answer(&written)?;
    eprint!("{reports}");
    Ok(())
}

#[cfg(test)]
mod tests;
