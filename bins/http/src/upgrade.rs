//! Connections that turn into something else: `101 Switching Protocols`, and 2xx to `CONNECT`.

use http::{
    Method, Request, Response, StatusCode, Version,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};
use hyper::upgrade::{OnUpgrade, on};
use hyper_util::rt::TokioIo;
use meshkit_core::drain;

use crate::{copy, hop, orig_proto};

/// The client's half of a connection that may turn into something else.
#[derive(Debug)]
pub struct Pending {
    client: OnUpgrade,
    connect: bool,
}

impl Pending {
    /// Takes the client's half out of a request that wants its connection turned into something else.
    pub fn of<B>(request: &mut Request<B>) -> Option<Self> {
        if !orig_proto::wants_upgrade(request) {
            return None;
        }
        orig_proto::refuse_h2c(request);
        let connect = request.method() == Method::CONNECT;
        Some(Self { client: on(request), connect })
    }

    /// Joins both halves if the response agrees; else the response is an ordinary one. The drain waits for the joined connection.
    pub fn join<B>(self, response: &mut Response<B>, drain: drain::Watch) {
        let agreed = response.version() == Version::HTTP_11
            && (response.status() == StatusCode::SWITCHING_PROTOCOLS || self.connect && response.status().is_success());
        if !agreed {
            hop::strip_connection_headers(response.headers_mut());
            return;
        }
        if self.connect {
            response.headers_mut().remove(CONTENT_LENGTH);
            response.headers_mut().remove(TRANSFER_ENCODING);
        }
        let server = on(response);
        tokio::spawn(async move {
            let _held = drain;
            let (client, server) = match tokio::try_join!(self.client, server) {
                Ok(halves) => halves,
                Err(error) => return tracing::debug!(%error, "an upgraded connection was not handed over"),
            };
            if let Err(error) = copy::duplex(TokioIo::new(client), TokioIo::new(server)).await {
                tracing::debug!(%error, "an upgraded connection broke");
            }
        });
    }
}
