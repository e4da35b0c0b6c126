//! Images without a registry: an archive with one layer, made by `tar`, and its import.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

use super::{command::program, namespace::Machine, state};

/// What an image says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Image {
    /// Name and tag.
    pub(crate) reference: String,
    pub(crate) entrypoint: Vec<String>,
    /// What the entrypoint gets if a container says nothing else.
    pub(crate) arguments: Vec<String>,
    /// A numeric user, root if empty.
    pub(crate) user: String,
    pub(crate) labels: Vec<(String, String)>,
}

/// What a path is, that somebody wants as an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// In the format of OCI or of Docker: taken as it is.
    Archive,
    /// All files of an image.
    Folder,
    /// A program that needs no other file.
    Program,
}

impl Kind {
    pub(crate) fn of(path: &Path) -> Result<Self, String> {
        let failed = |error| format!("{} cannot be read: {error}", path.display());
        if fs::metadata(path).map_err(failed)?.is_dir() {
            return Ok(Self::Folder);
        }
        let mut head = [0; 512];
        let read = File::open(path).and_then(|file| file.take(512).read(&mut head)).map_err(failed)?;
        match &head[..read] {
            [0x7f, b'E', b'L', b'F', ..] if wants_a_loader(path) => Err(format!(
                "{} needs a dynamic loader, which an image of nothing else lacks: link it statically, or give a folder",
                path.display()
            )),
            [0x7f, b'E', b'L', b'F', ..] => Ok(Self::Program),
            // Compressed, or with the magic word of a tar archive.
            [0x1f, 0x8b, ..] => Ok(Self::Archive),
            head if head.get(257..262) == Some(b"ustar") => Ok(Self::Archive),
            _ => Err(format!("{} is neither a folder, nor an archive of an image, nor a program", path.display())),
        }
    }
}

fn wants_a_loader(path: &Path) -> bool {
    program(20, "readelf").args(["--program-headers", "--wide"]).arg(path).output().is_ok_and(|text| text.contains(" INTERP "))
}

/// Writes an archive of one layer, which holds a folder or one program.
pub(crate) fn build(content: &Path, image: &Image, archive: &Path) -> Result<(), String> {
    let staging = archive.with_extension("staging");
    state::remove_folder(&staging)?;
    state::make_folder(&staging)?;
    let built = layer(content, &staging.join("layer.tar")).and_then(|()| {
        let sum = program(120, "sha256sum").arg(staging.join("layer.tar")).output()?;
        let sum = sum.split_whitespace().next().unwrap_or_default();
        state::write(&staging.join("config.json"), &config(image, sum))?;
        state::write(&staging.join("manifest.json"), &manifest(image))?;
        let pack = program(120, "tar").arg("--create").arg("--file").arg(archive).arg("--directory").arg(&staging);
        pack.args(["manifest.json", "config.json", "layer.tar"]).output().map(drop)
    });
    state::remove_folder(&staging)?;
    built
}

fn layer(content: &Path, layer: &Path) -> Result<(), String> {
    let (folder, name) = if content.is_dir() {
        (content.to_path_buf(), ".".into())
    } else {
        let name = content.file_name().ok_or_else(|| format!("{} has no name", content.display()))?;
        (content.parent().map_or_else(PathBuf::new, Path::to_path_buf), name.to_owned())
    };
    let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
    // The attribute of file capabilities, which a program of another user may need.
    let tar = program(300, "tar").args([
        "--create",
        "--format=pax",
        "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
        "--sort=name",
        "--mtime=@0",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
    ]);
    tar.args(["--xattrs", "--xattrs-include=security.capability", "--file"])
        .arg(layer)
        .arg("--directory")
        .arg(&folder)
        .arg(name)
        .output()
        .map(drop)
}

/// Source: OCI image specification, "Image Configuration".
fn config(image: &Image, layer_sha256: &str) -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let list = |words: &[String]| words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(",");
    let labels: Vec<_> = image.labels.iter().map(|(name, value)| format!("{}:{}", quote(name), quote(value))).collect();
    format!(
        r#"{{"architecture":"{architecture}","os":"linux","config":{{"Entrypoint":[{entrypoint}],"Cmd":[{arguments}],"User":{user},"WorkingDir":"/","Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/"],"Labels":{{{labels}}}}},"rootfs":{{"type":"layers","diff_ids":["sha256:{layer_sha256}"]}},"history":[{{"created_by":"cargo xtask"}}]}}"#,
        entrypoint = list(&image.entrypoint),
        arguments = list(&image.arguments),
        user = quote(&image.user),
        labels = labels.join(","),
    )
}

fn manifest(image: &Image) -> String {
    format!(r#"[{{"Config":"config.json","RepoTags":[{}],"Layers":["layer.tar"]}}]"#, quote(&image.reference))
}

/// A string of JSON.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Gives an archive to the containerd of one node, and returns the names of the images in it.
pub(crate) fn import(machine: &Machine, archive: &Path) -> Result<String, String> {
    let import = machine.program(300, "ctr").args(["--namespace", "k8s.io", "images", "import", "-"]);
    import.file(archive)?.output()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("xtask-image-{name}-{}", std::process::id()));
        state::remove_folder(&folder).unwrap();
        state::make_folder(&folder).unwrap();
        folder
    }

    #[test]
    fn an_archive_holds_a_manifest_a_config_and_a_layer_with_the_files_of_root() {
        let dir = folder("archive");
        state::make_folder(&dir.join("root/etc")).unwrap();
        state::write(&dir.join("root/etc/motd"), "hello").unwrap();
        let image = Image {
            reference: "localhost/a:1".into(),
            entrypoint: vec!["/a".into(), "b \"c\"".into()],
            arguments: vec!["d".into()],
            user: "65534".into(),
            labels: vec![("e".into(), "f\\g".into()), ("h".into(), String::new())],
        };
        let archive = dir.join("a.tar");
        build(&dir.join("root"), &image, &archive).unwrap();
        assert_eq!(Kind::of(&archive), Ok(Kind::Archive));

        let tar = |args: &[&str]| program(10, "tar").folder(&dir).args(args).output().unwrap();
        assert_eq!(tar(&["-tf", "a.tar"]), "manifest.json\nconfig.json\nlayer.tar\n");
        tar(&["-xf", "a.tar"]);
        let manifest = state::read(&dir.join("manifest.json")).unwrap();
        assert_eq!(manifest, r#"[{"Config":"config.json","RepoTags":["localhost/a:1"],"Layers":["layer.tar"]}]"#);
        let config = state::read(&dir.join("config.json")).unwrap();
        assert!(config.contains(r#""Entrypoint":["/a","b \"c\""],"Cmd":["d"],"User":"65534""#), "{config}");
        assert!(config.contains(r#""Labels":{"e":"f\\g","h":""}"#), "{config}");
        let sum = program(10, "sha256sum").arg(dir.join("layer.tar")).output().unwrap();
        assert!(config.contains(&format!("sha256:{}", &sum[..64])), "{config}");
        let listed = tar(&["-tvf", "layer.tar"]);
        assert!(listed.lines().all(|line| line.contains(" 0/0 ")) && listed.contains("./etc/motd"), "{listed}");
        state::remove_folder(&dir).unwrap();
    }

    #[test]
    fn the_same_content_makes_the_same_layer() {
        let dir = folder("same");
        state::write(&dir.join("file"), "x").unwrap();
        let sum = |name: &str| {
            layer(&dir.join("file"), &dir.join(name)).unwrap();
            program(10, "sha256sum").arg(dir.join(name)).output().unwrap()[..64].to_owned()
        };
        assert_eq!(sum("one.tar"), sum("two.tar"));
        state::remove_folder(&dir).unwrap();
    }

    #[test]
    fn what_cannot_be_an_image_is_refused() {
        let dir = folder("kinds");
        assert_eq!(Kind::of(&dir), Ok(Kind::Folder));
        state::write(&dir.join("text"), "not a program").unwrap();
        assert!(Kind::of(&dir.join("text")).unwrap_err().contains("is neither"));
        assert!(Kind::of(&dir.join("none")).unwrap_err().contains("cannot be read"));
        state::remove_folder(&dir).unwrap();
    }

    #[test]
    fn strings_of_json_hold_what_they_were_made_of() {
        assert_eq!(quote("a\"b\\c\nd"), r#""a\"b\\c\u000ad""#);
    }
}
