//! What was asked for, out of the arguments.

use super::which::{ALL, Which};

pub(crate) const USAGE: &str = "\
  image [proxy|controller|init|all] [--profile dev|release|dist] [--registry PREFIX]
                archives target/image/NAME.tar, for `cluster load-image` or `docker load` [default: all, dist, ghcr.io/meshkit]; init needs Debian and root";

/// Where the installed mesh looks for its images.
const REGISTRY: &str = "ghcr.io/meshkit";

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) wanted: Vec<Which>,
    pub(crate) profile: Profile,
    /// What stands before the last part of each name.
    pub(crate) registry: String,
}

/// How carefully the compiler works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    Dev,
    Release,
    /// What is given to others: the smallest and fastest, and the slowest to build.
    Dist,
}

impl Profile {
    /// As cargo is told.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Release => "release",
            Self::Dist => "dist",
        }
    }

    /// Where cargo puts what it builds.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release | Self::Dist => self.name(),
        }
    }
}

/// `None`: not a command of this task. An error names the value that is wrong.
pub(crate) fn parse(args: &[&str]) -> Option<Result<Options, String>> {
    let (mut wanted, mut profile, mut registry) = (None, Profile::Dist, REGISTRY);
    let mut args = args.iter().copied();
    while let Some(arg) = args.next() {
        if !arg.starts_with('-') {
            let named = if arg == "all" { ALL.to_vec() } else { vec![ALL.into_iter().find(|which| which.name() == arg)?] };
            if wanted.replace(named).is_some() {
                return None;
            }
            continue;
        }
        let (flag, value) = match arg.split_once('=') {
            Some(flag) => flag,
            None => (arg, args.next()?),
        };
        match flag {
            "--registry" => registry = value.trim_end_matches('/'),
            "--profile" => match [Profile::Dev, Profile::Release, Profile::Dist].into_iter().find(|known| known.name() == value) {
                Some(known) => profile = known,
                None => return Some(Err(format!("the profiles are dev, release and dist, not {value:?}"))),
            },
            _ => return None,
        }
    }
    if registry.is_empty() {
        return Some(Err("--registry is empty: give the start of the images' names, such as localhost/meshkit".into()));
    }
    Some(Ok(Options { wanted: wanted.unwrap_or_else(|| ALL.to_vec()), profile, registry: registry.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_images_for_others_are_made_without_being_asked() {
        let all = Options { wanted: ALL.to_vec(), profile: Profile::Dist, registry: "ghcr.io/meshkit".into() };
        assert_eq!(parse(&["all"]), Some(Ok(all)));
        assert_eq!(parse(&[]), parse(&["all"]));
    }

    #[test]
    fn one_image_its_profile_and_its_registry_can_be_chosen() {
        let one = Options { wanted: vec![Which::Init], profile: Profile::Dev, registry: "localhost/meshkit".into() };
        assert_eq!(parse(&["init", "--profile", "dev", "--registry=localhost/meshkit/"]), Some(Ok(one)));
    }

    #[test]
    fn what_is_not_understood_is_not_guessed() {
        for args in [&["web"][..], &["proxy", "init"], &["--profile"], &["--tag", "x"]] {
            assert_eq!(parse(args), None, "{args:?}");
        }
        assert!(matches!(parse(&["--profile", "fast"]), Some(Err(error)) if error.contains("\"fast\"")));
        assert!(matches!(parse(&["--registry", "/"]), Some(Err(error)) if error.contains("--registry")));
    }

    #[test]
    fn cargo_calls_the_folder_of_the_profile_dev_debug() {
        assert_eq!([Profile::Dev, Profile::Release, Profile::Dist].map(Profile::folder), ["debug", "release", "dist"]);
    }
}
