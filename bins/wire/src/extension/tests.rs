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

mod bytes {
    use ::bytes::Bytes;
    use futures_util::StreamExt as _;
    use http::Request;
    use http_body_util::{BodyExt as _, Full};
    use meshkit_core::grpc::Code;
    use tower::Service;

    use super::super::{anchors, digests};
    use crate::{Refused, destination::Answers};

    struct Played;

    impl anchors::Anchored for Played {
        fn anchors(&self, identity: &str) -> Answers<anchors::Bundle> {
            let bundle = anchors::Bundle { pem: format!("of {identity}").into(), generation: 300 };
            futures_util::stream::iter([bundle]).boxed()
        }
    }

    impl digests::Digested for Played {
        fn digest(&self, path: &str, context: &str) -> Result<u64, Refused> {
            assert_eq!(context, "me");
            (path == "web").then_some(0x0102_0304_0506_0708).ok_or_else(|| Refused::new(Code::NOT_FOUND, "nobody"))
        }
    }

    async fn call<S>(mut server: S, path: &'static str, message: &[u8]) -> (String, Vec<u8>)
    where
        S: Service<Request<Full<Bytes>>, Response = http::Response<tonic::body::Body>, Error: std::fmt::Debug>,
    {
        let body = [&[0, 0, 0, 0, u8::try_from(message.len()).unwrap()][..], message].concat();
        let request = Request::post(path).header("content-type", "application/grpc").body(Full::new(body.into())).unwrap();
        let (head, body) = server.call(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap();
        let status = body.trailers().and_then(|end| end.get("grpc-status")).or(head.headers.get("grpc-status")).unwrap();
        (status.to_str().unwrap().to_owned(), body.to_bytes().to_vec())
    }

    #[tokio::test]
    async fn messages_are_those_that_were_written_down() {
        let (anchors, digests) = (anchors::server(Played.into()), digests::server(Played.into()));
        let told = call(anchors, "/mesh.extension.v1.TrustAnchors/Watch", b"\x0a\x03web").await;
        assert_eq!(told, ("0".to_owned(), b"\0\0\0\0\x0b\x0a\x06of web\x10\xac\x02".to_vec()));
        let path = "/mesh.extension.v1.Digests/Get";
        let told = call(digests.clone(), path, b"\x0a\x03web\x12\x02me").await;
        assert_eq!(told, ("0".to_owned(), b"\0\0\0\0\x09\x09\x08\x07\x06\x05\x04\x03\x02\x01".to_vec()));
        assert_eq!(call(digests, path, b"\x0a\x02no\x12\x02me").await, ("5".to_owned(), Vec::new()));
        assert!(path.starts_with(digests::PATH) && "/mesh.extension.v1.TrustAnchors/Watch".starts_with(anchors::PATH));
    }
}
