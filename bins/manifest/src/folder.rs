//! A folder of manifests, and the changes to it.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::sync::mpsc;

use crate::{
    Event, Fault, Manifest,
    object::{Key, Object},
    parse::{Ignored, MAX_FILE_LEN},
};

/// More objects in one folder are refused.
pub const MAX_OBJECTS: usize = 10_000;
/// How often the folder is looked at. Looking costs a listing and the files' times: far less than what notifications cost to get right for
/// editors that write beside and rename, and for file systems that have none.
const INTERVAL: Duration = Duration::from_millis(200);

/// The files of a folder that hold manifests: `*.yaml`, `*.yml`, `*.json`, not hidden, not in folders below.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    files: BTreeMap<PathBuf, File>,
}

#[derive(Debug)]
struct File {
    text: String,
    objects: Vec<Object>,
    ignored: Vec<Ignored>,
}

impl Folder {
    /// Reads a folder.
    ///
    /// # Errors
    /// Everything that is wrong with any of its files: nothing is begun with half a folder.
    pub fn open(dir: &Path) -> Result<Self, Vec<Fault>> {
        let mut folder = Self { dir: dir.to_owned(), files: BTreeMap::new() };
        let texts = folder.texts().map_err(|e| vec![Fault { path: dir.to_owned(), line: 1, what: e.to_string() }])?;
        let (mut faults, mut files) = (Vec::new(), BTreeMap::new());
        for (path, text) in texts {
            match Manifest::parse(&path, &text) {
                Ok(manifest) => drop(files.insert(path, File { text, objects: manifest.objects, ignored: manifest.ignored })),
                Err(wrong) => faults.extend(wrong),
            }
        }
        faults.extend(conflicts(&files));
        if !faults.is_empty() {
            return Err(faults);
        }
        folder.files = files;
        Ok(folder)
    }

    /// The objects, in the order of their files and of their places there: that order stands for their age.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.files.values().flat_map(|file| &file.objects)
    }

    /// Documents of kinds that the mesh does not read.
    pub fn ignored(&self) -> impl Iterator<Item = (&Path, &Ignored)> {
        self.files.iter().flat_map(|(path, file)| file.ignored.iter().map(|i| (path.as_path(), i)))
    }

    /// Sends the folder as it is, and then every change. A file that cannot be used is told, and changes nothing until it can. Ends with the
    /// receiver.
    pub async fn watch(mut self, events: mpsc::Sender<Event>, mut report: impl FnMut(&[Fault])) {
        let all = self.objects().cloned().collect();
        if events.send(Event::Reset(all)).await.is_err() {
            return;
        }
        let mut told = HashMap::new();
        loop {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = events.closed() => return,
            }
            let (changes, faults) = self.look(&mut told);
            if !faults.is_empty() {
                report(&faults);
            }
            for change in changes {
                if events.send(change).await.is_err() {
                    return;
                }
            }
        }
    }

    fn look(&mut self, told: &mut HashMap<PathBuf, String>) -> (Vec<Event>, Vec<Fault>) {
        // A folder that cannot be read at this moment is being replaced: it is looked at again.
        let Ok(texts) = self.texts() else { return (Vec::new(), Vec::new()) };
        let before: BTreeMap<Key, Object> = self.objects().map(|o| (o.key(), o.clone())).collect();
        let mut faults = Vec::new();
        let mut files = std::mem::take(&mut self.files);
        files.retain(|path, _| texts.contains_key(path));
        told.retain(|path, _| texts.contains_key(path));
        let mut undo: Vec<(PathBuf, Option<File>)> = Vec::new();
        for (path, text) in texts {
            if files.get(&path).is_some_and(|file| file.text == text) {
                told.remove(&path);
                continue;
            }
            match Manifest::parse(&path, &text) {
                Ok(Manifest { objects, ignored }) => {
                    let old = files.insert(path.clone(), File { text, objects, ignored });
                    undo.push((path, old));
                }
                Err(wrong) => {
                    if told.insert(path, text.clone()) != Some(text) {
                        faults.extend(wrong);
                    }
                }
            }
        }
        let clashing = conflicts(&files);
        if !clashing.is_empty() {
            for (path, old) in undo.into_iter().rev() {
                let new = match old {
                    Some(old) => files.insert(path.clone(), old),
                    None => files.remove(&path),
                };
                if let Some(new) = new
                    && told.insert(path, new.text.clone()) != Some(new.text)
                {
                    faults.extend(clashing.iter().cloned());
                }
            }
        }
        faults.dedup();
        self.files = files;
        let after: BTreeMap<Key, &Object> = self.objects().map(|o| (o.key(), o)).collect();
        let gone = before.keys().filter(|key| !after.contains_key(*key)).map(|key| Event::Deleted(key.clone()));
        let changed = after.iter().filter(|(key, object)| before.get(*key) != Some(**object)).map(|(_, o)| Event::Applied((*o).clone()));
        (gone.chain(changed).collect(), faults)
    }

    fn texts(&self) -> io::Result<BTreeMap<PathBuf, String>> {
        let mut texts = BTreeMap::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
            let manifest = path.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e == *known));
            if hidden || !manifest {
                continue;
            }
            let length = fs::metadata(&path)?.len();
            // The parser refuses it by its length, and names the file: reading it whole is not needed for that.
            let text = match length > MAX_FILE_LEN as u64 {
                true => " ".repeat(MAX_FILE_LEN + 1),
                false => String::from_utf8_lossy(&fs::read(&path)?).into_owned(),
            };
            texts.insert(path, text);
        }
        Ok(texts)
    }
}

/// Objects that two places describe, and objects beyond the limit.
fn conflicts(files: &BTreeMap<PathBuf, File>) -> Vec<Fault> {
    let mut seen: HashMap<Key, &Path> = HashMap::new();
    let mut faults = Vec::new();
    for (path, file) in files {
        for object in &file.objects {
            if let Some(first) = seen.insert(object.key(), path) {
                let what = format!("{} is described in {}, too", object.key(), first.display());
                faults.push(Fault { path: path.clone(), line: 1, what });
            }
        }
    }
    if seen.len() > MAX_OBJECTS {
        let path = files.keys().next_back().cloned().unwrap_or_default();
        faults.push(Fault { path, line: 1, what: format!("there are {} objects, more than the limit of {MAX_OBJECTS}", seen.len()) });
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, port: u16) -> String {
        format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: {port}}}]}}\n")
    }

    fn write(dir: &Path, name: &str, text: &str) {
        fs::write(dir.join(name), text).unwrap();
    }

    #[test]
    fn a_broken_folder_is_refused_with_all_its_faults() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a.yaml", &service("web", 80));
        write(dir.path(), "b.yaml", &service("web", 81));
        write(dir.path(), "c.yaml", "kind: Service\n");
        write(dir.path(), ".hidden.yaml", "kind: [");
        write(dir.path(), "notes.txt", "kind: [");
        let faults: Vec<_> = Folder::open(dir.path()).unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("c.yaml:1"));
        assert!(faults[1].contains("b.yaml") && faults[1].contains("a.yaml"));
    }

    #[test]
    fn edits_become_events_and_bad_edits_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a.yaml", &service("web", 80));
        write(dir.path(), "b.yaml", &service("api", 80));
        let mut folder = Folder::open(dir.path()).unwrap();
        let mut told = HashMap::new();
        let mut look = |folder: &mut Folder| folder.look(&mut told);

        assert_eq!(look(&mut folder), (vec![], vec![]));
        write(dir.path(), "a.yaml", &service("web", 81));
        fs::remove_file(dir.path().join("b.yaml")).unwrap();
        let (events, faults) = look(&mut folder);
        assert!(faults.is_empty());
        assert!(
            matches!(&events[..], [Event::Deleted(key), Event::Applied(Object::Service(s))] if key.name == "api" && s.spec.ports[0].port == 81)
        );

        write(dir.path(), "a.yaml", "kind: [");
        let (events, faults) = look(&mut folder);
        assert!(events.is_empty() && faults.len() == 1, "{events:?} {faults:?}");
        assert_eq!(look(&mut folder), (vec![], vec![]), "a fault is told once");
        assert_eq!(folder.objects().count(), 1, "the object stays as it was");

        write(dir.path(), "a.yaml", &service("web", 81));
        assert_eq!(look(&mut folder), (vec![], vec![]), "back to what it was is no change");
        write(dir.path(), "c.yaml", &service("web", 82));
        let (events, faults) = look(&mut folder);
        assert!(events.is_empty() && faults.len() == 1, "a clash changes nothing: {events:?} {faults:?}");
    }
}
