//! What a scrape says of a service, under the names that dashboards know.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use meshkit_core::{Clock, Identity, grpc::Code};
use meshkit_runtime::metrics::{CellKey, Cells, Counter, Histogram, Kind, LabelWriter, Labels, Registry};

use crate::{Observe, token::ServiceAccount};

/// Seconds; as the interceptor of Go's gRPC servers is set up in Linkerd's controllers.
const BUCKETS: &[f64] = &[0.1, 1.0, 300.0, 3600.0];

/// Counts what a service does.
///
/// | family | labels | value |
/// |---|---|---|
/// | `issuer_cert_ttl_seconds` | | seconds until the issuer's chain ends |
/// | `grpc_server_started_total` | `grpc_method`, `grpc_service`, `grpc_type` | requests |
/// | `grpc_server_handled_total` | these and `grpc_code` (17 at most) | answers |
/// | `grpc_server_handling_seconds` | the first three | time to the answer |
/// | `identity_issued_certificates_total` | | certificates signed |
/// | `identity_issuer_updates_total` | `result`: `updated`, `skipped` | changes of the issuer's or the anchors' files |
#[derive(Debug)]
pub struct Metrics {
    not_after: Arc<Mutex<Option<SystemTime>>>,
    started: Arc<Counter>,
    handled: Arc<Cells<CodeLabel, Counter>>,
    handling: Arc<Histogram>,
    issued: Arc<Counter>,
    updated: Arc<Counter>,
    skipped: Arc<Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Method;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct CodeLabel(Code);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct UpdateResult(&'static str);

impl Metrics {
    /// Adds the families to a registry.
    #[must_use]
    pub fn register(registry: &Registry, clock: Arc<dyn Clock>) -> Self {
        let scope = registry.legacy();
        let not_after = Arc::new(Mutex::new(None));
        let known = Arc::clone(&not_after);
        scope.collect(move |out| {
            let Some(not_after): Option<SystemTime> = *known.lock().unwrap_or_else(PoisonError::into_inner) else { return };
            // Negative once it is over.
            let now = clock.now();
            let left = not_after.duration_since(now).map_or_else(|over| -over.duration().as_secs_f64(), |left| left.as_secs_f64());
            out.family("issuer_cert_ttl_seconds", "Seconds until the issuer's certificate ends.", Kind::Gauge, None, |out| out.float(left));
        });
        let started = scope.counter_family("grpc_server_started_total", "Requests that came to the server.").handle(&Method);
        let handled = scope.counter_cells("grpc_server_handled_total", "Requests that were answered.").handle(&Method);
        let handling =
            scope.histogram_family("grpc_server_handling_seconds", "Time until a request was answered.", BUCKETS).handle(&Method);
        let issued = scope.counter("identity_issued_certificates_total", "Certificates that were signed.");
        let updates = scope.counter_family("identity_issuer_updates_total", "Changes of the issuer's or the trust anchors' files.");
        let (updated, skipped) = (updates.handle(&UpdateResult("updated")), updates.handle(&UpdateResult("skipped")));
        Self { not_after, started, handled, handling, issued, updated, skipped }
    }
}

impl Observe for Metrics {
    fn asked(&self) {
        self.started.incr();
    }

    fn answered(&self, code: Code, took: Duration) {
        self.handled.cell(&CodeLabel(code)).incr();
        self.handling.record_secs(took);
    }

    fn issued(&self, _: &ServiceAccount, _: &Identity, _: &[u8], _: SystemTime) {
        self.issued.incr();
    }

    fn loaded(&self, not_after: SystemTime) {
        *self.not_after.lock().unwrap_or_else(PoisonError::into_inner) = Some(not_after);
    }

    fn issuer_updated(&self) {
        self.updated.incr();
    }

    fn anchors_updated(&self) {
        self.updated.incr();
    }

    fn update_skipped(&self, _: &str) {
        self.skipped.incr();
    }
}

impl Labels for Method {
    fn write(&self, out: &mut LabelWriter<'_>) {
        out.pair("grpc_method", "Certify");
        out.pair("grpc_service", "io.linkerd.proxy.identity.Identity");
        out.pair("grpc_type", "unary");
    }
}

impl Labels for CodeLabel {
    fn write(&self, out: &mut LabelWriter<'_>) {
        out.pair("grpc_code", spelled(self.0));
    }
}

impl Labels for UpdateResult {
    fn write(&self, out: &mut LabelWriter<'_>) {
        out.pair("result", self.0);
    }
}

impl CellKey for CodeLabel {
    // There are 17 codes, and room for 48.
    fn catch_all() -> Self {
        Self(Code::UNKNOWN)
    }
}

/// As Go spells it: `FailedPrecondition`.
fn spelled(code: Code) -> String {
    if code == Code::OK {
        return "OK".to_owned();
    }
    let words = code.name().split('_').map(|word| word[..1].to_owned() + &word[1..].to_lowercase());
    // The one name that Go spells otherwise than the rule.
    words.collect::<String>().replace("Cancelled", "Canceled")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_dashboards() {
        let registry = Registry::new(Duration::from_secs(60));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let metrics = Metrics::register(&registry, Arc::new(now));
        assert!(!registry.encode().contains("issuer_cert_ttl_seconds"));
        metrics.loaded(now + Duration::from_secs(3600));
        metrics.asked();
        metrics.answered(Code::FAILED_PRECONDITION, Duration::from_millis(200));
        metrics.update_skipped("why");
        let text = registry.encode();
        let labels = r#"grpc_method="Certify",grpc_service="io.linkerd.proxy.identity.Identity",grpc_type="unary""#;
        for wanted in [
            "issuer_cert_ttl_seconds 3600".to_owned(),
            format!("grpc_server_started_total{{{labels}}} 1"),
            format!(r#"grpc_server_handled_total{{{labels},grpc_code="FailedPrecondition"}} 1"#),
            format!(r#"grpc_server_handling_seconds_bucket{{{labels},le="300"#),
            r#"identity_issuer_updates_total{result="skipped"} 1"#.to_owned(),
        ] {
            assert!(text.contains(&wanted), "{wanted} in\n{text}");
        }
    }
}
