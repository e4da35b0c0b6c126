//! What a command answers, on standard output. Everything else goes to standard error.

use std::io::{self, Write as _};

/// Writes an answer. A reader that has gone away has seen enough.
///
/// # Errors
/// It cannot be written.
pub(crate) fn answer(text: &str) -> Result<(), Vec<String>> {
    go_on(text).map(drop)
}

/// Is there somebody who reads on?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    There,
    Gone,
}

/// Writes a part of an answer that has no end of its own.
///
/// # Errors
/// It cannot be written.
pub(crate) fn go_on(text: &str) -> Result<Reader, Vec<String>> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(vec![format!("standard output: {error}")]),
    }
}
