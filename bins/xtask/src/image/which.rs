//! The images: their names, and what each says about itself.

use crate::cluster::image::Image;

use super::options::Profile;

/// The most that an image of one program may weigh, in bytes.
const LIMIT: u64 = 40_000_000;
/// The user of a proxy: its connections are known by it, and not redirected again.
const PROXY_USER: &str = "2102";
const CONTROLLER_USER: &str = "2103";
/// Nobody, as the redirecting container of a pod is run.
const INIT_USER: &str = "65534";

pub(crate) const ALL: [Which; 3] = [Which::Proxy, Which::Controller, Which::Init];

/// One of the images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Proxy,
    Controller,
    Init,
}

impl Which {
    /// In the arguments, and of the archive.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Controller => "controller",
            Self::Init => "init",
        }
    }

    /// As `mesh install` writes it into pods. The injector knows our proxy by its last part.
    pub(crate) fn reference(self, registry: &str) -> String {
        let name = match self {
            Self::Proxy => "meshkit-proxy",
            Self::Controller => "controller",
            Self::Init => "meshkit-init",
        };
        format!("{registry}/{name}:{}", env!("CARGO_PKG_VERSION"))
    }

    /// What a container is told by the image.
    pub(crate) fn image(self, registry: &str, revision: &str) -> Image {
        let (user, arguments): (_, &[&str]) = match self {
            Self::Proxy => (PROXY_USER, &["proxy"]),
            // Each controller is a word that its pod says.
            Self::Controller => (CONTROLLER_USER, &[]),
            Self::Init => (INIT_USER, &["init"]),
        };
        let labels = [
            ("title", self.title()),
            ("version", env!("CARGO_PKG_VERSION")),
            ("revision", revision),
            ("licenses", env!("CARGO_PKG_LICENSE")),
            ("source", env!("CARGO_PKG_REPOSITORY")),
        ];
        // Source: OCI image specification, "Pre-Defined Annotation Keys".
        let label = |(name, value): (&str, &str)| (format!("org.opencontainers.image.{name}"), value.to_owned());
        Image {
            reference: self.reference(registry),
            entrypoint: vec!["/mesh".into()],
            arguments: arguments.iter().map(ToString::to_string).collect(),
            user: user.into(),
            labels: labels.into_iter().filter(|(_, value)| !value.is_empty()).map(label).collect(),
        }
    }

    /// Refuses an image that has grown past its limit. What is built for development has none: it is not optimized.
    pub(crate) fn check_size(self, size: u64, profile: Profile) -> Result<(), String> {
        match (self, profile) {
            (Self::Init, _) | (_, Profile::Dev) => Ok(()),
            _ if size <= LIMIT => Ok(()),
            _ => Err(format!("the image {} has {size} bytes, and may have {LIMIT}: see what has made the program grow", self.name())),
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Proxy => "Meshkit proxy",
            Self::Controller => "Meshkit controllers",
            Self::Init => "Meshkit redirection of connections",
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{cluster::state, step};

    use super::*;

    #[test]
    fn names_are_those_that_an_installed_mesh_asks_for() {
        let defaults = state::read(&step::root().join("bins/cli/src/values/defaults.yaml")).unwrap();
        for which in ALL {
            let reference = which.reference("ghcr.io/meshkit");
            let (name, version) = reference.rsplit_once(':').unwrap();
            assert!(defaults.lines().any(|line| line.split_whitespace().next_back() == Some(name)), "{name}");
            assert_eq!(version, env!("CARGO_PKG_VERSION"));
        }
    }

    #[test]
    fn users_are_those_that_an_installed_mesh_names() {
        let defaults = state::read(&step::root().join("bins/cli/src/values/defaults.yaml")).unwrap();
        assert!(defaults.lines().any(|line| line == format!("controllerUID: {CONTROLLER_USER}")));
        assert!(defaults.lines().any(|line| line.trim() == format!("uid: {PROXY_USER}")));
    }

    #[test]
    fn a_proxy_is_the_default_of_its_image_and_every_other_word_of_the_program_can_be_said() {
        let image = Which::Proxy.image("localhost/meshkit", "abc");
        assert_eq!(image.reference, format!("localhost/meshkit/meshkit-proxy:{}", env!("CARGO_PKG_VERSION")));
        assert_eq!((image.entrypoint, image.arguments), (vec!["/mesh".to_owned()], vec!["proxy".to_owned()]));
        assert_eq!(image.user, "2102");
        assert!(image.labels.contains(&("org.opencontainers.image.revision".into(), "abc".into())));
    }

    #[test]
    fn the_files_for_docker_say_the_same() {
        for which in ALL {
            let text = state::read(&step::root().join(format!("deploy/docker/{}.Dockerfile", which.name()))).unwrap();
            let image = which.image("ghcr.io/meshkit", "$MESH_GIT_SHA");
            let line = |wanted: &str| assert!(text.lines().any(|line| line.trim_start().ends_with(wanted)), "{}: {wanted}", which.name());
            line(&format!("--tag {} .", image.reference));
            line(&format!("USER {}", image.user));
            line(&format!("ENTRYPOINT [\"{}\"]", image.entrypoint.join("\", \"")));
            match image.arguments.as_slice() {
                [] => assert!(!text.contains("\nCMD ")),
                words => line(&format!("CMD [\"{}\"]", words.join("\", \""))),
            }
            for (name, value) in &image.labels {
                assert!(text.contains(&format!("{name}=\"{value}\"")), "{}: {name}={value}", which.name());
            }
        }
    }

    #[test]
    fn a_label_without_a_value_is_left_out() {
        let image = Which::Init.image("a", "");
        assert!(image.labels.iter().all(|(name, value)| !value.is_empty() && !name.ends_with("revision")), "{:?}", image.labels);
    }

    #[test]
    fn an_image_for_others_must_not_grow_past_forty_megabytes() {
        assert_eq!(Which::Proxy.check_size(LIMIT, Profile::Dist), Ok(()));
        assert!(Which::Proxy.check_size(LIMIT + 1, Profile::Dist).unwrap_err().contains("40000001 bytes"));
        assert!(Which::Controller.check_size(LIMIT + 1, Profile::Release).is_err());
        assert_eq!(Which::Controller.check_size(LIMIT + 1, Profile::Dev), Ok(()));
        assert_eq!(Which::Init.check_size(LIMIT + 1, Profile::Dist), Ok(()));
    }
}
