//! Credentials and anchors change while connections live.

use std::{sync::Arc, time::SystemTime};

use meshkit_core::Identity;
use meshkit_tls::{ConnectLayer, Connector, HandshakeError, Reason, Tag, TrustAnchors};
use tokio::net::TcpStream;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::{
    ca::{Ca, HOUR, now, server},
    from_openssl::{Server, client},
    openssl::{Files, PATIENCE},
};

#[tokio::test]
async fn an_open_connection_outlives_a_change_of_everything_and_the_next_one_sees_it() {
    let (old, new) = (Ca::new("old root"), Ca::new("new root"));
    let name: Identity = "voting.emojivoto".parse().unwrap();
    let store = old.store(name.as_str());
    let server = Server::start(&store, Tag::Plain, PATIENCE).await;
    let (trusts_old, trusts_new) = (Files::new(&[&old]), Files::new(&[&new]));

    let mut open = client(server.addr, &trusts_old, Some(&old.leaf(&["web.emojivoto"])), &["-quiet"]);
    assert!(open.hears("you are web.emojivoto").await.is_some());

    // As a rotation does it: trust both, then use the new one, then forget the old one.
    store.set_anchors(TrustAnchors::from_pem(&format!("{}{}", old.pem, new.pem)).unwrap());
    let mut second = client(server.addr, &trusts_old, Some(&new.leaf(&["web.emojivoto"])), &["-quiet"]);
    assert!(second.hears("you are web.emojivoto").await.is_some(), "a client of the new root, a server of the old one");
    store.set_credentials(new.credentials(&name));
    let mut third = client(server.addr, &trusts_new, Some(&old.leaf(&["web.emojivoto"])), &["-quiet"]);
    assert!(third.hears("you are web.emojivoto").await.is_some(), "a client of the old root, a server of the new one");
    store.set_anchors(new.anchors());
    let late = client(server.addr, &trusts_new, Some(&old.leaf(&["web.emojivoto"])), &["-quiet"]);
    assert!(!late.end().await.1.contains("you are"), "the old root is forgotten");

    for connection in [&mut open, &mut second, &mut third] {
        connection.say("still here").await;
        assert!(connection.hears("still here").await.is_some());
    }
}

#[tokio::test]
async fn a_connector_takes_the_newest_for_each_connection() {
    let (old, new) = (Ca::new("old root"), Ca::new("new root"));
    let name: Identity = "voting.emojivoto".parse().unwrap();
    let (voting, web) = (old.store(name.as_str()), old.store("web.emojivoto"));
    let listener = Server::start(&voting, Tag::Plain, PATIENCE).await;
    let connector = Connector::new(server(name.as_str()), Tag::Plain, web.subscribe());
    let connect = ConnectLayer::new(connector).limit(PATIENCE).layer(service_fn(TcpStream::connect));
    assert!(connect.clone().oneshot(listener.addr).await.is_ok());
    voting.set_anchors(new.anchors());
    voting.set_credentials(new.credentials(&name));
    let error = connect.clone().oneshot(listener.addr).await.unwrap_err();
    assert_eq!(HandshakeError::find(&error).unwrap().reason(), &Reason::UnknownIssuer);
    web.set_anchors(new.anchors());
    assert!(connect.oneshot(listener.addr).await.is_ok());
}

#[tokio::test]
async fn the_date_is_the_clocks() {
    let ca = Ca::new("root");
    let voting = ca.store("voting.emojivoto");
    let listener = Server::start(&voting, Tag::Plain, PATIENCE).await;
    let at = async |date: SystemTime| {
        let web = ca.store("web.emojivoto").clock(Arc::new(date));
        let connector = Connector::new(server("voting.emojivoto"), Tag::Plain, web.subscribe());
        let connect = ConnectLayer::new(connector).limit(PATIENCE).layer(service_fn(TcpStream::connect));
        connect.oneshot(listener.addr).await.map_err(|error| HandshakeError::find(&error).unwrap().reason().clone())
    };
    assert!(at(now()).await.is_ok());
    assert!(matches!(at(now() + 3 * HOUR).await, Err(Reason::Expired(ago)) if ago > HOUR && ago < 3 * HOUR));
    assert!(matches!(at(now() - 3 * HOUR).await, Err(Reason::NotYetValid(left)) if left > HOUR && left < 3 * HOUR));
}
