//! A steady load on the demo: lists, which are tried again when they fail, and votes, which are not.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use meshkit_e2e::eventually;

/// Requests at a time.
pub(crate) const CLIENTS: usize = 4;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two requests of a client.
const REST: Duration = Duration::from_millis(5);

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The whole list, or a vote that was counted.
    Right,
    /// A refusal, or none at all: it says so.
    Failed(String),
    /// Something that looks like an answer and is none.
    Wrong(String),
}

/// Clients that list the emoji and vote, one request after the other, each on a connection of its own.
pub(crate) struct Load {
    answers: Arc<Mutex<Vec<Answer>>>,
    stop: Arc<AtomicBool>,
    clients: Vec<thread::JoinHandle<()>>,
}

impl Load {
    pub(crate) fn start(to: SocketAddr) -> Self {
        let (answers, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let client = |number: usize| {
            let (answers, stop) = (Arc::clone(&answers), Arc::clone(&stop));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let answer = if number.is_multiple_of(2) { list(to) } else { vote(to) };
                    answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
                    rest(REST);
                }
            })
        };
        Self { clients: (0..CLIENTS).map(client).collect(), answers, stop }
    }

    /// How many were answered by now.
    pub(crate) fn count(&self) -> usize {
        self.answers.lock().unwrap().len()
    }

    /// Everything since the answer of this number.
    pub(crate) fn since(&self, from: usize) -> Vec<Answer> {
        self.answers.lock().unwrap()[from..].to_vec()
    }

    /// Waits for so many more answers, and returns them.
    pub(crate) fn next(&self, more: usize) -> Vec<Answer> {
        let from = self.count();
        let come = eventually(PATIENCE * 3, || (self.count() >= from + more).then_some(()));
        assert!(come.is_some(), "the load stands still: {:?}", self.since(from));
        self.since(from)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.drain(..).for_each(|client| drop(client.join()));
    }
}

/// Those that failed.
pub(crate) fn failures(answers: &[Answer]) -> Vec<&Answer> {
    answers.iter().filter(|answer| **answer != Answer::Right).collect()
}

/// Those that are wrong.
pub(crate) fn wrong(answers: &[Answer]) -> Vec<&Answer> {
    answers.iter().filter(|answer| matches!(answer, Answer::Wrong(_))).collect()
}

/// One list. A body that does not end where it says is as wrong as one that is no list.
fn list(to: SocketAddr) -> Answer {
    let whole = |body: &str| serde_json::from_str::<Vec<serde_json::Value>>(body).is_ok_and(|list| list.len() >= 100);
    ask(to, "/api/list", whole)
}

fn vote(to: SocketAddr) -> Answer {
    ask(to, "/api/vote?choice=:joy:", str::is_empty)
}

/// One request through the published port.
fn ask(to: SocketAddr, path: &str, is_right: impl Fn(&str) -> bool) -> Answer {
    let read = || -> std::io::Result<String> {
        let mut io = TcpStream::connect_timeout(&to, PATIENCE)?;
        io.set_read_timeout(Some(PATIENCE))?;
        io.write_all(format!("GET {path} HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n").as_bytes())?;
        let mut text = String::new();
        io.read_to_string(&mut text)?;
        Ok(text)
    };
    let text = match read() {
        Ok(text) => text,
        Err(error) => return Answer::Failed(format!("{path}: {error}")),
    };
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Answer::Failed(format!("{path}: closed after {text:?}"));
    };
    if head.starts_with("HTTP/1.1 200 ") {
        return if is_right(body) { Answer::Right } else { Answer::Wrong(format!("{path}: {text}")) };
    }
    let said = format!("{path}: {} {body}", text.lines().next().unwrap_or_default());
    match ["500", "502", "503", "504"].iter().any(|status| head.starts_with(&format!("HTTP/1.1 {status} "))) {
        true => Answer::Failed(said),
        false => Answer::Wrong(said),
    }
}

/// The processes under test run by the wall clock, which no test can stop.
fn rest(time: Duration) {
    #[allow(clippy::disallowed_methods)]
    thread::sleep(time);
}
