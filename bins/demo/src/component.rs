//! The parts of the application.

use std::{error, fmt, str::FromStr};

/// One part of the application: one process, one workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Component {
    /// The page and its API, over HTTP/1.
    Web,
    /// Which emoji there are, over gRPC.
    Emoji,
    /// Takes votes and counts them, over gRPC.
    Voting,
    /// Votes through the web all day.
    VoteBot,
    /// Calls voting, which policy forbids it to.
    Intruder,
}

impl Component {
    /// Every component, in the order in which they depend on each other.
    pub const ALL: [Self; 5] = [Self::Emoji, Self::Voting, Self::Web, Self::VoteBot, Self::Intruder];

    /// The name by which a command line asks for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Emoji => "emoji",
            Self::Voting => "voting",
            Self::VoteBot => "vote-bot",
            Self::Intruder => "intruder",
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Component {
    type Err = UnknownComponent;

    fn from_str(name: &str) -> Result<Self, UnknownComponent> {
        Self::ALL.into_iter().find(|component| component.name() == name).ok_or_else(|| UnknownComponent(name.to_owned()))
    }
}

/// No component has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownComponent(String);

impl fmt::Display for UnknownComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown component {:?}; it is one of", self.0)?;
        Component::ALL.iter().try_for_each(|component| write!(f, " {component}"))
    }
}

impl error::Error for UnknownComponent {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back() {
        for component in Component::ALL {
            assert_eq!(component.name().parse(), Ok(component));
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = "votes".parse::<Component>().unwrap_err();
        assert_eq!(error.to_string(), "unknown component \"votes\"; it is one of emoji voting web vote-bot intruder");
    }
}
