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
    let look = |folder: &mut Folder| {
        let found = list(&folder.dir).unwrap();
        folder.take(Ok(&found))
    };

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

#[test]
fn objects_may_move_between_files_and_a_clash_holds_back_only_who_clashes() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.yaml", &service("web", 80));
    write(dir.path(), "b.yaml", &service("api", 80));
    let mut folder = Folder::open(dir.path()).unwrap();
    let look = |folder: &mut Folder| {
        let found = list(&folder.dir).unwrap();
        let (events, faults) = folder.take(Ok(&found));
        (events.len(), faults)
    };
    write(dir.path(), "a.yaml", &service("api", 80));
    write(dir.path(), "b.yaml", &service("web", 80));
    assert_eq!(look(&mut folder), (0, vec![]), "where an object stands makes no difference");

    write(dir.path(), "c.yaml", &format!("{}---\n{}", service("new", 1), service("web", 1)));
    write(dir.path(), "d.yaml", &service("fine", 1));
    let (events, faults) = look(&mut folder);
    let told: Vec<_> =
        faults.iter().map(|f| (f.path.file_name().unwrap().to_str().unwrap(), f.line, f.what.contains("b.yaml:1"))).collect();
    assert_eq!((events, told), (1, vec![("c.yaml", 6, true)]));
    fs::remove_file(dir.path().join("b.yaml")).unwrap();
    let (events, faults) = look(&mut folder);
    assert_eq!((events, faults), (2, vec![]), "what clashed is taken when it can be");
}

#[test]
fn files_that_are_too_long_or_no_text_are_told() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.yaml"), vec![b'#'; MAX_FILE_LEN + 1]).unwrap();
    fs::write(dir.path().join("b.yaml"), b"a: b\n\xff\n").unwrap();
    fs::write(dir.path().join("c.json"), vec![b'\n'; MAX_FILE_LEN]).unwrap();
    let faults: Vec<_> = Folder::open(dir.path()).unwrap_err().iter().map(|f| (f.line, f.what.clone())).collect();
    assert_eq!(faults.len(), 2);
    assert!(faults[0].1.contains("MAX_FILE_LEN"), "{faults:?}");
    assert_eq!(faults[1], (2, "byte 0xff is not UTF-8".to_owned()));
}

#[test]
fn too_many_objects_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for file in 0..11 {
        let text: Vec<_> = (0..1000).map(|n| format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: n{file}-{n}}}\n")).collect();
        write(dir.path(), &format!("{file}.yaml"), &text.join("---\n"));
    }
    let faults = Folder::open(dir.path()).unwrap_err();
    assert!(faults.len() == 1 && faults[0].what.contains("MAX_OBJECTS"), "{faults:?}");
}

#[test]
fn the_age_of_policies_is_their_order() {
    let server = |name: &str, more: &str| {
        format!(
            "apiVersion: policy.linkerd.io/v1beta3\nkind: Server\nmetadata: {{name: {name}{more}}}\nspec: {{podSelector: {{}}, port: 1}}\n"
        )
    };
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "b.yaml", &[server("x", ""), service("pod", 1), server("a", "")].join("---\n"));
    write(dir.path(), "a.yaml", &server("n", ", creationTimestamp: '2020-01-01T00:00:00Z'"));
    write(dir.path(), "c.yaml", &server("z", ""));
    let mut folder = Folder::open(dir.path()).unwrap();
    let names = |folder: &Folder| {
        let mut ages: Vec<_> = folder.objects().map(|o| (o.metadata().creation_timestamp.clone(), o.metadata().name.clone())).collect();
        ages.sort();
        assert_eq!(ages.remove(0), (None, "pod".to_owned()), "its age decides nothing");
        ages.into_iter().map(|(_, name)| name).collect::<Vec<_>>()
    };
    assert_eq!(names(&folder), ["x", "a", "z", "n"]);
    write(dir.path(), "aa.yaml", &server("first", ""));
    let found = list(dir.path()).unwrap();
    let (events, faults) = folder.take(Ok(&found));
    assert_eq!((events.len(), faults), (4, vec![]), "the new one, and those that are younger now");
    assert_eq!(names(&folder), ["first", "x", "a", "z", "n"]);
}

#[test]
fn a_change_counts_once_the_folder_rests() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.yaml");
    write(dir.path(), "a.yaml", &service("web", 80));
    let mut folder = Folder::open(dir.path()).unwrap();
    let mut rest = Rest { waits: 0, seen: folder.listing.clone() };
    let mut look = |folder: &mut Folder| folder.look(&mut rest).0.len();
    for _ in 0..3 {
        assert_eq!(look(&mut folder), 0, "nothing changes");
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(look(&mut folder), 0, "gone, perhaps for a moment");
    write(dir.path(), "a.yaml", &service("web", 81));
    assert_eq!((look(&mut folder), look(&mut folder), look(&mut folder)), (0, 1, 0), "back, at rest, read");

    for port in 0..=MAX_WAITS {
        // Always another length, so that it never rests.
        write(dir.path(), "a.yaml", &format!("{}#{}\n", service("web", 1), "x".repeat(port as usize)));
        assert_eq!(look(&mut folder), usize::from(port == MAX_WAITS), "a folder that never rests is read after a while");
    }
    assert_eq!((look(&mut folder), look(&mut folder), folder.listing[&path].changed.is_some()), (0, 0, true), "and once more");
}
