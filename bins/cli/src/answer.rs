//! What a command answers, on standard output. Everything else goes to standard error.

use std::io::{self, Write as _};

/// Writes an answer. A reader that has gone away has seen enough.
///
/// # Errors
/// It cannot be written.
pub(crate) fn answer(text: &str) -> Result<(), Vec<String>> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(vec![format!("standard output: {error}")]),
        _ => Ok(()),
    }
}
