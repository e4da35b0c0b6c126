//! How many answers are listened to, and by whom.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use meshkit_core::grpc::Code;
use meshkit_wire::Refused;

use crate::{Index, target::Context};

/// Counts streams.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_client: HashMap<Arc<str>, usize>,
}

/// One stream. It counts for as long as it is there.
#[derive(Debug)]
pub(crate) struct Slot {
    streams: Streams,
    client: Option<Arc<str>>,
    /// The stream keeps the index: a connection may outlive the server that took it.
    index: Index,
}

impl Streams {
    /// Counts one stream more.
    ///
    /// # Errors
    /// There are too many, or the client has too many.
    pub(crate) fn open(&self, index: &Index, client: &Context) -> Result<Slot, Refused> {
        let (settings, observe) = index.limits();
        let refuse = |setting: &'static str, max: usize, who: &str| {
            observe.refused(setting);
            let what = format!("{max} streams are open{who}, and more are not allowed: see the setting {setting}");
            Refused::new(Code::RESOURCE_EXHAUSTED, what)
        };
        let mut counts = self.lock();
        if counts.all >= settings.max_streams {
            return Err(refuse("max_streams", settings.max_streams, ""));
        }
        let client = match (client.pod.as_str(), client.node_name.as_str()) {
            ("", "") => None,
            ("", node) => Some(node.to_owned()),
            (pod, _) => Some(format!("{}/{pod}", client.ns)),
        };
        let client = client.map(|name| counts.by_client.get_key_value(&*name).map_or_else(|| name.into(), |(known, _)| Arc::clone(known)));
        if let Some(client) = &client {
            let count = counts.by_client.entry(Arc::clone(client)).or_default();
            if *count >= settings.max_streams_per_client {
                return Err(refuse("max_streams_per_client", settings.max_streams_per_client, &format!(" for {client}")));
            }
            *count += 1;
        }
        counts.all += 1;
        Ok(Slot { streams: self.clone(), client, index: index.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.streams.lock();
        counts.all -= 1;
        if let Some(client) = &self.client
            && let Some(count) = counts.by_client.get_mut(client)
        {
            *count -= 1;
            if *count == 0 {
                counts.by_client.remove(client);
            }
        }
        drop(counts);
        self.index.leave();
    }
}
