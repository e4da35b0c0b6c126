//! Trust anchors that change while the proxy runs, told over mutual TLS.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use meshkit_proxy::config::{CertificateSource, Controller};
use meshkit_wire::identity::Trust;

use crate::support::{
    CLIENT, NAME, Running,
    authority::{Authority, Dates, Files},
    eventually,
    identity::{IDENTITY, IdentityController},
    openssl, start_in,
};

const ANCHORS: &str = "mesh_identity_trust_anchors";
const GET: &[u8] = b"GET /hello HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n";

/// A proxy with this folder, whose environment has these anchors.
fn start(dir: &Path, environment: &str, controller: &IdentityController) -> Running {
    let token = dir.join("token");
    fs::write(&token, "token").unwrap();
    let plane = Controller { addr: controller.addr.to_string().parse().unwrap(), identity: Some(IDENTITY.parse().unwrap()) };
    start_in(Authority::new(), NAME, |config| {
        config.identity.trust_anchors = environment.to_owned();
        config.identity.source = CertificateSource::controller(plane, dir.into(), token);
    })
}

/// As openssl says it.
fn fingerprint(authority: &Authority) -> String {
    let out = Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in", "anchor.pem"])
        .current_dir(authority.dir())
        .output();
    let text = String::from_utf8(out.unwrap().stdout).unwrap();
    text.trim().rsplit('=').next().unwrap().replace(':', "").to_lowercase()
}

fn trusts(proxy: &Running, anchors: &[&Authority]) -> bool {
    let all = proxy.metric(ANCHORS, &[]);
    let each = anchors.iter().filter(|anchor| proxy.metric(ANCHORS, &[&fingerprint(anchor)]) == 1.0).count();
    (all, each) == (f64::from(u8::try_from(anchors.len()).unwrap()), anchors.len())
}

fn comes_to_trust(proxy: &Running, anchors: &[&Authority]) {
    assert!(eventually(|| trusts(proxy, anchors).then_some(())).is_some(), "{}", proxy.admin("/metrics"));
}

fn admits(proxy: &Running, client: &Files) -> bool {
    openssl::client(proxy.published(), NAME, &openssl::shows(client), GET).contains("HTTP/1.1 200")
}

#[test]
fn new_trust_anchors_are_taken_over_live_and_preferred_at_the_next_start() {
    let (old, new, third, dir) = (Authority::new(), Authority::new(), Authority::new(), tempfile::tempdir().unwrap());
    let both = format!("{}{}", old.anchor_pem(), new.anchor_pem());
    let (old_client, new_client) = (old.leaf(CLIENT, Dates::Now), new.leaf(CLIENT, Dates::Now));
    let controller = IdentityController::start(&old);
    controller.tell(&old.anchor_pem(), 1);
    let proxy = start(dir.path(), &old.anchor_pem(), &controller);
    assert_eq!(controller.trust(), Some(Trust::Followed));
    comes_to_trust(&proxy, &[&old]);
    assert!(admits(&proxy, &old_client) && !admits(&proxy, &new_client));
    assert!(eventually(|| (controller.asked().len() == 1).then_some(())).is_some());

    // A client of openssl's whose connection outlives the change.
    let to = proxy.published().to_string();
    let mut held = Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", &to, "-servername", NAME])
        .args(openssl::shows(&old_client))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut say, mut hear) = (held.stdin.take().unwrap(), held.stdout.take().unwrap());
    say.write_all(b"GET /first HTTP/1.1\r\nhost: web\r\n\r\n").unwrap();
    let mut heard = vec![0; 12];
    hear.read_exact(&mut heard).unwrap();
    assert_eq!(heard, b"HTTP/1.1 200");
    let steady = proxy.steady();

    controller.tell(&both, 2);
    comes_to_trust(&proxy, &[&old, &new]);
    proxy.logged(&["trust anchors changed", &fingerprint(&new)]);
    assert!(admits(&proxy, &new_client) && admits(&proxy, &old_client));
    say.write_all(GET).unwrap();
    let mut rest = String::new();
    hear.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("HTTP/1.1 200"), "the connection from before goes on: {rest}");
    held.wait().unwrap();
    steady.was_served();

    // It is written down once the controller has said it over a connection under the new anchors.
    let file = dir.path().join("trust-anchors.pem");
    let kept = eventually(|| fs::read_to_string(&file).ok().filter(|text| text.contains("generation: 2"))).unwrap();
    assert!(kept.contains(new.anchor_pem().trim()), "{kept}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let asked = controller.asked();
    assert!(asked.len() == 2 && asked[0] != asked[1], "{asked:?}");

    controller.tell("nothing", 3);
    proxy.counted("mesh_identity_trust_anchors_refused_total", &[], 1.0);
    assert!(trusts(&proxy, &[&old, &new]));
    drop(proxy);

    // A controller that does not know of such things.
    let silent = IdentityController::start(&old);
    let proxy = start(dir.path(), &old.anchor_pem(), &silent);
    assert!(trusts(&proxy, &[&old, &new]) && admits(&proxy, &new_client));
    assert!(silent.asked().is_empty());
    drop(proxy);
    let proxy = start(dir.path(), &format!("{}{}", old.anchor_pem(), third.anchor_pem()), &silent);
    assert!(trusts(&proxy, &[&old, &third]), "an environment that was changed wins");
}

#[test]
fn a_controller_that_has_no_place_under_the_new_anchors_is_not_believed_and_a_restart_goes_back() {
    let (old, new, stranger, dir) = (Authority::new(), Authority::new(), Authority::new(), tempfile::tempdir().unwrap());
    let controller = IdentityController::start(&old);
    controller.tell(&old.anchor_pem(), 1);
    let proxy = start(dir.path(), &old.anchor_pem(), &controller);
    comes_to_trust(&proxy, &[&old]);
    let steady = proxy.steady();
    controller.tell(&new.anchor_pem(), 2);
    comes_to_trust(&proxy, &[&new]);
    // The controller's certificate is still the old one. What it says now is not heard.
    controller.tell(&stranger.anchor_pem(), 3);
    proxy.logged(&["cannot connect", "trust anchor"]);
    assert!(trusts(&proxy, &[&new]));
    steady.was_served();
    drop(proxy);
    assert!(!dir.path().join("trust-anchors.pem").exists(), "nobody has confirmed them");
    let proxy = start(dir.path(), &old.anchor_pem(), &IdentityController::start(&old));
    assert!(trusts(&proxy, &[&old]));
}

#[test]
fn a_certificate_that_the_new_anchors_do_not_vouch_for_is_replaced_at_once() {
    let (old, new, dir) = (Authority::new(), Authority::new(), tempfile::tempdir().unwrap());
    let both = format!("{}{}", old.anchor_pem(), new.anchor_pem());
    let controller = IdentityController::start_as(&new, &old);
    controller.tell(&both, 1);
    let proxy = start(dir.path(), &both, &controller);
    let anchor = new.dir().join("anchor.pem");
    let checked = ["-CAfile", anchor.to_str().unwrap(), "-verify_return_error"];
    let proves = || openssl::client(proxy.published(), NAME, &checked, GET).contains("HTTP/1.1 200");
    assert!(!proves(), "it is of the old authority");
    controller.signs_by(&new);
    controller.tell(&new.anchor_pem(), 2);
    comes_to_trust(&proxy, &[&new]);
    // Else that would come after 70 % of an hour.
    proxy.counted("control_identity_cert_refreshes_total", &["result=\"ok\""], 2.0);
    assert!(proves());
}
