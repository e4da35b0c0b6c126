//! What all proxies of this process log, and whether any of their threads panicked.

use std::{
    io,
    sync::{Mutex, Once},
};

use tracing_subscriber::fmt::MakeWriter;

static WRITTEN: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The log, from where it stood when this was made.
pub(crate) struct Logs {
    from: usize,
}

#[derive(Clone)]
struct Writer;

impl Logs {
    pub(crate) fn capture() -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let filter = "warn,meshkit_proxy=info,meshkit_http=info,meshkit_runtime=info,meshkit_wire=info";
            let log = tracing_subscriber::fmt().with_ansi(false).with_env_filter(filter).with_writer(Writer);
            log.init();
            let usual = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                // An assertion of a test is no fault of a proxy.
                let of_a_test = panic.location().is_some_and(|location| location.file().contains("tests/"));
                if !of_a_test {
                    PANICS.lock().unwrap().push(panic.to_string());
                }
                usual(panic);
            }));
        });
        Self { from: WRITTEN.lock().unwrap().len() }
    }

    /// Everything, with what other tests of this process log meanwhile.
    pub(crate) fn all(&self) -> String {
        String::from_utf8_lossy(&WRITTEN.lock().unwrap()[self.from..]).into_owned()
    }

    pub(crate) fn panics(&self) -> Vec<String> {
        PANICS.lock().unwrap().clone()
    }
}

impl MakeWriter<'_> for Writer {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        WRITTEN.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
