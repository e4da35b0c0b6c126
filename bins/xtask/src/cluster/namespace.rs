//! Linux namespaces as small machines: each has processes, mounts, a network and a name of its own, and ends, with all that is in it, when
//! its first process does. Nothing of it is visible outside but that process.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use super::{
    command::{self, Run, tail},
    state, wait,
};

/// How long a first process may take to set its namespaces up, or a process to go.
const LIMIT: Duration = Duration::from_secs(20);

/// One set of namespaces, known by the process that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// `unshare`, on the host. Its child, the first process of the namespaces, dies with it.
    holder: Process,
    /// That child, by its id on the host.
    first: Process,
}

/// A process on the host. The time of its start keeps it apart from a later process of the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    id: u32,
    started: u64,
}

impl Machine {
    /// Makes new namespaces and runs `script` in them, which must end by printing `ready` and becoming a process that waits.
    ///
    /// The folder receives the script, its log, and the record of what was started.
    pub(crate) fn start(folder: &Path, log: &Path, script: &str) -> Result<Self, String> {
        let path = folder.join("first.sh");
        state::write(&path, script)?;
        let said = fs::File::create(log).map_err(|error| format!("{} cannot be written: {error}", log.display()))?;
        let failed = |error: std::io::Error| format!("the namespaces of {} cannot be made: {error}", folder.display());
        // A session of its own: what ends the terminal does not end the cluster.
        let mut holder = Command::new("setsid")
            .args(["unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--", "sh"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(said.try_clone().map_err(failed)?)
            .stderr(said)
            .spawn()
            .map_err(failed)?;
        let looked = wait::until(LIMIT, || {
            if !matches!(holder.try_wait(), Ok(None)) {
                return Some(None);
            }
            let ready = fs::read_to_string(log).is_ok_and(|text| text.lines().any(|line| line == "ready"));
            ready.then(|| Some((Process::of(holder.id())?, Process::child_of(holder.id())?)))
        });
        let Some(Some((holder, first))) = looked.flatten().map(Some) else {
            let _ = holder.kill();
            let _ = holder.wait();
            let text = fs::read_to_string(log).unwrap_or_default();
            return Err(format!("{} failed: {}; its log is {}", path.display(), tail(text.trim(), 10), log.display()));
        };
        let machine = Self { holder, first };
        state::write(&folder.join("machine"), &machine.record())?;
        Ok(machine)
    }

    /// What `start` left in the folder, if it still runs.
    pub(crate) fn running(folder: &Path) -> Option<Self> {
        let machine = Self::parse(&fs::read_to_string(folder.join("machine")).ok()?)?;
        (machine.holder.runs() && machine.first.runs()).then_some(machine)
    }

    /// The id on the host of the first process.
    pub(crate) fn id(&self) -> u32 {
        self.first.id
    }

    /// A program inside, bounded in time.
    pub(crate) fn program(&self, limit: u32, name: &str) -> Run {
        self.enter(limit, &["--mount", "--uts", "--ipc", "--net", "--pid"]).arg(name)
    }

    /// A program of the host with the network of inside: it sees the host's processes, by which interfaces find their namespace.
    pub(crate) fn on_network(&self, limit: u32, name: &str) -> Run {
        self.enter(limit, &["--net"]).arg(name)
    }

    fn enter(&self, limit: u32, namespaces: &[&str]) -> Run {
        command::program(limit, "nsenter").arg("--target").arg(self.first.id.to_string()).args(namespaces).arg("--")
    }

    /// Starts a program that stays, and returns its id inside.
    pub(crate) fn spawn(&self, log: &str, command: &[String]) -> Result<u32, String> {
        // Its parent ends at once, so that the first process inside is its heir.
        let script = "setsid \"$@\" >>\"$0\" 2>&1 </dev/null & echo $!";
        let id = self.program(20, "sh").args(["-c", script, log]).args(command).output()?;
        id.trim().parse().map_err(|_| format!("{} was started, but said {id:?} instead of its id", command[0]))
    }

    /// Does a process with this id inside run?
    pub(crate) fn runs(&self, id: u32) -> bool {
        let stat = fs::read_to_string(self.inside(&format!("/proc/{id}/stat"))).unwrap_or_default();
        Stat::parse(&stat).is_some_and(|stat| !stat.ended)
    }

    /// Ends a process by its id inside: asks first, and insists after a while.
    pub(crate) fn end(&self, id: u32, patience: Duration) -> Result<(), String> {
        for (signal, patience) in [("-TERM", patience), ("-KILL", LIMIT)] {
            self.program(10, "sh").args(["-c", "kill $0 $1", signal, &id.to_string()]).succeeds();
            if wait::until(patience, || (!self.runs(id)).then_some(())).is_some() {
                return Ok(());
            }
        }
        Err(format!("process {id} of the namespaces of {} does not end", self.first.id))
    }

    /// A path inside, as the host reaches it.
    pub(crate) fn inside(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.first.id))
    }

    /// Ends the first process, and with it everything inside.
    pub(crate) fn stop(&self) -> Result<(), String> {
        if self.holder.runs() {
            command::program(10, "sh").args(["-c", "kill -KILL $0", &self.holder.id.to_string()]).output()?;
        }
        let gone = wait::until(LIMIT, || (!self.holder.runs() && !self.first.runs()).then_some(()));
        gone.ok_or_else(|| format!("process {} does not end", self.first.id))
    }

    fn record(&self) -> String {
        format!("{} {} {} {}\n", self.holder.id, self.holder.started, self.first.id, self.first.started)
    }

    fn parse(text: &str) -> Option<Self> {
        let numbers: Vec<u64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        let [holder, held, first, since] = numbers[..] else { return None };
        let process = |id: u64, started| Some(Process { id: u32::try_from(id).ok()?, started });
        Some(Self { holder: process(holder, held)?, first: process(first, since)? })
    }
}

impl Process {
    fn of(id: u32) -> Option<Self> {
        Some(Self { id, started: Stat::of(id)?.started })
    }

    fn child_of(parent: u32) -> Option<Self> {
        let entries = fs::read_dir("/proc").ok()?.flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter_map(|id| Some((id, Stat::of(id)?)))
            .find(|(_, stat)| stat.parent == parent)
            .map(|(id, stat)| Self { id, started: stat.started })
    }

    fn runs(self) -> bool {
        Stat::of(self.id).is_some_and(|stat| stat.started == self.started && !stat.ended)
    }
}

/// What is wanted of `/proc/ID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    started: u64,
    /// It has ended, and its parent has not asked yet.
    ended: bool,
}

impl Stat {
    fn of(id: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
    }

    /// Source: proc(5). The name, field 2, is in brackets and may hold anything.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<_> = rest.split_whitespace().collect();
        Some(Self { parent: fields.get(1)?.parse().ok()?, started: fields.get(19)?.parse().ok()?, ended: matches!(fields[0], "Z" | "X") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "4711 (a) b (c) S 42 4711 4711 0 -1 4194560 89 0 0 0 0 0 0 0 20 0 1 0 123456 2654208 352 18446744073709551615";

    #[test]
    fn a_process_is_read_whatever_its_name_is() {
        assert_eq!(Stat::parse(STAT), Some(Stat { parent: 42, started: 123_456, ended: false }));
        assert_eq!(Stat::parse(&STAT.replace(" S ", " Z ")).map(|stat| stat.ended), Some(true));
        assert_eq!(Stat::parse("4711 (a) S 42"), None);
    }

    #[test]
    fn an_id_that_was_given_to_another_process_is_not_taken_for_the_first() {
        let me = Process::of(std::process::id()).unwrap();
        assert!(me.runs());
        assert!(!Process { started: me.started + 1, ..me }.runs());
    }

    #[test]
    fn a_record_is_read_back_as_it_was_written() {
        let machine = Machine { holder: Process { id: 7, started: 100 }, first: Process { id: 8, started: 101 } };
        assert_eq!(Machine::parse(&machine.record()), Some(machine));
        assert_eq!(Machine::parse("7 100 8"), None);
        assert_eq!(Machine::parse("7 100 8 x"), None);
    }
}
