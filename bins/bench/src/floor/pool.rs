//! HTTP/1 connections to one server that are not in use, the last used one first.

use std::{
    cell::RefCell,
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::{
    body::{Body as _, Frame, Incoming, SizeHint},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;

use super::connect;

type Idle = Rc<RefCell<Vec<SendRequest<Incoming>>>>;

pub(super) struct Pool {
    server: SocketAddr,
    idle: Idle,
}

/// A response's body, which gives its connection back at its end.
pub(super) struct Body {
    inner: Incoming,
    lease: Option<(SendRequest<Incoming>, Idle)>,
}

impl Pool {
    pub(super) fn new(server: SocketAddr) -> Self {
        Self { server, idle: Idle::default() }
    }

    pub(super) async fn send(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let mut send = self.ready().await?;
        let response = send.send_request(request).await.map_err(io::Error::other)?;
        Ok(response.map(|inner| Body { inner, lease: Some((send, Rc::clone(&self.idle))) }.given_back()))
    }

    async fn ready(&self) -> io::Result<SendRequest<Incoming>> {
        loop {
            let Some(mut send) = self.idle.borrow_mut().pop() else { break };
            if send.ready().await.is_ok() {
                return Ok(send);
            }
        }
        let (send, connection) = http1::handshake(TokioIo::new(connect(self.server).await?)).await.map_err(io::Error::other)?;
        spawn_local(connection);
        Ok(send)
    }
}

impl Body {
    pub(super) const fn shared(inner: Incoming) -> Self {
        Self { inner, lease: None }
    }

    fn given_back(mut self) -> Self {
        if self.inner.is_end_stream()
            && let Some((send, idle)) = self.lease.take()
        {
            idle.borrow_mut().push(send);
        }
        self
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if (frame.is_none() || self.inner.is_end_stream())
            && let Some((send, idle)) = self.lease.take()
        {
            idle.borrow_mut().push(send);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
