//! `mesh check`: is everything as it must be, and if not, what is to be done?

mod certificates;
mod output;
mod rows;
mod runner;

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::SystemTime,
};

pub(crate) use certificates::Bundle;
use clap::ValueEnum;
use meshkit_core::{Clock as _, SystemClock};
use output::Page;
pub(crate) use rows::identity::trusted_by;
use runner::{Category, run};
use tokio::time::Duration;

use crate::{
    access::{self, Access},
    cluster::{self, Cluster},
};

/// How the result is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Every row
    #[default]
    Table,
    /// Problems alone
    Short,
    /// One document
    Json,
}

/// `mesh check`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Check {
    /// Checks what must hold before the install
    #[arg(long, conflicts_with_all = ["crds", "proxy"])]
    pre: bool,
    /// Checks that the kinds of the mesh are installed
    #[arg(long, conflicts_with = "proxy")]
    crds: bool,
    /// Checks proxies, too
    #[arg(long)]
    proxy: bool,
    /// Checks proxies of this namespace only [default: all]
    #[arg(short, long, value_parser = access::namespace)]
    namespace: Option<String>,
    /// Before the install: checks the CNI plugin, too
    #[arg(long, requires = "pre")]
    linkerd_cni_enabled: bool,
    /// The version that everything should have
    #[arg(long, value_name = "VERSION")]
    expected_version: Option<String>,
    /// The version that this program is taken for
    #[arg(long, value_name = "VERSION", hide = true)]
    cli_version_override: Option<String>,
    /// How the result is told
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// How long to wait for what takes its time
    #[arg(long, default_value = "300s", value_parser = crate::args::parse_duration)]
    wait: Duration,
    #[command(flatten)]
    access: Access,
}

/// What checks look at.
pub(crate) struct Scene<'a> {
    pub(super) cluster: &'a dyn Cluster,
    /// Where the control plane is.
    pub(super) namespace: String,
    /// Where the CNI plugin is.
    pub(super) cni_namespace: String,
    /// The one namespace whose proxies are looked at, if not all.
    pub(super) data_plane: Option<String>,
    /// The plugin is wanted, though there is no mesh yet that could say so.
    pub(super) wants_cni: bool,
    pub(super) cli_version: String,
    pub(super) expected_version: Option<String>,
    pub(super) now: SystemTime,
}

impl Check {
    /// Checks everything, and tells it. Is all well?
    ///
    /// # Errors
    /// It cannot be told.
    pub(crate) async fn run(self) -> Result<bool, Vec<String>> {
        let kubectl = cluster::connect(&self.access);
        let scene = self.scene(&kubectl);
        let mut out = io::stdout().lock();
        let mut page = Page::new(self.output, out.is_terminal());
        let mut failed = None;
        let mut tell = |text: String| {
            if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
                failed.get_or_insert(error);
            }
        };
        let well = run(&self.categories(), &scene, self.wait, |row| tell(page.row(&row))).await;
        tell(page.end(well));
        match failed {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(vec![format!("standard output: {error}")]),
            _ => Ok(well),
        }
    }

    fn scene<'a>(&self, cluster: &'a dyn Cluster) -> Scene<'a> {
        Scene {
            cluster,
            namespace: self.access.linkerd_namespace.clone(),
            cni_namespace: self.access.cni_namespace.clone(),
            data_plane: self.namespace.clone(),
            wants_cni: self.linkerd_cni_enabled,
            cli_version: self.cli_version_override.clone().unwrap_or_else(|| crate::version::CLIENT.to_owned()),
            expected_version: self.expected_version.clone(),
            now: SystemClock.now(),
        }
    }

    /// What is checked, in order.
    fn categories(&self) -> Vec<Category> {
        let installed = !self.pre && !self.crds;
        let all = [
            (true, rows::api::api as fn() -> Category),
            (true, rows::api::version),
            (true, rows::api::gateway),
            (self.pre, rows::before::before),
            (self.crds, rows::existence::kinds),
            (installed, rows::existence::existence),
            (installed, rows::config::config),
            (installed || self.linkerd_cni_enabled, rows::cni::cni),
            (installed, rows::identity::identity),
            (installed, rows::webhooks::webhooks),
            (self.proxy, rows::identity::data_plane),
            (true, rows::versions::client),
            (installed && !self.proxy, rows::versions::control_plane),
            (installed, rows::versions::control_plane_proxies),
            (self.proxy, rows::data_plane::data_plane),
            (installed, rows::existence::high_availability),
            (installed && !self.proxy, rows::existence::extensions),
        ];
        all.into_iter().filter(|(wanted, _)| *wanted).map(|(_, category)| category()).collect()
    }
}

#[cfg(test)]
mod tests;
