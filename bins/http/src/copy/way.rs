use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// What one read takes as long as little is on its way. The bytes go through the stack.
const SMALL: usize = 8 << 10;
/// What one read takes under load.
const LARGE: usize = 64 << 10;
/// How long a large buffer is kept while nothing moves.
const KEPT: Duration = Duration::from_secs(1);

/// One way of a connection.
#[derive(Debug, Default)]
pub(super) struct Way {
    /// Read and not written yet.
    held: Vec<u8>,
    /// How much of it is written.
    written: usize,
    /// For reads under load.
    large: Option<Large>,
    unflushed: bool,
    state: State,
}

#[derive(Debug)]
struct Large {
    buffer: Box<[u8]>,
    /// Filled by the last read.
    filled: usize,
    moved: bool,
    check: Pin<Box<Sleep>>,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Copying,
    Ending,
    Ended,
}

impl Large {
    fn new() -> Self {
        Self { buffer: vec![0; LARGE].into(), filled: 0, moved: true, check: Box::pin(sleep(KEPT)) }
    }

    /// Has nothing moved for a while? Asks to be polled again when that may be so.
    fn is_idle(&mut self, cx: &mut Context<'_>) -> bool {
        while self.check.as_mut().poll(cx).is_ready() {
            if !self.moved {
                return true;
            }
            self.moved = false;
            self.check.as_mut().reset(Instant::now() + KEPT);
        }
        false
    }
}

impl Way {
    /// Goes on until something has to be waited for. Ready when the end of `from` has been passed on.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut from: Pin<&mut impl AsyncRead>,
        mut to: Pin<&mut impl AsyncWrite>,
        count: &mut impl FnMut(usize),
    ) -> Poll<io::Result<()>> {
        loop {
            match self.state {
                State::Copying => {
                    ready!(self.write(cx, to.as_mut(), count))?;
                    let read = match &mut self.large {
                        None => self.read_small(cx, from.as_mut(), to.as_mut(), count)?,
                        Some(large) => large.read(cx, from.as_mut())?,
                    };
                    match read {
                        Poll::Ready(0) => self.state = State::Ending,
                        Poll::Ready(_) => {}
                        Poll::Pending => {
                            if self.unflushed {
                                // TLS keeps what the socket did not take.
                                self.unflushed = to.as_mut().poll_flush(cx)?.is_pending();
                            }
                            if self.large.as_mut().is_some_and(|large| large.is_idle(cx)) {
                                self.large = None;
                            }
                            return Poll::Pending;
                        }
                    }
                }
                State::Ending => {
                    self.large = None;
                    // The peer may be gone already: the way has ended all the same.
                    let _ = ready!(to.as_mut().poll_shutdown(cx));
                    self.state = State::Ended;
                }
                State::Ended => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Writes what has been read.
    fn write(&mut self, cx: &mut Context<'_>, mut to: Pin<&mut impl AsyncWrite>, count: &mut impl FnMut(usize)) -> Poll<io::Result<()>> {
        let (bytes, end) = match &self.large {
            Some(large) => (&*large.buffer, large.filled),
            None => (&*self.held, self.held.len()),
        };
        while self.written < end {
            let wrote = ready!(to.as_mut().poll_write(cx, &bytes[self.written..end]))?;
            if wrote == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += wrote;
            self.unflushed = true;
            count(wrote);
        }
        self.written = 0;
        match &mut self.large {
            Some(large) => large.filled = 0,
            None if self.held.capacity() > 0 => self.held = Vec::new(),
            None => {}
        }
        Poll::Ready(Ok(()))
    }

    /// Reads onto the stack and writes from there; only what cannot be written at once is kept.
    fn read_small(
        &mut self,
        cx: &mut Context<'_>,
        from: Pin<&mut impl AsyncRead>,
        mut to: Pin<&mut impl AsyncWrite>,
        count: &mut impl FnMut(usize),
    ) -> io::Result<Poll<usize>> {
        let mut space = [const { MaybeUninit::uninit() }; SMALL];
        let mut buf = ReadBuf::uninit(&mut space);
        if from.poll_read(cx, &mut buf)?.is_pending() {
            return Ok(Poll::Pending);
        }
        let bytes = buf.filled();
        let mut rest = bytes;
        while !rest.is_empty() {
            match to.as_mut().poll_write(cx, rest)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(wrote) => {
                    rest = &rest[wrote..];
                    self.unflushed = true;
                    count(wrote);
                }
                Poll::Pending => {
                    self.held = rest.to_vec();
                    break;
                }
            }
        }
        if bytes.len() == SMALL && self.held.is_empty() {
            self.large = Some(Large::new());
        }
        Ok(Poll::Ready(bytes.len()))
    }
}

impl Large {
    fn read(&mut self, cx: &mut Context<'_>, from: Pin<&mut impl AsyncRead>) -> io::Result<Poll<usize>> {
        let mut buf = ReadBuf::new(&mut self.buffer);
        if from.poll_read(cx, &mut buf)?.is_pending() {
            return Ok(Poll::Pending);
        }
        self.filled = buf.filled().len();
        self.moved = true;
        Ok(Poll::Ready(self.filled))
    }
}
