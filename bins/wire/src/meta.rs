//! References to the object that something comes from.

use linkerd2_proxy_api::meta as proto;
use meshkit_policy::{Meta, Resource};

use crate::{Invalid, net};

pub(crate) fn meta(meta: Option<proto::Metadata>) -> Result<Meta, Invalid> {
    match meta.and_then(|m| m.kind).ok_or_else(|| Invalid::missing("metadata"))? {
        proto::metadata::Kind::Default(name) => Ok(Meta::Default(name.into())),
        proto::metadata::Kind::Resource(r) => Ok(Meta::Resource(
            Resource {
                group: r.group,
                kind: r.kind,
                namespace: r.namespace,
                name: r.name,
                section: r.section,
                // Zero stands for "not said" on the wire.
                port: (r.port != 0).then(|| net::port(r.port, "metadata.port")).transpose()?,
            }
            .into(),
        )),
    }
}

pub(crate) fn meta_to(meta: &Meta) -> proto::Metadata {
    let kind = match meta {
        Meta::Default(name) => proto::metadata::Kind::Default(name.to_string()),
        Meta::Resource(r) => proto::metadata::Kind::Resource(proto::Resource {
            group: r.group.clone(),
            kind: r.kind.clone(),
            namespace: r.namespace.clone(),
            name: r.name.clone(),
            section: r.section.clone(),
            port: r.port.map_or(0, |p| p.get().into()),
        }),
    };
    proto::Metadata { kind: Some(kind) }
}
