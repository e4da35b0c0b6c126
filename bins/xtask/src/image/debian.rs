//! The files of iptables, both kinds, and of what it needs: out of Debian's packages, without running any of their scripts.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use crate::cluster::{
    command::program,
    state::{make_folder, remove_folder},
};

/// iptables and all that its two programs are linked to. The names are the same since Debian 12.
const PACKAGES: [&str; 10] = [
    "iptables",
    "libc6",
    "libip4tc2",
    "libip6tc2",
    "libmnl0",
    "libnetfilter-conntrack3",
    "libnfnetlink0",
    "libnftnl11",
    "libxtables12",
    // The names of protocols, which rules may say.
    "netbase",
];

/// Programs with a name for each thing that they can do.
const NFT: &str = "xtables-nft-multi";
const LEGACY: &str = "xtables-legacy-multi";

/// What a script of the package would have made: the short names mean nf_tables.
const SHORT: [&str; 6] = ["iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"];

/// Manuals, translations, conversions of character sets. Licenses stay.
const UNUSED: [&str; 4] = ["usr/share/man", "usr/share/locale", "usr/share/lintian", "usr/share/bug"];

/// Fills the root of an image. Packages are kept in `cache`.
pub(crate) fn root(cache: &Path, root: &Path) -> Result<(), String> {
    for package in packages(cache)? {
        program(60, "dpkg-deb").arg("--extract").arg(package).arg(root).output()?;
    }
    UNUSED.iter().try_for_each(|folder| remove_folder(&root.join(folder)))?;
    remove_folder(&libraries(root).join("gconv"))?;
    for name in SHORT {
        let link = root.join("usr/sbin").join(name);
        symlink(NFT, &link).map_err(|error| format!("{} cannot be made: {error}", link.display()))?;
    }
    // The lock of iptables lies in the first.
    for (folder, mode) in [("run", 0o755), ("tmp", 0o1777), ("proc", 0o555), ("sys", 0o555)] {
        let folder = root.join(folder);
        make_folder(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    // A library that is missing shows here, not in a pod.
    for (multi, kind) in [(NFT, "nf_tables"), (LEGACY, "legacy")] {
        let said = program(20, "chroot").arg(root).arg(format!("/usr/sbin/{multi}")).args(["iptables", "--version"]).output()?;
        if !said.contains(kind) {
            return Err(format!("{multi} of the packages in {} says {:?}, not {kind}", cache.display(), said.trim()));
        }
    }
    Ok(())
}

/// Lets a user who is not root change rules, if its container has the capabilities for it.
///
/// Pods run this image as nobody, and forbid it to gain privileges: a capability that the container has survives the start of a program only if
/// the program's file names it, too. Source: `capabilities(7)`, "Transformation of capabilities during execve()". `/mesh` only hands them on,
/// so they are not effective there: it also starts where a container lacks them. Nothing that iptables does works without.
pub(crate) fn permit(root: &Path) -> Result<(), String> {
    let set = |which: &str, path: PathBuf| program(20, "setcap").arg(which).arg(path).output().map(drop);
    set("cap_net_admin,cap_net_raw+p", root.join("mesh"))?;
    [NFT, LEGACY].into_iter().try_for_each(|multi| set("cap_net_admin,cap_net_raw+ep", root.join("usr/sbin").join(multi)))
}

/// One file for each package, downloaded unless it is there.
fn packages(cache: &Path) -> Result<Vec<PathBuf>, String> {
    let found = find(cache);
    if let Ok(found) = found {
        return Ok(found);
    }
    remove_folder(cache)?;
    make_folder(cache)?;
    let download = program(300, "apt-get").folder(cache).args(["download", "-qq"]).args(PACKAGES).output();
    download.map_err(|error| {
        format!("{error}\nan image with iptables is made of Debian's packages: try apt-get update, or deploy/docker/init.Dockerfile")
    })?;
    find(cache)
}

fn find(cache: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(cache).map_err(|error| format!("{} cannot be read: {error}", cache.display()))?;
    let names: Vec<_> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let of = |package: &&str| {
        let found = names.iter().find(|name| name.split_once('_').is_some_and(|(name, _)| name == *package) && name.ends_with(".deb"));
        found.map(|name| cache.join(name)).ok_or_else(|| format!("{} has no package {package}", cache.display()))
    };
    PACKAGES.iter().map(of).collect()
}

/// Where Debian puts the libraries of this architecture.
fn libraries(root: &Path) -> PathBuf {
    root.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_for_docker_takes_the_same_packages() {
        let text = fs::read_to_string(crate::step::root().join("deploy/docker/init.Dockerfile")).unwrap();
        assert!(text.contains(&format!("apt-get download {} ", PACKAGES.join(" "))));
    }

    #[test]
    fn a_cache_is_used_only_if_it_is_complete() {
        let cache = std::env::temp_dir().join(format!("xtask-debian-{}", std::process::id()));
        remove_folder(&cache).unwrap();
        assert!(find(&cache).unwrap_err().contains("cannot be read"));
        make_folder(&cache).unwrap();
        for package in &PACKAGES[1..] {
            fs::write(cache.join(format!("{package}_1.0-1_amd64.deb")), "").unwrap();
        }
        // Neither half a download nor a package of a longer name will do.
        fs::write(cache.join("iptables_1.0-1_amd64.deb.part"), "").unwrap();
        fs::write(cache.join("iptables-dev_1.0-1_amd64.deb"), "").unwrap();
        assert!(find(&cache).unwrap_err().ends_with("no package iptables"));
        fs::write(cache.join("iptables_1.0-1_amd64.deb"), "").unwrap();
        let found = find(&cache).unwrap();
        assert_eq!((found.len(), &found[0]), (PACKAGES.len(), &cache.join("iptables_1.0-1_amd64.deb")));
        remove_folder(&cache).unwrap();
    }
}
