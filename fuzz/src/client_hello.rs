//! The first bytes of a connection: TLS, and for which name?

use meshkit_tls::{
    client_hello::{MAX_LEN, Parsed, parse},
    rustls::server::Acceptor,
};

use crate::Verdict;

const RECORD_LEN_AT: usize = 3;
/// The lower two of three bytes.
const HELLO_LEN_AT: usize = 7;

/// Cuts the bytes everywhere: an answer, once given, stays. Where rustls takes the hello as well, both read the same name.
#[must_use]
pub fn run(data: &[u8]) -> Verdict {
    let data = &data[..data.len().min(MAX_LEN)];
    let mut answer = Parsed::NeedMore;
    for cut in 0..=data.len() {
        let seen = parse(&data[..cut]);
        assert!(answer == Parsed::NeedMore || answer == seen, "{answer:?} became {seen:?} at byte {cut}");
        answer = seen;
    }
    let Parsed::Hello(name) = answer else { return Verdict::Refused };
    let number = |at: usize| usize::from(data[at]) << 8 | usize::from(data[at + 1]);
    assert!(number(HELLO_LEN_AT) + 4 <= number(RECORD_LEN_AT), "the hello is longer than its record");
    if let Some(Some(other)) = rustls_name(data) {
        let name = name.unwrap_or_default();
        // RFC 6066 has no trailing dot and no case; rustls drops both.
        assert!(name.trim_end_matches('.').eq_ignore_ascii_case(other.trim_end_matches('.')), "{name:?} is {other:?} for rustls");
    }
    Verdict::Accepted
}

/// The name, if rustls takes the hello; `None` within if there is none that it takes for a name.
fn rustls_name(mut data: &[u8]) -> Option<Option<String>> {
    let mut acceptor = Acceptor::default();
    loop {
        if let Some(accepted) = acceptor.accept().ok()? {
            return Some(accepted.client_hello().server_name().map(str::to_owned));
        }
        if acceptor.read_tls(&mut data).ok()? == 0 {
            return None;
        }
    }
}
