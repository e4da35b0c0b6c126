//! Answers as text.

use serde_json::{Map, Value, json};

use super::{
    Output,
    runner::{Outcome, Row},
};

/// Where hints are.
const HINTS: &str = concat!(env!("CARGO_PKG_HOMEPAGE"), "/blob/main/docs/checks.md#");

/// What is told, while it is told.
pub(super) struct Page {
    output: Output,
    colour: bool,
    category: Option<&'static str>,
    /// For the document, which is told at the end.
    rows: Vec<Row>,
}

impl Page {
    pub(super) const fn new(output: Output, colour: bool) -> Self {
        Self { output, colour, category: None, rows: Vec::new() }
    }

    /// What one more row adds.
    pub(super) fn row(&mut self, row: &Row) -> String {
        if self.output == Output::Json {
            self.rows.push(row.clone());
            return String::new();
        }
        if self.output == Output::Short && row.result == Outcome::Success {
            return String::new();
        }
        let mut text = String::new();
        if self.category != Some(row.category) {
            if self.category.is_some() {
                text.push('\n');
            }
            self.category = Some(row.category);
            text += &format!("{}\n{}\n", row.category, "-".repeat(row.category.len()));
        }
        text += &format!("{} {}\n", self.symbol(row.result), row.description);
        if let Some(error) = &row.error {
            error.lines().for_each(|line| text += &format!("    {line}\n"));
            text += &format!("    see {HINTS}{} for hints\n", row.anchor);
        }
        text
    }

    /// What stands at the end.
    pub(super) fn end(&self, well: bool) -> String {
        if self.output == Output::Json {
            return format!("{:#}\n", self.document(well));
        }
        let gap = if self.category.is_some() { "\n" } else { "" };
        format!("{gap}Status check results are {}\n", self.symbol(if well { Outcome::Success } else { Outcome::Error }))
    }

    fn document(&self, well: bool) -> Value {
        let mut categories: Vec<Value> = Vec::new();
        for row in &self.rows {
            if categories.last().is_none_or(|category| category["categoryName"] != row.category) {
                categories.push(json!({"categoryName": row.category, "checks": []}));
            }
            let mut check = Map::new();
            check.insert("description".to_owned(), json!(row.description));
            if let Some(error) = &row.error {
                check.insert("hint".to_owned(), json!(format!("{HINTS}{}", row.anchor)));
                check.insert("error".to_owned(), json!(error));
            }
            let result = match row.result {
                Outcome::Success => "success",
                Outcome::Warning => "warning",
                Outcome::Error => "error",
            };
            check.insert("result".to_owned(), json!(result));
            if let Some(checks) = categories.last_mut().and_then(|category| category["checks"].as_array_mut()) {
                checks.push(Value::Object(check));
            }
        }
        json!({"success": well, "categories": categories})
    }

    fn symbol(&self, outcome: Outcome) -> String {
        let (symbol, colour) = match outcome {
            Outcome::Success => ("\u{221a}", 32),
            Outcome::Warning => ("\u{203c}", 33),
            Outcome::Error => ("\u{d7}", 31),
        };
        if self.colour { format!("\u{1b}[{colour};1m{symbol}\u{1b}[0m") } else { symbol.to_owned() }
    }
}
