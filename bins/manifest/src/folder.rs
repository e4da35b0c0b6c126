//! A folder of manifests, and the changes to it.

use std::{
    collections::{BTreeMap, HashMap, HashSet, hash_map::Entry},
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::sync::mpsc;

use crate::{
    Event, Fault, Manifest,
    object::{Key, Object},
    parse::{Ignored, MAX_FILE_LEN},
};

#[cfg(test)]
mod tests;

/// More objects in one folder are refused.
pub const MAX_OBJECTS: usize = 10_000;
/// How often the folder is looked at. Looking costs a listing and the files' times: far less than what notifications cost to get right for
/// editors that write beside and rename, and for file systems that have none.
const INTERVAL: Duration = Duration::from_millis(100);
/// How long the folder must have rested before a change counts: editors empty a file before they fill it, or take it away before they put the
/// new one there.
const REST: Duration = Duration::from_millis(50);
/// A folder that never rests is read anyway after this many waits.
const MAX_WAITS: u32 = 10;

/// The files of a folder that hold manifests: `*.yaml`, `*.yml`, `*.json`, not hidden, not in folders below.
///
/// Policies and routes that do not say when they were made are given a time: later for later files, by name, and for later places in a file. So
/// the rules by which the oldest wins give the same answer each time. All these times are of the first hours of 1970: before any that a cluster
/// could give. Of other objects the age decides nothing.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    /// As the files were when they were last read.
    listing: Listing,
    files: BTreeMap<PathBuf, File>,
    /// Files that could be read, but clash with others.
    waiting: BTreeMap<PathBuf, File>,
    readable: bool,
}

#[derive(Debug)]
struct File {
    objects: Vec<Object>,
    lines: Vec<usize>,
    ignored: Vec<Ignored>,
}

/// Has the folder come to rest after a change?
struct Rest {
    /// How often a change was seen and let wait.
    waits: u32,
    /// What the last look saw.
    seen: Listing,
}

/// What changes whenever a file does.
type Listing = BTreeMap<PathBuf, Stamp>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    len: u64,
    changed: Option<(i64, i64)>,
    inode: u64,
}

impl Folder {
    /// Reads a folder.
    ///
    /// # Errors
    /// Everything that is wrong with any of its files: nothing is begun with half a folder.
    pub fn open(dir: &Path) -> Result<Self, Vec<Fault>> {
        let listing = list(dir).map_err(|error| vec![fault(dir, 1, format!("the folder cannot be read: {error}"))])?;
        let mut folder =
            Self { dir: dir.to_owned(), listing: Listing::new(), files: BTreeMap::new(), waiting: BTreeMap::new(), readable: true };
        let mut faults = Vec::new();
        for path in listing.keys() {
            match read(path) {
                Ok(file) => drop(folder.files.insert(path.clone(), file)),
                Err(wrong) => faults.extend(wrong),
            }
        }
        faults.extend(clashes(&folder.files));
        if !faults.is_empty() {
            return Err(faults);
        }
        folder.listing = listing;
        folder.distrust();
        date(&mut folder.files);
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

    /// Sends the folder as it is, and then every change, within a second. A file that cannot be used is told, and changes nothing until it can.
    /// Ends with the receiver.
    ///
    /// # Cancel safety
    /// A drop between two changes loses nothing; a drop in the middle of one may have sent a part of it.
    pub async fn watch(mut self, events: mpsc::Sender<Event>, mut report: impl FnMut(&[Fault])) {
        let all = self.objects().cloned().collect();
        if events.send(Event::Reset(all)).await.is_err() {
            return;
        }
        let mut rest = Rest { waits: 0, seen: self.listing.clone() };
        loop {
            tokio::select! {
                () = tokio::time::sleep(if rest.waits == 0 { INTERVAL } else { REST }) => {}
                () = events.closed() => return,
            }
            // Files are read beside the runtime. It fails only if the runtime ends.
            let looked = tokio::task::spawn_blocking(move || {
                let (changes, faults) = self.look(&mut rest);
                (self, rest, changes, faults)
            });
            let Ok(looked) = looked.await else { return };
            let (changes, faults);
            (self, rest, changes, faults) = looked;
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

    /// Reads what changed, once it rests.
    fn look(&mut self, rest: &mut Rest) -> (Vec<Event>, Vec<Fault>) {
        let found = list(&self.dir);
        let is_new = found.as_ref().map_or(self.readable, |found| *found != self.listing || !self.readable);
        let rests = rest.waits > 0 && found.as_ref().is_ok_and(|found| *found == rest.seen);
        let (mut events, mut faults) = (Vec::new(), Vec::new());
        if !is_new {
            rest.waits = 0;
        } else if rests || rest.waits >= MAX_WAITS {
            rest.waits = 0;
            (events, faults) = self.take(found.as_ref().map_err(ToString::to_string));
            if !rests {
                self.distrust();
            }
        } else {
            rest.waits += 1;
        }
        rest.seen = found.unwrap_or_default();
        (events, faults)
    }

    /// Reads everything again at the next look. File systems count time in steps of milliseconds: a file that was read while it was being written
    /// may look as it did then.
    fn distrust(&mut self) {
        self.listing.values_mut().for_each(|stamp| stamp.changed = None);
    }

    /// Reads what changed. A folder that cannot be read changes nothing.
    fn take(&mut self, found: Result<&Listing, String>) -> (Vec<Event>, Vec<Fault>) {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                self.readable = false;
                return (Vec::new(), vec![fault(&self.dir, 1, format!("the folder cannot be read: {error}"))]);
            }
        };
        self.readable = true;
        let before: BTreeMap<Key, Object> = self.objects().map(|o| (o.key(), o.clone())).collect();
        self.files.retain(|path, _| found.contains_key(path));
        self.waiting.retain(|path, _| found.contains_key(path));
        let mut faults = Vec::new();
        for (path, _) in found.iter().filter(|(path, stamp)| self.listing.get(*path) != Some(*stamp)) {
            match read(path) {
                Ok(file) => drop(self.waiting.insert(path.clone(), file)),
                Err(wrong) => {
                    self.waiting.remove(path);
                    faults.extend(wrong);
                }
            }
        }
        self.listing.clone_from(found);
        faults.extend(self.admit());
        date(&mut self.files);

        let after: HashSet<Key> = self.objects().map(Object::key).collect();
        let gone = before.keys().filter(|key| !after.contains(*key)).map(|key| Event::Deleted(key.clone()));
        let changed = self.objects().filter(|o| before.get(&o.key()) != Some(*o)).map(|o| Event::Applied(o.clone()));
        (gone.chain(changed).collect(), faults)
    }

    /// Takes the waiting files, all if possible: objects may have moved between them. If they clash, each that does not; the others go on
    /// waiting.
    fn admit(&mut self) -> Vec<Fault> {
        let together = self.exchange(self.waiting.keys().cloned().collect());
        if together.is_empty() {
            return together;
        }
        loop {
            let (mut progress, mut faults) = (false, Vec::new());
            for path in self.waiting.keys().cloned().collect::<Vec<_>>() {
                let clashing = self.exchange(vec![path]);
                progress |= clashing.is_empty();
                faults.extend(clashing);
            }
            if !progress {
                return faults;
            }
        }
    }

    /// Puts waiting files in the place of the ones there are, unless something clashes then.
    fn exchange(&mut self, paths: Vec<PathBuf>) -> Vec<Fault> {
        let mut old = Vec::new();
        for path in paths {
            if let Some(new) = self.waiting.remove(&path) {
                let replaced = self.files.insert(path.clone(), new);
                old.push((path, replaced));
            }
        }
        let clashing = clashes(&self.files);
        if !clashing.is_empty() {
            for (path, replaced) in old {
                let new = match replaced {
                    Some(replaced) => self.files.insert(path.clone(), replaced),
                    None => self.files.remove(&path),
                };
                self.waiting.extend(new.map(|new| (path, new)));
            }
        }
        clashing
    }
}

fn fault(path: &Path, line: usize, what: String) -> Fault {
    Fault { path: path.to_owned(), line, field: None, what }
}

fn list(dir: &Path) -> io::Result<Listing> {
    let mut listing = Listing::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        let manifest = path.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e == *known));
        if hidden || !manifest {
            continue;
        }
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(metadata) => drop(listing.insert(path, Stamp::of(&metadata))),
            // Gone since, or a link to nothing. The latter is a fault, told when it is read.
            Err(_) if fs::symlink_metadata(&path).is_err() => {}
            Err(_) => drop(listing.insert(path, Stamp { len: 0, changed: None, inode: 0 })),
        }
    }
    Ok(listing)
}

impl Stamp {
    #[cfg(unix)]
    fn of(metadata: &fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self { len: metadata.len(), changed: Some((metadata.ctime(), metadata.ctime_nsec())), inode: metadata.ino() }
    }

    #[cfg(not(unix))]
    fn of(metadata: &fs::Metadata) -> Self {
        let since = metadata.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let changed = since.map(|since| (since.as_secs() as i64, i64::from(since.subsec_nanos())));
        Self { len: metadata.len(), changed, inode: 0 }
    }
}

fn read(path: &Path) -> Result<File, Vec<Fault>> {
    let bytes = fs::File::open(path).and_then(|file| {
        let mut bytes = Vec::new();
        // One byte more than may be: enough to know.
        file.take(MAX_FILE_LEN as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    let bytes = bytes.map_err(|error| vec![fault(path, 1, format!("the file cannot be read: {error}"))])?;
    if bytes.len() > MAX_FILE_LEN {
        return Err(vec![fault(path, 1, format!("the file is longer than the limit of {MAX_FILE_LEN} bytes (MAX_FILE_LEN)"))]);
    }
    let text = str::from_utf8(&bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|b| **b == b'\n').count();
        vec![fault(path, line, format!("byte {:#04x} is not UTF-8", bytes[error.valid_up_to()]))]
    })?;
    Manifest::parse(path, text).map(|Manifest { objects, lines, ignored }| File { objects, lines, ignored })
}

/// Objects that two places describe, and objects beyond the limit.
fn clashes(files: &BTreeMap<PathBuf, File>) -> Vec<Fault> {
    let mut seen: HashMap<Key, (&Path, usize)> = HashMap::new();
    let (mut faults, mut count) = (Vec::new(), 0);
    for (path, file) in files {
        for (object, line) in file.objects.iter().zip(&file.lines) {
            count += 1;
            match seen.entry(object.key()) {
                Entry::Vacant(entry) => drop(entry.insert((path, *line))),
                Entry::Occupied(entry) => {
                    let (first, at) = entry.get();
                    faults.push(fault(path, *line, format!("{} is described in {}:{at}, too", entry.key(), first.display())));
                }
            }
        }
    }
    if count > MAX_OBJECTS {
        let last = files.keys().next_back().map_or(Path::new(""), PathBuf::as_path);
        faults.push(fault(last, 1, format!("there are {count} objects in the folder, more than the limit of {MAX_OBJECTS} (MAX_OBJECTS)")));
    }
    faults
}

/// Gives a time to objects that have none and need one: one second more for each.
fn date(files: &mut BTreeMap<PathBuf, File>) {
    const DAY: &str = "1970-01-01T";
    // Less than a day: there are no more than MAX_OBJECTS.
    let objects = files.values_mut().flat_map(|file| &mut file.objects);
    for (second, object) in objects.filter(|object| object.kind().is_ranked()).enumerate() {
        let made = object.metadata().creation_timestamp.as_deref();
        let time = format!("{DAY}{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60);
        if made.is_none_or(|made| made.starts_with(DAY)) && made != Some(&time) {
            object.metadata_mut().creation_timestamp = Some(time);
        }
    }
}
