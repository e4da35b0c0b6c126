//! The first bytes of a connection: HTTP?

use meshkit_http::detect::{Version, classify};

use crate::Verdict;

/// Bytes of the HTTP/2 preface that decide; fewer decide nothing.
const MIN_LEN: usize = 14;

/// Cuts the bytes everywhere. Nothing is said too early; HTTP/2 stays HTTP/2; what is not HTTP never becomes it. HTTP/1 may turn out not to be, but
/// not once its first header has ended.
#[must_use]
pub fn run(data: &[u8]) -> Verdict {
    let mut answers = (0..=data.len()).map(|cut| classify(&data[..cut]));
    assert!(answers.by_ref().take(MIN_LEN.min(data.len() + 1)).all(|answer| answer.is_none()), "decided too early");
    let mut last = None;
    for (behind, answer) in answers.enumerate() {
        let cut = MIN_LEN + behind;
        let is_first = behind == 0;
        match last {
            _ if is_first => {}
            Some(Version::Http2) => assert_eq!(answer, Some(Version::Http2), "at byte {cut}"),
            Some(Version::Http1) => assert!(answer == Some(Version::Http1) || ended(&data[..cut - 1]) < 2, "at byte {cut}"),
            None => assert_eq!(answer, None, "at byte {cut}"),
        }
        last = answer;
    }
    assert_eq!(last == Some(Version::Http2), data.starts_with(b"PRI * HTTP/2.0"));
    if last == Some(Version::Http1) && ended(data) > 0 {
        assert!(is_request_line(data), "{:?}", String::from_utf8_lossy(data));
    }
    Verdict::when(last.is_some())
}

/// Where the request line begins: empty lines in front of it do not count (RFC 9112, section 2.2).
fn line(data: &[u8]) -> &[u8] {
    let begin = data.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(data.len());
    &data[begin..]
}

/// How many lines have ended.
fn ended(data: &[u8]) -> usize {
    line(data).iter().filter(|b| **b == b'\n').count()
}

/// `method target HTTP/1.x`, with whatever blanks between the three.
fn is_request_line(data: &[u8]) -> bool {
    let line = line(data).split(|b| *b == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let words: Vec<_> = line.split(|b| *b == b' ').filter(|word| !word.is_empty()).collect();
    let token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    matches!(words.as_slice(), [method, _, version] if method.iter().all(token) && [b"HTTP/1.0", b"HTTP/1.1"].iter().any(|known| version == known))
}
