//! Other people's programs, each bounded in time, with what they said when they fail.

use std::{
    ffi::OsStr,
    fs::File,
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

/// One run of a program.
#[derive(Debug)]
pub(crate) struct Run {
    command: Command,
    line: String,
    limit: u32,
}

/// A program that is ended after `limit` seconds.
pub(crate) fn program(limit: u32, name: impl AsRef<OsStr>) -> Run {
    let name = name.as_ref();
    let mut command = Command::new("timeout");
    command.arg("--kill-after=5").arg(limit.to_string()).arg(name).stdin(Stdio::null());
    Run { command, line: name.to_string_lossy().into_owned(), limit }
}

impl Run {
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        let arg = arg.as_ref();
        self.line = format!("{} {}", self.line, arg.to_string_lossy());
        self.command.arg(arg);
        self
    }

    pub(crate) fn args<I: IntoIterator<Item: AsRef<OsStr>>>(self, args: I) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Gives the program a file to read.
    pub(crate) fn file(mut self, path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        self.command.stdin(file);
        Ok(self)
    }

    /// Runs to the end, and returns what was printed.
    pub(crate) fn output(mut self) -> Result<String, String> {
        let output = self.command.output().map_err(|error| format!("`{}` cannot be started: {error}", self.line))?;
        self.judge(&output)
    }

    /// The same, with text on the program's standard input.
    pub(crate) fn feed(mut self, text: &str) -> Result<String, String> {
        let failed = |error, line: &str| format!("`{line}` cannot be started: {error}");
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().map_err(|error| failed(error, &self.line))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that ends without reading says why by itself.
            let _ = stdin.write_all(text.as_bytes());
        }
        let output = child.wait_with_output().map_err(|error| failed(error, &self.line))?;
        self.judge(&output)
    }

    /// Runs to the end; was it a success? What it says is dropped.
    pub(crate) fn succeeds(mut self) -> bool {
        self.command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    fn judge(&self, output: &Output) -> Result<String, String> {
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = [&output.stderr, &output.stdout].map(|text| String::from_utf8_lossy(text).trim().to_owned()).join("\n");
        let how = match output.status.code() {
            Some(124) => format!("did not end within {} s", self.limit),
            _ => format!("ended with {}", output.status),
        };
        Err(format!("`{}` {how}: {}", shorten(&self.line), tail(said.trim(), 20)))
    }
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn shorten(line: &str) -> String {
    match line.char_indices().nth(300) {
        Some((end, _)) => format!("{} ...", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_its_end_and_what_it_said() {
        let error = program(10, "sh").args(["-c", "echo out; echo why >&2; exit 3"]).output().unwrap_err();
        assert!(error.starts_with("`sh -c ") && error.contains("exit status: 3") && error.ends_with("why\nout"), "{error}");
    }

    #[test]
    fn a_program_that_hangs_is_ended_and_said_to_have_hung() {
        let error = program(1, "sleep").arg("600").output().unwrap_err();
        assert_eq!(error, "`sleep 600` did not end within 1 s: ");
    }

    #[test]
    fn text_reaches_a_program_and_comes_back() {
        assert_eq!(program(10, "cat").feed("both ways"), Ok("both ways".into()));
    }

    #[test]
    fn a_tail_is_the_end_of_a_text() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a", 2), "a");
    }
}
