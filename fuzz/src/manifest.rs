//! Manifests, as people write them.

use std::path::Path;

use meshkit_manifest::{Manifest, Object};

use crate::Verdict;

/// Every fault has a line of the text. What is read is written as JSON, and read the same again: as a file, and as the API server sends it.
#[must_use]
pub fn run(data: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(data) else { return Verdict::Refused };
    let path = Path::new("web.yaml");
    let line_count = 1 + text.split(['\n', '\r']).count();
    let manifest = match Manifest::parse(path, text) {
        Ok(manifest) => manifest,
        Err(faults) => {
            assert!(!faults.is_empty(), "refused without a reason");
            for fault in &faults {
                assert!((1..=line_count).contains(&fault.line) && !fault.what.is_empty(), "{fault}");
            }
            return Verdict::Refused;
        }
    };
    assert_eq!(manifest.objects.len(), manifest.lines.len());
    for line in manifest.lines.iter().copied().chain(manifest.ignored.iter().map(|ignored| ignored.line)) {
        assert!((1..=line_count).contains(&line), "line {line} of {line_count}");
    }
    for object in &manifest.objects {
        round_trip(path, object);
    }
    Verdict::when(!manifest.objects.is_empty())
}

fn round_trip(path: &Path, object: &Object) {
    let json = object.to_json().expect("what was read can be written");
    let written = json.to_string();
    assert_eq!(Object::from_json(json).as_ref(), Ok(&Some(object.clone())), "{written}");
    match Manifest::parse(path, &written) {
        Ok(again) => assert_eq!(again.objects.as_slice(), std::slice::from_ref(object), "{written}"),
        Err(faults) => panic!("{written}: {faults:?}"),
    }
}
