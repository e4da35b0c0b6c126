//! The proxy: what a request goes through, and the connections that requests come on.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Empty, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use meshkit_balance::{Balance, Config, Penalty, accrual, updates};
use meshkit_core::{Backoff, Dice, Endpoint, Error, drain, error::Connection};
use meshkit_fault::{FaultLayer, Faults};
use meshkit_policy::{Client, DefaultPolicy, PolicyLayer, TlsState, inbound};
use meshkit_retry::{Budget, Conditions, Params, Plan, RetryLayer, TimeoutLayer, Timeouts, budget};
use meshkit_tls::Store;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::Instant,
};
use tower::{Layer, Service, ServiceBuilder, util::BoxCloneService};

use crate::{BoxError, endpoint::Http1};

pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;
/// What stands behind every connection; the one seam where types are erased.
type Backends = BoxCloneService<Request<Incoming>, Response<Body>, Error>;

/// A proxy for one service.
pub(crate) struct Proxy {
    backends: Backends,
    policy: watch::Receiver<Arc<inbound::Policy>>,
    // The balancer's driver: it ends with the proxy.
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Balances over `endpoints`, and makes the trouble that `faults` plan. Backends with an identity are reached with what `store` holds.
    pub(crate) fn new(endpoints: Vec<Endpoint>, store: Option<Arc<Store>>, faults: Faults) -> Result<Self, BoxError> {
        // Retries: 5xx only, at most two, out of a budget; and two seconds for everything.
        let conditions = Conditions { statuses: "5xx".parse()?, ..Conditions::default() };
        let backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(50), 1.0)?;
        let params = Params { max_retries: 2, conditions, backoff: Some(backoff), ..Params::DEFAULT };
        let plan = Plan::from(params).timeouts(Timeouts { request: Some(Duration::from_secs(2)), ..Timeouts::default() });
        let budget = Budget::new(budget::Params::default(), Instant::now());

        // A failure counts as slow, so that the next try goes elsewhere; a backend that fails five times in a row gets a rest.
        let rest = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), 0.5)?;
        let config = Config::default().seed(1).penalty(Penalty::default()).accrual(accrual::Config::consecutive(5, rest));
        let (balance, driver) = Balance::new(config, move |endpoint| {
            // Per try: what is left of the request's time, which the retry tells in the request's extensions.
            TimeoutLayer::default().layer(Http1::new(endpoint, store.as_deref()))
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(driver.run(updates::fixed(endpoints)));

        // Outermost first.
        let backends = ServiceBuilder::new()
            .map_request(|mut request: Request<_>| {
                strip(request.headers_mut()); // once for all tries
                request
            })
            .map_response(|mut response: Response<_>| {
                strip(response.headers_mut());
                response.map(erase)
            })
            .layer(RetryLayer::new(plan, Dice::new(2)).budget(budget)) // each try below is picked anew
            .layer(FaultLayer::new(faults, Dice::new(3))) // beneath the retries, to see them work
            .service(balance);

        // Who may use the proxy: this machine. The sender of the channel is where an update would come from.
        let local = ["127.0.0.0/8".parse()?, "::1/128".parse()?];
        let policy = DefaultPolicy::ClusterUnauthenticated.policy(&local, Duration::from_secs(10));
        let (_, policy) = watch::channel(Arc::new(policy));
        Ok(Self { backends: BoxCloneService::new(backends), policy, _tasks: tasks })
    }

    /// Accepts until the drain is signaled. What is in flight then is finished, and the drain waits for it.
    pub(crate) async fn serve(&self, listener: TcpListener, watch: drain::Watch) {
        let mut signaled = std::pin::pin!(watch.clone().signaled());
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _held = &mut signaled => return,
            };
            match accepted {
                Ok((io, client)) => drop(tokio::spawn(connection(io, self.stack(client.ip()), watch.clone()))),
                Err(error) => {
                    eprintln!("cannot accept: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// The requests of one client: allowed or not, and answered in any case.
    fn stack(
        &self,
        client: IpAddr,
    ) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = Error, Future: Send> + Clone + use<> {
        let client = Client { ip: client, tls: TlsState::NoTls };
        ServiceBuilder::new()
            .map_result(edge) // whatever is still an error becomes a response
            .layer(PolicyLayer::new(self.policy.clone(), client))
            .service(self.backends.clone())
    }
}

async fn connection<S>(io: TcpStream, service: S, watch: drain::Watch)
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Error, Future: Send> + Clone + Send + 'static,
{
    let connection = http1::Builder::new().serve_connection(TokioIo::new(io), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        _held = watch.signaled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        eprintln!("connection ended: {error}");
    }
}

/// The one table of the crates says what an error looks like to a client.
fn edge(result: Result<Response<Body>, Error>) -> Result<Response<Body>, Error> {
    Ok(result.unwrap_or_else(|error| {
        eprintln!("{error}");
        let (answer, mut response) = (error.cause().answer(), Response::new(erase(Empty::new())));
        *response.status_mut() = answer.status;
        if answer.connection == Connection::Close {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }))
}

fn erase<B>(body: B) -> Body
where
    B: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    body.map_err(Into::into).boxed_unsync()
}

/// RFC 9110, section 7.6.1: these are about one connection and not about the message. The ones that `connection` names go, too.
fn strip(headers: &mut HeaderMap) {
    const HOP: [HeaderName; 6] = [
        header::CONNECTION,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::PROXY_AUTHORIZATION,
        header::PROXY_AUTHENTICATE,
    ];
    let named: Vec<_> = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect();
    named.iter().flat_map(|names| names.split(',')).for_each(|name| drop(headers.remove(name.trim())));
    HOP.iter().for_each(|name| drop(headers.remove(name)));
}
