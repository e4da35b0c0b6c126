//! Categories of checks as data, and what runs them.

use std::{future::Future, pin::Pin};

use tokio::time::{Duration, Instant, sleep, timeout};

use super::Scene;
use crate::cluster::Failed;

/// How long one try may take.
const TRY: Duration = Duration::from_secs(30);
/// How long to wait before the next.
const PAUSE: Duration = Duration::from_secs(5);

/// A check on its way.
pub(crate) type Work<'a> = Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;
/// What a check found; an error says what to do.
pub(crate) type Verdict = Result<Passed, String>;

/// A check that found nothing wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// All is well.
    Well,
    /// There was nothing to check: nobody hears of it.
    Skipped,
}

/// What a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    /// Nothing that follows can be checked.
    Fatal,
    /// Something must be done.
    Error,
    /// Something should be done.
    Warning,
}

/// One question.
pub(crate) struct Check {
    description: String,
    anchor: String,
    severity: Severity,
    /// It may take its time to become true.
    retries: bool,
    run: Box<dyn for<'a> Fn(&'a Scene<'a>) -> Work<'a> + Send + Sync>,
}

/// Questions that belong together.
pub(crate) struct Category {
    pub(crate) name: &'static str,
    pub(crate) checks: Vec<Check>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) category: &'static str,
    pub(crate) description: String,
    pub(crate) anchor: String,
    pub(crate) result: Outcome,
    /// What is wrong, and what to do.
    pub(crate) error: Option<String>,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    Warning,
    Error,
}

impl Check {
    /// A check whose failure fails the whole, and nothing else.
    pub(crate) fn new(
        description: impl Into<String>,
        anchor: impl Into<String>,
        run: impl for<'a> Fn(&'a Scene<'a>) -> Work<'a> + Send + Sync + 'static,
    ) -> Self {
        let (description, anchor) = (description.into(), anchor.into());
        Self { description, anchor, severity: Severity::Error, retries: false, run: Box::new(run) }
    }

    /// If it fails, nothing further is checked.
    pub(crate) fn fatal(mut self) -> Self {
        self.severity = Severity::Fatal;
        self
    }

    /// If it fails, the whole does not.
    pub(crate) fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// It is tried again for some time.
    pub(crate) fn retried(mut self) -> Self {
        self.retries = true;
        self
    }

    /// Tries until it passes, or until the time is over.
    async fn verdict(&self, scene: &Scene<'_>, deadline: Instant) -> Verdict {
        loop {
            let tried = timeout(TRY, (self.run)(scene)).await;
            let verdict = tried.unwrap_or_else(|_| Err(format!("the cluster did not answer within {} s", TRY.as_secs())));
            if verdict.is_ok() || !self.retries || Instant::now() + PAUSE > deadline {
                return verdict;
            }
            sleep(PAUSE).await;
        }
    }
}

impl From<Failed> for String {
    fn from(failed: Failed) -> Self {
        failed.0
    }
}

/// Runs checks in their order, and tells each answer. Is all well?
pub(crate) async fn run(categories: &[Category], scene: &Scene<'_>, wait: Duration, mut tell: impl FnMut(Row)) -> bool {
    let deadline = Instant::now() + wait;
    let mut well = true;
    for category in categories {
        for check in &category.checks {
            let (result, error) = match check.verdict(scene, deadline).await {
                Ok(Passed::Skipped) => continue,
                Ok(Passed::Well) => (Outcome::Success, None),
                Err(error) if check.severity == Severity::Warning => (Outcome::Warning, Some(error)),
                Err(error) => (Outcome::Error, Some(error)),
            };
            well &= result != Outcome::Error;
            let (description, anchor) = (check.description.clone(), check.anchor.clone());
            tell(Row { category: category.name, description, anchor, result, error });
            if result == Outcome::Error && check.severity == Severity::Fatal {
                return false;
            }
        }
    }
    well
}
