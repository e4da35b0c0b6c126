//! HAProxy: one thread, statistics on, no log.

use std::{fmt::Write as _, io, net::SocketAddr};

use super::{
    AUTHORITY, Lab, Servers, Setup, Topology,
    lab::{host, text},
};
use crate::{certificates::NAME, floor::Ports, process::Process};

pub(super) fn start(setup: Setup, lab: &Lab, servers: &Servers) -> io::Result<Topology> {
    let program = lab.tools.haproxy.as_ref().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "HAProxy is not installed"))?;
    if setup == Setup::Routes {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "not configured for HAProxy"));
    }
    let run = |name: &str, config: &str| {
        let file = lab.write(&format!("{name}.cfg"), config)?;
        // In the foreground.
        Process::start(program, ["-db", "-f", &text(&file)], &lab.log(name))
    };
    let (anchor, credential) = (text(&lab.certificates.anchor()), text(&lab.certificates.credential()));

    let (mut children, mut to) = (Vec::new(), Vec::new());
    for (index, server) in servers.addresses.iter().enumerate() {
        let ports = lab.ports();
        let bind = |alpn: &str| format!("ssl crt {credential} ca-file {anchor} verify required {alpn}");
        let mut config = common(lab, &format!("inbound-{index}"));
        config += &pair("http1", "http", ports.http1(), &bind("alpn h2"), &[server.http], "", "");
        config += &pair("http2", "http", ports.http2(), &bind("alpn h2"), &[server.http], "proto h2", "");
        config += &pair("tcp", "tcp", ports.tcp(), &bind(""), &[server.tcp], "", "");
        children.push(run(&format!("haproxy-inbound-{index}"), &config)?);
        to.push(ports);
    }
    let inbound = children.iter().map(Process::id).collect();

    let ports = lab.ports();
    let all = |of: fn(Ports) -> SocketAddr| to.iter().map(|ports| of(*ports)).collect::<Vec<_>>();
    let tls =
        |alpn: &str| format!("ssl verify required ca-file {anchor} crt {credential} sni str({NAME}) verifyhost {NAME} no-ssl-reuse {alpn}");
    let retries = if setup == Setup::Retries { "  retry-on 503\n  retries 3\n  option redispatch 1\n" } else { "" };
    let mut config = common(lab, "outbound");
    config += &pair("http1", "http", ports.http1(), "", &all(Ports::http1), &tls("alpn h2"), retries);
    config += &pair("http2", "http", ports.http2(), "", &all(Ports::http2), &tls("alpn h2"), retries);
    config += &pair("tcp", "tcp", ports.tcp(), "", &all(Ports::tcp), &tls(""), "");
    let outbound = run("haproxy-outbound", &config)?;
    let id = outbound.id();
    children.push(outbound);
    Ok(Topology {
        http1: Some(ports.http1()),
        http2: Some(ports.http2()),
        tcp: Some(ports.tcp()),
        authority: AUTHORITY.to_owned(),
        outbound: vec![id],
        inbound,
        children,
    })
}

fn common(lab: &Lab, name: &str) -> String {
    format!(
        "global
  nbthread 1
  maxconn 4000
  stats socket {}
  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
  ssl-default-server-ciphersuites TLS_AES_128_GCM_SHA256
  ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets
  ssl-default-server-options ssl-min-ver TLSv1.3
defaults
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
  balance random(2)
",
        text(&lab.dir.join(format!("{name}.sock")))
    )
}

fn pair(name: &str, mode: &str, at: SocketAddr, bind: &str, to: &[SocketAddr], server: &str, more: &str) -> String {
    let mut text = format!(
        "frontend {name}\n  mode {mode}\n  bind {} {bind}\n  default_backend {name}\nbackend {name}\n  mode {mode}\n{more}",
        host(at)
    );
    for (index, address) in to.iter().enumerate() {
        let _ = writeln!(text, "  server s{index} {} {server}", host(*address));
    }
    text
}
