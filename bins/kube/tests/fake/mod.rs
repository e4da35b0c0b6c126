//! An API server for tests: pods in one namespace, lists in small pages, watches in odd chunks, and troubles in the order they were asked for.

#![allow(dead_code)] // Each test uses a part of it.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    convert::Infallible,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::{Request, Response, body::Frame, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use meshkit_kube::Client;
use serde_json::Value;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

type Body = BoxBody<Bytes, io::Error>;

/// What happens instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// A refusal, with `Retry-After` if it is not 0.
    Status(u16, u64),
    /// The connection ends before the answer.
    Drop,
    /// Nothing comes, ever.
    Hang,
    /// An answer that is no JSON.
    Garbage,
    /// The answer ends after so many bytes.
    Cut(usize),
    /// A watch says in its stream that history is gone.
    Expired,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) objects: BTreeMap<String, String>,
    pub(crate) version: u64,
    history: Vec<(u64, String)>,
    oldest: u64,
    snapshots: HashMap<u64, Vec<String>>,
    pub(crate) troubles: VecDeque<Trouble>,
    pub(crate) requests: Vec<String>,
    pub(crate) bodies: Vec<String>,
    /// Answers by the path without its query, before anything else.
    pub(crate) fixed: HashMap<String, (u16, String)>,
    pub(crate) page: usize,
    pub(crate) lease: Option<Value>,
}

#[derive(Clone)]
pub(crate) struct Fake {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
    url: String,
    _tasks: Arc<Mutex<JoinSet<()>>>,
}

pub(crate) fn pod(name: &str, version: u64) -> String {
    format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"emojivoto","resourceVersion":"{version}","labels":{{"app":"web"}}}},"spec":{{"containers":[{{"name":"web","image":"web:1","env":[{{"name":"A","value":"b"}}]}}]}},"status":{{"phase":"Running","podIP":"10.88.0.9"}}}}"#
    )
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (changed, _) = watch::channel(0);
        let state = Arc::new(Mutex::new(State { version: 10, page: 2, ..State::default() }));
        let tasks = Arc::new(Mutex::new(JoinSet::new()));
        let fake = Self { state, changed, url, _tasks: Arc::clone(&tasks) };
        let serving = Self { _tasks: Arc::default(), ..fake.clone() };
        tasks.lock().unwrap().spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let fake = serving.clone();
                connections.spawn(async move {
                    let answer = service_fn(move |request| {
                        let fake = fake.clone();
                        async move { fake.answer(request).await }
                    });
                    drop(http1::Builder::new().serve_connection(TokioIo::new(socket), answer).await);
                });
            }
        });
        fake
    }

    pub(crate) fn client(&self) -> Client {
        Client::at(self.url.parse().unwrap(), Some("secret")).unwrap()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self, name: &str) {
        self.put_as(name, |version| pod(name, version));
    }

    pub(crate) fn put_as(&self, name: &str, object: impl FnOnce(u64) -> String) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        let object = object(version);
        let kind = if state.objects.contains_key(name) { "MODIFIED" } else { "ADDED" };
        state.history.push((version, format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")));
        state.objects.insert(name.to_owned(), object);
        drop(state);
        self.changed.send_replace(version);
    }

    pub(crate) fn delete(&self, name: &str) {
        let mut state = self.state();
        if state.objects.remove(name).is_none() {
            return;
        }
        state.version += 1;
        let version = state.version;
        state.history.push((version, format!("{{\"type\":\"DELETED\",\"object\":{}}}\n", pod(name, version))));
        drop(state);
        self.changed.send_replace(version);
    }

    /// Forgets all history.
    pub(crate) fn compact(&self) {
        let mut state = self.state();
        state.oldest = state.version;
        state.history.clear();
    }

    pub(crate) fn trouble(&self, trouble: Trouble) {
        self.state().troubles.push_back(trouble);
    }

    /// Names of the paths that were asked for, with the queries.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, io::Error> {
        let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
        let method = request.method().clone();
        assert_eq!(request.headers()["authorization"], "Bearer secret");
        let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
        let trouble = {
            let mut state = self.state();
            state.requests.push(format!("{method} {path}?{query}"));
            state.bodies.push(String::from_utf8_lossy(&body).into_owned());
            if let Some((code, text)) = state.fixed.get(&path) {
                return Ok(whole(*code, text.clone()));
            }
            state.troubles.pop_front()
        };
        if path.starts_with("/apis/coordination.k8s.io/v1/namespaces/linkerd/leases") && trouble.is_none() {
            return Ok(self.lease(method.as_str(), &body));
        }
        let value = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default().to_owned();
        let is_watch = !value("watch").is_empty();
        match trouble {
            Some(Trouble::Status(code, after)) => {
                let mut response = whole(code, format!(r#"{{"kind":"Status","code":{code},"reason":"Trouble","message":"as asked"}}"#));
                if after > 0 {
                    response.headers_mut().insert("retry-after", after.into());
                }
                return Ok(response);
            }
            Some(Trouble::Drop) => return Err(io::Error::other("dropped")),
            Some(Trouble::Hang) => std::future::pending().await,
            Some(Trouble::Garbage) => return Ok(whole(200, "]] no json\n".to_owned())),
            Some(Trouble::Expired) if is_watch => {
                let line =
                    r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old resource version"}}"#;
                return Ok(whole(200, format!("{line}\n")));
            }
            _ => {}
        }
        let cut = match trouble {
            Some(Trouble::Cut(after)) => after,
            _ => usize::MAX,
        };
        if path != "/api/v1/pods" {
            return Ok(whole(404, r#"{"kind":"Status","code":404,"reason":"NotFound","message":"no such kind"}"#.to_owned()));
        }
        if is_watch {
            return Ok(self.watch(value("resourceVersion").parse().unwrap(), cut));
        }
        let text = self.list(&value("continue"));
        let response = match text {
            Some(text) if cut < text.len() => broken(Bytes::from(text[..cut].to_owned())),
            Some(text) => whole(200, text),
            None => whole(
                410,
                r#"{"kind":"Status","code":410,"reason":"Expired","message":"the provided continue parameter is too old"}"#.to_owned(),
            ),
        };
        Ok(response)
    }

    /// The one lease: made once, changed only by whoever knows its version.
    fn lease(&self, method: &str, body: &[u8]) -> Response<Body> {
        let refusal = |code: u16| whole(code, format!(r#"{{"kind":"Status","code":{code}}}"#));
        let mut state = self.state();
        let wanted: Option<Value> = serde_json::from_slice(body).ok();
        let known = state.lease.as_ref().map(|lease| lease["metadata"]["resourceVersion"].clone());
        match (method, wanted, known) {
            ("GET", _, Some(_)) => {}
            ("POST", Some(wanted), None) => state.lease = Some(wanted),
            ("PATCH", Some(wanted), Some(known)) if wanted["metadata"]["resourceVersion"] == known => {
                let lease = state.lease.as_mut().unwrap();
                lease["spec"] = wanted["spec"].clone();
            }
            ("GET" | "PATCH", _, None) => return refusal(404),
            _ => return refusal(409),
        }
        if method != "GET" {
            state.version += 1;
            let version = state.version.to_string();
            state.lease.as_mut().unwrap()["metadata"]["resourceVersion"] = version.into();
        }
        whole(200, state.lease.as_ref().unwrap().to_string())
    }

    /// A page; all pages of a list are of one moment.
    fn list(&self, token: &str) -> Option<String> {
        let mut state = self.state();
        let (version, from) = match token.split_once('-') {
            Some((version, from)) => (version.parse().unwrap(), from.parse().unwrap()),
            None => {
                let (version, all) = (state.version, state.objects.values().cloned().collect());
                state.snapshots.insert(version, all);
                (version, 0_usize)
            }
        };
        if version < state.oldest {
            return None;
        }
        let (all, page) = (&state.snapshots[&version], state.page);
        let items = all[from..].iter().take(page).cloned().collect::<Vec<_>>().join(",");
        let next = if from + page < all.len() { format!(r#","continue":"{version}-{}""#, from + page) } else { String::new() };
        Some(format!(r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"{version}"{next}}},"items":[{items}]}}"#))
    }

    fn watch(&self, from: u64, cut: usize) -> Response<Body> {
        let state = self.state();
        if from < state.oldest {
            return whole(410, r#"{"kind":"Status","code":410,"reason":"Expired","message":"too old resource version"}"#.to_owned());
        }
        drop(state);
        let bookmark = format!(r#"{{"type":"BOOKMARK","object":{{"kind":"Pod","metadata":{{"resourceVersion":"{from}"}}}}}}"#) + "\n";
        let fake = Self { _tasks: Arc::default(), ..self.clone() };
        let start = (fake, self.changed.subscribe(), from, VecDeque::from(bookmark.into_bytes()), cut, 1_usize);
        let chunks = stream::unfold(start, |(fake, mut changed, mut from, mut waiting, mut cut, turn)| async move {
            loop {
                if cut == 0 {
                    return Some((Err(io::Error::other("cut")), (fake, changed, from, VecDeque::new(), cut, turn)));
                }
                if !waiting.is_empty() {
                    // Chunks end anywhere.
                    let len = (turn * 37 % 61 + 1).min(waiting.len()).min(cut);
                    let chunk: Bytes = waiting.drain(..len).collect();
                    cut -= len;
                    return Some((Ok(Frame::data(chunk)), (fake, changed, from, waiting, cut, turn + 1)));
                }
                changed.borrow_and_update();
                let next: Option<(u64, String)> = {
                    let state = fake.state();
                    if from < state.oldest {
                        // Whoever is behind when history is forgotten is told so.
                        Some((u64::MAX, r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}"#.to_owned() + "\n"))
                    } else {
                        state.history.iter().find(|(version, _)| *version > from).cloned()
                    }
                };
                match next {
                    Some((version, line)) => {
                        from = version;
                        waiting.extend(line.into_bytes());
                    }
                    None => drop(changed.changed().await),
                }
            }
        });
        Response::new(StreamBody::new(chunks).boxed())
    }
}

fn whole(code: u16, text: String) -> Response<Body> {
    let body = Full::new(Bytes::from(text)).map_err(|never: Infallible| match never {}).boxed();
    Response::builder().status(code).body(body).unwrap()
}

fn broken(text: Bytes) -> Response<Body> {
    let frames = stream::iter([Ok(Frame::data(text)), Err(io::Error::other("cut"))]);
    Response::new(StreamBody::new(frames).boxed())
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
