//! Why a handshake did not come about, in words for whoever runs the two ends.

use std::{error::Error as StdError, fmt, io, time::Duration};

use meshkit_core::Identity;
use rustls::{AlertDescription, CertificateError};
use rustls_pki_types::UnixTime;

/// A handshake that did not come about: who the peer was to be, and why not. What rustls or the socket said of it is the source.
#[derive(Debug)]
pub struct HandshakeError {
    peer: Peer,
    reason: Reason,
    source: Option<io::Error>,
}

/// Why a handshake did not come about.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The peer is vouched for, and is somebody else.
    WrongIdentity(WrongIdentity),
    /// The peer's certificate ended so long ago.
    Expired(Duration),
    /// The peer's certificate begins so much later.
    NotYetValid(Duration),
    /// No trust anchor leads to the peer's certificate.
    UnknownIssuer,
    /// The peer's certificate is wrong in another way.
    Certificate,
    /// The peer said no; the alert of RFC 8446, section 6.
    Refused(AlertDescription),
    /// The two have no version, suite, key exchange, signature or application protocol in common. Both ends of a mesh speak TLS 1.3 and nothing else.
    Incompatible,
    /// What the peer sends is not TLS.
    NotTls,
    /// The peer went away.
    Closed,
    /// This end has no certificate yet.
    NoCredentials,
    /// The name to ask for is not one.
    ServerName,
    /// It took longer than this limit.
    Elapsed(Duration),
    /// The socket failed.
    Io,
}

/// A server proved to be somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongIdentity {
    expected: Identity,
    presented: Vec<Identity>,
}

/// Which end the other one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Client,
    Server,
}

impl HandshakeError {
    pub(crate) const fn new(peer: Peer, reason: Reason) -> Self {
        Self { peer, reason, source: None }
    }

    pub(crate) fn from_rustls(peer: Peer, error: rustls::Error) -> Self {
        Self { peer, reason: Reason::of_rustls(&error), source: Some(io::Error::other(error)) }
    }

    pub(crate) fn from_io(peer: Peer, error: io::Error) -> Self {
        let rustls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let reason = match rustls {
            Some(error) => Reason::of_rustls(error),
            None => match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Reason::Closed,
                _ => Reason::Io,
            },
        };
        Self { peer, reason, source: Some(error) }
    }

    /// Finds a failed handshake in a chain of sources, in an [`io::Error`] too.
    #[must_use]
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            // An `io::Error` hides what it wraps from `source()`.
            let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            next = match wrapped {
                Some(inner) => Some(inner as _),
                None => error.source(),
            };
        }
        None
    }

    /// Why.
    #[must_use]
    pub const fn reason(&self) -> &Reason {
        &self.reason
    }
}

impl Reason {
    fn of_rustls(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(error) => Self::of_certificate(error),
            rustls::Error::NoCertificatesPresented => Self::Certificate,
            rustls::Error::AlertReceived(alert) => Self::Refused(*alert),
            rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol => Self::Incompatible,
            rustls::Error::InvalidMessage(_) => Self::NotTls,
            _ => Self::Io,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        let between = |from: &UnixTime, to: &UnixTime| Duration::from_secs(to.as_secs().saturating_sub(from.as_secs()));
        match error {
            CertificateError::Expired => Self::Expired(Duration::ZERO),
            CertificateError::ExpiredContext { time, not_after } => Self::Expired(between(not_after, time)),
            CertificateError::NotValidYet => Self::NotYetValid(Duration::ZERO),
            CertificateError::NotValidYetContext { time, not_before } => Self::NotYetValid(between(time, not_before)),
            // A signature that does not fit is what another authority of the same name looks like.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownIssuer,
            CertificateError::Other(other) => match other.0.downcast_ref::<WrongIdentity>() {
                Some(wrong) => Self::WrongIdentity(wrong.clone()),
                None => Self::Certificate,
            },
            _ => Self::Certificate,
        }
    }
}

impl WrongIdentity {
    pub(crate) const fn new(expected: Identity, presented: Vec<Identity>) -> Self {
        Self { expected, presented }
    }

    /// Who was to answer.
    #[must_use]
    pub const fn expected(&self) -> &Identity {
        &self.expected
    }

    /// Who did, as the certificate says.
    #[must_use]
    pub fn presented(&self) -> &[Identity] {
        &self.presented
    }
}

impl From<HandshakeError> for io::Error {
    /// Keeps the whole error within, for [`HandshakeError::find`].
    fn from(error: HandshakeError) -> Self {
        let kind = match (&error.reason, &error.source) {
            (Reason::Elapsed(_), _) => io::ErrorKind::TimedOut,
            (Reason::ServerName, _) => io::ErrorKind::InvalidInput,
            (_, Some(source)) => source.kind(),
            (_, None) => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = self.peer;
        match &self.reason {
            Reason::WrongIdentity(wrong) => wrong.fmt(f),
            Reason::Expired(ago) => {
                write!(f, "the {peer}'s certificate expired {ago:?} ago: is it renewed, and is this machine's clock right?")
            }
            Reason::NotYetValid(left) => {
                write!(f, "the {peer}'s certificate is not valid for another {left:?}: is this machine's clock right?")
            }
            Reason::UnknownIssuer => write!(f, "no trust anchor vouches for the {peer}'s certificate: do both ends have the same anchors?"),
            Reason::Certificate => write!(f, "the {peer}'s certificate is not accepted"),
            Reason::Refused(alert) => write!(f, "the {peer} refused the handshake: {alert:?}"),
            Reason::Incompatible => write!(f, "the {peer} has no TLS 1.3 parameters in common with this end"),
            Reason::NotTls => write!(f, "the {peer} does not speak TLS"),
            Reason::Closed => write!(f, "the {peer} closed the connection during the handshake"),
            Reason::NoCredentials => f.write_str("this workload has no certificate yet"),
            Reason::ServerName => f.write_str("the server's name cannot be asked for"),
            Reason::Elapsed(limit) => write!(f, "the handshake with the {peer} took longer than {limit:?}"),
            Reason::Io => write!(f, "the handshake with the {peer} failed"),
        }
    }
}

impl StdError for HandshakeError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|e| e as _)
    }
}

impl fmt::Display for WrongIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "certificate does not match TLS identity: expected {}, the server presents ", self.expected)?;
        match self.presented.split_first() {
            None => f.write_str("no identity"),
            Some((first, others)) => {
                write!(f, "{first}")?;
                others.iter().try_for_each(|other| write!(f, ", {other}"))
            }
        }
    }
}

impl StdError for WrongIdentity {}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{OtherError, PeerIncompatible};

    use super::*;

    fn refused(error: impl Into<rustls::Error>) -> HandshakeError {
        HandshakeError::from_io(Peer::Server, io::Error::new(io::ErrorKind::InvalidData, error.into()))
    }

    #[test]
    fn each_failure_is_told_in_words() {
        let at = |secs| UnixTime::since_unix_epoch(Duration::from_secs(secs));
        let wrong = WrongIdentity::new("web.ns".parse().unwrap(), vec!["a.ns".parse().unwrap(), "spiffe://td/b".parse().unwrap()]);
        for (error, words) in [
            (
                refused(CertificateError::Other(OtherError(Arc::new(wrong)))),
                "certificate does not match TLS identity: expected web.ns, the server presents a.ns, spiffe://td/b",
            ),
            (
                refused(CertificateError::ExpiredContext { time: at(70), not_after: at(10) }),
                "the server's certificate expired 60s ago: is it renewed, and is this machine's clock right?",
            ),
            (
                refused(CertificateError::NotValidYetContext { time: at(10), not_before: at(70) }),
                "the server's certificate is not valid for another 60s: is this machine's clock right?",
            ),
            (
                refused(CertificateError::UnknownIssuer),
                "no trust anchor vouches for the server's certificate: do both ends have the same anchors?",
            ),
            (refused(CertificateError::Revoked), "the server's certificate is not accepted"),
            (refused(rustls::Error::AlertReceived(AlertDescription::UnknownCA)), "the server refused the handshake: UnknownCA"),
            (
                refused(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig),
                "the server has no TLS 1.3 parameters in common with this end",
            ),
            (
                HandshakeError::from_io(Peer::Client, io::ErrorKind::UnexpectedEof.into()),
                "the client closed the connection during the handshake",
            ),
        ] {
            assert_eq!(error.to_string(), words);
            assert!(error.source().is_some(), "what was said beneath is kept");
        }
    }

    #[test]
    fn a_certificate_without_a_name_is_told_so() {
        let wrong = WrongIdentity::new("web.ns".parse().unwrap(), vec![]);
        assert!(wrong.to_string().ends_with("expected web.ns, the server presents no identity"));
    }

    #[test]
    fn the_failure_is_found_within_an_io_error() {
        let error = io::Error::from(HandshakeError::new(Peer::Client, Reason::Elapsed(Duration::from_secs(1))));
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let outer = meshkit_core::Error::new(meshkit_core::Cause::Io).caused_by(error);
        assert_eq!(HandshakeError::find(&outer).map(HandshakeError::reason), Some(&Reason::Elapsed(Duration::from_secs(1))));
        assert!(HandshakeError::find(&io::Error::other("else")).is_none());
    }
}
