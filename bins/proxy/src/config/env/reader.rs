use std::{collections::HashMap, convert::Infallible, ffi::OsString, fmt, path::PathBuf};

use meshkit_core::Backoff;

use super::{
    super::{Controller, syntax},
    EnvError, identity,
};

const PREFIX: &str = "LINKERD2_PROXY_";
const OWN_PREFIX: &str = "MESH_PROXY_";
const OWN: [&str; 5] = ["LISTENERS_FILE", "OUTBOUND_BIND", "OUTBOUND_MAX_DESTINATIONS", "MAX_HEADER_BYTES", "HEADER_READ_TIMEOUT"];

/// Reads settings by name, and collects what is wrong with them.
///
/// Names are without their prefix, except where a method says otherwise.
pub(super) struct Reader {
    vars: HashMap<OsString, OsString>,
    errors: Vec<EnvError>,
    warnings: Vec<EnvError>,
}

/// Any text.
pub(super) fn text(text: &str) -> Result<String, Infallible> {
    Ok(text.to_owned())
}

/// A path that is not empty.
pub(super) fn path(text: &str) -> Result<PathBuf, syntax::InvalidSyntax> {
    if text.is_empty() { Err(syntax::InvalidSyntax::new(text, "a path")) } else { Ok(text.into()) }
}

impl Reader {
    pub(super) fn new(vars: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self { vars: vars.into_iter().collect(), errors: Vec::new(), warnings: Vec::new() }
    }

    /// The errors and the warnings.
    pub(super) fn finish(self) -> (Vec<EnvError>, Vec<EnvError>) {
        (self.errors, self.warnings)
    }

    /// A misspelled setting of ours would otherwise be one that silently does nothing.
    pub(super) fn refuse_unknown(&mut self) {
        let unknown = |name: &OsString| {
            let name = name.to_string_lossy();
            let ours = name.strip_prefix(OWN_PREFIX)?;
            (!OWN.contains(&ours)).then(|| name.into_owned())
        };
        let mut unknown: Vec<String> = self.vars.keys().filter_map(unknown).collect();
        unknown.sort_unstable();
        for name in unknown {
            let reason = format!("is not a setting; there are {OWN_PREFIX}{}", OWN.join(&format!(", {OWN_PREFIX}")));
            self.errors.push(EnvError { name, reason });
        }
    }

    /// Is it set, to whatever?
    pub(super) fn has(&self, name: &str) -> bool {
        self.vars.contains_key(&OsString::from(format!("{PREFIX}{name}")))
    }

    /// The value; `None` if it is unset or wrong.
    pub(super) fn read<T, E: fmt::Display>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        self.read_full(&format!("{PREFIX}{name}"), parse)
    }

    /// The value of a setting of ours.
    pub(super) fn read_own<T, E: fmt::Display>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        debug_assert!(OWN.contains(&name), "{name} is not in the list of our settings");
        self.read_full(&format!("{OWN_PREFIX}{name}"), parse)
    }

    /// The value of a setting whose name is given with its prefix.
    pub(super) fn read_full<T, E: fmt::Display>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        self.look_up(name, parse).unwrap_or_else(|error| {
            self.errors.push(error);
            None
        })
    }

    /// The value; a mistake if it is unset or wrong.
    pub(super) fn required<T, E: fmt::Display>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        if !self.has(name) {
            self.refuse(name, "is required");
            return None;
        }
        self.read(name, parse)
    }

    /// Replaces a default where there is a value.
    pub(super) fn set<T, E: fmt::Display>(&mut self, slot: &mut T, name: &str, parse: impl FnOnce(&str) -> Result<T, E>) {
        if let Some(value) = self.read(name, parse) {
            *slot = value;
        }
    }

    /// Replaces a default where there is a good value; a wrong one is a warning.
    pub(super) fn set_or_warn<T, E: fmt::Display>(&mut self, slot: &mut T, name: &str, parse: impl FnOnce(&str) -> Result<T, E>) {
        match self.look_up(&format!("{PREFIX}{name}"), parse) {
            Ok(Some(value)) => *slot = value,
            Ok(None) => {}
            Err(error) => self.warnings.push(EnvError { reason: format!("{}; ignored", error.reason), ..error }),
        }
    }

    /// Records a mistake.
    pub(super) fn refuse(&mut self, name: &str, reason: impl Into<String>) {
        self.errors.push(EnvError { name: format!("{PREFIX}{name}"), reason: reason.into() });
    }

    /// Records what is not worth a refusal.
    pub(super) fn warn(&mut self, name: &str, reason: impl Into<String>) {
        self.warnings.push(EnvError { name: format!("{PREFIX}{name}"), reason: reason.into() });
    }

    /// A backoff of three settings: shortest and longest wait go together, and the jitter goes with them.
    pub(super) fn backoff(&mut self, prefix: &str, default: Backoff) -> Backoff {
        let [min_name, max_name, jitter_name] = ["MIN", "MAX", "JITTER"].map(|end| format!("{prefix}_EXP_BACKOFF_{end}"));
        let all_given = self.has(&min_name) && self.has(&max_name);
        let any_given = [&min_name, &max_name, &jitter_name].into_iter().any(|name| self.has(name));
        let min = self.read(&min_name, syntax::duration);
        let max = self.read(&max_name, syntax::duration);
        let jitter = if self.has(&jitter_name) { self.read(&jitter_name, syntax::number::<f64>) } else { Some(0.0) };
        match (min, max, jitter) {
            _ if !any_given => default,
            _ if !all_given => {
                let missing = if self.has(&min_name) { &max_name } else { &min_name };
                self.refuse(missing, format!("is required with the other {PREFIX}{prefix}_EXP_BACKOFF settings"));
                default
            }
            (Some(min), Some(max), Some(jitter)) => Backoff::new(min, max, jitter).unwrap_or_else(|error| {
                self.refuse(&max_name, format!("with {min:?} to {max:?} and jitter {jitter}: {error}"));
                default
            }),
            _ => default,
        }
    }

    /// A controller of two settings, `<name>_ADDR` and `<name>_NAME`; `None` if it is not given or wrong.
    pub(super) fn controller(&mut self, name: &str) -> Option<Controller> {
        let (addr_name, id_name) = (format!("{name}_ADDR"), format!("{name}_NAME"));
        let has_name = self.has(&id_name);
        let identity = self.read(&id_name, identity::name);
        if !self.has(&addr_name) {
            if has_name {
                self.refuse(&addr_name, format!("is required with {PREFIX}{id_name}"));
            }
            return None;
        }
        let addr = self.read(&addr_name, syntax::authority)?;
        if !has_name && !syntax::is_loopback(&addr) {
            self.refuse(&id_name, format!("is required: {addr} is not on this machine, so its identity must be known"));
        }
        // A name that is wrong has been refused.
        let is_known = has_name == identity.is_some() && (has_name || syntax::is_loopback(&addr));
        // A controller in the same pod is not reached through its proxy, and has no certificate of its own. Charts name it nevertheless.
        let identity = identity.filter(|_| !syntax::is_self(&addr));
        is_known.then_some(Controller { addr, identity })
    }

    /// A controller that must be given.
    pub(super) fn required_controller(&mut self, name: &str) -> Option<Controller> {
        if !self.has(&format!("{name}_ADDR")) && !self.has(&format!("{name}_NAME")) {
            self.refuse(&format!("{name}_ADDR"), "is required");
            return None;
        }
        self.controller(name)
    }

    fn look_up<T, E: fmt::Display>(&self, name: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Result<Option<T>, EnvError> {
        let Some(value) = self.vars.get(&OsString::from(name)) else {
            return Ok(None);
        };
        let error = |reason| EnvError { name: name.to_owned(), reason };
        let value = value.to_str().ok_or_else(|| error("is not Unicode".to_owned()))?;
        parse(value).map(Some).map_err(|reason| error(reason.to_string()))
    }
}
