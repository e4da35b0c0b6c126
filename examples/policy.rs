//! Who may call what, and how do I change that while requests pass?
//!
//! ```text
//! cargo run -p meshkit-examples --example policy
//! ```

use std::{convert::Infallible, error::Error as _, num::NonZeroU32, sync::Arc};

use http::{Method, Request, Response};
use meshkit_core::Identity;
use meshkit_policy::{
    Authorization, Client, Meta, PolicyLayer, TlsState,
    http::Match,
    inbound::{Policy, Protocol, RoutePolicy},
    rate_limit::{Limit, RateLimit},
    route::{PathMatch, Route, Rule},
};
use tokio::sync::watch;
use tower::{Layer, ServiceExt, service_fn};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let (web, bot): (Identity, Identity) = ("web.emojivoto".parse()?, "bot.emojivoto".parse()?);
    let clients = [
        ("web", TlsState::Terminated { client_id: Some(web.clone()) }),
        ("bot", TlsState::Terminated { client_id: Some(bot.clone()) }),
        ("plaintext", TlsState::NoTls),
    ];

    // The decision is a function of values.
    let policy = voting([web.clone()], None);
    for (name, tls) in &clients {
        let client = Client { ip: [10, 0, 0, 7].into(), tls: tls.clone() };
        for (method, path) in [(Method::GET, "/leaders"), (Method::POST, "/vote"), (Method::GET, "/admin")] {
            let request = Request::builder().method(&method).uri(path).body(())?.into_parts().0;
            let verdict = match policy.route(&request).map(|found| policy.authorize_request(&client, &found)) {
                None => "no such route".to_owned(),
                Some(Ok(by)) => format!("allowed by {by}"),
                Some(Err(denied)) => format!("denied: {denied}"),
            };
            println!("{name:<10}{:<5}{path:<10}{verdict}", method.as_str());
        }
    }

    // The layer applies it to the requests of one connection, and follows its changes.
    let (updates, current) = watch::channel(Arc::new(policy));
    let server = |name: usize| {
        let client = Client { ip: [10, 0, 0, 7].into(), tls: clients[name].1.clone() };
        let voting = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())));
        PolicyLayer::new(current.clone(), client).layer(voting)
    };
    let vote = async |name: usize| {
        let request = Request::post("/vote").body(())?;
        Ok::<_, BoxError>(match server(name).oneshot(request).await {
            Ok(response) => response.status().as_u16().to_string(),
            Err(error) => format!("{}: {error}; {}", error.cause().answer().status.as_u16(), error.source().ok_or("there is a reason")?),
        })
    };
    println!("\nthe bot votes:         {}", vote(1).await?);
    updates.send_replace(Arc::new(voting([web.clone(), bot], None)));
    println!("once it is allowed to: {}", vote(1).await?);

    updates.send_replace(Arc::new(voting([web], NonZeroU32::new(2))));
    let web = server(0);
    let mut answers = Vec::new();
    for _ in 0..4 {
        let answer = web.clone().oneshot(Request::post("/vote").body(())?).await;
        answers.push(answer.map_or_else(|error| error.cause().answer().status, |response| response.status()).as_u16());
    }
    println!("web, two a second:     {answers:?}");
    Ok(())
}

/// Everybody may see the leaders, and only `voters` may vote. `limit` is how many requests a second the port takes.
fn voting(voters: impl IntoIterator<Item = Identity>, limit: Option<NonZeroU32>) -> Policy {
    let everybody = Authorization::new(Meta::builtin("everybody"));
    let voters = Authorization::new(Meta::builtin("voters")).identities(voters);
    let route = |name, method, path: &str, authorization| Route {
        meta: Meta::builtin(name),
        hosts: Vec::new(),
        rules: vec![Rule {
            matches: vec![Match { method: Some(method), path: Some(PathMatch::Exact(path.to_owned())), ..Match::default() }],
            policy: RoutePolicy { authorizations: [authorization].into(), filters: [].into() },
        }],
    };
    let routes = [route("leaders", Method::GET, "/leaders", everybody), route("vote", Method::POST, "/vote", voters)];
    let rate_limit = limit.map(|limit| Arc::new(RateLimit::default().total(Limit(limit))));
    Policy { protocol: Protocol::Http1 { routes: routes.into(), rate_limit }, server: Meta::builtin("voting"), authorizations: [].into() }
}
