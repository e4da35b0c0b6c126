use std::{fmt, future::Future, io, path::PathBuf};

use crate::{annotation::Annotations, inject::Owner, values::Values};

/// The largest file that is read, in bytes.
const FILE_LEN_MAX: u64 = 4 << 20;

/// What the webhook asks of the cluster.
pub trait Cluster: Send + Sync + 'static {
    /// The annotations of a Namespace.
    ///
    /// # Errors
    /// Nobody knows them; the object is not taken, for it could be one that must be injected.
    fn namespace(&self, name: &str) -> impl Future<Output = Result<Annotations, Unavailable>> + Send;

    /// Who controls an object that controls pods: the Deployment of a ReplicaSet. `None` if nobody does, or it is not known.
    fn controller(&self, namespace: &str, owner: &Owner) -> impl Future<Output = Option<Owner>> + Send;
}

/// The answer to a question is not known now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable(String);

impl Unavailable {
    /// What is not known, and why.
    pub fn new(what: impl fmt::Display) -> Self {
        Self(what.to_string())
    }
}

/// The files that say how workloads are injected. They are read for every object: edits take effect at once.
#[derive(Clone, Debug)]
pub struct Files {
    values: PathBuf,
    trust_anchors: PathBuf,
    namespace: String,
}

impl Files {
    /// In the places where the injector's own pod has them.
    #[must_use]
    pub fn mounted(namespace: &str) -> Self {
        Self::new("/var/run/linkerd/config/values", "/var/run/linkerd/identity/trust-roots/ca-bundle.crt", namespace)
    }

    /// Helm values, and PEM.
    #[must_use]
    pub fn new(values: impl Into<PathBuf>, trust_anchors: impl Into<PathBuf>, namespace: &str) -> Self {
        Self { values: values.into(), trust_anchors: trust_anchors.into(), namespace: namespace.to_owned() }
    }

    /// Reads them.
    ///
    /// # Errors
    /// A file is missing, too long, or not what it should be.
    pub async fn read(&self) -> Result<Values, Unavailable> {
        let values = read(&self.values).await?;
        let mut values =
            Values::parse(&values, &self.namespace).map_err(|error| Unavailable(format!("{}: {error}", self.values.display())))?;
        values.identity_trust_anchors_pem = read(&self.trust_anchors).await?;
        Ok(values)
    }
}

async fn read(path: &PathBuf) -> Result<String, Unavailable> {
    let told = |error: &dyn fmt::Display| Unavailable(format!("{}: {error}", path.display()));
    let len = tokio::fs::metadata(path).await.map_err(|error| told(&error))?.len();
    if len > FILE_LEN_MAX {
        return Err(told(&format!("{len} bytes are more than the limit of {FILE_LEN_MAX} (FILE_LEN_MAX)")));
    }
    tokio::fs::read_to_string(path).await.map_err(|error: io::Error| told(&error))
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}
