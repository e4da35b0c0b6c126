//! What a scrape says of an index, under the names that dashboards know.

use std::collections::BTreeMap;

use meshkit_runtime::metrics::{Encoder, Kind, Registry};

use crate::{Index, index::Watched, target::Target};

/// The only cluster that is known here.
const CLUSTER: &str = "local";

/// Adds the families of an index to a registry. Series come and go with what is watched, which [`max_questions`] bounds.
///
/// | family | labels | value |
/// |---|---|---|
/// | `endpoints_subscribers` | `cluster`, `namespace`, `service`, `port`, `hostname`, `nodename` | streams |
/// | `endpoints_updates` | the same | answers since the first stream |
/// | `endpoints_pods` | the same | endpoints now |
/// | `endpoints_exists` | the same | 1 if the Service exists |
/// | `profile_subscribers`, `profile_updates` | `namespace` (the client's), `profile` | streams, answers |
/// | `service_subscribers` | `namespace`, `name` | streams of profiles of a Service |
/// | `workload_subscribers`, `workload_updates` | | of profiles of addresses |
///
/// [`max_questions`]: crate::Settings::max_questions
pub fn register(registry: &Registry, index: &Index) {
    let index = index.clone();
    registry.legacy().collect(move |out| encode(&index.watched(), &index.mesh().domain, out));
}

fn encode(all: &[Watched], domain: &str, out: &mut Encoder) {
    endpoints(all, out, "endpoints_subscribers", "Streams that wait for the endpoints of a Service.", Kind::Gauge, |w| {
        w.watcher_count as u64
    });
    endpoints(all, out, "endpoints_updates", "Answers about the endpoints of a Service.", Kind::Counter, |w| w.answer_count);
    let pods = |w: &Watched| w.endpoints.map_or(0, |(count, _)| count as u64);
    endpoints(all, out, "endpoints_pods", "Endpoints of a Service.", Kind::Gauge, pods);
    let exists = |w: &Watched| w.endpoints.map_or(0, |(_, exists)| u64::from(exists));
    endpoints(all, out, "endpoints_exists", "Whether a Service exists.", Kind::Gauge, exists);

    // Several ports have one profile, and an address has one of its own.
    let (mut profiles, mut addrs) = (BTreeMap::<_, (u64, u64)>::new(), (0, 0));
    let mut services = BTreeMap::<_, u64>::new();
    for watched in all.iter().filter(|w| w.endpoints.is_none()) {
        let sum = match &watched.target {
            Target::Name(name) => {
                *services.entry((&name.namespace, &name.service)).or_default() += watched.watcher_count as u64;
                let profile = format!("{}.{}.svc.{domain}", name.service, name.namespace);
                profiles.entry((watched.client.as_str(), profile)).or_default()
            }
            Target::Addr(_) => &mut addrs,
        };
        sum.0 += watched.watcher_count as u64;
        sum.1 += watched.answer_count;
    }
    let mut family = |name: &str, help: &str, kind, value: fn(&(u64, u64)) -> u64| {
        out.family(name, help, kind, None, |out| {
            for ((namespace, profile), counts) in &profiles {
                out.with(&[("namespace", *namespace), ("profile", profile)], |out| out.counter(value(counts)));
            }
        });
    };
    family("profile_subscribers", "Streams that wait for a profile.", Kind::Gauge, |counts| counts.0);
    family("profile_updates", "Answers about a profile.", Kind::Counter, |counts| counts.1);
    out.family("service_subscribers", "Streams that wait for a profile of a Service.", Kind::Gauge, None, |out| {
        for ((namespace, name), count) in &services {
            out.with(&[("namespace", *namespace), ("name", *name)], |out| out.counter(*count));
        }
    });
    let mut family = |name: &str, help: &str, kind, value| out.family(name, help, kind, None, |out| out.counter(value));
    family("workload_subscribers", "Streams that wait for the profile of an address.", Kind::Gauge, addrs.0);
    family("workload_updates", "Answers about the profile of an address.", Kind::Counter, addrs.1);
}

fn endpoints(all: &[Watched], out: &mut Encoder, name: &str, help: &str, kind: Kind, value: impl Fn(&Watched) -> u64) {
    out.family(name, help, kind, None, |out| {
        for watched in all.iter().filter(|w| w.endpoints.is_some()) {
            let Target::Name(name) = &watched.target else { continue };
            let port = name.port.to_string();
            let labels = [
                ("cluster", CLUSTER),
                ("namespace", &name.namespace),
                ("service", &name.service),
                ("port", &port),
                ("hostname", name.instance.as_deref().unwrap_or_default()),
                ("nodename", &watched.client),
            ];
            out.with(&labels, |out| out.counter(value(watched)));
        }
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use meshkit_manifest::{Event, Key, Kind};

    use super::*;
    use crate::{
        Settings,
        fixture::{mesh, objects},
        target::Context,
    };

    const WEB: &str = "
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: ns}, spec: {ports: [{port: 80}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: ns, labels: {kubernetes.io/service-name: web}}
ports: [{port: 8080}]
endpoints: [{addresses: [10.0.0.1]}, {addresses: [10.0.0.2]}]
";

    #[tokio::test]
    async fn a_scrape_counts_what_is_watched_for_as_long_as_it_is() {
        let index = Index::fed(mesh(), Settings::default());
        index.apply(Event::Reset(objects(WEB)), |_| true);
        let registry = Registry::new(Duration::from_secs(60));
        register(&registry, &index);
        let lines = || registry.encode().lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(lines(), ["workload_subscribers 0", "workload_updates 0"]);

        let target = |path| Target::parse(path, "cluster.local").unwrap();
        let Target::Name(name) = target("web.ns.svc.cluster.local:80") else { panic!() };
        let on = |node: &str| Context { node_name: node.to_owned(), ns: "client".to_owned(), ..Context::default() };
        let mut endpoints = [index.endpoints(&name, &on("n")).unwrap(), index.endpoints(&name, &on("n")).unwrap()];
        let profile = index.profile(&target("web.ns.svc.cluster.local:80"), &on("n")).unwrap();
        let addr = index.profile(&target("10.0.0.1:80"), &on("n")).unwrap();
        index.apply(Event::Deleted(Key { kind: Kind::Service, namespace: "ns".to_owned(), name: "web".to_owned() }), |_| true);
        endpoints[0].mark_unchanged();
        endpoints[0].changed().await.unwrap();
        let labels = r#"{cluster="local",namespace="ns",service="web",port="80",hostname="",nodename="n"}"#;
        let about = r#"{namespace="client",profile="web.ns.svc.cluster.local"}"#;
        let expected = [
            format!("endpoints_subscribers{labels} 2"),
            format!("endpoints_updates{labels} 2"),
            format!("endpoints_pods{labels} 0"),
            format!("endpoints_exists{labels} 0"),
            format!("profile_subscribers{about} 1"),
            format!("profile_updates{about} 1"),
            r#"service_subscribers{namespace="ns",name="web"} 1"#.to_owned(),
            "workload_subscribers 1".to_owned(),
            "workload_updates 1".to_owned(),
        ];
        assert_eq!(lines(), expected);
        drop((endpoints, profile, addr));
        assert_eq!(lines(), ["workload_subscribers 0", "workload_updates 0"]);
    }
}
