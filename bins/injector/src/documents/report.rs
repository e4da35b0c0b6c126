//! What became of each document, in the words that people and scripts know.

use std::fmt::{self, Write as _};

use crate::decide::Reason;

/// What became of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It asks for a proxy, or has one.
    Injected,
    /// It has annotations for others.
    Annotated,
    /// It is as it was.
    Skipped,
    /// It has no proxy any more.
    Uninjected,
}

/// One document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// In small letters; empty if the document has none.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it was skipped, and what is to be told besides.
    pub reasons: Vec<Reason>,
    /// Annotations without effect, in words.
    pub warnings: Vec<String>,
}

/// All documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// In the order of the documents.
    pub rows: Vec<Row>,
    pub(super) task: Task,
}

/// What was done to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Inject,
    Uninject,
}

/// How a report looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Style {
    /// What is well is told, too.
    pub verbose: bool,
    /// Symbols have colours.
    pub colour: bool,
}

impl Style {
    /// Tells what is well, too.
    #[must_use]
    pub const fn verbose(mut self, verbose: bool) -> Self {
        self.verbose = verbose;
        self
    }

    /// Gives symbols colours.
    #[must_use]
    pub const fn colour(mut self, colour: bool) -> Self {
        self.colour = colour;
        self
    }
}

impl Row {
    fn place(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }
}

/// Rows while they are written.
struct Page {
    text: String,
    style: Style,
    told: bool,
}

impl Page {
    fn warn(&mut self, row: impl fmt::Display) {
        self.told = true;
        self.symbol("\u{203c}", 33, row);
    }

    fn well(&mut self, row: &str) {
        if self.style.verbose {
            self.told = true;
            self.symbol("\u{221a}", 32, row);
        }
    }

    fn symbol(&mut self, symbol: &str, colour: u8, row: impl fmt::Display) {
        // Writing to a `String` does not fail.
        let _ = match self.style.colour {
            true => writeln!(self.text, "\u{1b}[{colour};1m{symbol}\u{1b}[0m {row}"),
            false => writeln!(self.text, "{symbol} {row}"),
        };
    }

    /// One condition: a row if it holds for some documents, another if it holds for none.
    fn condition(&mut self, places: &[String], row: impl FnOnce(&str) -> String, well: &str) {
        if places.is_empty() { self.well(well) } else { self.warn(row(&places.join(", "))) }
    }
}

impl Report {
    /// The whole report.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        let mut page = Page { text: "\n".to_owned(), style, told: false };
        if self.task == Task::Inject {
            self.conditions(&mut page);
        }
        if page.told {
            page.text.push('\n');
        }
        for row in &self.rows {
            let _ = writeln!(page.text, "{row}");
        }
        page.text.push('\n');
        page.text
    }

    fn conditions(&self, page: &mut Page) {
        let with =
            |reason: Reason| -> Vec<String> { self.rows.iter().filter(|row| row.reasons.contains(&reason)).map(Row::place).collect() };
        page.condition(
            &with(Reason::HostNetwork),
            |places| format!("\"hostNetwork: true\" detected in {places}"),
            "pods do not use host networking",
        );
        page.condition(
            &with(Reason::SidecarExists),
            |places| format!("known 3rd party sidecar detected in {places}"),
            "pods do not have a 3rd party proxy or initContainer already injected",
        );
        page.condition(
            &with(Reason::InjectAnnotationDisabled),
            |places| format!("\"linkerd.io/inject: disabled\" annotation set on {places}"),
            "pods are not annotated to disable injection",
        );
        if self.rows.iter().all(|row| row.outcome == Outcome::Skipped) {
            page.warn("no supported objects found");
        } else {
            page.well("at least one resource can be injected or annotated");
        }
        let udp = with(Reason::UdpPorts);
        let verb = if udp.len() > 1 { "use" } else { "uses" };
        page.condition(&udp, |places| format!("{places} {verb} \"protocol: UDP\""), "pod specs do not include UDP ports");
        page.condition(
            &with(Reason::NoServiceAccountToken),
            |places| format!("\"automountServiceAccountToken: false\" detected in {places}"),
            "pods do not have automountServiceAccountToken set to \"false\" or service account token projection is enabled",
        );
        for row in &self.rows {
            row.warnings.iter().for_each(|warning| page.warn(format_args!("{}: {warning}", row.place())));
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.outcome {
            Outcome::Injected => "injected",
            Outcome::Annotated => "annotated",
            Outcome::Uninjected => "uninjected",
            Outcome::Skipped if self.kind.is_empty() => return f.write_str("document missing \"kind\" field, skipped"),
            Outcome::Skipped => "skipped",
        };
        write!(f, "{} \"{}\" {outcome}", self.kind, self.name)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Style::default()))
    }
}
