//! nginx: one worker, no access log. It speaks only HTTP/1 to the next proxy, so it is compared by that alone.

use std::{fmt::Write as _, io};

use super::{AUTHORITY, Lab, Servers, Setup, Topology, lab::text};
use crate::{certificates::NAME, process::Process};

pub(super) fn start(setup: Setup, lab: &Lab, servers: &Servers) -> io::Result<Topology> {
    let program = lab.tools.nginx.as_ref().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "nginx is not installed"))?;
    if setup != Setup::Plain {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "not configured for nginx"));
    }
    let run = |name: &str, listen: &str, to: &[std::net::SocketAddr], pass: &str| {
        let mut upstream = String::new();
        for address in to {
            let _ = writeln!(upstream, "    server {address};");
        }
        let dir = text(&lab.dir);
        // Temporary folders are not used, but must be writable.
        let folders: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("  {kind}_temp_path {dir}/nginx-{kind};\n"))
            .collect();
        let config = format!(
            "daemon off;
master_process off;
worker_processes 1;
pid {dir}/{name}.pid;
error_log stderr error;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  keepalive_requests 100000000;
{folders}  upstream next {{
{upstream}    keepalive 64;
    keepalive_requests 100000000;
  }}
  server {{
{listen}    location / {{
{pass}      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $http_host;
    }}
  }}
}}
"
        );
        let file = lab.write(&format!("{name}.conf"), &config)?;
        // What it says before it has read its configuration goes to the standard error too.
        Process::start(program, ["-c", &text(&file), "-p", &dir, "-e", "stderr"], &lab.log(name))
    };
    let (anchor, leaf, key) = (text(&lab.certificates.anchor()), text(&lab.certificates.leaf()), text(&lab.certificates.key()));

    let (mut children, mut to) = (Vec::new(), Vec::new());
    for (index, server) in servers.addresses.iter().enumerate() {
        let at = lab.ports().http1();
        let listen = format!(
            "    listen {at} ssl;
    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    ssl_certificate {leaf};
    ssl_certificate_key {key};
    ssl_client_certificate {anchor};
    ssl_verify_client on;
"
        );
        children.push(run(&format!("nginx-inbound-{index}"), &listen, &[server.http], "      proxy_pass http://next;\n")?);
        to.push(at);
    }
    let inbound = children.iter().map(Process::id).collect();

    let at = lab.ports().http1();
    let pass = format!(
        "      proxy_pass https://next;
      proxy_ssl_protocols TLSv1.3;
      proxy_ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
      proxy_ssl_certificate {leaf};
      proxy_ssl_certificate_key {key};
      proxy_ssl_trusted_certificate {anchor};
      proxy_ssl_verify on;
      proxy_ssl_name {NAME};
      proxy_ssl_server_name on;
      proxy_ssl_session_reuse off;
"
    );
    let outbound = run("nginx-outbound", &format!("    listen {at};\n"), &to, &pass)?;
    let id = outbound.id();
    children.push(outbound);
    Ok(Topology { http1: Some(at), http2: None, tcp: None, authority: AUTHORITY.to_owned(), outbound: vec![id], inbound, children })
}
