//! A client whose requests go to the less loaded of several replicas, over mutual TLS.

use std::{sync::Arc, time::Duration};

use http::{Request, Response};
use meshkit_balance::{Balance, Config, Reconnect, accrual, updates};
use meshkit_core::{Backoff, Cause, Dice, Endpoint, Error};
use meshkit_http::{Body, client};
use meshkit_tls::{Connector, Store, Tag};
use tokio::{net::TcpStream, task::AbortHandle};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneService};

use crate::{BoxError, telemetry::Telemetry};

/// Calls one service. Clones share its connections.
#[derive(Clone)]
pub(crate) struct Calls {
    service: BoxCloneService<Request<Body>, Response<Body>, Error>,
    // What keeps the connections alive ends with the last clone.
    _driver: Arc<Driver>,
}

struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Calls {
    /// Balances over `endpoints`, as the workload of `store`.
    pub(crate) fn new(endpoints: Vec<Endpoint>, store: Arc<Store>, telemetry: Telemetry) -> Result<Self, BoxError> {
        let rest = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), 0.5)?;
        let redial = Backoff::new(Duration::from_millis(100), Duration::from_secs(5), 0.1)?;
        let dice = Dice::new(1);
        let config = Config::default().accrual(accrual::Config::consecutive(7, rest));
        let (balance, driver) = Balance::new(config, move |endpoint: Arc<Endpoint>| {
            let counted = telemetry.server(&endpoint);
            // One HTTP/2 connection for each endpoint, made anew when it breaks.
            let connect = client::Connect::new(connect(Arc::clone(&endpoint), &store), endpoint.http2);
            ServiceBuilder::new().map_future(move |response| counted.clone().follow(response)).service(Reconnect::new(
                connect,
                (),
                redial,
                dice.clone(),
            ))
        });
        let driver = tokio::spawn(driver.run(updates::fixed(endpoints)));
        let service = balance.map_response(|response| response.map(Body::wrap)).boxed_clone();
        Ok(Self { service, _driver: Arc::new(Driver(driver.abort_handle())) })
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Result<Response<Body>, Error> {
        self.service.clone().oneshot(request).await
    }
}

/// Connects to an endpoint, which must prove its identity.
fn connect(
    endpoint: Arc<Endpoint>,
    store: &Store,
) -> impl Service<(), Response = meshkit_tls::TlsIo<TcpStream>, Error = Error, Future: Send> + Clone + Send + 'static + use<> {
    let tls = endpoint.tls.clone().map(|server| Connector::new(server, Tag::Plain, store.subscribe()));
    service_fn(move |()| {
        let (addr, tls) = (endpoint.addr, tls.clone());
        async move {
            let failed = |error| Error::new(Cause::Io).caused_by(error).within(format!("endpoint {addr}"));
            let tls = tls.ok_or_else(|| Error::new(Cause::IdentityRequired).within(format!("endpoint {addr}")))?;
            let tcp = TcpStream::connect(addr).await.map_err(failed)?;
            tcp.set_nodelay(true).map_err(failed)?;
            tls.connect(tcp, None).await.map_err(failed)
        }
    })
}
