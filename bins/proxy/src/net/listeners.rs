//! `MESH_PROXY_LISTENERS_FILE`: where nothing redirects connections, each destination has a listener of its own.
//!
//! One mapping a line: `outbound <listen> <destination> <name:port>` or `inbound <listen> <destination>`. `#` begins a comment. The name is the
//! Service's, which stands for the listener's address wherever a client takes it for the authority.

use std::{fmt, net::SocketAddr};

use meshkit_core::Authority;

/// More would be a mistake: each takes a socket.
pub const MAX_MAPPINGS: usize = 4096;

/// What a listeners file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listeners(Vec<Mapping>);

/// One listener and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // A proxy has two sides.
pub enum Mapping {
    /// The application connects here to reach a Service.
    Outbound {
        /// Where the proxy listens.
        listen: SocketAddr,
        /// The Service's cluster IP and port.
        destination: SocketAddr,
        /// The Service's name and port.
        authority: Authority,
    },
    /// People connect here to reach the application.
    Inbound {
        /// Where the proxy listens.
        listen: SocketAddr,
        /// The application's address and port.
        destination: SocketAddr,
    },
}

/// A line that is not a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidListeners {
    line: usize,
    what: String,
}

impl Listeners {
    /// Reads a file's text.
    ///
    /// # Errors
    /// A line is not a mapping, two lines share a listener, or there are more than [`MAX_MAPPINGS`].
    pub fn parse(text: &str) -> Result<Self, InvalidListeners> {
        let mut mappings: Vec<Mapping> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let invalid = |what: String| InvalidListeners { line: index + 1, what };
            let line = line.split_once('#').map_or(line, |(line, _)| line);
            let words: Vec<_> = line.split_whitespace().collect();
            if words.is_empty() {
                continue;
            }
            let addr = |word: &str| word.parse::<SocketAddr>().map_err(|_| invalid(format!("{word:?} is not ip:port")));
            let mapping = match words.as_slice() {
                ["outbound", listen, destination, authority] => Mapping::Outbound {
                    listen: addr(listen)?,
                    destination: addr(destination)?,
                    authority: authority.parse().map_err(|e| invalid(format!("{e}")))?,
                },
                ["inbound", listen, destination] => Mapping::Inbound { listen: addr(listen)?, destination: addr(destination)? },
                _ => return Err(invalid("expected `outbound LISTEN DESTINATION NAME:PORT` or `inbound LISTEN DESTINATION`".to_owned())),
            };
            if mappings.iter().any(|m| m.listen() == mapping.listen()) {
                return Err(invalid(format!("{} is listed twice", mapping.listen())));
            }
            if mappings.len() == MAX_MAPPINGS {
                return Err(invalid(format!("there are more than {MAX_MAPPINGS} listeners")));
            }
            mappings.push(mapping);
        }
        Ok(Self(mappings))
    }

    /// The mappings, in the file's order.
    #[must_use]
    pub fn mappings(&self) -> &[Mapping] {
        &self.0
    }
}

impl FromIterator<Mapping> for Listeners {
    fn from_iter<I: IntoIterator<Item = Mapping>>(mappings: I) -> Self {
        Self(mappings.into_iter().collect())
    }
}

impl Mapping {
    /// Where the proxy listens.
    #[must_use]
    pub const fn listen(&self) -> SocketAddr {
        match self {
            Self::Outbound { listen, .. } | Self::Inbound { listen, .. } => *listen,
        }
    }
}

impl fmt::Display for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|mapping| writeln!(f, "{mapping}"))
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outbound { listen, destination, authority } => write!(f, "outbound {listen} {destination} {authority}"),
            Self::Inbound { listen, destination } => write!(f, "inbound {listen} {destination}"),
        }
    }
}

impl fmt::Display for InvalidListeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for InvalidListeners {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_is_read_as_it_is_written() {
        let text =
            "outbound 127.40.64.1:80 127.40.1.7:80 web-svc.emojivoto.svc.cluster.local:80\ninbound 127.0.0.1:18080 127.40.16.3:8080\n";
        let listeners = Listeners::parse(&format!("# made by mesh run\n\n{text}")).unwrap();
        assert_eq!(listeners.mappings().len(), 2);
        assert_eq!(listeners.to_string(), text);
    }

    #[test]
    fn faults_are_told_with_their_line() {
        let fault = |text: &str| Listeners::parse(text).unwrap_err().to_string();
        assert_eq!(fault("\ninbound x 127.0.0.1:1"), "line 2: \"x\" is not ip:port");
        assert!(fault("inbound 127.0.0.1:1").contains("expected"));
        assert!(fault("inbound 127.0.0.1:1 127.0.0.1:2\ninbound 127.0.0.1:1 127.0.0.1:3").contains("twice"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(outbound|inbound)?[ .:0-9a-z\n]{0,60}") {
            let _ = Listeners::parse(&text);
        }
    }
}
