//! The environment of a proxy.

use std::{collections::BTreeMap, ffi::OsString, os::unix::ffi::OsStringExt as _};

use meshkit_proxy::Config;

use crate::Verdict;

/// Without these nothing else is looked at to the end.
const REQUIRED: [(&str, &str); 10] = [
    ("LINKERD2_PROXY_DESTINATION_SVC_ADDR", "dst.linkerd.svc:8086"),
    ("LINKERD2_PROXY_DESTINATION_SVC_NAME", "dst.test"),
    ("LINKERD2_PROXY_POLICY_SVC_ADDR", "127.0.0.1:8090"),
    ("LINKERD2_PROXY_POLICY_WORKLOAD", "{\"ns\":\"n\",\"pod\":\"p\"}"),
    ("LINKERD2_PROXY_IDENTITY_DIR", "/id"),
    ("LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS", "-----BEGIN CERTIFICATE-----"),
    ("LINKERD2_PROXY_IDENTITY_TOKEN_FILE", "/token"),
    ("LINKERD2_PROXY_IDENTITY_LOCAL_NAME", "web.test"),
    ("LINKERD2_PROXY_IDENTITY_SVC_ADDR", "localhost.:8080"),
    ("LINKERD2_PROXY_INBOUND_DEFAULT_POLICY", "all-unauthenticated"),
];

/// Lines of `NAME=value` over the required settings; `LINKERD2_PROXY_` may be left out, and `NAME` alone unsets. Mistakes name settings of the
/// proxy; and reading twice gives the same.
#[must_use]
pub fn run(data: &[u8]) -> Verdict {
    let mut vars: BTreeMap<_, _> = REQUIRED.map(|(name, value)| (OsString::from(name), OsString::from(value))).into();
    for line in data.split(|b| *b == b'\n') {
        let equals = line.iter().position(|b| *b == b'=');
        let name = full(&line[..equals.unwrap_or(line.len())]);
        match equals {
            Some(equals) => drop(vars.insert(name, OsString::from_vec(line[equals + 1..].to_vec()))),
            None => drop(vars.remove(&name)),
        }
    }
    let read = Config::from_env(vars.clone());
    assert_eq!(read, Config::from_env(vars));
    match read {
        Ok(_) => Verdict::Accepted,
        Err(errors) => {
            assert!(!errors.is_empty(), "refused without a reason");
            for error in &errors {
                let ours = ["LINKERD2_PROXY_", "MESH_PROXY_"].iter().any(|prefix| error.name().starts_with(prefix));
                assert!(ours || ["HOSTNAME", "OTEL_RESOURCE_ATTRIBUTES"].contains(&error.name()), "{error}");
                assert!(error.to_string().len() > error.name().len() + 2, "{error}");
            }
            Verdict::Refused
        }
    }
}

fn full(name: &[u8]) -> OsString {
    let prefix: &[u8] =
        if name.starts_with(b"MESH_") || name == b"HOSTNAME" || name.starts_with(b"OTEL_") { b"" } else { b"LINKERD2_PROXY_" };
    OsString::from_vec([prefix, name].concat())
}
