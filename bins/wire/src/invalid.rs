use std::fmt;

/// A message of a peer that cannot be understood: which field, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    path: String,
    what: String,
}

impl Invalid {
    pub(crate) fn new(field: &str, what: impl fmt::Display) -> Self {
        Self { path: field.to_owned(), what: what.to_string() }
    }

    pub(crate) fn missing(field: &str) -> Self {
        Self::new(field, "is missing")
    }

    /// Prefixes the field's path on the way out of a nested message.
    #[must_use]
    pub(crate) fn within(mut self, field: &str) -> Self {
        self.path = format!("{field}.{}", self.path);
        self
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)
    }
}

impl std::error::Error for Invalid {}
