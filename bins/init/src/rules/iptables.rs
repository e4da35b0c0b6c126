//! The rules as commands of iptables.

use std::fmt;

use super::{Chain, Family, Hook, Match, OUTPUT_CHAIN, REDIRECT_CHAIN, Redirect, Rule, Verdict};
use crate::ports::PortRange;

/// Which of the iptables programs: they are of one language and speak to different parts of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // Those that Linkerd's charts know.
pub enum Mode {
    /// `iptables-legacy`: x_tables.
    Legacy,
    /// `iptables-nft`: nf_tables.
    Nft,
    /// `iptables`: whichever of the two the machine prefers.
    Plain,
}

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Found on `PATH`.
    pub program: String,
    /// What it is called with.
    pub args: Vec<String>,
}

/// What of ours a table has already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Existing {
    redirect: Place,
    output: Place,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    chain: bool,
    jump: bool,
}

impl Mode {
    /// The program that changes rules.
    #[must_use]
    pub const fn program(self, family: Family) -> &'static str {
        match (family, self) {
            (Family::V4, Self::Legacy) => "iptables-legacy",
            (Family::V4, Self::Nft) => "iptables-nft",
            (Family::V4, Self::Plain) => "iptables",
            (Family::V6, Self::Legacy) => "ip6tables-legacy",
            (Family::V6, Self::Nft) => "ip6tables-nft",
            (Family::V6, Self::Plain) => "ip6tables",
        }
    }

    /// The program that prints rules.
    #[must_use]
    pub const fn save_program(self, family: Family) -> &'static str {
        match (family, self) {
            (Family::V4, Self::Legacy) => "iptables-legacy-save",
            (Family::V4, Self::Nft) => "iptables-nft-save",
            (Family::V4, Self::Plain) => "iptables-save",
            (Family::V6, Self::Legacy) => "ip6tables-legacy-save",
            (Family::V6, Self::Nft) => "ip6tables-nft-save",
            (Family::V6, Self::Plain) => "ip6tables-save",
        }
    }
}

impl Existing {
    /// Reads what `iptables-save -t nat` prints.
    #[must_use]
    pub fn parse(saved: &str) -> Self {
        let place = |name: &str, hook: Hook| Place {
            chain: saved.lines().any(|line| line.strip_prefix(':').and_then(|rest| rest.split(' ').next()) == Some(name)),
            jump: saved.lines().any(|line| {
                let mut words = line.split_whitespace();
                words.next() == Some("-A") && words.next() == Some(hook.name()) && line.ends_with(&format!(" -j {name}"))
            }),
        };
        Self { redirect: place(REDIRECT_CHAIN, Hook::Prerouting), output: place(OUTPUT_CHAIN, Hook::Output) }
    }

    fn place(&self, hook: Hook) -> Place {
        match hook {
            Hook::Prerouting => self.redirect,
            Hook::Output => self.output,
        }
    }
}

/// What prints the rules there are.
#[must_use]
pub fn save(mode: Mode, family: Family) -> Command {
    Command::new(mode.save_program(family), &["-t", "nat"])
}

/// What makes the rules, whatever of them there was before: chains are emptied and filled anew, jumps are made once.
#[must_use]
pub fn install(redirect: &Redirect, mode: Mode, family: Family, existing: &Existing) -> Vec<Command> {
    let program = mode.program(family);
    let mut commands = Vec::new();
    for Chain { name, hook, rules } in redirect.chains(family) {
        let found = existing.place(hook);
        commands.push(Command::new(program, &["-t", "nat", if found.chain { "-F" } else { "-N" }, name]));
        commands.extend(rules.iter().map(|rule| append(program, name, rule)));
        if !found.jump {
            let args = ["-t", "nat", "-A", hook.name(), "-j", name];
            commands.push(Command::new(program, &args).comment(hook.comment()));
        }
    }
    commands
}

/// What takes the rules away. What is not there is not touched.
#[must_use]
pub fn remove(mode: Mode, family: Family, existing: &Existing) -> Vec<Command> {
    let program = mode.program(family);
    let chains = [(REDIRECT_CHAIN, Hook::Prerouting), (OUTPUT_CHAIN, Hook::Output)];
    let mut commands = Vec::new();
    for (name, hook) in chains {
        if existing.place(hook).jump {
            commands.push(Command::new(program, &["-t", "nat", "-D", hook.name(), "-j", name]).comment(hook.comment()));
        }
    }
    for (name, hook) in chains {
        if existing.place(hook).chain {
            commands.push(Command::new(program, &["-t", "nat", "-F", name]));
            commands.push(Command::new(program, &["-t", "nat", "-X", name]));
        }
    }
    commands
}

/// Ports as `multiport` spells them.
pub(super) fn ports(ranges: &[PortRange]) -> String {
    let spell = |range: &PortRange| {
        if range.is_single() { range.first().to_string() } else { format!("{}:{}", range.first(), range.last()) }
    };
    ranges.iter().map(spell).collect::<Vec<_>>().join(",")
}

fn append(program: &str, chain: &str, rule: &Rule) -> Command {
    let command = Command::new(program, &["-t", "nat", "-A", chain]);
    let to = |command: Command| match rule.verdict {
        Verdict::Return => command.args(&["-j", "RETURN"]),
        Verdict::Redirect(port) => command.args(&["-j", "REDIRECT", "--to-port", &port.to_string()]),
    };
    let command = match &rule.matches {
        Match::Ports(ranges) => to(command.args(&["-p", "tcp", "--match", "multiport", "--dports", &ports(ranges)])),
        Match::Port(port) => to(command.args(&["-p", "tcp", "--destination-port", &port.to_string()])),
        Match::Source(net) => to(command.args(&["-p", "all"])).args(&["-s", &net.to_string()]),
        Match::Uid(uid) => to(command.args(&["-m", "owner", "--uid-owner", &uid.to_string()])),
        Match::Gid(gid) => to(command.args(&["-m", "owner", "--gid-owner", &gid.to_string()])),
        Match::Loopback => to(command.args(&["-o", "lo"])),
        Match::Tcp => to(command.args(&["-p", "tcp"])),
    };
    command.comment(&rule.comment)
}

impl Command {
    /// A program and its first arguments.
    #[must_use]
    pub fn new(program: &str, args: &[&str]) -> Self {
        Self { program: program.to_owned(), args: Vec::new() }.args(args)
    }

    /// Further arguments.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }

    /// The same command, run by another.
    #[must_use]
    pub fn run_by(mut self, mut outer: Self) -> Self {
        outer.args.push(self.program);
        outer.args.append(&mut self.args);
        outer
    }

    fn comment(self, text: &str) -> Self {
        self.args(&["-m", "comment", "--comment", &format!("proxy-init/{text}")])
    }
}

/// As a person would type it.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.program)?;
        self.args.iter().try_for_each(|arg| write!(f, " {arg}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVED: &str = "\
*nat
:PREROUTING ACCEPT [0:0]
:PROXY_INIT_OUTPUT - [0:0]
:PROXY_INIT_REDIRECTED - [0:0]
-A PREROUTING -m comment --comment \"proxy-init/install-proxy-init-prerouting\" -j PROXY_INIT_REDIRECT
-A PREROUTING -j PROXY_INIT_OUTPUT
COMMIT
";

    #[test]
    fn chains_and_jumps_are_found_by_their_whole_name() {
        let existing = Existing::parse(SAVED);
        assert_eq!(existing.redirect, Place { chain: false, jump: true });
        assert_eq!(existing.output, Place { chain: true, jump: false });
        assert_eq!(Existing::parse(""), Existing::default());
    }

    #[test]
    fn only_what_is_there_is_removed() {
        let commands = remove(Mode::Nft, Family::V6, &Existing::parse(SAVED));
        let text: Vec<_> = commands.iter().map(ToString::to_string).collect();
        let expected = [
            "ip6tables-nft -t nat -D PREROUTING -j PROXY_INIT_REDIRECT -m comment --comment proxy-init/install-proxy-init-prerouting",
            "ip6tables-nft -t nat -F PROXY_INIT_OUTPUT",
            "ip6tables-nft -t nat -X PROXY_INIT_OUTPUT",
        ];
        assert_eq!(text, expected);
    }
}
