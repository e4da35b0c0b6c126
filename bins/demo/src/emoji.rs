//! emoji: which emoji there are, and now and then that it cannot say.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::time::sleep;
use tonic::{
    Request, Response, Status,
    transport::server::{Server, TcpIncoming},
};
use tracing::info;

use crate::{
    Error,
    environment::Reader,
    http1::bind,
    metrics::{self, Counters},
    proto::emoji::{
        Emoji, FindByShortcodeRequest, FindByShortcodeResponse, ListAllEmojiRequest, ListAllEmojiResponse,
        emoji_service_server::{EmojiService, EmojiServiceServer},
    },
    stop::Stop,
    table,
};

pub(crate) struct Settings {
    grpc: SocketAddr,
    prom: Option<SocketAddr>,
    failure_rate: f64,
    delay: Option<Duration>,
}

/// The service. Every emoji is in the table that it was built with.
struct Catalog {
    failure_rate: f64,
    delay: Option<Duration>,
    answers: Arc<Counters>,
}

/// Cells of the counters.
const LISTED: usize = 0;
const UNAVAILABLE: usize = 1;
const FOUND: usize = 2;
const UNKNOWN: usize = 3;

impl Settings {
    pub(crate) fn read(env: &mut Reader<'_>) -> Self {
        Self {
            grpc: env.listen("GRPC_PORT"),
            prom: env.listen_if_set("PROM_PORT"),
            failure_rate: env.share("FAILURE_RATE"),
            delay: env.duration("ARTIFICIAL_DELAY"),
        }
    }
}

pub(crate) async fn run(settings: Settings, mut stop: Stop) -> Result<(), Error> {
    let values = ["listed", "unavailable", "found", "unknown"];
    let answers = Arc::new(Counters::new("emojivoto_answers_total", "Answers by what they said", "answer", values));
    let listener = bind("GRPC_PORT", settings.grpc).await?;
    info!(grpc.addr = %settings.grpc, failure_rate = settings.failure_rate, "emoji is serving");
    let catalog = Catalog { failure_rate: settings.failure_rate, delay: settings.delay, answers: Arc::clone(&answers) };
    let prom = metrics::serve(settings.prom, answers, stop.clone());
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let grpc =
        Server::builder().serve_with_incoming_shutdown(EmojiServiceServer::new(catalog), incoming, async move { stop.given().await });
    tokio::try_join!(async { grpc.await.map_err(|error| Error::serve("gRPC", error)) }, prom)?;
    Ok(())
}

impl Catalog {
    async fn pause(&self) {
        if let Some(delay) = self.delay {
            sleep(delay).await;
        }
    }
}

#[tonic::async_trait]
impl EmojiService for Catalog {
    async fn list_all(&self, _: Request<ListAllEmojiRequest>) -> Result<Response<ListAllEmojiResponse>, Status> {
        self.pause().await;
        if rand::random_bool(self.failure_rate) {
            self.answers.add(UNAVAILABLE);
            return Err(Status::unavailable("the list is out (FAILURE_RATE); ask again"));
        }
        self.answers.add(LISTED);
        let list = table::EMOJI.iter().map(emoji).collect();
        Ok(Response::new(ListAllEmojiResponse { list }))
    }

    async fn find_by_shortcode(&self, request: Request<FindByShortcodeRequest>) -> Result<Response<FindByShortcodeResponse>, Status> {
        self.pause().await;
        let wanted = request.into_inner().shortcode;
        let emoji = table::EMOJI.iter().find(|(shortcode, _)| *shortcode == wanted).map(emoji);
        self.answers.add(if emoji.is_some() { FOUND } else { UNKNOWN });
        Ok(Response::new(FindByShortcodeResponse { emoji }))
    }
}

fn emoji((shortcode, unicode): &(&str, &str)) -> Emoji {
    Emoji { unicode: (*unicode).to_owned(), shortcode: (*shortcode).to_owned() }
}
