//! One layer below callgrind.

use std::{
    env,
    process::{Command, Stdio},
};

/// Enough that what differs between two starts of a program is lost in the division.
const FEW: u64 = 1_000;
const MANY: u64 = 11_000;

/// Instructions of one pass: a run of many less a run of few, so that what is done once, from the loader to the layer's making, cancels out.
///
/// # Errors
/// Valgrind is not installed, or the program fails below it.
pub(crate) fn instructions(name: &str) -> Result<u64, String> {
    let (few, many) = (run(name, FEW)?, run(name, MANY)?);
    Ok(many.saturating_sub(few) / (MANY - FEW))
}

fn run(name: &str, times: u64) -> Result<u64, String> {
    let program = env::current_exe().map_err(|error| format!("this program cannot be found: {error}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["run", name, &times.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("valgrind cannot be started: {error}: install it (Debian: apt-get install valgrind)"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    match collected(&said) {
        Some(count) if output.status.success() => Ok(count),
        _ => Err(format!("{name}: valgrind ended with {}:\n{said}", output.status)),
    }
}

/// The number behind `Collected :`.
fn collected(said: &str) -> Option<u64> {
    let line = said.lines().find_map(|line| line.split_once("Collected :"))?;
    line.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read_from_what_callgrind_says() {
        let said = "==1== Events    : Ir\n==1== Collected : 7405\n==1==\n==1== I   refs:      7,405\n";
        assert_eq!(collected(said), Some(7405));
        assert_eq!(collected("==1== Bad option"), None);
    }
}
