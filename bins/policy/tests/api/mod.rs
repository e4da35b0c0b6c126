//! An API server for tests: one lease, one route with versions, and troubles in the order they were asked for.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use meshkit_kube::Client;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

pub(crate) const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/linkerd/leases/policy-controller-write";
pub(crate) const STATUS: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/ns/httproutes/it/status";

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) lease: Option<Value>,
    /// The route, as the server has it.
    pub(crate) route: Value,
    /// Answers to the next writes of the status instead of good ones.
    pub(crate) troubles: VecDeque<u16>,
    /// Bodies of the writes of the status.
    pub(crate) patches: Vec<Value>,
    /// How often the lease was written.
    pub(crate) renewals: u64,
    /// Nobody gets the lease from now on.
    pub(crate) is_lease_refused: bool,
}

#[derive(Clone)]
pub(crate) struct Api {
    state: Arc<Mutex<State>>,
    url: String,
    _tasks: Arc<JoinSet<()>>,
}

impl Api {
    pub(crate) async fn start(route: Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State { route, ..State::default() }));
        let (serving, mut tasks) = (Arc::clone(&state), JoinSet::new());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let state = Arc::clone(&serving);
                let answer = service_fn(move |request| answer(Arc::clone(&state), request));
                connections.spawn(async move { drop(http1::Builder::new().serve_connection(TokioIo::new(socket), answer).await) });
            }
        });
        Self { state, url, _tasks: Arc::new(tasks) }
    }

    pub(crate) fn client(&self) -> Client {
        Client::at(self.url.parse().unwrap(), None).unwrap()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
    let manager = request.uri().query().unwrap_or_default().to_owned();
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let (code, value) = match (method.as_str(), path.as_str()) {
        ("GET", "/apis/apps/v1/namespaces/linkerd/deployments/linkerd-destination") => {
            (200, json!({"metadata": {"name": "linkerd-destination", "namespace": "linkerd", "uid": "42"}}))
        }
        ("GET", "/apis/gateway.networking.k8s.io/v1") => (200, json!({"resources": [{"name": "httproutes", "namespaced": true}]})),
        ("PATCH", STATUS) => {
            assert_eq!(manager, "fieldManager=policy-controller");
            status(&mut state, body)
        }
        (method, path) if LEASE.starts_with(path) => lease(&mut state, method, body),
        _ => (404, json!({"kind": "Status", "code": 404})),
    };
    let mut response = Response::new(Full::from(value.to_string()));
    *response.status_mut() = code.try_into().unwrap();
    Ok(response)
}

fn status(state: &mut State, body: Value) -> (u16, Value) {
    state.patches.push(body.clone());
    if let Some(code) = state.troubles.pop_front() {
        return (code, json!({"kind": "Status", "code": code, "message": "as asked"}));
    }
    if body["metadata"]["resourceVersion"] != state.route["metadata"]["resourceVersion"] {
        return (409, json!({"kind": "Status", "code": 409, "reason": "Conflict"}));
    }
    change(&mut state.route, |route| route["status"] = body["status"].clone());
    (200, state.route.clone())
}

/// The route changes, and with it its version.
pub(crate) fn change(route: &mut Value, how: impl FnOnce(&mut Value)) {
    how(route);
    let version: u64 = route["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    route["metadata"]["resourceVersion"] = (version + 1).to_string().into();
}

fn lease(state: &mut State, method: &str, body: Value) -> (u16, Value) {
    let refused = |code: u16| (code, json!({"kind": "Status", "code": code}));
    if state.is_lease_refused {
        return refused(403);
    }
    match (method, &mut state.lease) {
        ("GET", Some(_)) => {}
        ("POST", none @ None) => *none = Some(body),
        ("PATCH", Some(known)) if known["metadata"]["resourceVersion"] == body["metadata"]["resourceVersion"] => {
            known["spec"] = body["spec"].clone();
        }
        (_, None) => return refused(404),
        _ => return refused(409),
    }
    if method != "GET" {
        state.renewals += 1;
        let version = state.renewals.to_string();
        if let Some(lease) = &mut state.lease {
            lease["metadata"]["resourceVersion"] = version.into();
        }
    }
    (200, state.lease.clone().unwrap_or_default())
}

/// Waits until something is so, and fails when it is not so after a long time.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..12_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}
