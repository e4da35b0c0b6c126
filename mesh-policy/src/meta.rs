use std::{num::NonZeroU16, sync::Arc};

/// The object that a server, route, authorization or backend comes from: what metrics and logs name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(clippy::exhaustive_enums)] // An object exists or it does not.
pub enum Meta {
    /// No object: a built-in of this name.
    Default(Arc<str>),
    /// An object of the cluster.
    Resource(Arc<Resource>),
}

/// A reference to an object of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    /// API group; `core` or empty for the core group.
    pub group: String,
    /// Kind, as written in its manifest.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The part of the object that is meant; empty is the whole.
    pub section: String,
    /// The port of the object that is meant.
    pub port: Option<NonZeroU16>,
}

impl Meta {
    /// A built-in.
    #[must_use]
    pub fn builtin(name: &str) -> Self {
        Self::Default(name.into())
    }

    /// The API group; empty for a built-in.
    #[must_use]
    pub fn group(&self) -> &str {
        match self {
            Self::Default(_) => "",
            Self::Resource(r) => &r.group,
        }
    }

    /// The kind; `default` for a built-in.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::Default(_) => "default",
            Self::Resource(r) => &r.kind,
        }
    }

    /// The namespace; empty for a built-in.
    #[must_use]
    pub fn namespace(&self) -> &str {
        match self {
            Self::Default(_) => "",
            Self::Resource(r) => &r.namespace,
        }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Default(name) => name,
            Self::Resource(r) => &r.name,
        }
    }

    /// The section; empty for a built-in and for the whole object.
    #[must_use]
    pub fn section(&self) -> &str {
        match self {
            Self::Default(_) => "",
            Self::Resource(r) => &r.section,
        }
    }

    /// The port, where one is meant.
    #[must_use]
    pub fn port(&self) -> Option<NonZeroU16> {
        match self {
            Self::Default(_) => None,
            Self::Resource(r) => r.port,
        }
    }
}

/// `kind/name`, as messages name it.
impl std::fmt::Display for Meta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind(), self.name())
    }
}
