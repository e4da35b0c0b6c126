//! The floor's processes.

use std::io;

use super::{AUTHORITY, Lab, Servers, Setup, Topology, lab::text};
use crate::process::Process;

pub(super) fn start(setup: Setup, lab: &Lab, servers: &Servers) -> io::Result<Topology> {
    if !matches!(setup, Setup::Plain | Setup::Slow) {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "the floor has no features"));
    }
    let certificates = format!("--certificates={}", text(lab.certificates.anchor().parent().unwrap_or(&lab.dir)));
    let floor = |name: &str, args: Vec<String>| {
        let args = ["floor".to_owned()].into_iter().chain(args).chain([certificates.clone()]);
        Process::start(&lab.program, args, &lab.log(name))
    };
    let (mut children, mut to) = (Vec::new(), Vec::new());
    for (index, server) in servers.addresses.iter().enumerate() {
        let ports = lab.ports();
        let args =
            vec!["inbound".into(), format!("--port={}", ports.0), format!("--http={}", server.http), format!("--tcp={}", server.tcp)];
        children.push(floor(&format!("floor-inbound-{index}"), args)?);
        to.push(ports.0.to_string());
    }
    let inbound = children.iter().map(Process::id).collect();
    let ports = lab.ports();
    let args = vec!["outbound".into(), format!("--port={}", ports.0), format!("--to={}", to.join(","))];
    let outbound = floor("floor-outbound", args)?;
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
