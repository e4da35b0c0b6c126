//! What should run, as a function of a folder's objects.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use meshkit_injector::Mesh;
use meshkit_manifest::{Object, core::Service};

use super::{
    Described, Description,
    child::Spec,
    names,
    plan::{Exhausted, Name, Plan},
    replica::{self, Replica},
};

/// What all replicas of a run have in common.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The state folder of the run.
    pub state: PathBuf,
    /// This very program.
    pub program: PathBuf,
    /// What every proxy is told of its mesh.
    pub mesh: Mesh,
}

/// Services with their cluster IPs.
pub type Services = Vec<(Arc<Service>, Ipv4Addr)>;

/// What should run.
#[derive(Clone, Debug)]
pub struct Desired {
    /// Every replica, in the order of their workloads.
    pub replicas: Vec<Planned>,
    /// Every Service.
    pub services: Services,
}

/// One replica and its processes.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The replica.
    pub replica: Arc<Replica>,
    /// Its proxy; none where its container is its own.
    pub proxy: Option<Spec>,
    /// Its containers.
    pub containers: Vec<Spec>,
}

impl Desired {
    /// What `objects` ask for.
    ///
    /// # Errors
    /// Everything that is wrong, a line each.
    pub fn new(objects: &[Object], plan: &mut Plan, around: &Surroundings) -> Result<Self, Vec<String>> {
        let said = |error: Exhausted| vec![error.to_string()];
        let (mut planned, mut faults) = (Vec::new(), Vec::new());
        for replica in replica::replicas(objects, plan).map_err(said)? {
            match (replica.proxy(&around.mesh, &around.state, &around.program), replica.containers(&around.state, &around.program)) {
                (Ok(proxy), Ok(mut containers)) => {
                    let proxy = match containers.first_mut() {
                        Some(first) if replica.is_in_process() => {
                            first.env.extend(proxy.env);
                            None
                        }
                        _ => Some(proxy),
                    };
                    planned.push(Planned { replica: Arc::new(replica), proxy, containers });
                }
                (proxy, containers) => faults.extend(proxy.err().into_iter().chain(containers.err())),
            }
        }
        faults.extend(missing(&planned));
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self { replicas: planned, services: services(objects, plan).map_err(said)? })
    }

    /// The same for people.
    #[must_use]
    pub fn describe(&self) -> Description {
        let replicas = self.replicas.iter().map(|planned| &planned.replica);
        let described = |replica: &Arc<Replica>| Described {
            namespace: replica.name.namespace.clone(),
            pod: replica.name.name.clone(),
            workload: replica.workload.clone(),
            identity: replica.identity(),
            admin: SocketAddr::new(IpAddr::V4(replica.ip), names::PROXY_ADMIN_PORT),
        };
        let urls = replicas.clone().flat_map(|r| &r.published).map(|(listen, _)| format!("http://{listen}"));
        Description { urls: urls.collect(), replicas: replicas.map(described).collect() }
    }
}

/// Commands that are not there.
fn missing(planned: &[Planned]) -> Vec<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let exists = |program: &Path| match program.components().count() {
        1 => std::env::split_paths(&path).any(|dir| dir.join(program).is_file()),
        _ => program.is_file(),
    };
    let absent = planned.iter().flat_map(|planned| &planned.containers).filter(|spec| !exists(&spec.program));
    absent.map(|spec| format!("{}: the command {} does not exist", spec.name, spec.program.display())).collect()
}

fn services(objects: &[Object], plan: &mut Plan) -> Result<Services, Exhausted> {
    let mut all = Vec::new();
    for object in objects {
        if let Object::Service(service) = object {
            let name = Name::new(&service.metadata.namespace, &service.metadata.name);
            all.push((Arc::clone(service), plan.service(&name)?));
        }
    }
    Ok(all)
}
