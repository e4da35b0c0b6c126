use std::{collections::BTreeMap, convert::Infallible, pin::Pin};

use bytes::Bytes;
use http::{Request, Response, uri::Authority};
use http_body_util::StreamBody;
use hyper::body::Frame;
use meshkit_balance::digest as digest_of;
use meshkit_core::{Backoff, Dice, Endpoint};
use meshkit_runtime::metrics::Registry;
use meshkit_wire::{destination::updates_to_bytes, watch::Limits};
use tokio::sync::mpsc;

use super::*;

/// What the test's controller does. Its messages are bytes, and it may forget to send one.
struct Played {
    /// Where the messages of the newest subscription go.
    streams: Mutex<Vec<mpsc::UnboundedSender<Bytes>>>,
    /// What each subscription begins with.
    first: Mutex<Vec<Endpoint>>,
    /// How digests are answered.
    answer: Mutex<Answer>,
    asked: AtomicU64,
}

#[derive(Clone, Copy)]
enum Answer {
    Digest(u64),
    Status(&'static str),
    Silence,
}

fn endpoint(n: u8) -> Endpoint {
    Endpoint::new(([10, 0, 0, n], 80).into())
}

fn status(code: &'static str) -> Response<tonic::body::Body> {
    let head = Response::builder().header("content-type", "application/grpc").header("grpc-status", code);
    head.body(tonic::body::Body::empty()).unwrap()
}

fn message(bytes: &[u8]) -> Bytes {
    [&[0][..], &u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat().into()
}

impl Played {
    fn new(first: Vec<Endpoint>, answer: Answer) -> Arc<Self> {
        Arc::new(Self { streams: Mutex::default(), first: Mutex::new(first), answer: Mutex::new(answer), asked: AtomicU64::new(0) })
    }

    async fn call(self: Arc<Self>, request: Request<tonic::body::Body>) -> Result<Response<tonic::body::Body>, Infallible> {
        let ok = |body| Response::builder().header("content-type", "application/grpc").body(body).unwrap();
        if request.uri().path() == "/mesh.extension.v1.Digests/Get" {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let answer = *self.answer.lock().unwrap();
            return Ok(match answer {
                Answer::Status(code) => status(code),
                Answer::Silence => std::future::pending().await,
                Answer::Digest(digest) => {
                    // Field 1, eight bytes.
                    let bytes = message(&[&[0x09][..], &digest.to_le_bytes()].concat());
                    let end = http::HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), "0".parse().unwrap())]);
                    let frames = [Ok::<_, Infallible>(Frame::data(bytes)), Ok(Frame::trailers(end))];
                    ok(tonic::body::Body::new(StreamBody::new(stream::iter(frames))))
                }
            });
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        let first = self.first.lock().unwrap().clone();
        if !first.is_empty() {
            sender.send(updates_to_bytes(&[Update::Add(first)], &BTreeMap::new()).into()).unwrap();
        }
        self.streams.lock().unwrap().push(sender);
        let frames = stream::unfold(receiver, |mut receiver| async move {
            let bytes = receiver.recv().await?;
            Some((Ok::<_, Infallible>(Frame::data(bytes)), receiver))
        });
        Ok(ok(tonic::body::Body::new(StreamBody::new(frames))))
    }

    fn tell(&self, update: Update) {
        let streams = self.streams.lock().unwrap();
        streams.last().unwrap().send(updates_to_bytes(&[update], &BTreeMap::new()).into()).unwrap();
    }

    fn subscriptions(&self) -> usize {
        self.streams.lock().unwrap().len()
    }

    fn watched(self: &Arc<Self>) -> (Pin<Box<Checked<Endpoints>>>, Registry) {
        let (played, registry) = (Arc::clone(self), Registry::new(Duration::from_secs(60)));
        let service = tower::service_fn(move |request| Arc::clone(&played).call(request));
        let channel = Channel::new(service, Authority::from_static("dst.test"));
        let backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1), 0.0).unwrap();
        let watches = Watches { limits: Limits::default(), backoff, dice: Dice::new(0), away: Default::default() };
        let digests = Digests::new(DigestCounters::register(&registry));
        (Box::pin(digests.endpoints(channel, watches, "web.test:80".to_owned(), "{}".into())), registry)
    }
}

fn lost(registry: &Registry) -> String {
    let scrape = registry.encode();
    scrape.lines().find_map(|line| line.strip_prefix("mesh_discovery_lost_updates_total ")).unwrap_or("none").to_owned()
}

#[tokio::test(start_paused = true)]
async fn an_update_that_was_lost_comes_back_by_a_new_subscription() {
    let played = Played::new(vec![endpoint(1)], Answer::Digest(digest_of([&endpoint(1)])));
    let (mut watched, registry) = played.watched();
    assert_eq!(watched.next().await, Some(Update::Reset(vec![endpoint(1)])));
    // The controller knows of another endpoint, and its message goes astray.
    let now = vec![endpoint(1), endpoint(2)];
    *played.answer.lock().unwrap() = Answer::Digest(digest_of(&now));
    played.first.lock().unwrap().push(endpoint(2));
    let since = Instant::now();
    assert_eq!(watched.next().await, Some(Update::Reset(now)));
    assert_eq!(since.elapsed(), INTERVAL + Check::default().grace, "two rounds differ");
    assert_eq!((played.subscriptions(), lost(&registry)), (2, "1".to_owned()));
    // From then on all is well.
    assert!(tokio::time::timeout(INTERVAL * 10, watched.next()).await.is_err());
    assert_eq!((played.subscriptions(), lost(&registry)), (2, "1".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_update_that_is_only_late_is_not_taken_for_lost() {
    let played = Played::new(vec![endpoint(1)], Answer::Digest(digest_of([&endpoint(1), &endpoint(2)])));
    let (mut watched, registry) = played.watched();
    assert_eq!(watched.next().await, Some(Update::Reset(vec![endpoint(1)])));
    let late = Arc::clone(&played);
    tokio::spawn(async move {
        tokio::time::sleep(INTERVAL + Duration::from_secs(2)).await;
        late.tell(Update::Add(vec![endpoint(2)]));
    });
    assert_eq!(watched.next().await, Some(Update::Add(vec![endpoint(2)])));
    assert!(tokio::time::timeout(INTERVAL * 10, watched.next()).await.is_err());
    assert_eq!((played.subscriptions(), lost(&registry)), (1, "0".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn the_loss_of_a_last_removal_is_noticed_although_nothing_is_told_of_no_endpoints() {
    for answer in [Answer::Digest(0), Answer::Status("5")] {
        let played = Played::new(vec![endpoint(1)], Answer::Digest(digest_of([&endpoint(1)])));
        let (mut watched, registry) = played.watched();
        assert_eq!(watched.next().await, Some(Update::Reset(vec![endpoint(1)])));
        *played.answer.lock().unwrap() = answer;
        played.first.lock().unwrap().clear();
        assert_eq!(watched.next().await, Some(Update::Reset(vec![])));
        assert!(tokio::time::timeout(INTERVAL * 10, watched.next()).await.is_err());
        assert_eq!((played.subscriptions(), lost(&registry)), (2, "1".to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_controller_without_digests_is_believed_and_left_alone() {
    // Seldom asked if it knows of none, and again and again if it only fails.
    for (answer, asked) in [(Answer::Status("12"), 2), (Answer::Status("14"), 120), (Answer::Silence, 60)] {
        let played = Played::new(vec![endpoint(1)], answer);
        let (mut watched, registry) = played.watched();
        assert_eq!(watched.next().await, Some(Update::Reset(vec![endpoint(1)])));
        let hour = ABSENT + INTERVAL + Duration::from_secs(1);
        assert!(tokio::time::timeout(hour, watched.next()).await.is_err());
        let seen = played.asked.load(Ordering::Relaxed);
        assert!(seen == asked || seen == asked + 1, "{seen}");
        assert_eq!((played.subscriptions(), lost(&registry)), (1, "0".to_owned()));
    }
}
