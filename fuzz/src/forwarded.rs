//! The header by which gateways know what has passed them before.

use http::{HeaderMap, HeaderValue, header::FORWARDED};
use meshkit_core::{Authority, Identity};
use meshkit_http::forwarded::{Hop, append, passed};

use crate::{Input, Verdict};

/// Three parts are the identities of a gateway and its client and the authority that was asked for; the rest is a header that came with the
/// request. A gateway knows itself by what it appended, and nobody else by the client's words.
#[must_use]
pub fn run(data: &[u8]) -> Verdict {
    let mut input = Input::new(data);
    let (by, client, host) = (input.text(), input.text(), input.text());
    let mut headers = HeaderMap::new();
    let told = HeaderValue::from_bytes(input.rest());
    if let Ok(value) = &told {
        headers.append(FORWARDED, value.clone());
        for name in naive(value.as_bytes()) {
            if let Ok(name) = std::str::from_utf8(&name) {
                assert!(passed(&headers, name), "{value:?} names {name:?}");
            }
        }
        assert_eq!(passed(&headers, &by), naive(value.as_bytes()).contains(&by.as_bytes().to_vec()), "{by:?} in {value:?}");
    }
    // What stands in a certificate or names a Service cannot break out of its value.
    let (Ok(by), Ok(client), Ok(host)) = (by.parse::<Identity>(), client.parse::<Identity>(), host.parse::<Authority>()) else {
        return Verdict::when(told.is_ok());
    };
    let mut appended = HeaderMap::new();
    append(&mut appended, Hop { by: by.as_str(), client: client.as_str(), host: &host.to_string() })
        .expect("nothing of it is a control character");
    assert!(passed(&appended, by.as_str()), "{appended:?}");
    assert_eq!(passed(&appended, client.as_str()), client == by, "{appended:?}");
    Verdict::Accepted
}

/// Splits at semicolons and commas that are not quoted, then at the first `=`; an item without one is passed over.
fn naive(value: &[u8]) -> Vec<Vec<u8>> {
    let mut items = vec![Vec::new()];
    let (mut quoted, mut escaped, mut in_value) = (false, false, false);
    for &byte in value {
        let kept = match byte {
            _ if escaped => {
                escaped = false;
                Some(byte)
            }
            b'\\' if quoted => {
                escaped = true;
                None
            }
            b'"' if in_value => {
                quoted = !quoted;
                None
            }
            b';' | b',' if !quoted => {
                items.push(Vec::new());
                in_value = false;
                None
            }
            b'=' => {
                in_value = true;
                Some(byte)
            }
            _ => Some(byte),
        };
        items.last_mut().expect("there is one from the beginning").extend(kept);
    }
    let by = |item: &Vec<u8>| {
        let equals = item.iter().position(|b| *b == b'=')?;
        let name = item[..equals].trim_ascii();
        name.eq_ignore_ascii_case(b"by").then(|| item[equals + 1..].trim_ascii().to_vec())
    };
    items.iter().filter_map(by).collect()
}
