//! web: the page and its API, over HTTP/1.
//!
//! | path | answer |
//! |---|---|
//! | `/`, `/leaderboard` | the page |
//! | `/js`, `/dist/index_bundle.js`, `/dist/index.css`, `/img/favicon.ico` | what the page needs |
//! | `GET /api/list` | the emoji, as JSON |
//! | `GET /api/vote?choice=:joy:` | 200, 400 if there is no such emoji, 500 if the vote failed; `x-voting-version` says which version took it |
//! | `GET /api/leaderboard` | the votes, most first, as JSON |
//! | `GET /api/split` | how many of the last 200 votes each version of voting took, as JSON |

mod api;
mod backends;
mod page;
mod tally;

use std::{net::SocketAddr, sync::Arc};

use http::{HeaderValue, Method, Request, StatusCode, header::ALLOW, uri::Authority};
use hyper::body::Incoming;
use tracing::info;

use self::{api::Api, backends::Backends, page::Page};
use crate::{
    Error,
    environment::Reader,
    http1::{self, Answer, answer},
    stop::Stop,
};

pub(crate) struct Settings {
    listen: SocketAddr,
    emoji: Authority,
    voting: Authority,
    message: Option<String>,
}

impl Settings {
    pub(crate) fn read(env: &mut Reader<'_>) -> Self {
        Self {
            listen: env.listen("WEB_PORT"),
            emoji: env.host("EMOJISVC_HOST"),
            voting: env.host("VOTINGSVC_HOST"),
            message: env.text("MESSAGE_OF_THE_DAY"),
        }
    }
}

pub(crate) async fn run(settings: Settings, stop: Stop) -> Result<(), Error> {
    let listener = http1::bind("WEB_PORT", settings.listen).await?;
    info!(http.addr = %settings.listen, emoji = %settings.emoji, voting = %settings.voting, "web is serving");
    let page = Arc::new(Page::new(settings.message.as_deref()));
    let api = Arc::new(Api::new(Backends::new(&settings.emoji, &settings.voting)));
    http1::serve(listener, stop, move |request| route(request, Arc::clone(&page), Arc::clone(&api))).await;
    Ok(())
}

async fn route(request: Request<Incoming>, page: Arc<Page>, api: Arc<Api>) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut answer = answer(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET and HEAD are answered\n");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    let path = request.uri().path();
    if let Some(answer) = page.answer(path) {
        return answer;
    }
    match path {
        "/api/list" => api.list(request.headers()).await,
        "/api/vote" => api.vote(request.uri().query(), request.headers()).await,
        "/api/leaderboard" => api.leaderboard(request.headers()).await,
        "/api/split" => api.split(),
        _ => answer(StatusCode::NOT_FOUND, "text/plain", "nothing is here\n"),
    }
}
