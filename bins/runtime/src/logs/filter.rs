//! Which events and spans are let through, as the text of a filter says.

use std::{fmt, str::FromStr};

use tracing::{Metadata, level_filters::LevelFilter, subscriber::Interest};

/// Directives, separated by commas: `level`, `target`, `target=level`, `target[span]=level`, `target[{field}]=level`.
///
/// A target stands for all that begin with it. The directive with the longest target that fits decides, and among those the one that
/// asks for most fields; a directive with the name of a span lets through what happens inside of that span, besides. What no directive
/// speaks of is not let through. A target without a level lets everything through; no text at all lets errors through.
///
/// The grammar is that of `EnvFilter` of the crate tracing-subscriber, without values of fields: those alone would need regular expressions,
/// and half a megabyte of program for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    /// Those that speak of every place; the most specific ones first.
    everywhere: Vec<Directive>,
    /// Those that speak of the inside of a span.
    inside: Vec<(String, Directive)>,
}

/// The text is not a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidFilter {
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Directive {
    target: String,
    fields: Vec<String>,
    level: LevelFilter,
}

impl Filter {
    /// Is it let through, inside of spans of these names?
    pub(super) fn enabled<'a>(&self, meta: &Metadata<'_>, spans: impl IntoIterator<Item = &'a str>) -> bool {
        if self.enabled_everywhere(meta) {
            return true;
        }
        let mut wanted = self.inside.iter().filter(|(_, directive)| directive.admits(meta)).peekable();
        if wanted.peek().is_none() {
            return false;
        }
        let own = meta.is_span().then_some(meta.name());
        let spans: Vec<_> = own.into_iter().chain(spans).collect();
        wanted.any(|(name, _)| spans.contains(&name.as_str()))
    }

    /// What can be said without knowing the spans.
    pub(super) fn interest(&self, meta: &Metadata<'_>) -> Interest {
        if self.enabled_everywhere(meta) {
            return Interest::always();
        }
        if self.inside.iter().any(|(_, directive)| directive.admits(meta)) { Interest::sometimes() } else { Interest::never() }
    }

    /// Nothing beyond this is ever let through.
    pub(super) fn max_level(&self) -> LevelFilter {
        let all = self.everywhere.iter().chain(self.inside.iter().map(|(_, directive)| directive));
        all.map(|directive| directive.level).max().unwrap_or(LevelFilter::OFF)
    }

    fn enabled_everywhere(&self, meta: &Metadata<'_>) -> bool {
        self.everywhere.iter().find(|directive| directive.concerns(meta)).is_some_and(|directive| directive.level >= *meta.level())
    }
}

impl Directive {
    fn concerns(&self, meta: &Metadata<'_>) -> bool {
        meta.target().starts_with(&self.target) && self.fields.iter().all(|name| meta.fields().field(name.as_str()).is_some())
    }

    fn admits(&self, meta: &Metadata<'_>) -> bool {
        self.concerns(meta) && self.level >= *meta.level()
    }
}

impl FromStr for Filter {
    type Err = InvalidFilter;

    fn from_str(text: &str) -> Result<Self, InvalidFilter> {
        let mut filter = Self { everywhere: Vec::new(), inside: Vec::new() };
        // Filters are written for the proxy whose targets begin with `linkerd`. What they say about all of `linkerd` they say about all of
        // `meshkit` too, unless they speak of `meshkit` themselves.
        let translated = !text.contains("meshkit");
        let mut is_empty = true;
        for part in split(text)? {
            is_empty = false;
            let (span, directive) = parse(part)?;
            match span {
                Some(span) => filter.inside.push((span, directive)),
                None => {
                    if translated && directive.target == "linkerd" && directive.fields.is_empty() {
                        filter.everywhere.push(Directive { target: "meshkit".to_owned(), ..directive.clone() });
                    }
                    filter.everywhere.push(directive);
                }
            }
        }
        if is_empty {
            filter.everywhere.push(Directive { target: String::new(), fields: Vec::new(), level: LevelFilter::ERROR });
        }
        // Of two that say the same, the later one holds.
        filter.everywhere.reverse();
        filter.everywhere.sort_by_key(|directive| std::cmp::Reverse((directive.target.len(), directive.fields.len())));
        Ok(filter)
    }
}

/// At the commas that are not inside of brackets or braces.
fn split(text: &str) -> Result<Vec<&str>, InvalidFilter> {
    let (mut parts, mut from, mut depth) = (Vec::new(), 0, 0_usize);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.checked_sub(1).ok_or_else(|| invalid(text, "a bracket is closed that was not opened"))?,
            b',' if depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    if depth > 0 {
        return Err(invalid(text, "a bracket is not closed"));
    }
    parts.push(&text[from..]);
    Ok(parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect())
}

/// The span it speaks of, if any, and the rest.
fn parse(text: &str) -> Result<(Option<String>, Directive), InvalidFilter> {
    let (place, level) = match text.rfind(']').map_or_else(|| text.find('='), |end| text[end..].find('=').map(|at| end + at)) {
        Some(at) => {
            let level = text[at + 1..].trim();
            let known = level.parse().ok().filter(|_| !level.is_empty());
            (&text[..at], known.ok_or_else(|| invalid(text, "expected a level after the ="))?)
        }
        None => match text.parse() {
            Ok(level) => return Ok((None, Directive { target: String::new(), fields: Vec::new(), level })),
            Err(_) => (text, LevelFilter::TRACE),
        },
    };
    let place = place.trim();
    let Some((target, span)) = place.split_once('[') else {
        if place.is_empty() || place.contains(['{', '}']) {
            return Err(invalid(text, "expected a target"));
        }
        return Ok((None, Directive { target: place.to_owned(), fields: Vec::new(), level }));
    };
    let span = span.strip_suffix(']').ok_or_else(|| invalid(text, "expected = or the end after ]"))?;
    let (name, fields) = match span.split_once('{') {
        None => (span, ""),
        Some((name, fields)) => (name, fields.strip_suffix('}').ok_or_else(|| invalid(text, "expected ] after }"))?),
    };
    let fields: Vec<_> = fields.split(',').map(str::trim).filter(|field| !field.is_empty()).map(str::to_owned).collect();
    if fields.iter().any(|field| field.contains('=')) {
        return Err(invalid(text, "values of fields cannot be asked for, only their names"));
    }
    if name.contains(['[', ']', '}', '{'])
        || target.contains(['{', '}', ']', '='])
        || fields.iter().any(|field| field.contains(['{', '[', ']']))
    {
        return Err(invalid(text, "expected target[span{field}]"));
    }
    let span = Some(name.trim()).filter(|name| !name.is_empty()).map(str::to_owned);
    Ok((span, Directive { target: target.trim().to_owned(), fields, level }))
}

fn invalid(text: &str, reason: &str) -> InvalidFilter {
    let shown: String = text.chars().take(64).collect();
    InvalidFilter { reason: format!("{shown:?}: {reason}") }
}

impl fmt::Display for InvalidFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid log filter: {}", self.reason)
    }
}

impl std::error::Error for InvalidFilter {}
