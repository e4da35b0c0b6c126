//! What a source tells is what the server has, whatever happens on the way.

#![allow(clippy::unwrap_used)] // Everything in here is a test.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use meshkit_kube::{Failure, Limits, Observe, Pace, Selection, Source};
use meshkit_manifest::{Event, Kind, Object};
use proptest::prelude::*;
use tokio::{sync::mpsc, task::JoinSet};

use fake::{Fake, Trouble, eventually, pod};

mod fake;

/// What a controller would know.
#[derive(Default)]
struct Heard {
    objects: BTreeMap<String, String>,
    resets: usize,
    events: usize,
}

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

struct Watched {
    heard: Arc<Mutex<Heard>>,
    notes: Arc<Notes>,
    _tasks: JoinSet<()>,
}

impl Observe for Notes {
    fn connected(&self, kind: Kind) {
        self.0.lock().unwrap().push(format!("connected {}", kind.as_str()));
    }

    fn listed(&self, kind: Kind, again: bool, count: usize) {
        self.0.lock().unwrap().push(format!("listed {} {count}{}", kind.as_str(), if again { " again" } else { "" }));
    }

    fn failed(&self, kind: Kind, failure: &Failure) {
        self.0.lock().unwrap().push(format!("failed {}: {failure}", kind.as_str()));
    }

    fn passed_over(&self, _: Kind, why: &str) {
        self.0.lock().unwrap().push(format!("passed over {why}"));
    }
}

impl Notes {
    fn count(&self, beginning: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|note| note.starts_with(beginning)).count()
    }
}

fn version(object: &Object) -> String {
    object.metadata().resource_version.clone().unwrap()
}

fn quick() -> Limits {
    let mut limits = Limits::default();
    limits.silence = Duration::from_millis(300);
    limits
}

fn watch(fake: &Fake, kinds: &[Kind], limits: Limits) -> Watched {
    let (events, mut received) = mpsc::channel(4);
    let (heard, notes) = (Arc::new(Mutex::new(Heard::default())), Arc::new(Notes::default()));
    let source = Source::new(fake.client(), kinds.iter().copied()).limits(limits).pace(Pace::every(Duration::from_millis(4)));
    let source = source.observe(Arc::clone(&notes)).seed(7);
    let mut tasks = JoinSet::new();
    tasks.spawn(source.watch(events));
    let hearer = Arc::clone(&heard);
    tasks.spawn(async move {
        while let Some(event) = received.recv().await {
            let mut heard = hearer.lock().unwrap();
            heard.events += 1;
            match event {
                Event::Applied(object) => drop(heard.objects.insert(object.key().to_string(), version(&object))),
                Event::Deleted(key) => drop(heard.objects.remove(&key.to_string())),
                Event::Reset(all) => {
                    heard.resets += 1;
                    heard.objects = all.iter().map(|object| (object.key().to_string(), version(object))).collect();
                }
            }
        }
    });
    Watched { heard, notes, _tasks: tasks }
}

fn has(fake: &Fake) -> BTreeMap<String, String> {
    let version = |text: &String| text.split("resourceVersion\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    fake.state().objects.iter().map(|(name, text)| (format!("Pod emojivoto/{name}"), version(text))).collect()
}

impl Watched {
    async fn agrees_with(&self, fake: &Fake) {
        eventually("what was heard is what the server has", || self.heard.lock().unwrap().objects == has(fake)).await;
    }

    async fn synced(&self) {
        eventually("a reset", || self.heard.lock().unwrap().resets == 1).await;
    }
}

#[tokio::test]
async fn pages_make_one_reset_and_changes_follow() {
    let fake = Fake::start().await;
    for name in ["a", "b", "c", "d", "e"] {
        fake.put(name);
    }
    let watched = watch(&fake, &[Kind::Pod], Limits::default());
    watched.synced().await;
    assert_eq!(watched.heard.lock().unwrap().objects.len(), 5);
    fake.put("f");
    fake.put("a");
    fake.delete("b");
    watched.agrees_with(&fake).await;
    let heard = watched.heard.lock().unwrap();
    assert_eq!((heard.resets, heard.events), (1, 4));
    drop(heard);
    let lists: Vec<_> = fake.requests().into_iter().filter(|request| !request.contains("watch=1")).collect();
    assert_eq!(lists[0], "GET /api/v1/pods?limit=500");
    assert_eq!(lists.len(), 3, "{lists:?}");
    let watch = fake.requests().into_iter().find(|request| request.contains("watch=1")).unwrap();
    assert!(watch.contains("allowWatchBookmarks=true") && watch.contains("resourceVersion=15"), "{watch}");
}

#[tokio::test]
async fn a_gap_in_history_is_closed_by_a_list_that_tells_only_what_changed() {
    let fake = Fake::start().await;
    for name in ["a", "b", "c"] {
        fake.put(name);
    }
    let watched = watch(&fake, &[Kind::Pod], Limits::default());
    watched.synced().await;
    eventually("a watch", || watched.notes.count("connected") == 1).await;
    // The next watch fails until all this is over.
    fake.trouble(Trouble::Expired);
    fake.state().fixed.insert("/api/v1/pods".to_owned(), (503, "{}".to_owned()));
    fake.compact();
    fake.delete("b");
    fake.put("c");
    fake.put("d");
    fake.compact();
    fake.state().fixed.clear();
    watched.agrees_with(&fake).await;
    eventually("a list", || watched.notes.count("listed Pod") == 2).await;
    assert_eq!(watched.notes.count("listed Pod 3 again"), 1);
    let heard = watched.heard.lock().unwrap();
    // Of `a`, which did not change, nothing was said again.
    assert_eq!((heard.resets, heard.events), (1, 4));
}

#[tokio::test]
async fn a_missing_kind_is_empty_until_it_is_there_and_a_forbidden_one_holds_the_reset_back() {
    let fake = Fake::start().await;
    fake.put("a");
    let watched = watch(&fake, &[Kind::Pod, Kind::Server], Limits::default());
    watched.synced().await;
    watched.agrees_with(&fake).await;
    eventually("told", || watched.notes.count("failed Server: the API server refused with 404") > 0).await;
    let servers = r#"{"metadata":{"resourceVersion":"3"},"items":[{"metadata":{"name":"s","namespace":"n","resourceVersion":"2"},"spec":{"podSelector":{},"port":80}}]}"#;
    fake.state().fixed.insert("/apis/policy.linkerd.io/v1beta2/servers".to_owned(), (200, servers.to_owned()));
    eventually("it came", || watched.heard.lock().unwrap().objects.contains_key("Server n/s")).await;

    let fake = Fake::start().await;
    fake.state()
        .fixed
        .insert("/api/v1/pods".to_owned(), (403, r#"{"code":403,"reason":"Forbidden","message":"pods is forbidden"}"#.to_owned()));
    let watched = watch(&fake, &[Kind::Pod, Kind::Server], Limits::default());
    eventually("told", || watched.notes.count("failed Pod: the API server refused with 403 Forbidden: pods is forbidden") > 2).await;
    assert_eq!(watched.heard.lock().unwrap().resets, 0);
    fake.put("a");
    fake.state().fixed.clear();
    watched.synced().await;
    watched.agrees_with(&fake).await;
}

#[tokio::test]
async fn a_later_page_that_is_not_there_does_not_make_a_kind_empty() {
    let fake = Fake::start().await;
    for name in ["a", "b", "c"] {
        fake.put(name);
    }
    // Means nothing to the first page of a list. The second page is refused as if the kind were gone.
    fake.trouble(Trouble::Expired);
    fake.trouble(Trouble::Status(404, 0));
    let watched = watch(&fake, &[Kind::Pod], Limits::default());
    watched.synced().await;
    watched.agrees_with(&fake).await;
    assert_eq!(watched.heard.lock().unwrap().events, 1, "and nobody was told in between that there are none");
}

#[tokio::test]
async fn objects_are_told_while_they_are_listed_and_a_list_that_broke_is_not_told_again() {
    let fake = Fake::start().await;
    for name in ["a", "b", "c", "d", "e"] {
        fake.put(name);
    }
    // The third page does not come for a while.
    fake.trouble(Trouble::Expired);
    fake.trouble(Trouble::Expired);
    fake.trouble(Trouble::Hang);
    let (listing, source) = Source::new(fake.client(), [Kind::Pod]).limits(quick()).pace(Pace::every(Duration::from_millis(4))).start(1);
    let _source = tokio::spawn(source);
    let (mut told, mut is_first) = (Vec::new(), true);
    let listing = listing.read(|event| {
        // The list has to begin anew, and finds this one gone and that one changed.
        if std::mem::take(&mut is_first) {
            fake.delete("b");
            fake.put("a");
        }
        told.push(match event {
            Event::Applied(object) => format!("{} is {}", object.key(), version(&object)),
            Event::Deleted(key) => format!("{key} is gone"),
            Event::Reset(_) => "reset".to_owned(),
        });
    });
    let mut changes = listing.await.unwrap();
    let all = ["a is 11", "b is 12", "c is 13", "d is 14", "a is 17", "e is 15", "b is gone"].map(|text| format!("Pod emojivoto/{text}"));
    assert_eq!(told, all);
    fake.put("f");
    assert!(matches!(changes.recv().await, Some(Event::Applied(object)) if object.metadata().name == "f"));
}

#[tokio::test]
async fn a_busy_server_is_given_its_time_and_a_silent_one_is_left() {
    let fake = Fake::start().await;
    fake.trouble(Trouble::Status(429, 1));
    let began = tokio::time::Instant::now();
    let watched = watch(&fake, &[Kind::Pod], quick());
    watched.synced().await;
    assert!(began.elapsed() >= Duration::from_secs(1));
    eventually("a watch", || watched.notes.count("connected") == 1).await;
    // The watch that stands is silent, the next one does not even begin.
    fake.trouble(Trouble::Hang);
    eventually("both were noticed", || watched.notes.count("failed Pod: the API server did not answer within 300ms") >= 2).await;
    fake.put("a");
    watched.agrees_with(&fake).await;
}

#[tokio::test]
async fn objects_that_cannot_be_read_are_passed_over_and_change_nothing() {
    let fake = Fake::start().await;
    fake.put("a");
    fake.put("good");
    fake.put_as("bad", |version| pod("bad", version).replace("10.88.0.9", "nowhere"));
    let mut limits = Limits::default();
    limits.object = 2000;
    let watched = watch(&fake, &[Kind::Pod], limits);
    watched.synced().await;
    assert_eq!(watched.heard.lock().unwrap().objects.keys().collect::<Vec<_>>(), ["Pod emojivoto/a", "Pod emojivoto/good"]);
    let before = watched.heard.lock().unwrap().objects["Pod emojivoto/good"].clone();
    fake.put_as("good", |version| pod("good", version).replace("Running", &"x".repeat(3000)));
    fake.put_as("good", |version| pod("good", version).replace("\"spec\":{", "\"spec\":{\"hostNetwork\":7,"));
    fake.put("a");
    let now = has(&fake)["Pod emojivoto/a"].clone();
    eventually("the good one came", || watched.heard.lock().unwrap().objects["Pod emojivoto/a"] == now).await;
    assert_eq!(watched.heard.lock().unwrap().objects["Pod emojivoto/good"], before);
    let notes = watched.notes.0.lock().unwrap().join("\n");
    assert!(notes.contains("passed over Pod emojivoto/bad: status.podIP: "), "{notes}");
    assert!(notes.contains("passed over an object is longer than 2000 bytes"), "{notes}");
    assert!(notes.contains("passed over Pod emojivoto/good: spec.hostNetwork: "), "{notes}");
}

#[tokio::test]
async fn more_objects_than_the_limit_are_passed_over_by_name() {
    let fake = Fake::start().await;
    for name in ["a", "b", "c"] {
        fake.put(name);
    }
    let mut limits = Limits::default();
    limits.objects = 2;
    let watched = watch(&fake, &[Kind::Pod], limits);
    watched.synced().await;
    assert_eq!(watched.heard.lock().unwrap().objects.len(), 2);
    assert_eq!(watched.notes.count("passed over Pod emojivoto/c: there are more objects than the limit of 2"), 1);
}

#[tokio::test]
async fn selections_and_bare_metadata_are_asked_for() {
    let fake = Fake::start().await;
    let selection = Selection::all(Kind::Pod).namespace("a b").labels("linkerd.io/control-plane-ns").fields("metadata.name=x");
    let (events, mut received) = mpsc::channel(1);
    let source = Source::new(fake.client(), [selection, Selection::all(Kind::Node)]);
    let _task = tokio::spawn(source.watch(events));
    // Neither is there.
    assert_eq!(received.recv().await, Some(Event::Reset(Vec::new())));
    let requests = fake.requests();
    let wanted = "GET /api/v1/namespaces/a%20b/pods?limit=500&labelSelector=linkerd.io%2Fcontrol-plane-ns&fieldSelector=metadata.name%3Dx";
    assert!(requests.iter().any(|request| request == wanted), "{requests:?}");
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8),
    Delete(u8),
    Compact,
    Trouble(Trouble),
    Wait(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let trouble = prop_oneof![
        Just(Trouble::Status(410, 0)),
        Just(Trouble::Status(500, 0)),
        Just(Trouble::Status(403, 0)),
        Just(Trouble::Status(404, 0)),
        Just(Trouble::Drop),
        Just(Trouble::Hang),
        Just(Trouble::Garbage),
        Just(Trouble::Expired),
        (1_usize..900).prop_map(Trouble::Cut),
    ];
    prop_oneof![
        5 => (0_u8..8).prop_map(Step::Put),
        3 => (0_u8..8).prop_map(Step::Delete),
        1 => Just(Step::Compact),
        3 => trouble.prop_map(Step::Trouble),
        2 => (0_u8..20).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn whatever_happens_on_the_way_in_the_end_both_have_the_same(before in proptest::collection::vec(step(), 0..10), after in proptest::collection::vec(step(), 0..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fake = Fake::start().await;
            let run = async |steps: Vec<Step>| {
                for step in steps {
                    match step {
                        Step::Put(name) => fake.put(&format!("p{name}")),
                        Step::Delete(name) => fake.delete(&format!("p{name}")),
                        Step::Compact => fake.compact(),
                        Step::Trouble(trouble) => fake.trouble(trouble),
                        Step::Wait(wait) => tokio::time::sleep(Duration::from_millis(wait.into())).await,
                    }
                }
            };
            run(before).await;
            let mut limits = quick();
            // Client, server and clock share one thread: on a busy machine it stands still for tens of milliseconds, which must not look like silence.
            limits.silence = Duration::from_millis(150);
            let watched = watch(&fake, &[Kind::Pod], limits);
            run(after).await;
            watched.agrees_with(&fake).await;
        });
    }
}
