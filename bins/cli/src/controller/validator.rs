//! `mesh controller sp-validator`, and what the policy controller says of objects before they are taken.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc};

use meshkit_injector::{
    patch::Patch,
    webhook::{Answer, Certificates, Request, Review, serve},
};
use meshkit_policy_controller::admission::Validator;
use serde_json::Value;
use tokio::net::TcpListener;
use tracing::info;

use super::{
    flags::{Logs, listen},
    injector::{CERTIFICATE_DIR, CERTIFICATE_LOOK},
    program::{self, Fault, Program, bind},
};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Flags {
    /// Where the API server asks: an address and a port, or a port alone behind a colon
    #[arg(long, default_value = ":8443", value_parser = listen, value_name = "ADDR")]
    addr: SocketAddr,
    /// Where it is looked after
    #[arg(long, default_value = ":9997", value_parser = listen, value_name = "ADDR")]
    metrics_addr: SocketAddr,
    /// The folder of the certificate that the API server is shown
    #[arg(long, default_value = CERTIFICATE_DIR, value_name = "DIR")]
    tls: PathBuf,
    #[command(flatten)]
    logs: Logs,
}

/// Refuses what could not be understood later.
#[derive(Debug)]
struct Asked(Validator);

pub(super) fn run(flags: Flags) -> ExitCode {
    let (logs, admin) = (flags.logs.clone(), flags.metrics_addr);
    program::run("sp-validator", &logs, admin, async move |program| {
        let listener = bind(flags.addr).await?;
        answer(program, listener, flags.tls, Validator::Profiles).await?;
        program.ready();
        Ok(())
    })
}

/// Adds the webhook to a controller, with the certificate of a folder.
pub(super) async fn answer(program: &mut Program, listener: TcpListener, certificate: PathBuf, whose: Validator) -> Result<(), Fault> {
    let certificates = Certificates::load(certificate).await?;
    let looked_at = certificates.clone();
    program.endless("the certificate", async move { looked_at.watch(CERTIFICATE_LOOK).await });
    program.endless("the webhook", serve(listener, certificates, Arc::new(Asked(whose)), program.drain.clone()));
    Ok(())
}

impl Review for Asked {
    async fn review(&self, request: &Request) -> Value {
        let answer = match self.0.judge(request.namespace(), request.object().clone()) {
            Ok(()) => Answer::allowed(Patch::default(), Vec::new()),
            Err(why) => {
                info!(namespace = request.namespace(), %why, "object refused");
                Answer::refused(why)
            }
        };
        request.respond(&answer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(object: &Value) -> Value {
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": "u", "kind": {"group": "policy.linkerd.io", "kind": "Server"}, "namespace": "ns", "object": object}});
        let request = Request::parse(review.to_string().as_bytes()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(Asked(Validator::Policies).review(&request))["response"].clone()
    }

    #[test]
    fn what_is_wrong_is_said_with_its_field() {
        let server = |spec: Value| json!({"apiVersion": "policy.linkerd.io/v1beta3", "kind": "Server", "metadata": {"name": "s", "namespace": "ns"}, "spec": spec});
        assert_eq!(asked(&server(json!({"podSelector": {}, "port": 80}))), json!({"uid": "u", "allowed": true}));
        let refused = asked(&server(json!({"podSelector": {}, "port": 80, "accessPolicy": "some"})));
        assert_eq!(refused["allowed"], false);
        assert!(refused["status"]["message"].as_str().unwrap().contains("spec.accessPolicy"), "{refused}");
        let refused = asked(&server(json!({"podSelector": {}, "port": {}})));
        assert!(refused["status"]["message"].as_str().unwrap().contains("spec.port"), "{refused}");
    }
}
