//! Routes of the running demo: splits, retries, profiles and planned trouble, as they come and go with an edit.

use std::time::Duration;

use meshkit_e2e::{Demo, eventually};
use serde_json::Value;

/// Long enough for a busy machine, and far below what a person would call broken.
const SOON: Duration = Duration::from_secs(10);
/// As long, for what has to be counted first.
const LATER: Duration = Duration::from_secs(30);

fn route<'a>(stat: &'a Value, workload: &str, direction: &str, route: &str) -> Option<&'a Value> {
    let of = |row: &&Value| row["workload"] == workload && row["direction"] == direction && row["route"] == route;
    stat["routes"].as_array()?.iter().find(of)
}

#[test]
fn calls_are_split_retried_and_counted_by_their_routes() {
    let demo = Demo::failing("0.3");
    let seen = eventually(LATER, || {
        let stat = demo.stat();
        let (list, split) = (route(&stat, "web", "outbound", "emoji-list")?, route(&stat, "web", "outbound", "voting-split")?);
        let enough = list["retries"].as_u64()? >= 20 && split["requests"].as_u64()? >= 100;
        enough.then_some(stat)
    });
    let stat = seen.unwrap_or_else(|| panic!("{}", demo.stat()));

    // With three tries of a call that fails in three of ten cases, about one in forty fails.
    let list = route(&stat, "web", "outbound", "emoji-list").unwrap();
    assert!(list["success_rate"].as_f64().unwrap() > 0.9, "{list}");
    assert!(list["retries"].as_f64().unwrap() / list["requests"].as_f64().unwrap() > 0.15, "{list}");

    // 80 to 20, within what 100 requests allow.
    let split = route(&stat, "web", "outbound", "voting-split").unwrap();
    let of = |name: &str| split["backends"][name].as_f64().unwrap_or_default();
    let share = of("voting-v2") / (of("voting-v1") + of("voting-v2"));
    assert!((0.05..0.40).contains(&share), "{split}");

    // The profile of web, as its caller and as its own proxy see it.
    for (workload, direction) in [("vote-bot", "outbound"), ("web", "inbound")] {
        for name in ["GET /api/list", "GET /api/vote"] {
            assert!(
                route(&stat, workload, direction, name).is_some_and(|row| row["requests"].as_u64() > Some(0)),
                "{workload} {name}: {stat}"
            );
        }
    }
}

#[test]
fn an_edited_split_moves_the_calls() {
    let demo = Demo::start();
    let before = demo.edit("20-routes.yaml", "weight: 80", "weight: 0");
    let share = |stat: &Value| {
        let split = route(stat, "web", "outbound", "voting-split")?;
        Some((split["backends"]["voting-v1"].as_u64().unwrap_or(0), split["backends"]["voting-v2"].as_u64().unwrap_or(0)))
    };
    // Nobody asks for results here, which both versions have to give: once the edit is in force, the old one is left alone.
    let moved = eventually(LATER, || {
        let (old, new) = share(&demo.stat())?;
        for _ in 0..5 {
            assert_eq!(demo.status("/api/vote?choice=:joy:"), 200);
        }
        let (old_after, new_after) = share(&demo.stat())?;
        (old == old_after && new_after >= new + 5).then_some(())
    });
    assert!(moved.is_some(), "{}", demo.stat());
    demo.write("20-routes.yaml", &before);
}

#[test]
fn an_annotation_delays_one_edge_and_its_removal_ends_that() {
    let demo = Demo::start();
    let vote = || demo.seconds("/api/vote?choice=:joy:");
    let list = || demo.seconds("/api/list");
    let before =
        demo.edit("20-routes.yaml", "  # annotations:\n  #   fault.mesh/delay: 300ms", "  annotations:\n    fault.mesh/delay: 1200ms");
    assert!(eventually(SOON, || (vote() >= 1.2).then_some(())).is_some(), "votes are delayed");
    // What waits for no vote is as fast as it was, compared with what waits.
    assert!(eventually(SOON, || (list() < 1.0).then_some(())).is_some(), "lists are not");

    // Planned for another caller only.
    let other = before.replace(
        "  # annotations:\n  #   fault.mesh/delay: 300ms",
        "  annotations:\n    fault.mesh/delay: 1200ms\n    fault.mesh/from: emojivoto/vote-bot",
    );
    assert_ne!(other, before);
    demo.write("20-routes.yaml", &other);
    assert!(eventually(SOON, || (vote() < 1.0).then_some(())).is_some(), "web is not vote-bot");

    let mine = other.replace("emojivoto/vote-bot", "emojivoto/web");
    demo.write("20-routes.yaml", &mine);
    assert!(eventually(SOON, || (vote() >= 1.2).then_some(())).is_some(), "web is web");

    demo.write("20-routes.yaml", &before);
    assert!(eventually(SOON, || (vote() < 1.0).then_some(())).is_some(), "votes are as fast as before");
}
