use futures_util::StreamExt as _;

use super::*;
use crate::authority::Authority;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn pem() -> Arc<str> {
    Authority::generate("linkerd", "cluster.local", now()).unwrap().anchors_pem().into()
}

fn anchors(pem: &Arc<str>) -> Arc<Anchors> {
    Arc::new(Anchors::new(Arc::clone(pem), now() - Duration::from_secs(60), Arc::new(now())))
}

#[tokio::test]
async fn who_listens_hears_the_bundle_at_once_and_every_other_once() {
    let (first, second) = (pem(), pem());
    let anchors = anchors(&first);
    let (sender, bundles) = watch::channel(Arc::clone(&first));
    tokio::spawn(Arc::clone(&anchors).follow(bundles, now));
    let mut heard = anchors.anchors("web");
    let told = heard.next().await.unwrap();
    assert_eq!(told, Bundle { pem: Arc::clone(&first), generation: millis(now()) - 60_000 });
    sender.send_replace(Arc::clone(&first));
    sender.send_replace(Arc::clone(&second));
    assert_eq!(heard.next().await.unwrap(), Bundle { pem: Arc::clone(&second), generation: millis(now()) });
    // Back to the first within the same millisecond: it is newer all the same.
    anchors.replace(first, now());
    assert_eq!(heard.next().await.unwrap().generation, millis(now()) + 1);
    assert_eq!(anchors.behind().watching, 1);
    drop(heard);
    assert_eq!(anchors.behind().watching, 0);
}

/// A clock that is moved by hand.
#[derive(Debug)]
struct Hand(Mutex<SystemTime>);

impl Clock for Hand {
    fn now(&self) -> SystemTime {
        *self.0.lock().unwrap()
    }
}

#[tokio::test]
async fn a_page_and_a_scrape_name_who_needs_a_restart() {
    let (first, second) = (pem(), pem());
    let clock = Arc::new(Hand(Mutex::new(now())));
    let anchors = Arc::new(Anchors::new(first, now(), Arc::clone(&clock) as Arc<dyn Clock>));
    let registry = Registry::new(Duration::from_secs(60));
    anchors.register(&registry);
    let at = |secs| {
        *clock.0.lock().unwrap() = now() + Duration::from_secs(secs);
        now() + Duration::from_secs(secs)
    };
    let certified =
        |name: &str, trust| anchors.certified(&name.parse().unwrap(), name.as_bytes(), trust, now() + Duration::from_secs(3600));
    certified("stock.ns", Trust::Fixed);
    certified("ours.ns", Trust::Followed);
    anchors.replace(Arc::clone(&second), at(10));
    at(11);
    certified("restarted.ns", Trust::Fixed);
    let _ours = anchors.anchors("ours.ns");
    let page: serde_json::Value = serde_json::from_str(&anchors.page()).unwrap();
    assert_eq!(page["needRestart"], serde_json::json!({"stock.ns": 1}));
    assert_eq!((&page["watching"], &page["notCounted"]), (&1.into(), &0.into()));
    assert_eq!(page["since"], "2027-01-15T08:00:10Z");
    assert_eq!(page["fingerprints"], serde_json::json!(fingerprints(&second)));
    let scrape = registry.encode();
    for line in ["identity_trust_anchors_watchers 1", r#"identity_trust_anchors_behind{identity="stock.ns"} 1"#] {
        assert!(scrape.contains(line), "{line} is not in\n{scrape}");
    }
}
