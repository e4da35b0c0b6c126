//! What of the objects about a port has no effect, and why.

use meshkit_manifest::{Key, Kind, policy::Server};
use meshkit_policy::DefaultPolicy;

use super::{DEFAULT_POLICY, Port};
use crate::{
    model::Model,
    remark::{Remark, unusable},
    view::{Parent, ParentKind},
};

impl Model<'_> {
    /// What of the objects about a port has no effect.
    #[must_use]
    pub fn inbound_remarks(&self, port: &Port) -> Vec<Remark> {
        let key = |kind, name: &str| Key { kind, namespace: port.namespace.clone(), name: name.to_owned() };
        let mut remarks = Vec::new();
        if let Some(name) = &port.unknown {
            let wrong = name.parse::<DefaultPolicy>().err().map(|error| error.to_string()).unwrap_or_default();
            let what = format!("annotation {DEFAULT_POLICY} of a workload: {wrong}; {} stands in", self.mesh.default_policy);
            remarks.push(Remark::new(Key { kind: Kind::Namespace, namespace: String::new(), name: port.namespace.clone() }, what));
        }
        let Some(server) = port.server().and_then(|name| self.view.server(&port.namespace, name)) else { return remarks };
        for hidden in &port.hidden {
            let what = format!("Server {} selects the same port and is older, or comes first by name", server.metadata.name);
            remarks.push(Remark::new(key(Kind::Server, hidden), what));
        }
        if let Some(Err(wrong)) = server.spec.access_policy.as_ref().map(|name| name.parse::<DefaultPolicy>()) {
            remarks.push(Remark::new(key(Kind::Server, &server.metadata.name), format!("accessPolicy: {wrong}")));
        }
        let direct = self.selecting(server).filter_map(|it| Some((&it.metadata.name, self.of_server_authorization(it).err()?)));
        remarks.extend(direct.map(|(name, why)| Remark::new(key(Kind::ServerAuthorization, name), why)));
        self.route_remarks(server, &mut remarks);
        remarks
    }

    fn route_remarks(&self, server: &Server, remarks: &mut Vec<Remark>) {
        let (namespace, name) = (server.metadata.namespace.clone(), server.metadata.name.clone());
        let parent = Parent { kind: ParentKind::Server, namespace, name };
        let mut policies: Vec<_> = self.targeting(server).collect();
        for attached in self.view.attached(&parent) {
            policies.extend(self.targeting_route(&attached.route));
            remarks.extend(unusable(&attached.route).map(|why| Remark::new(attached.route.key(), why)));
        }
        for policy in policies {
            let metadata = &policy.metadata;
            let key = Key { kind: Kind::AuthorizationPolicy, namespace: metadata.namespace.clone(), name: metadata.name.clone() };
            remarks.extend(self.of_policy(policy).err().map(|why| Remark::new(key, why)));
        }
    }
}
