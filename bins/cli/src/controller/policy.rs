//! `mesh controller policy`.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use ipnet::IpNet;
use meshkit_kube::{Client, Selection};
use meshkit_manifest::{Cluster, Kind};
use meshkit_policy::DefaultPolicy;
use meshkit_policy_controller::{
    Mesh, Service, Settings,
    admission::Validator,
    settings::Acceptance,
    status::{self, Candidate, Writer},
};
use meshkit_wire::{
    extension, inbound,
    outbound::{self, Overrides},
};
use tokio::sync::watch;

use super::{
    flags::{Logs, listen},
    grpc,
    program::{self, Fault, Program, bind},
    source::follow,
    validator::answer,
};
use crate::run::control_plane::ByPath;

/// What answers are made of. Of Pods, only those that are meshed have policies.
const KINDS: [Kind; 14] = [
    Kind::Service,
    Kind::ExternalWorkload,
    Kind::Server,
    Kind::ServerAuthorization,
    Kind::AuthorizationPolicy,
    Kind::MeshTLSAuthentication,
    Kind::NetworkAuthentication,
    Kind::HTTPLocalRateLimitPolicy,
    Kind::EgressNetwork,
    Kind::PolicyHTTPRoute,
    Kind::HTTPRoute,
    Kind::GRPCRoute,
    Kind::TLSRoute,
    Kind::TCPRoute,
];
const MESHED: &str = "linkerd.io/control-plane-ns";

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Flags {
    /// Where the API listens
    #[arg(long, default_value = "0.0.0.0:8090", value_parser = listen, value_name = "ADDR")]
    grpc_addr: SocketAddr,
    /// Where it is looked after
    #[arg(long, default_value = "0.0.0.0:9990", value_parser = listen, value_name = "ADDR")]
    admin_addr: SocketAddr,
    /// Where the API server asks whether an object may be
    #[arg(long, default_value = "0.0.0.0:9443", value_parser = listen, value_name = "ADDR")]
    server_addr: SocketAddr,
    /// The key that the API server is shown, in PEM
    #[arg(long, default_value = "/var/run/linkerd/tls/tls.key", value_name = "FILE")]
    server_tls_key: PathBuf,
    /// The certificates that the API server is shown, in PEM
    #[arg(long, default_value = "/var/run/linkerd/tls/tls.crt", value_name = "FILE")]
    server_tls_certs: PathBuf,
    /// Says nothing of objects that are written
    #[arg(long)]
    admission_controller_disabled: bool,
    /// The networks of the cluster, with commas
    #[arg(long, default_value = "10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16", value_delimiter = ',', value_name = "NETS")]
    cluster_networks: Vec<IpNet>,
    /// Networks that probes come from, with commas
    #[arg(long, default_value = "", value_parser = networks, value_name = "NETS")]
    probe_networks: Networks,
    /// The last part of every identity
    #[arg(long, default_value = "cluster.local", value_name = "DOMAIN")]
    identity_domain: String,
    /// The DNS domain of the cluster
    #[arg(long, default_value = "cluster.local", value_name = "DOMAIN")]
    cluster_domain: String,
    /// What holds where no Server does
    #[arg(long, default_value = "all-unauthenticated", value_name = "POLICY")]
    default_policy: DefaultPolicy,
    /// The Deployment that owns the lease of the writer of statuses
    #[arg(long, default_value = "linkerd-destination", value_name = "NAME")]
    policy_deployment_name: String,
    /// The namespace of the control plane
    #[arg(long, default_value = "linkerd", value_name = "NAMESPACE")]
    control_plane_namespace: String,
    /// Ports that are opaque where no annotation says otherwise
    #[arg(long, default_value_t = Settings::default().opaque_ports, value_name = "PORTS")]
    default_opaque_ports: String,
    /// How long the write of a status may take, in milliseconds
    #[arg(long, default_value_t = 5000, value_name = "MS")]
    patch_timeout_ms: u64,
    /// Lets requests ask for other timeouts and retries, by l5d-* headers
    #[arg(long)]
    allow_l5d_request_headers: bool,
    /// The namespace whose EgressNetworks are everybody's
    #[arg(long, default_value = "linkerd-egress", value_name = "NAMESPACE")]
    global_egress_network_namespace: String,
    #[command(flatten)]
    logs: Logs,
}

/// Networks, or none where an empty text stands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Networks(Vec<IpNet>);

fn networks(text: &str) -> Result<Networks, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| part.parse().map_err(|error| format!("{part:?}: {error}"))).collect::<Result<_, _>>().map(Networks)
}

impl Flags {
    fn mesh(&self) -> Mesh {
        Mesh {
            namespace: self.control_plane_namespace.clone(),
            domain: self.cluster_domain.clone(),
            trust_domain: self.identity_domain.clone(),
            networks: self.cluster_networks.clone(),
            probe_networks: self.probe_networks.0.clone(),
            default_policy: self.default_policy,
        }
    }

    fn settings(&self) -> Settings {
        let overrides = if self.allow_l5d_request_headers { Overrides::Obeyed } else { Overrides::PassedOn };
        Settings::default()
            .acceptance(Acceptance::Written)
            .overrides(overrides)
            .egress_namespace(&self.global_egress_network_namespace)
            .opaque_ports(&self.default_opaque_ports)
    }
}

pub(super) fn run(flags: Flags) -> ExitCode {
    let (logs, admin) = (flags.logs.clone(), flags.admin_addr);
    program::run("policy", &logs, admin, async move |program| start(program, flags).await)
}

async fn start(program: &mut Program, flags: Flags) -> Result<(), Fault> {
    let listener = bind(flags.grpc_addr).await?;
    let client = Client::from_environment().await?;
    let selections = KINDS.map(Selection::all).into_iter().chain([Selection::all(Kind::Pod).labels(MESHED)]).collect();
    let mut known = Cluster::default();
    let events = follow(program, &client, selections, |event| known.apply(event, |_| true)).await?;
    let (cluster, changes) = watch::channel(Arc::new(known));
    program.endless("the watch of objects", Cluster::follow(events, Arc::new(cluster), |_| true));

    let policies = Arc::new(Service::new(changes, flags.mesh()).settings(flags.settings()));
    let candidate = Candidate::new(&flags.control_plane_namespace, &flags.policy_deployment_name, &program.pod);
    let candidate = candidate.ok_or("HOSTNAME is not set: it says in whose name the lease of the writer of statuses is held")?;
    let writer = Writer::new(client, candidate, status::Metrics::register(&program.registry));
    let writer = writer.clock(Arc::clone(&program.clock)).patch_timeout(Duration::from_millis(flags.patch_timeout_ms));
    // Told to stop, it gives the lease back: another replica need not wait for its end.
    let (index, drain) = (policies.index().clone(), program.drain.clone());
    program.endless("the writer of statuses", async move {
        let stop = drain.clone().signaled();
        writer.run(index, async { drop(stop.await) }).await;
        drop(drain);
    });
    let apis = ByPath {
        prefix: "/io.linkerd.proxy.outbound.",
        first: outbound::server(Arc::clone(&policies)),
        other: ByPath { prefix: extension::PATH, first: extension::server(Arc::clone(&policies)), other: inbound::server(policies) },
    };
    if !flags.admission_controller_disabled {
        let certificate = flags.server_tls_certs.parent().unwrap_or(&flags.server_tls_certs).to_owned();
        answer(program, bind(flags.server_addr).await?, certificate, Validator::Policies).await?;
    }
    program.endless("the server", grpc::serve(listener, apis, program.drain.clone()));
    program.ready();
    Ok(())
}
