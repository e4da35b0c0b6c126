//! Traffic of other clusters: it names its destination in the transport header, and goes on through the outbound side.

use std::{io, sync::Arc};

use ::http::{HeaderValue, Request, Response, Version, header::HOST, uri::Authority};
use meshkit_core::{Cause, Error, Identity};
use meshkit_http::{Body, forwarded, normalize};
use meshkit_wire::outbound::Target;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    config::DnsSuffix,
    outbound::{Destination, Outbound},
};

/// Where a proxy that is a gateway sends what it is asked for.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Names that it serves.
    pub suffixes: Vec<DnsSuffix>,
    /// Its way out.
    pub outbound: Outbound,
    /// Who it is.
    pub id: Identity,
}

/// A name that a client asked the gateway for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    gateway: Option<Gateway>,
    name: meshkit_core::Authority,
}

impl Asked {
    /// What is asked of a proxy that may not be a gateway at all, or not for this name: then nothing is served.
    pub(super) fn of(gateway: Option<&Gateway>, name: meshkit_core::Authority) -> Self {
        let serves = |gateway: &&Gateway| name.name().is_some_and(|name| gateway.suffixes.iter().any(|suffix| suffix.contains(name)));
        Self { gateway: gateway.filter(serves).cloned(), name }
    }

    fn gateway(&self) -> Result<&Gateway, Error> {
        self.gateway.as_ref().ok_or_else(|| Error::new(Cause::GatewayDomain).message(format!("bad gateway domain {}", self.name)))
    }

    fn destination(&self, gateway: &Gateway) -> Result<Arc<Destination>, Error> {
        gateway.outbound.destination(Target::Authority(self.name.to_string()))
    }

    /// Sends a request on, if it has not been here before.
    pub(super) async fn send(&self, mut request: Request<Body>, client: Option<&Identity>) -> Result<Response<Body>, Error> {
        let gateway = self.gateway()?;
        let again = client == Some(&gateway.id) || forwarded::passed(request.headers(), gateway.id.as_str());
        if again {
            return Err(Error::new(Cause::GatewayLoop));
        }
        let text = self.name.to_string();
        let text = text.strip_suffix(":80").unwrap_or(&text);
        let hop = forwarded::Hop { by: gateway.id.as_str(), client: client.map_or("", Identity::as_str), host: text };
        forwarded::append(request.headers_mut(), hop).ok_or_else(|| Error::new(Cause::BadRequest))?;
        if let Ok(authority) = text.parse::<Authority>() {
            if (request.version() < Version::HTTP_2 || request.headers().contains_key(HOST))
                && let Ok(host) = HeaderValue::from_str(authority.as_str())
            {
                request.headers_mut().insert(HOST, host);
            }
            let uri = std::mem::take(request.uri_mut());
            *request.uri_mut() = normalize::with_authority(uri, authority);
        }
        let destination = self.destination(gateway)?;
        gateway.outbound.send(&destination, request).await
    }

    /// Forwards bytes that are not looked at.
    pub(super) async fn forward<I>(&self, io: I, client: Option<&Identity>) -> io::Result<()>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let gateway = self.gateway().map_err(io::Error::other)?;
        if client == Some(&gateway.id) {
            return Err(io::Error::other(Error::new(Cause::GatewayLoop)));
        }
        let destination = self.destination(gateway).map_err(io::Error::other)?;
        gateway.outbound.carry(io, &destination).await
    }
}
