use std::{sync::Arc, time::Duration};

use http::Method;
use http_body_util::BodyExt as _;
use meshkit_manifest::{Event, Kind};
use serde_json::value::RawValue;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};
use tracing::{debug, info, warn};

use super::{
    Limits, Observe, Selection,
    backoff::Backoff,
    known::{Known, Seen},
    lines::{Line, Lines},
    message::{Head, Message, Page},
};
use crate::{
    Client, Failure,
    client::{JSON, Payload, collect},
    decode,
    failure::Refusal,
    resource::{place, query},
};

/// So many objects are read in one go.
const PAGE: usize = 500;
/// A page of a list must be there within this time.
const PAGE_LIMIT: Duration = Duration::from_secs(60);
/// The server must begin to answer a watch within this time. It does so at once, whether there is something to tell or not.
const OPEN_LIMIT: Duration = Duration::from_secs(30);
/// A watch that lived this long was a good one.
const GOOD: Duration = Duration::from_secs(5);
/// A kind that was there is taken for removed when the server has said so this many times.
const ABSENCES: u32 = 3;
/// A watch that fails this often without having told anything new is given up for a list.
const STUCK: u32 = 3;

/// Reads one selection, for as long as somebody listens.
pub(super) struct Reader<O> {
    pub(super) client: Client,
    pub(super) selection: Selection,
    pub(super) limits: Limits,
    pub(super) observe: Arc<O>,
    pub(super) backoff: Backoff,
    known: Known,
    version: &'static str,
    /// How often in a row the server said that there is no such kind.
    absences: u32,
    was_listed: bool,
    last_said: String,
    events: mpsc::Sender<Event>,
    /// Told once every object there is was told of, or there is no such kind.
    first: Option<oneshot::Sender<()>>,
}

/// Nobody listens any more.
pub(super) struct Unheard;

/// Why a list did not come to its end.
enum Unlisted {
    /// There is no such kind.
    Absent(Failure),
    Failed(Failure),
}

/// How a watch ended.
enum End {
    /// As agreed, or after a while: it goes on from where it was.
    Renewed,
    /// The server does not remember that far back.
    Gone,
    Failed(Failure),
    Unheard,
}

impl<O: Observe> Reader<O> {
    pub(super) fn new(
        client: Client,
        selection: Selection,
        limits: Limits,
        observe: Arc<O>,
        backoff: Backoff,
        events: mpsc::Sender<Event>,
        first: oneshot::Sender<()>,
    ) -> Self {
        let (known, first) = (Known::new(selection.kind, limits.objects), Some(first));
        let (version, absences, was_listed, last_said) = ("", 0, false, String::new());
        Self { client, selection, limits, observe, backoff, known, version, absences, was_listed, last_said, events, first }
    }

    /// Lists, watches, and begins anew where that ends.
    pub(super) async fn run(mut self) -> Unheard {
        loop {
            let from = match self.list().await {
                Ok(Ok(from)) => from,
                Ok(Err(Unlisted::Absent(failure))) => {
                    self.absences += 1;
                    if self.absent().await.is_err() {
                        return Unheard;
                    }
                    self.pause(&failure, true).await;
                    continue;
                }
                Ok(Err(Unlisted::Failed(failure))) => {
                    self.pause(&failure, failure.is_forbidden()).await;
                    continue;
                }
                Err(unheard) => return unheard,
            };
            self.absences = 0;
            self.observe.listed(self.selection.kind, self.was_listed, self.known.len());
            self.observe.known(self.selection.kind, self.known.len());
            self.was_listed = true;
            if self.all_told().is_err() || self.follow(from).await.is_err() {
                return Unheard;
            }
        }
    }

    async fn tell(&self, event: Event) -> Result<(), Unheard> {
        self.events.send(event).await.map_err(|_| Unheard)
    }

    /// Every object was told of at least once.
    fn all_told(&mut self) -> Result<(), Unheard> {
        self.first.take().map_or(Ok(()), |first| first.send(()).map_err(|()| Unheard))
    }

    /// There is no such kind: no objects, then. A kind that was there must be missing for a while, for a server that starts may not know it yet.
    async fn absent(&mut self) -> Result<(), Unheard> {
        if self.first.is_some() || self.absences >= ABSENCES {
            for key in self.known.clear() {
                self.tell(Event::Deleted(key)).await?;
            }
            self.observe.known(self.selection.kind, 0);
        }
        self.all_told()
    }

    /// Reads all objects and tells of them page by page; the version from which a watch goes on. A list that breaks has told the truth as far as it
    /// came: the next one tells what differs.
    async fn list(&mut self) -> Result<Result<String, Unlisted>, Unheard> {
        self.known.begin();
        let (mut limit, mut token) = (PAGE, String::new());
        loop {
            let page = match self.page(&token, limit).await {
                Ok(page) => page,
                // A page of large objects: fewer of them at once.
                Err(Failure::TooLong(_)) if limit > 1 => {
                    limit = (limit / 4).max(1);
                    continue;
                }
                // Only the first page tells whether there is such a kind. A later one that is not there is a list that broke.
                Err(failure) if failure.is_absent() && token.is_empty() => return Ok(Err(Unlisted::Absent(failure))),
                Err(failure) => return Ok(Err(Unlisted::Failed(failure))),
            };
            let page: Page<'_> = match serde_json::from_slice(&page) {
                Ok(page) => page,
                Err(error) => return Ok(Err(Unlisted::Failed(Failure::Malformed("list", error)))),
            };
            for item in page.items.iter().flatten() {
                self.apply(item).await?;
            }
            match (page.metadata.token.filter(|token| !token.is_empty()), page.metadata.resource_version) {
                (Some(next), _) if next == token => {
                    let said = <serde_json::Error as serde::de::Error>::custom("its next page is the same page");
                    return Ok(Err(Unlisted::Failed(Failure::Malformed("list", said))));
                }
                (Some(next), _) => token = next,
                (None, Some(from)) => {
                    for key in self.known.end() {
                        self.tell(Event::Deleted(key)).await?;
                    }
                    return Ok(Ok(from));
                }
                (None, None) => {
                    let said = <serde_json::Error as serde::de::Error>::custom("it has no resourceVersion");
                    return Ok(Err(Unlisted::Failed(Failure::Malformed("list", said))));
                }
            }
        }
    }

    /// One page. A first page may be of any version of the API that the server has.
    async fn page(&mut self, token: &str, limit: usize) -> Result<bytes::Bytes, Failure> {
        let place = place(self.selection.kind).ok_or_else(|| Failure::Refused(Refusal { code: 404, ..Refusal::default() }))?;
        let versions = if token.is_empty() { place.versions } else { std::slice::from_ref(&self.version) };
        let mut absent = Failure::Refused(Refusal { code: 404, ..Refusal::default() });
        for version in versions.iter().copied() {
            let mut path = place.path(version, &self.selection.namespace);
            query(&mut path, "limit", &limit.to_string());
            if !token.is_empty() {
                query(&mut path, "continue", token);
            }
            self.select(&mut path);
            let read =
                async { collect(self.client.send(Method::GET, &path, Payload::Empty, self.accept("List")).await?, self.limits.page).await };
            let within = PAGE_LIMIT.min(self.limits.silence);
            match timeout(within, read).await.unwrap_or(Err(Failure::Elapsed(within))) {
                Err(failure) if failure.is_absent() => absent = failure,
                page => {
                    self.version = version;
                    return page;
                }
            }
        }
        Err(absent)
    }

    /// Watches from a version, again and again. Ends where a list is needed.
    async fn follow(&mut self, mut from: String) -> Result<(), Unheard> {
        let mut failures = 0;
        loop {
            let (began, since) = (Instant::now(), from.clone());
            let end = self.watch(&mut from).await;
            self.observe.known(self.selection.kind, self.known.len());
            if from != since || began.elapsed() >= GOOD {
                self.backoff.reset();
                failures = 0;
            }
            match end {
                End::Unheard => return Err(Unheard),
                End::Gone => {
                    debug!(kind = self.selection.kind.as_str(), "history is gone");
                    // A server that forgets at once must not be asked at once.
                    tokio::time::sleep(self.backoff.next(false, None)).await;
                    return Ok(());
                }
                End::Renewed if from != since || began.elapsed() >= GOOD => {}
                End::Renewed => tokio::time::sleep(self.backoff.next(false, None)).await,
                End::Failed(failure) => {
                    self.pause(&failure, failure.is_forbidden() || failure.is_absent()).await;
                    failures += 1;
                    if failures >= STUCK || failure.is_absent() {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn watch(&mut self, from: &mut String) -> End {
        let Some(place) = place(self.selection.kind) else { return End::Gone };
        let (least, most) = self.limits.watch;
        let lifetime = self.backoff.between(least, most);
        let mut path = place.path(self.version, &self.selection.namespace);
        query(&mut path, "watch", "1");
        query(&mut path, "allowWatchBookmarks", "true");
        query(&mut path, "timeoutSeconds", &lifetime.as_secs().max(1).to_string());
        query(&mut path, "resourceVersion", from);
        self.select(&mut path);
        let open = timeout(OPEN_LIMIT.min(self.limits.silence), self.client.send(Method::GET, &path, Payload::Empty, self.accept("")));
        let mut body = match open.await {
            Ok(Ok(response)) => response.into_body(),
            Ok(Err(failure)) if failure.is_gone() => return End::Gone,
            Ok(Err(failure)) => return End::Failed(failure),
            Err(_) => return End::Failed(Failure::Elapsed(OPEN_LIMIT.min(self.limits.silence))),
        };
        self.observe.connected(self.selection.kind);
        self.last_said.clear();
        let mut lines = Lines::new(self.limits.object);
        loop {
            // Bookmarks come about once a minute. A server that says nothing for longer, not even that the watch ends, is taken for dead.
            let frame = match timeout(self.limits.silence, body.frame()).await {
                Err(_) => return End::Failed(Failure::Elapsed(self.limits.silence)),
                // What was begun and not ended is told again by the next watch.
                Ok(None) => return End::Renewed,
                Ok(Some(Err(error))) => return End::Failed(Failure::Unreachable(error.into())),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(data) = frame.into_data() else { continue };
            lines.push(&data);
            while let Some(line) = lines.next() {
                match self.line(&line, from).await {
                    Ok(None) => {}
                    Ok(Some(end)) => return end,
                    Err(Unheard) => return End::Unheard,
                }
            }
        }
    }

    async fn line(&mut self, line: &Line, from: &mut String) -> Result<Option<End>, Unheard> {
        let line = match line {
            Line::Whole(line) => line,
            Line::TooLong => {
                self.pass_over(&format!("an object is longer than {} bytes: the limit of one object", self.limits.object));
                return Ok(None);
            }
        };
        let malformed = |error| Ok(Some(End::Failed(Failure::Malformed("event", error))));
        let (object, event) = match Message::parse(line) {
            Err(error) => return malformed(error),
            Ok(Message::Unknown) => return Ok(None),
            Ok(Message::Error(refusal)) => {
                let failure = Failure::Refused(refusal);
                return Ok(Some(if failure.is_gone() { End::Gone } else { End::Failed(failure) }));
            }
            Ok(message @ (Message::Applied(object) | Message::Deleted(object) | Message::Bookmark(object))) => (object, message),
        };
        let head = match Head::of(object) {
            Ok(head) => head.metadata,
            Err(error) => return malformed(error),
        };
        match event {
            Message::Applied(object) => self.apply(object).await?,
            Message::Deleted(_) => {
                if let Some(key) = self.known.remove(&head.namespace, &head.name) {
                    self.tell(Event::Deleted(key)).await?;
                }
            }
            _ => {}
        }
        if let Some(version) = head.resource_version {
            *from = version;
        }
        Ok(None)
    }

    async fn apply(&mut self, json: &RawValue) -> Result<(), Unheard> {
        let Some(place) = place(self.selection.kind) else { return Ok(()) };
        if json.get().len() > self.limits.object {
            return self.unreadable(json, &format!("it is longer than {} bytes: the limit of one object", self.limits.object));
        }
        let object = match decode::object(self.selection.kind, &place.api_version(self.version), json.get().as_bytes()) {
            Ok(object) => object,
            Err(why) => return self.unreadable(json, &why),
        };
        match self.known.see(object.metadata()) {
            Seen::Changed => self.tell(Event::Applied(object)).await?,
            Seen::Same => {}
            Seen::Full => self.pass_over(&format!("{}: there are more objects than the limit of {}", object.key(), self.limits.objects)),
        }
        Ok(())
    }

    fn unreadable(&mut self, json: &RawValue, why: &str) -> Result<(), Unheard> {
        let head = Head::of(json).unwrap_or_default().metadata;
        self.known.keep(&head.namespace, &head.name);
        self.pass_over(&format!("{} {}/{}: {why}", self.selection.kind.as_str(), head.namespace, head.name));
        Ok(())
    }

    fn pass_over(&self, why: &str) {
        warn!(kind = self.selection.kind.as_str(), why, "object passed over");
        self.observe.passed_over(self.selection.kind, why);
    }

    fn select(&self, path: &mut String) {
        for (key, value) in [("labelSelector", &self.selection.labels), ("fieldSelector", &self.selection.fields)] {
            if !value.is_empty() {
                query(path, key, value);
            }
        }
    }

    fn accept(&self, list: &str) -> &'static str {
        match (self.selection.is_metadata_only(), list) {
            (false, _) => JSON,
            (true, "") => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
            (true, _) => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        }
    }

    /// Tells of a failure, and waits. The same failure is logged as a warning once.
    async fn pause(&mut self, failure: &Failure, is_slow: bool) {
        let kind = self.selection.kind.as_str();
        self.observe.failed(self.selection.kind, failure);
        let wait = self.backoff.next(is_slow, failure.retry_after());
        let said = failure.to_string();
        let error = std::error::Error::source(failure).map(ToString::to_string).unwrap_or_default();
        if said == self.last_said {
            debug!(kind, failure = said, error, ?wait, "API server");
        } else if failure.is_absent() {
            info!(kind, "the API server has no such kind yet");
        } else {
            warn!(kind, failure = said, error, ?wait, "API server");
        }
        self.last_said = said;
        tokio::time::sleep(wait).await;
    }
}

/// Is a kind's metadata all that its type needs to be made?
pub(super) const fn can_be_metadata(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Namespace
            | Kind::Node
            | Kind::ServiceAccount
            | Kind::ConfigMap
            | Kind::Secret
            | Kind::Pod
            | Kind::Deployment
            | Kind::StatefulSet
            | Kind::DaemonSet
            | Kind::ReplicaSet
            | Kind::Job
    )
}
