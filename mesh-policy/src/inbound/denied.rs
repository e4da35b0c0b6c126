use std::fmt;

use meshkit_core::{Cause, Error, Identity};

use crate::{
    Meta,
    authorization::{Client, Mismatch},
};

/// A client that may not call, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    server: Meta,
    route: Option<Meta>,
    client: Option<Identity>,
    why: Why,
}

/// Why nothing admits the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// This authorization came closest to it.
    Nearest(Meta, Mismatch),
    /// There is no authorization.
    NoAuthorization,
    /// The server admits requests only, whoever sends other bytes.
    NotHttp,
}

impl Denied {
    pub(super) fn new(server: &Meta, route: Option<&Meta>, client: &Client, why: Why) -> Self {
        Self { server: server.clone(), route: route.cloned(), client: client.tls.client_id().cloned(), why }
    }

    /// The server that does not admit the client.
    #[must_use]
    pub const fn server(&self) -> &Meta {
        &self.server
    }

    /// The route that the request took; `None` for bytes that are not looked at.
    #[must_use]
    pub const fn route(&self) -> Option<&Meta> {
        self.route.as_ref()
    }

    /// Who was refused, if it proved to be anybody.
    #[must_use]
    pub const fn client(&self) -> Option<&Identity> {
        self.client.as_ref()
    }

    /// The authorization that came closest to a match, and what it missed; of equals, the first.
    #[must_use]
    pub const fn nearest(&self) -> Option<(&Meta, Mismatch)> {
        match &self.why {
            Why::Nearest(meta, mismatch) => Some((meta, *mismatch)),
            Why::NoAuthorization | Why::NotHttp => None,
        }
    }

    /// Did the client fail to prove any identity?
    #[must_use]
    pub const fn is_unauthenticated(&self) -> bool {
        self.client.is_none()
    }

    /// As an error on the request path, with this as its source.
    #[must_use]
    pub fn into_error(self) -> Error {
        let error = Error::new(Cause::Denied);
        let error = match self.route {
            Some(_) => error,
            None => error.message(format!("unauthorized connection on {}", self.server)),
        };
        error.caused_by(self)
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.client {
            Some(id) => write!(f, "client {id} is not authorized by {}", self.server)?,
            None => write!(f, "a client without an identity is not authorized by {}", self.server)?,
        }
        if let Some(route) = &self.route {
            write!(f, " on {route}")?;
        }
        match &self.why {
            Why::Nearest(meta, mismatch) => write!(f, "; nearest is {meta}: {mismatch}"),
            Why::NoAuthorization => f.write_str("; it has no authorization"),
            Why::NotHttp => f.write_str("; it admits nothing but HTTP requests"),
        }
    }
}

impl std::error::Error for Denied {}
