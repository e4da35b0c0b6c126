//! A folder whose files are edited while it is watched.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use meshkit_manifest::{Event, Fault, Folder, Object};
use tokio::sync::mpsc;

/// An edit takes effect within this time.
const LIMIT: Duration = Duration::from_secs(1);
/// Long enough to be sure that nothing comes.
const QUIET: Duration = Duration::from_millis(600);

struct Watched {
    dir: tempfile::TempDir,
    events: mpsc::Receiver<Event>,
    faults: Arc<Mutex<Vec<Fault>>>,
}

impl Watched {
    async fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let folder = Folder::open(dir.path()).unwrap();
        let (sender, events) = mpsc::channel(16);
        let faults = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&faults);
        tokio::spawn(folder.watch(sender, move |faults: &[Fault]| told.lock().unwrap().extend_from_slice(faults)));
        let mut watched = Self { dir, events, faults };
        assert!(matches!(watched.next().await, Event::Reset(all) if all.len() == files.len()));
        watched
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    async fn next(&mut self) -> Event {
        tokio::time::timeout(LIMIT, self.events.recv()).await.expect("an event within a second").unwrap()
    }

    async fn quiet(&mut self) {
        assert!(tokio::time::timeout(QUIET, self.events.recv()).await.is_err(), "nothing is sent");
    }

    fn told(&self) -> Vec<Fault> {
        std::mem::take(&mut *self.faults.lock().unwrap())
    }
}

fn service(name: &str, port: u16) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: {port}}}]}}\n")
}

fn port(event: &Event) -> Option<u16> {
    match event {
        Event::Applied(Object::Service(service)) => Some(service.spec.ports[0].port),
        _ => None,
    }
}

#[tokio::test]
async fn an_edit_takes_effect_within_a_second() {
    let mut watched = Watched::new(&[("a.yaml", &service("web", 80))]).await;
    watched.write("a.yaml", &service("web", 81));
    assert_eq!(port(&watched.next().await), Some(81));
    watched.write("b.yml", &service("api", 90));
    assert_eq!(port(&watched.next().await), Some(90));
    fs::remove_file(watched.path().join("a.yaml")).unwrap();
    let event = watched.next().await;
    assert!(matches!(&event, Event::Deleted(key) if key.to_string() == "Service default/web"), "{event:?}");
    assert!(watched.told().is_empty());
}

#[tokio::test]
async fn a_file_that_is_replaced_by_a_rename_is_never_gone() {
    let mut watched = Watched::new(&[("a.yaml", &service("web", 80))]).await;
    fs::rename(watched.path().join("a.yaml"), watched.path().join("a.yaml~")).unwrap();
    watched.write(".a.yaml.swp", &service("web", 82));
    fs::rename(watched.path().join(".a.yaml.swp"), watched.path().join("a.yaml")).unwrap();
    assert_eq!(port(&watched.next().await), Some(82), "and no deletion before");
}

#[tokio::test]
async fn a_bad_edit_is_told_with_its_line_and_changes_nothing() {
    let mut watched = Watched::new(&[("a.yaml", &service("web", 80))]).await;
    watched.write(
        "a.yaml",
        &format!("{}---\napiVersion: v1\nkind: Service\nmetadata:\n  name: x\nspec:\n  ports: none\n", service("web", 81)),
    );
    watched.quiet().await;
    let told = watched.told();
    assert_eq!(told.len(), 1, "once: {told:?}");
    assert_eq!((told[0].line, told[0].field.as_deref()), (11, Some("spec.ports")), "{}", told[0]);
    watched.write("a.yaml", &service("web", 82));
    assert_eq!(port(&watched.next().await), Some(82), "the next good edit counts");
}

#[tokio::test]
async fn an_object_in_two_files_is_told_with_both_places() {
    let mut watched = Watched::new(&[("a.yaml", &service("web", 80))]).await;
    watched.write("b.yaml", &format!("# a second one\n---\n{}", service("web", 81)));
    watched.quiet().await;
    let told = watched.told();
    assert_eq!(told.len(), 1, "{told:?}");
    let text = told[0].to_string();
    assert!(text.contains("b.yaml:3: Service default/web is described in ") && text.contains("a.yaml:1"), "{text}");
    fs::remove_file(watched.path().join("a.yaml")).unwrap();
    assert_eq!(port(&watched.next().await), Some(81), "the other one takes its place");
}

#[tokio::test]
async fn watching_ends_with_the_receiver() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, mut events) = mpsc::channel(1);
    let watching = tokio::spawn(Folder::open(dir.path()).unwrap().watch(sender, |_| {}));
    assert_eq!(events.recv().await, Some(Event::Reset(Vec::new())));
    drop(events);
    tokio::time::timeout(LIMIT, watching).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_folder_that_is_gone_for_a_while_is_told_once_and_changes_nothing() {
    let mut watched = Watched::new(&[("a.yaml", &service("web", 80))]).await;
    let aside = watched.path().with_extension("aside");
    fs::rename(watched.path(), &aside).unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    watched.quiet().await;
    let told = watched.told();
    assert!(told.len() == 1 && told[0].what.contains("the folder cannot be read"), "{told:?}");
    fs::rename(&aside, watched.path()).unwrap();
    watched.write("a.yaml", &service("web", 81));
    assert_eq!(port(&watched.next().await), Some(81));
    assert!(watched.told().is_empty());
}
