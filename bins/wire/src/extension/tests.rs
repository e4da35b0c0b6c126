use std::{collections::BTreeMap, time::Duration};

use meshkit_fault::{Abort, Delay, Fault, Kind};
use proptest::prelude::*;

use super::*;

fn resource(name: &str) -> Arc<Resource> {
    let text = |text: &str| text.to_owned();
    Arc::new(Resource { group: text("g"), kind: text("HTTPRoute"), namespace: text("ns"), name: text(name), ..Resource::default() })
}

fn delay(millis: u64) -> Faults {
    Fault::new(Kind::Delay(Delay::Fixed(Duration::from_millis(millis)))).into()
}

#[test]
fn a_route_has_its_own_faults_or_those_of_all_others() {
    let plan = FaultPlan::new(vec![(resource("slow"), delay(300))], delay(5));
    assert_eq!(plan.of(&Meta::Resource(resource("slow"))), &delay(300));
    assert_eq!(plan.of(&Meta::Resource(resource("other"))), &delay(5));
    assert_eq!(plan.of(&Meta::builtin("http")), &delay(5));
    assert!(FaultPlan::default().is_empty() && !plan.is_empty());
}

#[test]
fn what_is_not_in_the_grammar_is_told_with_its_place() {
    let wrong = proto::FaultPlan { others: [("fault.mesh/delay".to_owned(), "soon".to_owned())].into(), ..Default::default() };
    let error = convert::from_proto(wrong).unwrap_err().to_string();
    assert!(error.starts_with("others") && error.contains("soon"), "{error}");
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(routes in proptest::collection::btree_map("[a-z]{1,8}", 1u64..10_000, 0..4), others: Option<u16>) {
        let routes: BTreeMap<_, _> = routes;
        let routes = routes.into_iter().map(|(name, millis)| (resource(&name), delay(millis))).collect();
        let status = others.map(|n| http::StatusCode::from_u16(200 + n % 400).unwrap());
        let others = status.map(|status| Fault::new(Kind::Abort(Abort::Status(status))).into()).unwrap_or_default();
        let written = FaultPlan::new(routes, others);
        prop_assert_eq!(plan(&plan_to(&written)).unwrap(), written);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = plan(&bytes);
    }
}
