use std::{
    collections::HashMap,
    fs,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::stream;
use meshkit_core::{Backoff, Dice};
use meshkit_runtime::metrics::Registry;
use meshkit_wire::{destination::Answers, extension::anchors::Anchored, watch::Limits};
use tokio::{sync::watch, time::advance};

use super::*;

/// A certificate of this name, always the same.
pub(in crate::control::anchors) fn pem(name: &'static str) -> String {
    static MADE: OnceLock<Mutex<HashMap<&'static str, String>>> = OnceLock::new();
    let make = || {
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
    };
    MADE.get_or_init(Mutex::default).lock().unwrap().entry(name).or_insert_with(make).clone()
}

fn bundle(pem: &str, generation: u64) -> Bundle {
    Bundle { pem: pem.into(), generation }
}

/// A controller whose bundle the test sets. It counts who asks.
struct Controller {
    bundles: watch::Sender<Bundle>,
    asked: AtomicUsize,
}

impl Anchored for Controller {
    fn anchors(&self, identity: &str) -> Answers<Bundle> {
        assert_eq!(identity, "web.test");
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut bundles = self.bundles.subscribe();
        bundles.mark_changed();
        Box::pin(stream::unfold(bundles, |mut bundles| async move {
            bundles.changed().await.ok()?;
            let bundle = bundles.borrow_and_update().clone();
            Some((bundle, bundles))
        }))
    }
}

struct Fixture {
    controller: Arc<Controller>,
    store: Arc<Store>,
    registry: Registry,
    dir: tempfile::TempDir,
    environment: String,
}

impl Fixture {
    fn new(environment: String, first: Bundle) -> Self {
        let store =
            Store::new(Arc::new(meshkit_tls::provider()), TrustAnchors::from_pem(&environment).unwrap(), "web.test".parse().unwrap());
        Self {
            controller: Arc::new(Controller { bundles: watch::Sender::new(first), asked: AtomicUsize::new(0) }),
            store: Arc::new(store.unwrap()),
            registry: Registry::new(Duration::from_secs(60)),
            dir: tempfile::tempdir().unwrap(),
            environment,
        }
    }

    /// Runs for as long as it is held.
    fn follow(&self) -> tokio::task::JoinSet<()> {
        let (kept, beginning) = Kept::open(self.dir.path(), TrustAnchors::from_pem(&self.environment).unwrap());
        self.store.set_anchors(beginning.anchors);
        let backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1), 0.0).unwrap();
        let followed = Anchors {
            store: Arc::clone(&self.store),
            kept,
            generation: beginning.generation,
            watches: Watches { limits: Limits::default(), backoff, dice: Dice::new(0), away: Default::default() },
            metrics: TrustAnchorCounters::register(&self.registry, &self.store),
        };
        let server = meshkit_wire::extension::anchors::server(Arc::clone(&self.controller));
        let authority = http::uri::Authority::from_static("identity.test");
        let mut task = tokio::task::JoinSet::new();
        task.spawn(followed.run(move || Ok(Channel::new(server.clone(), authority.clone()))));
        task
    }

    fn trusts(&self) -> BTreeSet<String> {
        fingerprints(self.store.snapshot().anchors())
    }

    fn kept(&self) -> String {
        fs::read_to_string(self.dir.path().join(FILE)).unwrap_or_default()
    }
}

/// Lets everything happen that needs no time. Files are written on other threads, which take as long as they take.
async fn settle(mut is_so: impl FnMut() -> bool) {
    for _ in 0..20_000 {
        if is_so() {
            return;
        }
        tokio::task::yield_now().await;
        tokio::task::spawn_blocking(|| ()).await.unwrap();
    }
    panic!("it never came to that");
}

/// Lets everything happen that needs neither time nor other threads.
async fn quiet() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

fn of(pem: &str) -> BTreeSet<String> {
    fingerprints(&TrustAnchors::from_pem(pem).unwrap())
}

#[test]
fn a_bundle_is_judged_by_its_anchors_and_its_age() {
    let (old, new) = (pem("old"), pem("new"));
    let both = format!("{old}{new}");
    let used = TrustAnchors::from_pem(&both).unwrap();
    let judge = |pem: &str, generation| judge(&used, 5, &bundle(pem, generation));
    assert_eq!(judge(&format!("{new}{old}"), 3), Verdict::Confirmed, "order and age do not matter for the same");
    let other = TrustAnchors::from_pem(&new).unwrap();
    assert_eq!(judge(&new, 6), Verdict::Adopted(other.clone()));
    assert_eq!(judge(&new, 5), Verdict::Older(other));
    assert_eq!(judge("", 9), Verdict::Refused(InvalidAnchors::Empty));
    assert!(matches!(judge(&new[..100], 9), Verdict::Refused(_)));
    assert!(matches!(judge(&old.repeat(65), 9), Verdict::Refused(InvalidAnchors::TooMany(65))));
}

#[tokio::test(start_paused = true)]
async fn a_change_is_adopted_confirmed_over_a_new_connection_and_kept() {
    let (old, new) = (pem("old"), pem("new"));
    let both = format!("{old}{new}");
    let f = Fixture::new(old.clone(), bundle(&old, 5));
    let running = f.follow();
    settle(|| f.controller.asked.load(Ordering::Relaxed) == 1).await;
    assert!(f.kept().is_empty());
    f.controller.bundles.send_replace(bundle(&both, 6));
    settle(|| f.kept().contains("generation: 6")).await;
    assert_eq!(f.trusts(), of(&both));
    assert_eq!(f.controller.asked.load(Ordering::Relaxed), 2, "it is asked again under the new anchors");
    // What cannot be used changes nothing, and the next that can is used.
    f.controller.bundles.send_replace(bundle("nothing", 7));
    settle(|| f.registry.encode().contains("mesh_identity_trust_anchors_refused_total 1")).await;
    assert_eq!(f.trusts(), of(&both));
    f.controller.bundles.send_replace(bundle(&new, 8));
    settle(|| f.kept().contains("generation: 8")).await;
    assert_eq!(f.trusts(), of(&new));
    let scrape = f.registry.encode();
    let print = of(&new).into_iter().next().unwrap();
    assert!(scrape.contains(&format!(r#"mesh_identity_trust_anchors{{fingerprint="{print}"}} 1"#)), "{scrape}");
    assert_eq!(scrape.matches("mesh_identity_trust_anchors{").count(), 1);
    // A new start, with the environment of the old one.
    drop(running);
    let (_, beginning) = Kept::open(f.dir.path(), TrustAnchors::from_pem(&old).unwrap());
    assert_eq!((fingerprints(&beginning.anchors), beginning.generation), (of(&new), 8));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_lags_behind_is_not_followed_unless_it_insists() {
    let (old, new) = (pem("old"), pem("new"));
    let f = Fixture::new(old.clone(), bundle(&new, 6));
    let _running = f.follow();
    settle(|| f.kept().contains("generation: 6")).await;
    f.controller.bundles.send_replace(bundle(&old, 5));
    quiet().await;
    advance(LAG / 2).await;
    assert_eq!(f.trusts(), of(&new));
    // It has caught up.
    f.controller.bundles.send_replace(bundle(&new, 6));
    quiet().await;
    f.controller.bundles.send_replace(bundle(&old, 5));
    quiet().await;
    advance(LAG / 2 + Duration::from_secs(1)).await;
    quiet().await;
    assert_eq!(f.trusts(), of(&new), "the time begins anew");
    advance(LAG / 2).await;
    settle(|| f.trusts() == of(&old)).await;
    settle(|| f.kept().contains("generation: 5")).await;
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_does_not_tell_is_asked_again_later() {
    let old = pem("old");
    let f = Fixture::new(old.clone(), bundle(&old, 5));
    let (kept, _) = Kept::open(f.dir.path(), TrustAnchors::from_pem(&old).unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1), 0.0).unwrap();
    let followed = Anchors {
        store: Arc::clone(&f.store),
        kept,
        generation: 0,
        watches: Watches { limits: Limits::default(), backoff, dice: Dice::new(0), away: Default::default() },
        metrics: TrustAnchorCounters::register(&f.registry, &f.store),
    };
    let counted = Arc::clone(&asked);
    let stock = tower::service_fn(move |_: http::Request<tonic::body::Body>| {
        counted.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Ok::<_, std::convert::Infallible>(
            tonic::Status::unimplemented("no such service").into_http::<tonic::body::Body>(),
        ))
    });
    let channel = Channel::new(stock, http::uri::Authority::from_static("identity.test"));
    let task = tokio::spawn(followed.run(move || Ok(channel.clone())));
    settle(|| asked.load(Ordering::Relaxed) == 1).await;
    advance(ABSENT - Duration::from_secs(1)).await;
    quiet().await;
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    advance(Duration::from_secs(2)).await;
    settle(|| asked.load(Ordering::Relaxed) == 2).await;
    task.abort();
}
