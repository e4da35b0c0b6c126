use std::{collections::HashMap, sync::Arc};

use meshkit_fault::Faults;
use meshkit_policy::Resource;

use super::{FaultPlan, proto};
use crate::Invalid;

/// Reads a plan.
///
/// # Errors
/// A fault is not in the grammar.
pub(crate) fn from_proto(plan: proto::FaultPlan) -> Result<FaultPlan, Invalid> {
    let route = |route: proto::RouteFaults| {
        let proto::RouteFaults { group, kind, namespace, name, annotations } = route;
        let faults = faults(&annotations).map_err(|e| e.within("routes"))?;
        Ok((Arc::new(Resource { group, kind, namespace, name, ..Resource::default() }), faults))
    };
    let routes = plan.routes.into_iter().map(route).collect::<Result<_, Invalid>>()?;
    Ok(FaultPlan { routes, others: faults(&plan.others).map_err(|e| e.within("others"))? })
}

/// Writes a plan.
pub(crate) fn to_proto(plan: &FaultPlan) -> proto::FaultPlan {
    let annotations = |faults: &Faults| faults.to_annotations().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let route = |(resource, faults): &(Arc<Resource>, Faults)| proto::RouteFaults {
        group: resource.group.clone(),
        kind: resource.kind.clone(),
        namespace: resource.namespace.clone(),
        name: resource.name.clone(),
        annotations: annotations(faults),
    };
    proto::FaultPlan { routes: plan.routes.iter().map(route).collect(), others: annotations(&plan.others) }
}

/// Reads the bytes of a `FaultPlan`.
///
/// # Errors
/// They are not one.
pub fn plan(bytes: &[u8]) -> Result<FaultPlan, Invalid> {
    use prost::Message as _;
    from_proto(proto::FaultPlan::decode(bytes).map_err(|e| Invalid::new("plan", e))?)
}

/// The bytes of a `FaultPlan`.
#[must_use]
pub fn plan_to(plan: &FaultPlan) -> Vec<u8> {
    use prost::Message as _;
    to_proto(plan).encode_to_vec()
}

fn faults(annotations: &HashMap<String, String>) -> Result<Faults, Invalid> {
    let read = Faults::from_annotations(|key| annotations.get(key).map(String::as_str));
    read.map_err(|errors| Invalid::new("annotations", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))
}
