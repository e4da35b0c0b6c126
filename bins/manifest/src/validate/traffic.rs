use super::{Faults, POLICY, check_networks};
use crate::{
    external::ExternalWorkloadSpec,
    traffic::{EgressNetworkSpec, RateLimitSpec},
};

pub(super) fn check_rate_limit(spec: &RateLimitSpec, faults: &mut Faults) {
    if !spec.target_ref.is(POLICY, "Server") {
        let (group, kind) = (&spec.target_ref.group, &spec.target_ref.kind);
        faults.add("spec.targetRef", format!("kind {kind:?} of group {group:?} is not a Server of policy.linkerd.io"));
    }
    let total = spec.total.as_ref().map(|limit| limit.requests_per_second);
    let check = |path: String, limit: u32, faults: &mut Faults| {
        if limit == 0 {
            faults.add(path, "0 requests per second would refuse everything: a limit is 1 or more".to_owned());
        } else if let Some(total) = total.filter(|total| limit > *total) {
            faults.add(path, format!("{limit} requests per second are more than the total of {total}"));
        }
    };
    if let Some(total) = total {
        check("spec.total.requestsPerSecond".to_owned(), total, faults);
    }
    if let Some(identity) = &spec.identity {
        check("spec.identity.requestsPerSecond".to_owned(), identity.requests_per_second, faults);
    }
    for (index, one) in spec.overrides.iter().enumerate() {
        check(format!("spec.overrides[{index}].requestsPerSecond"), one.requests_per_second, faults);
        for (nth, client) in one.client_refs.iter().enumerate().filter(|(_, client)| !client.is("", "ServiceAccount")) {
            let path = format!("spec.overrides[{index}].clientRefs[{nth}]");
            faults.add(path, format!("kind {:?} of group {:?} is not a ServiceAccount", client.kind, client.group));
        }
    }
}

pub(super) fn check_egress(spec: &EgressNetworkSpec, faults: &mut Faults) {
    if spec.traffic_policy.is_none() {
        faults.add("spec.trafficPolicy", "is missing: Allow or Deny".to_owned());
    }
    if let Some(networks) = &spec.networks {
        if networks.is_empty() {
            faults.add("spec.networks", "at least one network is needed; leave the field out for all".to_owned());
        }
        check_networks(networks, "spec.networks", faults);
    }
}

pub(super) fn check_workload(spec: &ExternalWorkloadSpec, faults: &mut Faults) {
    for (path, text) in [("spec.meshTLS.identity", &spec.mesh_tls.identity), ("spec.meshTLS.serverName", &spec.mesh_tls.server_name)] {
        if !(1..=253).contains(&text.len()) {
            faults.add(path, format!("{} bytes are not 1 to 253", text.len()));
        }
    }
    for (index, port) in spec.ports.iter().enumerate().filter(|(_, port)| port.port == 0) {
        faults.add(format!("spec.ports[{index}].port"), format!("{} is not a port from 1 to 65535", port.port));
    }
    if spec.workload_ips.len() > 2 {
        faults.add("spec.workloadIPs", format!("{} addresses are more than one of each family", spec.workload_ips.len()));
    }
}
