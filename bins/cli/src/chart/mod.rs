//! `mesh chart`: the objects of `mesh install` as Helm charts. There is one source of objects: they are made of values that stand for
//! themselves, and where such a value shows up, the chart has an expression.

mod cni;
mod expressions;
mod files;
mod variants;

use std::{fs, path::PathBuf};

pub(crate) use files::files;

/// `mesh chart`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Chart {
    /// Takes the charts, each in a folder of its own
    dir: PathBuf,
}

impl Chart {
    /// Writes every file.
    ///
    /// # Errors
    /// One cannot be made or written.
    pub(crate) fn run(self) -> Result<(), Vec<String>> {
        for (name, text) in files().map_err(|error| vec![error])? {
            let path = self.dir.join(name);
            let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, text));
            written.map_err(|error| vec![format!("{}: {error}", path.display())])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
