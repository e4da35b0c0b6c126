//! What was asked for, out of the arguments.

use std::path::PathBuf;

use super::{
    components::{self, Component},
    image::Image,
    plan::{self, MOST},
    up::Wanted,
};

pub(crate) const USAGE: &str = "\
  cluster up [--name NAME] [--nodes 1..10] [--gateway-api standard|experimental]
                a Kubernetes of this machine's own (Linux, root): built on first use, then up in seconds; a second time it changes nothing
  cluster down [--name NAME | --all]   ends it, and leaves the machine as it was; its logs stay in target/cluster/logs/NAME
  cluster status [-o json]             what runs, where the kubeconfig is
  cluster load-image PATH [--name NAME] [--tag REF] [--entrypoint 'PROGRAM ARG ...'] [--user UID]
                gives all nodes an archive of an image, or an image made of nothing but a folder or a static program
  cluster end|start NODE [PROGRAM]     a node (as a loss of power does), or one program of it, such as kube-apiserver
  cluster link NAME NAME               joins two clusters, so that their nodes and pods reach each other
  cluster build | tools                only builds; tools: helm, too";

/// The cluster that is meant where none is named.
const NAME: &str = "mesh";

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Options {
    Build,
    Tools,
    Up(Wanted),
    /// All clusters without a name.
    Down {
        name: Option<String>,
    },
    Status {
        json: bool,
    },
    LoadImage {
        name: String,
        path: PathBuf,
        image: Image,
    },
    End(Part),
    Start(Part),
    Link {
        names: [String; 2],
    },
}

/// A node, or one component of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) node: String,
    pub(crate) component: Option<Component>,
}

/// `None`: not a command of this task. An error names the value that is wrong.
pub(crate) fn parse(args: &[&str]) -> Option<Result<Options, String>> {
    let (command, rest) = args.split_first()?;
    let (words, flags) = split(rest)?;
    let flag = |name: &str| flags.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    let known: &[&str] = match *command {
        "up" => &["--name", "--nodes", "--gateway-api"],
        "down" => &["--name", "--all"],
        "status" => &["-o"],
        "load-image" => &["--name", "--tag", "--entrypoint", "--user"],
        _ => &[],
    };
    if flags.iter().any(|(name, _)| !known.contains(name)) {
        return None;
    }
    let name = flag("--name").unwrap_or_else(|| NAME.into());
    let part = |node: &str, program: Option<&str>| {
        let component = program.map(component).transpose()?;
        Ok::<_, String>(Part { node: node.into(), component })
    };
    let options = match (*command, words.as_slice()) {
        ("build", []) => Ok(Options::Build),
        ("tools", []) => Ok(Options::Tools),
        ("up", []) => wanted(name, flag("--nodes"), flag("--gateway-api")).map(Options::Up),
        ("down", []) => Ok(Options::Down { name: flag("--all").is_none().then_some(name) }),
        ("status", []) => match flag("-o").as_deref() {
            None => Ok(Options::Status { json: false }),
            Some("json") => Ok(Options::Status { json: true }),
            Some(other) => Err(format!("the status can be printed as json, not {other:?}")),
        },
        ("load-image", [path]) => {
            let entrypoint = flag("--entrypoint").unwrap_or_default().split_whitespace().map(str::to_owned).collect();
            let (reference, user) = (flag("--tag").unwrap_or_default(), flag("--user").unwrap_or_default());
            let image = Image { reference, entrypoint, user, ..Image::default() };
            Ok(Options::LoadImage { name, path: path.into(), image })
        }
        ("end", [node]) => part(node, None).map(Options::End),
        ("end", [node, program]) => part(node, Some(program)).map(Options::End),
        ("start", [node]) => part(node, None).map(Options::Start),
        ("start", [node, program]) => part(node, Some(program)).map(Options::Start),
        ("link", [one, other]) => Ok(Options::Link { names: [(*one).to_owned(), (*other).to_owned()] }),
        _ => return None,
    };
    Some(options)
}

type Flags<'a> = Vec<(&'a str, &'a str)>;

/// Words, and flags with their values.
fn split<'a>(args: &[&'a str]) -> Option<(Vec<&'a str>, Flags<'a>)> {
    let (mut words, mut flags) = (Vec::new(), Vec::new());
    let mut args = args.iter().copied();
    while let Some(arg) = args.next() {
        match arg {
            "--all" => flags.push((arg, "")),
            _ if !arg.starts_with('-') => words.push(arg),
            _ => flags.push(match arg.split_once('=') {
                Some(flag) => flag,
                None => (arg, args.next()?),
            }),
        }
    }
    Some((words, flags))
}

fn wanted(name: String, nodes: Option<String>, gateway_api: Option<String>) -> Result<Wanted, String> {
    plan::check_name(&name)?;
    let nodes = nodes.as_deref().unwrap_or("1");
    let nodes = nodes
        .parse()
        .ok()
        .filter(|nodes| (1..=MOST).contains(nodes))
        .ok_or_else(|| format!("a cluster has 1 to {MOST} nodes, not {nodes:?}"))?;
    match gateway_api.as_deref() {
        None | Some("standard" | "experimental") => Ok(Wanted { name, nodes, gateway_api }),
        Some(other) => Err(format!("the channels of the Gateway API are standard and experimental, not {other:?}")),
    }
}

fn component(name: &str) -> Result<Component, String> {
    let known = || components::ALL.iter().map(|component| component.name()).collect::<Vec<_>>().join(", ");
    components::ALL
        .iter()
        .copied()
        .find(|component| component.name() == name)
        .ok_or_else(|| format!("no program {name:?}: there are {}", known()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up(args: &[&str]) -> Result<Wanted, String> {
        match parse(&[&["up"], args].concat()) {
            Some(Ok(Options::Up(wanted))) => Ok(wanted),
            Some(Err(error)) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_cluster_has_one_node_and_a_name_without_being_asked() {
        assert_eq!(up(&[]), Ok(Wanted { name: "mesh".into(), nodes: 1, gateway_api: None }));
        let wanted = Wanted { name: "east".into(), nodes: 3, gateway_api: Some("standard".into()) };
        assert_eq!(up(&["--name", "east", "--nodes=3", "--gateway-api", "standard"]), Ok(wanted));
    }

    #[test]
    fn wrong_values_are_named() {
        assert!(up(&["--nodes", "0"]).unwrap_err().contains("\"0\""));
        assert!(up(&["--nodes", "11"]).unwrap_err().contains("\"11\""));
        assert!(up(&["--name", "No"]).unwrap_err().contains("\"No\""));
        assert!(up(&["--gateway-api", "beta"]).unwrap_err().contains("\"beta\""));
        assert!(matches!(parse(&["end", "mesh-0", "docker"]), Some(Err(error)) if error.contains("docker") && error.contains("kubelet")));
    }

    #[test]
    fn what_is_not_understood_is_not_guessed() {
        for args in [&["up", "x"][..], &["up", "--nodes"], &["up", "--tag", "x"], &["load-image"], &["link", "a"], &["reboot"], &[]] {
            assert_eq!(parse(args), None, "{args:?}");
        }
    }

    #[test]
    fn an_entrypoint_is_split_into_words() {
        let Some(Ok(Options::LoadImage { name, path, image })) =
            parse(&["load-image", "target/x", "--entrypoint", "/x run", "--tag", "a:1"])
        else {
            panic!("not understood")
        };
        assert_eq!((name.as_str(), path), ("mesh", PathBuf::from("target/x")));
        assert_eq!(image, Image { reference: "a:1".into(), entrypoint: vec!["/x".into(), "run".into()], ..Image::default() });
    }

    #[test]
    fn one_cluster_goes_down_unless_all_are_meant() {
        assert_eq!(parse(&["down"]), Some(Ok(Options::Down { name: Some("mesh".into()) })));
        assert_eq!(parse(&["down", "--all"]), Some(Ok(Options::Down { name: None })));
    }
}
