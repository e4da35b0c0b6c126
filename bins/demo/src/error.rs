//! Why a component could not start, or had to stop.

use std::{error, fmt, io};

/// Why a component did not start, or did not end well.
#[derive(Debug)]
pub struct Error(Kind);

#[derive(Debug)]
enum Kind {
    /// One line per fault, all of them.
    Settings(Vec<String>),
    Listen {
        setting: &'static str,
        address: String,
        source: io::Error,
    },
    Serve {
        what: &'static str,
        source: Box<dyn error::Error + Send + Sync>,
    },
    Undrained {
        limit: std::time::Duration,
    },
}

impl Error {
    /// Is it the caller's configuration that is wrong? A program exits with 64 then, and with 1 for everything else.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(self.0, Kind::Settings(_))
    }

    pub(crate) const fn settings(faults: Vec<String>) -> Self {
        Self(Kind::Settings(faults))
    }

    pub(crate) const fn listen(setting: &'static str, address: String, source: io::Error) -> Self {
        Self(Kind::Listen { setting, address, source })
    }

    pub(crate) fn serve(what: &'static str, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        Self(Kind::Serve { what, source: source.into() })
    }

    pub(crate) const fn undrained(limit: std::time::Duration) -> Self {
        Self(Kind::Undrained { limit })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Settings(faults) => write!(f, "{}", faults.join("; ")),
            Kind::Listen { setting, address, .. } => write!(f, "cannot listen on {address} (POD_IP and {setting})"),
            Kind::Serve { what, .. } => write!(f, "the {what} server failed"),
            Kind::Undrained { limit } => write!(f, "requests were still in flight {limit:?} after the stop; they were dropped"),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match &self.0 {
            Kind::Settings(_) | Kind::Undrained { .. } => None,
            Kind::Listen { source, .. } => Some(source),
            Kind::Serve { source, .. } => Some(source.as_ref()),
        }
    }
}
