//! TCP: connections for one byte, and many bytes on one connection.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Outcome, Worker, within};
use crate::tcp::Wish;

/// More than any measurement moves: a connection lasts as long as the load.
const ENDLESS: u64 = 1 << 50;
/// How much is written or read at once.
const CHUNK: usize = 128 << 10;

/// A new connection, one byte from the server, and its end.
pub(super) async fn connect(worker: Worker) -> io::Result<()> {
    let due = worker.pace.next().await;
    let mut stream = worker.dial().await?;
    within(async {
        stream.write_all(&Wish::Download(1).encode()).await?;
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        // Until the server's end has come: its proxies are done with it too.
        if stream.read(&mut byte).await? == 0 { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    })
    .await?;
    worker.tally.borrow_mut().record(Outcome::Success, due);
    Ok(())
}

pub(super) async fn upload(worker: Worker) -> io::Result<()> {
    let mut stream = worker.dial().await?;
    stream.write_all(&Wish::Upload(ENDLESS).encode()).await?;
    let chunk = vec![b'x'; CHUNK];
    loop {
        let written = within(stream.write(&chunk)).await?;
        worker.tally.borrow_mut().bytes += written as u64;
    }
}

pub(super) async fn download(worker: Worker) -> io::Result<()> {
    let mut stream = worker.dial().await?;
    stream.write_all(&Wish::Download(ENDLESS).encode()).await?;
    let mut chunk = vec![0; CHUNK];
    loop {
        match within(stream.read(&mut chunk)).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => worker.tally.borrow_mut().bytes += read as u64,
        }
    }
}
