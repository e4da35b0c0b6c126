//! The flags of the controller, as charts pass them.

use std::{ffi::OsString, net::SocketAddr, time::Duration};

use clap::{ArgAction, Args};
use meshkit_core::endpoint::{Http2, KeepAlive, WhileIdle};
use serde::Deserialize;

use crate::{
    Mesh, Settings,
    ports::Ports,
    settings::{Families, Transport, Upgrade, ZoneWeights},
};

/// Flags of the destination controller.
///
/// A flag may begin with one dash, and one that is true or false may stand alone, as in Go: see [`go_flags`].
#[derive(Clone, Debug, PartialEq, Args)]
#[non_exhaustive]
pub struct DestinationArgs {
    /// Where the API listens: an address and a port, or a port alone behind a colon
    #[arg(long, default_value = ":8086", value_parser = listen)]
    pub addr: SocketAddr,
    /// Where it is looked after
    #[arg(long, default_value = ":9996", value_parser = listen)]
    pub metrics_addr: SocketAddr,
    /// The namespace of the control plane
    #[arg(long, default_value = "linkerd")]
    pub controller_namespace: String,
    /// "transport-header" for a header on all connections between proxies, anything else for opaque ones only
    #[arg(long, default_value = "transparent")]
    pub outbound_transport_mode: String,
    /// Whether HTTP/1 goes inside HTTP/2 between proxies
    #[arg(long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pub enable_h2_upgrade: bool,
    /// Must be true: nothing but EndpointSlices is read
    #[arg(long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pub enable_endpoint_slices: bool,
    /// Whether there are addresses of IPv6
    #[arg(long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pub enable_ipv6: bool,
    /// The last part of every identity; empty is "cluster.local"
    #[arg(long, default_value = "")]
    pub identity_trust_domain: String,
    /// The DNS domain of the cluster; empty is "cluster.local"
    #[arg(long, default_value = "")]
    pub cluster_domain: String,
    /// Ports that are opaque where no annotation says otherwise
    #[arg(long)]
    pub default_opaque_ports: Option<String>,
    /// Without effect: there is no such profiler here
    #[arg(long, default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pub enable_pprof: bool,
    /// Without effect: there are no queues
    #[arg(long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pub export_queue_metrics: bool,
    /// Without effect: there are no queues. Must be more than 0
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub stream_queue_capacity: u32,
    /// Whether endpoints of the client's zone weigh ten times as much
    #[arg(long, default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pub ext_endpoint_zone_weights: bool,
    /// Settings for HTTP/2 connections between proxies, as JSON of the API's Http2ClientParams
    #[arg(long, default_value = "", value_parser = http2)]
    pub meshed_http2_client_params: Http2,
    /// Different questions of each kind that may be watched at once
    #[arg(long, default_value_t = Settings::default().max_questions)]
    pub max_questions: usize,
    /// Streams that may be open at once
    #[arg(long, default_value_t = Settings::default().max_streams)]
    pub max_streams: usize,
    /// Streams of one client that may be open at once
    #[arg(long, default_value_t = Settings::default().max_streams_per_client)]
    pub max_streams_per_client: usize,
}

/// `Http2ClientParams` as Go writes and reads it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Http2Params {
    flow_control: FlowControl,
    keep_alive: Option<KeepAliveParams>,
    internals: Internals,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FlowControl {
    initial_connection_window_size: u32,
    initial_stream_window_size: u32,
    adaptive_flow_control: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct KeepAliveParams {
    interval: Seconds,
    timeout: Seconds,
    while_idle: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Seconds {
    seconds: u64,
    nanos: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Internals {
    max_concurrent_reset_streams: u32,
    max_frame_size: u32,
    max_send_buf_size: u32,
}

impl DestinationArgs {
    /// What is the same for every answer.
    #[must_use]
    pub fn mesh(&self) -> Mesh {
        let or_default = |domain: &str| if domain.is_empty() { "cluster.local" } else { domain }.to_owned();
        Mesh {
            namespace: self.controller_namespace.clone(),
            domain: or_default(&self.cluster_domain),
            trust_domain: or_default(&self.identity_trust_domain),
        }
    }

    /// What an operator has set.
    ///
    /// # Errors
    /// A flag asks for what is not there.
    pub fn settings(&self) -> Result<Settings, String> {
        if !self.enable_endpoint_slices {
            return Err("enable-endpoint-slices is false: only EndpointSlices are read, and every cluster since 1.21 has them".to_owned());
        }
        let default = Settings::default();
        Ok(Settings {
            default_opaque: self.default_opaque_ports.as_deref().map_or(default.default_opaque, |list| Ports::parse(list, [])),
            upgrade: if self.enable_h2_upgrade { Upgrade::Http2 } else { Upgrade::Off },
            transport: if self.outbound_transport_mode == "transport-header" { Transport::Header } else { Transport::Transparent },
            families: if self.enable_ipv6 { Families::Both } else { Families::V4 },
            zone_weights: if self.ext_endpoint_zone_weights { ZoneWeights::PreferLocal } else { ZoneWeights::Equal },
            http2: self.meshed_http2_client_params,
            max_questions: self.max_questions,
            max_streams: self.max_streams,
            max_streams_per_client: self.max_streams_per_client,
        })
    }
}

/// Flags as Go reads them, in the form of everybody else: one dash becomes two. What follows `--` stays as it is.
pub fn go_flags(args: impl IntoIterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    let mut is_over = false;
    args.into_iter().map(move |arg| {
        is_over |= arg == "--";
        let long = arg.to_str().and_then(|text| text.strip_prefix('-')).filter(|rest| rest.len() > 1 && !rest.starts_with('-'));
        match long.filter(|_| !is_over) {
            Some(long) => format!("--{long}").into(),
            None => arg,
        }
    })
}

/// `:8086` is every address.
fn listen(text: &str) -> Result<SocketAddr, String> {
    let full = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
    full.parse().map_err(|_| format!("{text:?} is neither an address with a port nor a port such as :8086"))
}

fn http2(text: &str) -> Result<Http2, String> {
    if text.is_empty() {
        return Ok(Http2::default());
    }
    let params: Http2Params = serde_json::from_str(text).map_err(|error| format!("{text:?} is no Http2ClientParams: {error}"))?;
    let set = |number: u32| (number > 0).then_some(number);
    let time = |time: &Seconds| Duration::new(time.seconds, time.nanos.min(999_999_999));
    let mut http2 = Http2::default();
    http2.connection_window = set(params.flow_control.initial_connection_window_size);
    http2.stream_window = set(params.flow_control.initial_stream_window_size);
    http2.adaptive_window = params.flow_control.adaptive_flow_control;
    http2.keep_alive = params.keep_alive.filter(|k| !time(&k.interval).is_zero()).map(|k| KeepAlive {
        interval: time(&k.interval),
        timeout: time(&k.timeout),
        while_idle: if k.while_idle { WhileIdle::Ping } else { WhileIdle::Quiet },
    });
    http2.max_concurrent_reset_streams = set(params.internals.max_concurrent_reset_streams);
    http2.max_frame_size = set(params.internals.max_frame_size);
    http2.max_send_buf_size = set(params.internals.max_send_buf_size);
    Ok(http2)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        args: DestinationArgs,
    }

    fn parse(args: &[&str]) -> Result<DestinationArgs, String> {
        let args = std::iter::once("mesh").chain(args.iter().copied()).map(OsString::from);
        Program::try_parse_from(go_flags(args)).map(|program| program.args).map_err(|error| error.to_string())
    }

    #[test]
    fn the_flags_of_the_chart_are_read() {
        let args = parse(&[
            "-addr=:8086",
            "-controller-namespace=mesh",
            "-outbound-transport-mode=transport-header",
            "-enable-h2-upgrade=true",
            "-enable-endpoint-slices=true",
            "-cluster-domain=my.local",
            "-identity-trust-domain=td.local",
            "-default-opaque-ports=25,3306",
            "-enable-ipv6=false",
            "-enable-pprof=false",
            "-stream-queue-capacity",
            "7",
            r#"-meshed-http2-client-params={"keep_alive":{"interval":{"seconds":10},"timeout":{"seconds":3},"while_idle":true}}"#,
        ])
        .unwrap();
        assert_eq!(args.addr.to_string(), "[::]:8086");
        let mesh = Mesh { namespace: "mesh".to_owned(), domain: "my.local".to_owned(), trust_domain: "td.local".to_owned() };
        assert_eq!(args.mesh(), mesh);
        let settings = args.settings().unwrap();
        assert_eq!((settings.transport, settings.families, settings.upgrade), (Transport::Header, Families::V4, Upgrade::Http2));
        assert!(settings.default_opaque.contains(3306) && !settings.default_opaque.contains(5432));
        let (interval, timeout) = (Duration::from_secs(10), Duration::from_secs(3));
        assert_eq!(settings.http2.keep_alive, Some(KeepAlive { interval, timeout, while_idle: WhileIdle::Ping }));
    }

    #[test]
    fn defaults_are_those_of_the_binary() {
        let args = parse(&[]).unwrap();
        let settings = args.settings().unwrap();
        assert_eq!(settings, Settings { transport: Transport::Transparent, ..Settings::default() });
        assert_eq!((args.metrics_addr.port(), args.mesh().domain.as_str()), (9996, "cluster.local"));
        let off = parse(&["-enable-h2-upgrade=false", "--ext-endpoint-zone-weights", "-enable-ipv6"]).unwrap().settings().unwrap();
        assert_eq!((off.upgrade, off.zone_weights, off.families), (Upgrade::Off, ZoneWeights::PreferLocal, Families::Both));
        assert_eq!(parse(&["-outbound-transport-mode=other"]).unwrap().settings().unwrap().transport, Transport::Transparent);
    }

    #[test]
    fn what_cannot_be_is_said_with_the_name_of_the_flag() {
        for (flag, text) in [
            ("-addr=nowhere", "addr"),
            ("-stream-queue-capacity=0", "stream-queue-capacity"),
            ("-meshed-http2-client-params={\"other\":1}", "no Http2ClientParams"),
            ("-enable-ipv6=maybe", "enable-ipv6"),
        ] {
            let error = parse(&[flag]).unwrap_err();
            assert!(error.contains(text), "{flag}: {error}");
        }
        assert!(parse(&["-enable-endpoint-slices=false"]).unwrap().settings().unwrap_err().contains("enable-endpoint-slices"));
    }

    #[test]
    fn one_dash_is_two_and_letters_stay_letters() {
        let args = ["-addr", "--addr", "-h", "-", "x", "--", "-addr"].map(OsString::from);
        assert_eq!(go_flags(args).collect::<Vec<_>>(), ["--addr", "--addr", "-h", "-", "x", "--", "-addr"]);
    }
}
