//! The settings of the environment, read in one go: every mistake is reported, not only the first.
//!
//! `LINKERD2_PROXY_*` settings are those of the Linkerd proxy, with its defaults and quirks; those that mean nothing here are
//! ignored, for its charts set some. `MESH_PROXY_*` settings are our own, and one that is not known is a mistake.

mod direction;
mod identity;
mod reader;

#[cfg(test)]
mod tests;

use std::{ffi::OsString, fmt};

use ipnet::IpNet;
use meshkit_runtime::logs;

use super::{AccessLog, Admin, Config, Control, Dns, Http2Client, Limits, Listeners, Runtime, StreamLimits, Tap, Tracing, syntax};
use reader::Reader;

/// The status with which a program exits whose settings are wrong (EX_USAGE).
pub const EXIT_STATUS: u8 = 64;

/// A setting that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvError {
    name: String,
    reason: String,
}

impl EnvError {
    /// The variable.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for EnvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.reason)
    }
}

impl std::error::Error for EnvError {}

impl Config {
    /// Reads the settings among `vars`, for instance `std::env::vars_os()`. No file is opened: see [`Config::check_files`].
    ///
    /// # Errors
    /// Every setting that is missing or wrong. A program logs each, and exits with [`EXIT_STATUS`].
    pub fn from_env(vars: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, Vec<EnvError>> {
        let mut env = Reader::new(vars);
        env.refuse_unknown();
        let listeners = listeners(&mut env);
        let cluster_networks = env.has("POLICY_CLUSTER_NETWORKS").then(|| env.read("POLICY_CLUSTER_NETWORKS", syntax::networks));
        // Networks that cannot be read are a mistake already, and none of the default policy's.
        let no_networks = cluster_networks.as_ref().is_none_or(|read| read.as_ref().is_some_and(Vec::is_empty));
        let control = control(&mut env, cluster_networks.flatten().unwrap_or_default());
        let inbound = direction::inbound(&mut env, &listeners, no_networks);
        let outbound = direction::outbound(&mut env);
        let http2_client = http2_client(&mut env);
        let limits = limits(&mut env);
        let dns = Dns { min_ttl: env.read("DNS_MIN_TTL", syntax::duration), max_ttl: env.read("DNS_MAX_TTL", syntax::duration) };
        let identity = identity::read(&mut env);
        let admin = admin(&mut env);
        let tap = env.read("TAP_SVC_NAME", identity::name).map(|client| Tap { client });
        let tracing = tracing(&mut env);
        let runtime = runtime(&mut env);
        let (errors, warnings) = env.finish();
        match (control, identity) {
            (Some(control), Some(identity)) if errors.is_empty() => Ok(Self {
                listeners,
                inbound,
                outbound,
                http2_client,
                limits,
                dns,
                tap,
                admin,
                tracing,
                runtime,
                warnings,
                ..Self::new(identity, control)
            }),
            _ => Err(errors),
        }
    }

    /// Looks at the files that must be there before a proxy starts.
    ///
    /// # Errors
    /// The identity token cannot be read, or is empty. A program logs each, and exits with [`EXIT_STATUS`].
    pub fn check_files(&self) -> Result<(), Vec<EnvError>> {
        identity::check_token(&self.identity).map_err(|error| vec![error])
    }
}

/// The settings of the log alone, for a program that wants to log what is wrong with the others. What is wrong with these is
/// left out: [`Config::from_env`] tells.
#[must_use]
pub fn log_settings(vars: impl IntoIterator<Item = (OsString, OsString)>) -> (String, logs::Format) {
    let Runtime { log, log_format, .. } = runtime(&mut Reader::new(vars));
    (log, log_format)
}

fn listeners(env: &mut Reader) -> Listeners {
    let mut listeners = Listeners::default();
    match env.has("OUTBOUND_LISTEN_ADDRS") {
        true => env.set(&mut listeners.outbound, "OUTBOUND_LISTEN_ADDRS", syntax::socket_addrs),
        // The older name, for one address.
        false => env.set(&mut listeners.outbound, "OUTBOUND_LISTEN_ADDR", |text| syntax::socket_addr(text).map(|addr| vec![addr])),
    }
    env.set(&mut listeners.inbound, "INBOUND_LISTEN_ADDR", syntax::socket_addr);
    env.set(&mut listeners.control, "CONTROL_LISTEN_ADDR", syntax::socket_addr);
    env.set(&mut listeners.admin, "ADMIN_LISTEN_ADDR", syntax::socket_addr);
    listeners.file = env.read_own("LISTENERS_FILE", reader::path);
    listeners
}

fn control(env: &mut Reader, cluster_networks: Vec<IpNet>) -> Option<Control> {
    // Each is read before the first that is missing ends the matter: all mistakes are told at once.
    let destination = env.required_controller("DESTINATION_SVC");
    let policy = env.required_controller("POLICY_SVC");
    let workload = env.required("POLICY_WORKLOAD", reader::text);
    let stream_limits = stream_limits(env);
    let context = env.read("DESTINATION_CONTEXT", reader::text);
    let profile_suffixes = env.read("DESTINATION_PROFILE_SUFFIXES", syntax::dns_suffixes);
    let profile_networks = env.read("DESTINATION_PROFILE_NETWORKS", syntax::networks);
    let control = Control::new(destination?, policy?, workload?);
    Some(Control {
        stream_limits,
        context: context.unwrap_or_default(),
        profile_suffixes: profile_suffixes.unwrap_or(control.profile_suffixes),
        profile_networks: profile_networks.unwrap_or_default(),
        cluster_networks,
        ..control
    })
}

fn stream_limits(env: &mut Reader) -> StreamLimits {
    const NAMES: [&str; 3] = ["CONTROL_STREAM_INITIAL_TIMEOUT", "CONTROL_STREAM_IDLE_TIMEOUT", "CONTROL_STREAM_LIFETIME"];
    let limits = NAMES.map(|name| env.read(name, syntax::optional_duration).flatten());
    let mut longest = None;
    for (name, limit) in NAMES.into_iter().zip(limits) {
        if limit.is_some() && limit < longest {
            env.refuse(name, "is shorter than the limit before it: the order is initial timeout, idle timeout, lifetime");
        }
        longest = limit.max(longest);
    }
    let [initial, idle, lifetime] = limits;
    StreamLimits { initial, idle, lifetime }
}

fn http2_client(env: &mut Reader) -> Http2Client {
    let mut http2 = Http2Client::default();
    env.set(&mut http2.stream_window, "HTTP2_INITIAL_STREAM_WINDOW_SIZE", window);
    env.set(&mut http2.connection_window, "HTTP2_INITIAL_CONNECTION_WINDOW_SIZE", window);
    http2
}

/// A size of a flow-control window (RFC 9113 section 6.9.1).
fn window(text: &str) -> Result<u32, syntax::InvalidSyntax> {
    syntax::number_within(text, 0, (1 << 31) - 1)
}

fn limits(env: &mut Reader) -> Limits {
    // The HTTP/1 library reads into a buffer of at least that size.
    let header_bytes = |text: &str| syntax::number_within(text, 8192, 1 << 30);
    let Limits { max_header_bytes, header_read_timeout } = Limits::default();
    Limits {
        max_header_bytes: env.read_own("MAX_HEADER_BYTES", header_bytes).unwrap_or(max_header_bytes),
        header_read_timeout: env.read_own("HEADER_READ_TIMEOUT", syntax::duration).unwrap_or(header_read_timeout),
    }
}

fn admin(env: &mut Reader) -> Admin {
    let mut admin = Admin::default();
    env.set(&mut admin.shutdown_endpoint, "SHUTDOWN_ENDPOINT_ENABLED", syntax::boolean);
    env.set(&mut admin.metrics_retain_idle, "METRICS_RETAIN_IDLE", syntax::duration);
    admin
}

fn tracing(env: &mut Reader) -> Option<Tracing> {
    let collector = env.controller("TRACE_COLLECTOR_SVC");
    let attributes = |text: &str| Ok::<_, syntax::InvalidSyntax>(syntax::attributes(text));
    let service_name = env.read("TRACE_SERVICE_NAME", reader::text);
    let attributes_file = env.read("TRACE_ATTRIBUTES_PATH", reader::path);
    let extra = env.read("TRACE_EXTRA_ATTRIBUTES", attributes).unwrap_or_default();
    // Strangers' variables: they are looked at only where they are used.
    let collector = collector?;
    let resource = env.read_full("OTEL_RESOURCE_ATTRIBUTES", attributes).unwrap_or_default();
    let host_name = env.read_full("HOSTNAME", reader::text);
    Some(Tracing { collector, service_name, attributes_file, extra, resource, host_name })
}

fn runtime(env: &mut Reader) -> Runtime {
    let mut runtime = Runtime::default();
    let min = if env.has("CORES_MIN") { "CORES_MIN" } else { "CORES" };
    // A wrong number of cores is not worth a proxy that does not start.
    env.set_or_warn(&mut runtime.cores_min, min, syntax::number);
    env.set_or_warn(&mut runtime.cores_max, "CORES_MAX", |text| syntax::number(text).map(Some));
    let ratio = |text: &str| {
        let ratio: f64 = syntax::number(text)?;
        let fits = 0.0 < ratio && ratio <= 1.0;
        fits.then_some(Some(ratio)).ok_or_else(|| syntax::InvalidSyntax::new(text, "a share above 0 and up to 1"))
    };
    env.set_or_warn(&mut runtime.cores_max_ratio, "CORES_MAX_RATIO", ratio);
    env.set(&mut runtime.log, "LOG", reader::text);
    let format = |text: &str| text.parse().map_err(|_| syntax::InvalidSyntax::new(text, "PLAIN or JSON"));
    env.set_or_warn(&mut runtime.log_format, "LOG_FORMAT", format);
    let access_log = |text: &str| match text {
        "" => Ok(None),
        "apache" => Ok(Some(AccessLog::Apache)),
        "json" => Ok(Some(AccessLog::Json)),
        _ => Err(syntax::InvalidSyntax::new(text, "apache or json")),
    };
    env.set_or_warn(&mut runtime.access_log, "ACCESS_LOG", access_log);
    env.set(&mut runtime.shutdown_grace_period, "SHUTDOWN_GRACE_PERIOD", syntax::duration);
    runtime
}
