//! What may be set, with the defaults of the chart.

use meshkit_core::endpoint::Http2;

use crate::ports::Ports;

/// Opaque where nobody says otherwise: protocols in which the server speaks first.
const DEFAULT_OPAQUE_PORTS: &str = "25,587,3306,4444,5432,6379,9300,11211";

/// What an operator may set.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// Opaque where no annotation says otherwise.
    pub default_opaque: Ports,
    /// Whether HTTP/1 goes inside HTTP/2 between proxies.
    pub upgrade: Upgrade,
    /// Which connections between proxies begin with a transport header.
    pub transport: Transport,
    /// Which families of addresses there are.
    pub families: Families,
    /// Whether endpoints of the client's zone weigh more.
    pub zone_weights: ZoneWeights,
    /// Settings for HTTP/2 connections between proxies.
    pub http2: Http2,
    /// How many different questions of each kind may be watched at once: 100,000 unless said otherwise. Further ones are refused; more
    /// watchers of a question that is watched are not.
    pub max_questions: usize,
    /// How many answers of both kinds may be listened to at once: 200,000 unless said otherwise.
    pub max_streams: usize,
    /// How many of them by one client, as far as clients say who they are: 10,000 unless said otherwise.
    pub max_streams_per_client: usize,
}

/// Whether HTTP/1 goes inside HTTP/2 between proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // It does or it does not.
pub enum Upgrade {
    /// It does.
    Http2,
    /// It goes as it comes.
    Off,
}

/// Which connections between proxies begin with a transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // The two modes of the flag.
pub enum Transport {
    /// All of them.
    Header,
    /// Those to opaque ports.
    Transparent,
}

/// Which families of addresses there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // There is no third family.
pub enum Families {
    /// Both; of a Pod that has both, the IPv6 address is told.
    Both,
    /// IPv4: other addresses are passed over.
    V4,
}

/// Whether endpoints of the client's zone weigh more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // They do or they do not.
pub enum ZoneWeights {
    /// All weigh the same.
    #[default]
    Equal,
    /// Those of the client's zone weigh ten times as much.
    PreferLocal,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_opaque: Ports::parse(DEFAULT_OPAQUE_PORTS, []),
            upgrade: Upgrade::Http2,
            transport: Transport::Header,
            families: Families::Both,
            zone_weights: ZoneWeights::Equal,
            http2: Http2::default(),
            max_questions: 100_000,
            max_streams: 200_000,
            max_streams_per_client: 10_000,
        }
    }
}
