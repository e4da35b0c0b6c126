//! `mesh controller identity`.

use std::{fmt::Write as _, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration, time::SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use meshkit_core::Identity;
use meshkit_identity::{
    Anchors, Lifetimes, Observe, Service,
    metrics::Metrics,
    mounted::{ANCHORS_FILE, ISSUER_DIR, Mounted, Scheme},
    reload::Reloader,
    review::{Review, Reviewed, Reviews},
    token::ServiceAccount,
};
use meshkit_kube::{About, Access, Client, Happening, Recorder};
use meshkit_wire::{extension, identity::server};
use tokio::sync::watch;
use tracing::info;

use super::{
    flags::{Logs, duration, listen},
    grpc,
    program::{self, Fault, Program, bind, chain},
};
use crate::run::control_plane::ByPath;

const NAME: &str = "linkerd-identity";

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Flags {
    /// Where the API listens: an address and a port, or a port alone behind a colon
    #[arg(long, default_value = ":8080", value_parser = listen, value_name = "ADDR")]
    addr: SocketAddr,
    /// Where it is looked after
    #[arg(long, default_value = ":9990", value_parser = listen, value_name = "ADDR")]
    admin_addr: SocketAddr,
    /// The namespace of the control plane
    #[arg(long, default_value = "linkerd", value_name = "NAMESPACE")]
    controller_namespace: String,
    /// What the files of the issuer are called: linkerd.io/tls or kubernetes.io/tls. Without it there is nothing to do
    #[arg(long, default_value = "", hide_default_value = true, value_name = "SCHEME")]
    identity_scheme: String,
    /// The last part of every identity. Without it there is nothing to do
    #[arg(long, default_value = "", hide_default_value = true, value_name = "DOMAIN")]
    identity_trust_domain: String,
    /// How long certificates are valid
    #[arg(long, default_value = "24h", value_parser = duration, value_name = "TIME")]
    identity_issuance_lifetime: Duration,
    /// How far clocks may be apart
    #[arg(long, default_value = "10s", value_parser = duration, value_name = "TIME")]
    identity_clock_skew_allowance: Duration,
    /// The folder of the issuer's files
    #[arg(long, default_value = ISSUER_DIR, value_name = "DIR")]
    issuer: PathBuf,
    /// The file of trust anchors
    #[arg(long, default_value = ANCHORS_FILE, value_name = "FILE")]
    trust_roots: PathBuf,
    /// Without effect: tokens are few
    #[arg(long, hide = true)]
    kube_apiclient_qps: Option<f64>,
    /// Without effect, as the one before
    #[arg(long, hide = true)]
    kube_apiclient_burst: Option<u32>,
    #[command(flatten)]
    logs: Logs,
}

/// Tokens are checked by the API server.
#[derive(Clone, Debug)]
struct TokenReviews(Client);

/// Events for what an operator wants to know.
#[derive(Debug)]
struct Events {
    recorder: Recorder,
    namespace: String,
}

pub(super) fn run(flags: Flags) -> ExitCode {
    if flags.identity_scheme.is_empty() || flags.identity_trust_domain.is_empty() {
        eprintln!("mesh controller identity: nothing to do without --identity-scheme and --identity-trust-domain");
        return ExitCode::SUCCESS;
    }
    let (logs, admin) = (flags.logs.clone(), flags.admin_addr);
    program::run("identity", &logs, admin, async move |program| start(program, flags).await)
}

async fn start(program: &mut Program, flags: Flags) -> Result<(), Fault> {
    let scheme: Scheme = flags.identity_scheme.parse().map_err(|error| format!("--identity-scheme: {error}"))?;
    let mounted = Mounted::new(&flags.issuer, scheme, &flags.trust_roots);
    let listener = bind(flags.addr).await?;
    let client = Client::from_environment().await?;
    allowed(&client).await?;

    let clock = Arc::clone(&program.clock);
    let (reloader, issuer) = Reloader::open(mounted.clone(), clock.now())?;
    let (recorder, writer) = Recorder::new(NAME, &program.pod);
    program.endless("the writer of events", writer.run(client.clone(), Arc::clone(&clock)));
    let metrics = Metrics::register(&program.registry, Arc::clone(&clock));
    let observe: Arc<dyn Observe> = Arc::new((metrics, Events { recorder, namespace: flags.controller_namespace.clone() }));

    let tokens = Reviews::new(TokenReviews(client));
    let lifetimes = Lifetimes { validity: flags.identity_issuance_lifetime, skew: flags.identity_clock_skew_allowance };
    let service = Service::new(tokens, &flags.controller_namespace, &flags.identity_trust_domain, lifetimes, Arc::clone(&clock));
    let told = Arc::new(Anchors::new(reloader.anchors().into(), mounted.anchors_written_at(clock.now()), Arc::clone(&clock)));
    told.register(&program.registry);
    let service = Arc::new(service.observe(Arc::clone(&observe)).anchors(Arc::clone(&told)));
    service.set_issuer(issuer);
    let (pems, changed) = watch::channel(reloader.anchors().into());
    program.endless("the watch of the issuer's files", reloader.follow(Arc::clone(&service), pems, observe, Arc::clone(&clock)));
    program.endless("the teller of trust anchors", Arc::clone(&told).follow(changed, move || mounted.anchors_written_at(clock.now())));
    let apis = ByPath { prefix: extension::anchors::PATH, first: extension::anchors::server(told), other: server(service) };
    program.endless("the server", grpc::serve(listener, apis, program.drain.clone()));
    program.ready();
    Ok(())
}

/// Without this right not one token could be checked: better said at once.
async fn allowed(client: &Client) -> Result<(), Fault> {
    let access = Access::new("create", "authentication.k8s.io", "tokenreviews");
    match client.may_i(&access).await? {
        verdict if verdict.allowed => Ok(()),
        _ => Err(format!("this account may not {access}: bind it to the ClusterRole of the identity controller").into()),
    }
}

impl Review for TokenReviews {
    async fn review(&self, token: &str, audiences: &[&str]) -> Result<Reviewed, String> {
        let status = self.0.review_token(token, audiences).await.map_err(|failure| chain(&failure))?;
        Ok(Reviewed {
            is_authenticated: status.authenticated,
            username: status.user.username,
            audiences: status.audiences,
            error: status.error,
        })
    }
}

impl Events {
    fn about(&self) -> About {
        About::new("apps/v1", "Deployment", &self.namespace, NAME)
    }
}

impl Observe for Events {
    fn issued(&self, account: &ServiceAccount, identity: &Identity, leaf: &[u8], valid_until: SystemTime) {
        let about = About::new("v1", "ServiceAccount", account.namespace(), account.name());
        let until = Timestamp::try_from(valid_until).unwrap_or_default();
        let hash = digest(&SHA256, leaf).as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let message = format!("issued certificate for {identity} until {until:.0}: {hash}");
        self.recorder.tell(Happening::normal(about, "IssuedLeafCertificate", &message));
    }

    fn issuer_invalid(&self, why: &str) {
        self.recorder.tell(Happening::warning(self.about(), "IssuerValidationFailed", why));
    }

    fn issuer_updated(&self) {
        self.recorder.tell(Happening::normal(self.about(), "IssuerUpdated", "Updated identity issuer"));
    }

    fn anchors_updated(&self) {
        info!("pods take over new trust anchors by themselves");
        self.recorder.tell(Happening::normal(self.about(), "TrustAnchorsUpdated", "Updated trust anchors"));
    }

    fn update_skipped(&self, why: &str) {
        let message = format!("Skipping issuer update as certs could not be read from disk: {why}");
        self.recorder.tell(Happening::warning(self.about(), "IssuerUpdateSkipped", &message));
    }
}
