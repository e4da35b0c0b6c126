//! Images, and where the programs lie in them: ours and the stock ones are not alike.

use crate::values::{Image, Values};

/// The last part of the name of our own proxy's image.
const OWN_PROXY: &str = "meshkit-proxy";

/// Where programs lie in a proxy's image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // There are these two.
pub enum Layout {
    /// Ours: one program, `/mesh`, with a subcommand for each purpose. Redirection has an image of its own, which holds iptables.
    Meshkit,
    /// The stock one: a program for each purpose, that for redirection included.
    Linkerd,
}

/// An image and the command that runs in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Name and tag.
    pub image: String,
    /// When it is pulled.
    pub pull_policy: String,
    /// The program and its subcommand.
    pub command: Vec<&'static str>,
}

impl Layout {
    /// The layout of the proxy's image: as the values say, or else as its name says.
    #[must_use]
    pub fn of(values: &Values) -> Self {
        let image = &values.proxy.image;
        let last = image.name.rsplit('/').next().unwrap_or_default();
        match image.layout.as_str() {
            "meshkit" => Self::Meshkit,
            "linkerd" => Self::Linkerd,
            _ if last == OWN_PROXY => Self::Meshkit,
            _ => Self::Linkerd,
        }
    }

    /// What waits until the proxy is ready.
    #[must_use]
    pub fn await_command(self, admin: u16) -> Vec<String> {
        let program: &[&str] = match self {
            Self::Meshkit => &["/mesh", "await"],
            Self::Linkerd => &["/usr/lib/linkerd/linkerd-await"],
        };
        let arguments = ["--timeout=2m".to_owned(), format!("--port={admin}")];
        program.iter().map(ToString::to_string).chain(arguments).collect()
    }

    /// What does nothing for some seconds.
    #[must_use]
    pub fn sleep_command(self, seconds: u32) -> Vec<String> {
        let program: &[&str] = match self {
            Self::Meshkit => &["/mesh", "sleep"],
            Self::Linkerd => &["/bin/sleep"],
        };
        program.iter().map(ToString::to_string).chain([seconds.to_string()]).collect()
    }
}

impl Program {
    /// The proxy. Its command is the image's.
    #[must_use]
    pub fn proxy(values: &Values) -> Self {
        Self::of(values, &values.proxy.image, values.proxy_version(), &[])
    }

    /// What redirects connections to the proxy.
    #[must_use]
    pub fn init(values: &Values) -> Self {
        let own = &values.proxy_init.image;
        match Layout::of(values) {
            Layout::Meshkit if own.version.is_empty() => Self::of(values, own, values.proxy_version(), &["/mesh", "init"]),
            Layout::Meshkit => Self::of(values, own, &own.version, &["/mesh", "init"]),
            Layout::Linkerd => Self::of(values, &values.proxy.image, values.proxy_version(), &["/usr/lib/linkerd/linkerd2-proxy-init"]),
        }
    }

    /// What proves that connections are redirected.
    #[must_use]
    pub fn validator(values: &Values) -> Self {
        let command: &[_] = match Layout::of(values) {
            Layout::Meshkit => &["/mesh", "validate"],
            Layout::Linkerd => &["/usr/lib/linkerd/linkerd2-network-validator"],
        };
        Self::of(values, &values.proxy.image, values.proxy_version(), command)
    }

    /// Tools.
    #[must_use]
    pub fn debug(values: &Values) -> Self {
        let image = &values.debug_container.image;
        let version = if image.version.is_empty() { &values.linkerd_version } else { &image.version };
        Self::of(values, image, version, &[])
    }

    fn of(values: &Values, image: &Image, version: &str, command: &[&'static str]) -> Self {
        let pull_policy = if image.pull_policy.is_empty() { &values.image_pull_policy } else { &image.pull_policy };
        Self { image: format!("{}:{version}", image.name), pull_policy: pull_policy.clone(), command: command.to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(name: &str, layout: &str) -> Values {
        let mut values = Values { linkerd_version: "1.0.0".to_owned(), ..Values::default() };
        name.clone_into(&mut values.proxy.image.name);
        layout.clone_into(&mut values.proxy.image.layout);
        values
    }

    #[test]
    fn our_own_image_has_our_paths_and_a_stock_one_has_its_own() {
        let own = values("registry.example:5000/mirror/meshkit-proxy", "");
        assert_eq!(Program::init(&own).image, "ghcr.io/meshkit/meshkit-init:1.0.0");
        assert_eq!(Program::validator(&own).command, ["/mesh", "validate"]);
        assert_eq!(Layout::of(&own).sleep_command(5), ["/mesh", "sleep", "5"]);
        let stock = values("cr.l5d.io/linkerd/proxy", "");
        assert_eq!(Program::init(&stock).image, "cr.l5d.io/linkerd/proxy:1.0.0");
        assert_eq!(Program::init(&stock).command, ["/usr/lib/linkerd/linkerd2-proxy-init"]);
        assert_eq!(Layout::of(&stock).await_command(4191), ["/usr/lib/linkerd/linkerd-await", "--timeout=2m", "--port=4191"]);
    }

    #[test]
    fn a_renamed_image_can_say_what_it_is() {
        assert_eq!(Layout::of(&values("example.com/sidecar", "meshkit")), Layout::Meshkit);
        assert_eq!(Layout::of(&values("example.com/meshkit-proxy", "linkerd")), Layout::Linkerd);
    }
}
