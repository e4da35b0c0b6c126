use std::sync::Arc;

use meshkit_runtime::metrics::{Counter, Family, LabelWriter, Labels as Write, Registry};

use crate::{
    annotation::{Annotations, CONFIG, CONFIG_ALPHA, inherited},
    decide::{AnnotationAt, Reason},
};

/// Characters of an annotation's value that become a label: longer ones say the same of few pods.
const VALUE_LEN_MAX: usize = 100;

/// How many objects were asked about, and what became of them.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: Family<Labels, Counter>,
    responses: Family<Labels, Counter>,
    events_dropped: Arc<Counter>,
    failures: Arc<Counter>,
}

/// What is said of one object. As many as there are pairs of namespaces and settings; the registry has a bound on them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Labels {
    owner_kind: String,
    namespace: String,
    annotation_at: &'static str,
    settings: Vec<(String, String)>,
    /// Whether it was skipped, and why; nothing in requests.
    outcome: Option<(bool, String)>,
}

impl Metrics {
    /// Registers the families.
    #[must_use]
    pub fn register(registry: &Registry) -> Self {
        let scope = registry.legacy();
        Self {
            requests: scope
                .counter_family("proxy_inject_admission_requests_total", "A counter for number of admission requests to proxy injector."),
            responses: scope.counter_family(
                "proxy_inject_admission_responses_total",
                "A counter for number of admission responses from proxy injector.",
            ),
            events_dropped: scope
                .counter("mesh_injector_events_dropped_total", "Events that were not written because too many were waiting (EVENTS_MAX)."),
            failures: scope.counter("mesh_injector_failures_total", "Objects that could not be judged."),
        }
    }

    pub(super) fn answered(&self, labels: &Labels) {
        let request = Labels { outcome: None, ..labels.clone() };
        self.requests.handle(&request).incr();
        if labels.outcome.is_some() {
            self.responses.handle(labels).incr();
        }
    }

    pub(super) fn event_dropped(&self) {
        self.events_dropped.incr();
    }

    pub(super) fn failed(&self) {
        self.failures.incr();
    }
}

impl Labels {
    pub(super) fn new(owner_kind: &str, namespace: &str) -> Self {
        Self { owner_kind: owner_kind.to_owned(), namespace: namespace.to_owned(), annotation_at: "", settings: Vec::new(), outcome: None }
    }

    /// With every setting that can be inherited; those that are not set are there, too.
    pub(super) fn settings(mut self, annotations: &Annotations) -> Self {
        for key in inherited() {
            let Some(name) = key.strip_prefix(CONFIG).or_else(|| key.strip_prefix(CONFIG_ALPHA)) else {
                continue;
            };
            let (name, value) = (name.replace('-', "_"), annotations.get(key).map_or("", String::as_str));
            let value: String = value.chars().take(VALUE_LEN_MAX).collect();
            match self.settings.iter_mut().find(|(known, _)| *known == name) {
                // The same setting under another prefix counts where the newer one is not set.
                Some((_, known)) if known.is_empty() => *known = value,
                Some(_) => {}
                None => self.settings.push((name, value)),
            }
        }
        self
    }

    pub(super) fn at(mut self, at: AnnotationAt) -> Self {
        self.annotation_at = at.as_str();
        self
    }

    pub(super) fn injected(mut self) -> Self {
        self.outcome = Some((false, String::new()));
        self
    }

    pub(super) fn skipped(mut self, reasons: &[Reason]) -> Self {
        let codes: Vec<_> = reasons.iter().map(|reason| reason.code()).collect();
        self.outcome = Some((true, codes.join(",")));
        self
    }
}

impl Write for Labels {
    fn write(&self, out: &mut LabelWriter<'_>) {
        out.pair("owner_kind", &self.owner_kind);
        out.pair("namespace", &self.namespace);
        out.pair("annotation_at", self.annotation_at);
        self.settings.iter().for_each(|(name, value)| out.pair(name, value));
        if let Some((skip, reason)) = &self.outcome {
            out.pair("skip", skip);
            out.pair("skip_reason", reason);
        }
    }
}
