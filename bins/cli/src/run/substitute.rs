//! Replaces the names of Services in `env`, `args` and `command` by the address where the replica's own proxy accepts for them.
//!
//! What counts as a name, for a replica in namespace `ns`: `svc` (a Service of `ns`), `svc.other`, `svc.other.svc`, `svc.other.svc.cluster.local`,
//! each with or without a trailing dot. It is replaced where it stands
//!
//! - before a port that the Service declares: `voting-svc.emojivoto:8080`;
//! - as the authority of a URL without a port, if the Service declares the scheme's: `http://web-svc/api`;
//! - alone, as the whole value of an `env` entry, if the Service declares exactly one port.
//!
//! Everything else is left as it is: a word that merely looks like a Service's name is not one.

use std::net::Ipv4Addr;

/// A Service that a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Replaces the name.
    pub address: Ipv4Addr,
    /// The ports that the Service declares.
    pub ports: Vec<u16>,
}

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The value of an environment variable.
    Env,
    /// A word of `command` or `args`.
    Argument,
}

/// Replaces what `lookup` knows. `lookup` is asked with namespace (absent for a bare name) and name.
#[must_use]
pub fn substitute(value: &str, place: Place, domain: &str, lookup: impl Fn(Option<&str>, &str) -> Option<Target>) -> String {
    let find = |host: &str| parse(host, domain).and_then(|(namespace, name)| lookup(namespace, name));
    if place == Place::Env
        && let Some(target) = find(value)
        && target.ports.len() == 1
    {
        return target.address.to_string();
    }

    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(start) = rest.find(is_host) {
        out.push_str(&rest[..start]);
        let host = &rest[start..];
        let host = &host[..host.find(|c| !is_host(c)).unwrap_or(host.len())];
        rest = &rest[start + host.len()..];
        let port = explicit_port(rest).or_else(|| scheme_port(&out, rest));
        match find(host).zip(port) {
            Some((target, port)) if target.ports.contains(&port) => out.push_str(&target.address.to_string()),
            _ => out.push_str(host),
        }
    }
    out.push_str(rest);
    out
}

fn is_host(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')
}

/// Splits `svc[.ns[.svc[.domain]]][.]`.
fn parse<'a>(host: &'a str, domain: &str) -> Option<(Option<&'a str>, &'a str)> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let Some((name, rest)) = host.split_once('.') else {
        return (!host.is_empty()).then_some((None, host));
    };
    let (namespace, tail) = rest.split_once('.').unwrap_or((rest, ""));
    let known = tail.is_empty() || tail == "svc" || tail.strip_prefix("svc.") == Some(domain);
    (known && !name.is_empty() && !namespace.is_empty()).then_some((Some(namespace), name))
}

/// The port behind the host: a colon, and digits that nothing continues.
fn explicit_port(rest: &str) -> Option<u16> {
    let digits = rest.strip_prefix(':')?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let ends = digits[end..].chars().next().is_none_or(|c| !is_host(c));
    digits[..end].parse().ok().filter(|_| ends)
}

/// The scheme's port, where the host is the whole authority of a URL.
fn scheme_port(before: &str, rest: &str) -> Option<u16> {
    if rest.starts_with(':') || rest.starts_with('@') {
        return None;
    }
    let scheme = before.strip_suffix("://")?;
    match scheme.rsplit(|c: char| !c.is_ascii_alphanumeric()).next()? {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lookup(namespace: Option<&str>, name: &str) -> Option<Target> {
        let (address, ports) = match (namespace.unwrap_or("emojivoto"), name) {
            ("emojivoto", "web-svc") => ([127, 40, 64, 1], vec![80]),
            ("emojivoto", "voting-svc") => ([127, 40, 64, 2], vec![8080, 8801]),
            _ => return None,
        };
        Some(Target { address: address.into(), ports })
    }

    fn env(value: &str) -> String {
        substitute(value, Place::Env, "cluster.local", lookup)
    }

    #[test]
    fn a_name_before_a_declared_port_is_replaced() {
        for name in [
            "voting-svc",
            "voting-svc.emojivoto",
            "voting-svc.emojivoto.svc",
            "voting-svc.emojivoto.svc.cluster.local",
            "voting-svc.emojivoto.",
        ] {
            assert_eq!(env(&format!("{name}:8080")), "127.40.64.2:8080", "{name}");
        }
        assert_eq!(env("a=voting-svc:8080,b=web-svc:80/x"), "a=127.40.64.2:8080,b=127.40.64.1:80/x");
        assert_eq!(substitute("--to=web-svc:80", Place::Argument, "cluster.local", lookup), "--to=127.40.64.1:80");
    }

    #[test]
    fn the_authority_of_a_url_is_replaced() {
        assert_eq!(env("http://web-svc/api?x=web-svc"), "http://127.40.64.1/api?x=web-svc");
        assert_eq!(env("http://web-svc.emojivoto:80"), "http://127.40.64.1:80");
        assert_eq!(env("https://web-svc/"), "https://web-svc/");
    }

    #[test]
    fn a_lone_name_is_replaced_only_in_env_and_only_where_one_port_is_declared() {
        assert_eq!(env("web-svc"), "127.40.64.1");
        assert_eq!(env("voting-svc"), "voting-svc");
        assert_eq!(substitute("web-svc", Place::Argument, "cluster.local", lookup), "web-svc");
    }

    #[test]
    fn everything_else_is_left_alone() {
        for value in
            ["voting-svc:9999", "my-web-svc:80", "web-svc:80a", "web-svc.other:80", "web-svc.emojivoto.pod:80", "web-svc:", "10.0.0.1:80"]
        {
            assert_eq!(env(value), value);
        }
    }

    proptest! {
        #[test]
        fn any_value_can_be_looked_through(value in ".{0,60}") {
            prop_assert_eq!(substitute(&value, Place::Env, "cluster.local", |_, _| None), value);
        }
    }
}
