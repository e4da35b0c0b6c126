//! What of the objects about a destination has no effect, and why.

use meshkit_manifest::{Key, Kind, annotations};

use super::{Destination, Subject, parent::notes};
use crate::{
    model::Model,
    remark::{Remark, unusable},
};

impl Model<'_> {
    /// What of the objects about a destination has no effect. Annotations of Services are looked at by no webhook.
    #[must_use]
    pub fn outbound_remarks(&self, subject: &Subject) -> Vec<Remark> {
        let (kind, namespace, name) = match &subject.destination {
            Destination::Service { namespace, name, .. } => (Kind::Service, namespace, name),
            Destination::Egress { namespace, name, .. } => (Kind::EgressNetwork, namespace, name),
            Destination::UndefinedPort { .. } | Destination::External(_) => return Vec::new(),
        };
        let key = Key { kind, namespace: namespace.clone(), name: name.clone() };
        let mut remarks = Vec::new();
        if let Some(object) = self.view.cluster().get(kind, namespace, name) {
            let own = &object.metadata().annotations;
            let read = [annotations::timeouts(own).err(), annotations::http_retry(own).err(), annotations::grpc_retry(own).err()];
            remarks.extend(read.into_iter().flatten().map(|error| Remark::new(key.clone(), error.to_string())));
            remarks.extend(notes::faults(own).into_iter().map(|what| Remark::new(key.clone(), what)));
        }
        remarks.extend(self.routes(subject).into_iter().filter_map(|route| Some(Remark::new(route.key(), unusable(route)?))));
        remarks
    }
}
