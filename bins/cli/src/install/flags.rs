//! Flags of `install` and `upgrade`, and the values that they make.

use std::{fs, path::PathBuf, time::Duration};

use serde_json::{Value, json};

use crate::{
    inject::Output,
    values::{self, Kind, ProxyFlags, Tree},
};

/// Values, as Helm takes them.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Values")]
#[group(skip)]
pub(crate) struct ValuesFlags {
    /// A file of values; may stand several times
    #[arg(short = 'f', long, value_name = "FILE")]
    values: Vec<PathBuf>,
    /// Values such as proxy.logLevel=debug; they go before those of files
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Values that are text, whatever they look like
    #[arg(long, value_name = "KEY=VALUE")]
    set_string: Vec<String>,
    /// Values that stand in files, such as identityTrustAnchorsPEM=ca.crt
    #[arg(long, value_name = "KEY=FILE")]
    set_file: Vec<String>,
}

/// Flags that `install` and `upgrade` share.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Control plane")]
#[group(skip)]
pub(crate) struct ControlPlaneFlags {
    /// Three replicas of everything, on different nodes
    #[arg(long)]
    ha: bool,
    /// Redirection is set up by the CNI plugin
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    linkerd_cni_enabled: Option<bool>,
    /// What controllers log [default: info]
    #[arg(long, value_parser = ["panic", "fatal", "error", "warn", "info", "debug", "trace"], value_name = "LEVEL")]
    controller_log_level: Option<String>,
    /// How many replicas each controller has [default: 1]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    controller_replicas: Option<u32>,
    /// The user that controllers run as [default: 2103]
    #[arg(long, value_name = "UID")]
    controller_uid: Option<u32>,
    /// The group that controllers run as [default: that of the image]
    #[arg(long, value_name = "GID", allow_negative_numbers = true)]
    controller_gid: Option<i64>,
    /// HTTP/1 stays HTTP/1 between proxies
    #[arg(long)]
    disable_h2_upgrade: bool,
    /// There is no heartbeat in any case
    #[arg(long, hide = true)]
    disable_heartbeat: bool,
    /// How long certificates of workloads are valid [default: 24h]
    #[arg(long, value_name = "TIME", value_parser = crate::args::parse_duration)]
    identity_issuance_lifetime: Option<Duration>,
    /// How far clocks may go wrong [default: 20s]
    #[arg(long, value_name = "TIME", value_parser = crate::args::parse_duration)]
    identity_clock_skew_allowance: Option<Duration>,
    /// The issuer's certificate, PEM
    #[arg(long, value_name = "FILE")]
    identity_issuer_certificate_file: Option<PathBuf>,
    /// The issuer's key, PEM
    #[arg(long, value_name = "FILE")]
    identity_issuer_key_file: Option<PathBuf>,
    /// The trust anchors, PEM
    #[arg(long, value_name = "FILE")]
    identity_trust_anchors_file: Option<PathBuf>,
    /// Endpoints are read from EndpointSlices
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    enable_endpoint_slices: Option<bool>,
    #[command(flatten)]
    proxy: ProxyFlags,
}

/// What a rendering command writes, and what it reads first.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
#[group(skip)]
pub(crate) struct RenderFlags {
    /// The kinds of the mesh alone
    #[arg(long)]
    pub(crate) crds: bool,
    /// How documents are written
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

impl ValuesFlags {
    /// Puts what was said over the values.
    ///
    /// # Errors
    /// Files that cannot be read, and text that says nothing.
    pub(crate) fn apply(&self, tree: &mut Tree) -> Result<(), Vec<String>> {
        let mut faults = Vec::new();
        for path in &self.values {
            let read = fs::read_to_string(path).map_err(|error| error.to_string()).and_then(|text| Tree::read(&text));
            match read {
                Ok(over) => tree.merge(over),
                Err(error) => faults.push(format!("{}: {error}", path.display())),
            }
        }
        let mut value = Value::from(tree.clone());
        let kinds = [("--set", &self.set, Kind::Any), ("--set-string", &self.set_string, Kind::Text)];
        for (flag, texts, kind) in kinds {
            for text in texts {
                if let Err(error) = values::parse(text, kind, &mut value) {
                    faults.push(format!("{flag} {error}"));
                }
            }
        }
        *tree = Tree::from(value);
        for text in &self.set_file {
            let read = text.split_once('=').ok_or_else(|| format!("{text:?} is not KEY=FILE"));
            match read.and_then(|(key, path)| Ok((key, fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?))) {
                Ok((key, content)) => tree.set(key, json!(content)),
                Err(error) => faults.push(format!("--set-file {error}")),
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

impl ControlPlaneFlags {
    /// Puts what was said over the values.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub(crate) fn apply(&self, tree: &mut Tree) -> Result<(), Vec<String>> {
        if self.ha {
            tree.merge(Tree::high_availability());
        }
        let mut put = |path: &str, value: Option<Value>| {
            if let Some(value) = value {
                tree.set(path, value);
            }
        };
        put("cniEnabled", self.linkerd_cni_enabled.map(Value::from));
        put("controllerLogLevel", self.controller_log_level.as_ref().map(|level| json!(level)));
        put("controllerReplicas", self.controller_replicas.map(Value::from));
        put("controllerUID", self.controller_uid.map(Value::from));
        put("controllerGID", self.controller_gid.map(Value::from));
        put("enableH2Upgrade", self.disable_h2_upgrade.then_some(json!(false)));
        put("enableEndpointSlices", self.enable_endpoint_slices.map(Value::from));
        let seconds = |time: Option<Duration>| time.map(|time| json!(format!("{}s", time.as_secs())));
        put("identity.issuer.issuanceLifetime", seconds(self.identity_issuance_lifetime));
        put("identity.issuer.clockSkewAllowance", seconds(self.identity_clock_skew_allowance));
        let mut faults = Vec::new();
        for (path, file) in [
            ("identity.issuer.tls.crtPEM", &self.identity_issuer_certificate_file),
            ("identity.issuer.tls.keyPEM", &self.identity_issuer_key_file),
            ("identityTrustAnchorsPEM", &self.identity_trust_anchors_file),
        ] {
            match file.as_ref().map(|file| fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))) {
                Some(Ok(text)) => put(path, Some(json!(text))),
                Some(Err(error)) => faults.push(error),
                None => {}
            }
        }
        self.proxy.apply(tree);
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// Was an issuer given in files?
    pub(crate) const fn has_issuer(&self) -> bool {
        self.identity_issuer_certificate_file.is_some() || self.identity_issuer_key_file.is_some()
    }
}
