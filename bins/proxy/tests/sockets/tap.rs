//! Live requests, asked for in the bytes of the published protocol.

use meshkit_proxy::config::Tap;

use crate::{
    frames::{DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, POST, PREFACE, SETTINGS, field, frame, next},
    support::{
        CLIENT, NAME, Running,
        authority::{Authority, Dates, Files},
        openssl,
        peer::{Peer, exchange},
        start, start_with,
    },
};

const TAP: &str = "tap.linkerd-viz.serviceaccount.identity.linkerd.cluster.local";

fn with_tap() -> Running {
    start_with(|config| config.tap = Some(Tap { client: TAP.parse().unwrap() }))
}

/// `ObserveRequest { limit: 1, match: { http: { path: { prefix: "/tapped" } } } }`, framed as gRPC does.
const OBSERVE: &[u8] = b"\0\0\0\0\x11\x08\x01\x12\x0d\x32\x0b\x22\x09\x12\x07/tapped";

/// The same, with `extract: { http: { headers: {} } }`.
const OBSERVE_HEADERS: &[u8] = b"\0\0\0\0\x17\x08\x01\x12\x0d\x32\x0b\x22\x09\x12\x07/tapped\x1a\x04\x0a\x02\x0a\0";

fn conversation() -> Vec<u8> {
    conversation_with(OBSERVE)
}

/// A whole conversation: the request, and that there will be no other.
fn conversation_with(observe: &[u8]) -> Vec<u8> {
    let path = "/io.linkerd.proxy.tap.Tap/Observe";
    let named = [&[0x04][..], &[u8::try_from(path.len()).unwrap()], path.as_bytes()].concat();
    let block = [&POST[..1], &POST[2..], &named, &field("content-type", "application/grpc"), &field("te", "trailers")].concat();
    [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(HEADERS, END_HEADERS, 1, &block), &frame(DATA, END_STREAM, 1, observe)].concat()
}

/// Every message of the answer.
fn messages(peer: &mut Peer) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut heads = 0;
    while let Some(frame) = next(peer) {
        match frame.kind {
            DATA => all.extend(frame.payload),
            HEADERS => heads += 1,
            _ => {}
        }
        // The head of the response, and its trailers.
        if heads == 2 {
            break;
        }
    }
    let mut messages = Vec::new();
    let mut rest = &all[..];
    while let Some((head, tail)) = rest.split_first_chunk::<5>() {
        let (message, tail) = tail.split_at(u32::from_be_bytes(head[1..].try_into().unwrap()) as usize);
        messages.push(message.to_vec());
        rest = tail;
    }
    messages
}

fn holds(message: &[u8], text: &str) -> bool {
    message.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn a_program_of_this_machine_sees_a_request_from_its_beginning_to_its_end() {
    let proxy = with_tap();
    let mut peer = Peer::connect(proxy.on(4190));
    peer.send(&conversation());
    let request = b"GET /tapped/here HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n";
    let other = b"GET /other HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n";
    assert!(exchange(proxy.published(), other).starts_with("HTTP/1.1 200"));
    let steady = std::thread::spawn({
        let to = proxy.published();
        move || (0..20).for_each(|_| drop(exchange(to, request)))
    });
    let messages = messages(&mut peer);
    steady.join().unwrap();
    assert_eq!(messages.len(), 3, "{messages:?}");
    assert!(holds(&messages[0], "/tapped/here") && holds(&messages[0], "no_tls_from_remote"));
    // Field 6 is the direction, and 1 is inbound.
    assert!(messages.iter().all(|message| holds(message, "\x30\x01")));
    // Headers were not asked for.
    assert!(!messages.iter().any(|message| holds(message, ":path") || holds(message, ":status")));
    assert!(messages[1].windows(3).any(|window| window == [0x18, 0xc8, 0x01]), "the status is 200");
}

#[test]
fn headers_that_are_asked_for_come_with_those_of_http_2() {
    let proxy = with_tap();
    let mut peer = Peer::connect(proxy.on(4190));
    peer.send(&conversation_with(OBSERVE_HEADERS));
    let to = proxy.published();
    let steady = std::thread::spawn(move || {
        (0..20).for_each(|_| drop(exchange(to, b"GET /tapped/here HTTP/1.1\r\nhost: web\r\nx-mine: 1\r\nconnection: close\r\n\r\n")));
    });
    let messages = messages(&mut peer);
    steady.join().unwrap();
    assert_eq!(messages.len(), 3, "{messages:?}");
    // Name and value, each behind its field number and length.
    for (message, name, value) in [
        (0, ":method", "GET"),
        (0, ":scheme", "http"),
        (0, ":authority", "web"),
        (0, ":path", "/tapped/here"),
        (0, "x-mine", "1"),
        (1, ":status", "200"),
        (1, "content-length", "2"),
    ] {
        let len = |text: &str| char::from(u8::try_from(text.len()).unwrap());
        let header = format!("\n{}{name}\x12{}{value}", len(name), len(value));
        assert!(holds(&messages[message], &header), "{name}: {:?}", String::from_utf8_lossy(&messages[message]));
    }
}

#[test]
fn only_the_named_identity_may_look_from_elsewhere() {
    let proxy = with_tap();
    let conversation = [conversation(), frame(GOAWAY, 0, 0, &[0; 8])].concat();
    let look = |files: &Files| openssl::client(proxy.on(4190), NAME, &openssl::shows(files), &conversation);

    look(&proxy.authority.leaf(CLIENT, Dates::Now));
    proxy.logged(&["unauthorized client of the tap", CLIENT]);
    look(&Authority::new().leaf(TAP, Dates::Now));
    proxy.logged(&["a handshake with the tap failed"]);

    let to = proxy.published();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let traffic = std::thread::spawn(move || {
        while let Err(std::sync::mpsc::TryRecvError::Empty) = stopped.try_recv() {
            exchange(to, b"GET /tapped HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n");
        }
    });
    let seen = look(&proxy.authority.leaf(TAP, Dates::Now));
    drop(stop);
    traffic.join().unwrap();
    assert!(seen.contains("/tapped"), "{seen}");
}

#[test]
fn without_the_setting_nobody_may_look() {
    let proxy = start();
    assert!(Peer::connect_if(proxy.on(4190)).is_none());
    proxy.logged(&["Tap DISABLED"]);
}
