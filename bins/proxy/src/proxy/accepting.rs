//! The loops that take connections, and the listeners that a file names.

use std::{collections::HashMap, io, path::PathBuf, sync::Arc, time::Duration};

use tokio::task::JoinHandle;
use tracing::{error, warn};

use super::invalid;
use crate::{
    inbound::Inbound,
    net::{
        Listener, Listeners, Mapping,
        accept::{Destination, SocketOptions},
    },
    outbound::{Alias, Outbound},
};

/// How often the listeners file is looked at.
const LISTENERS_INTERVAL: Duration = Duration::from_millis(200);
/// While the machine has no file descriptor left, accepting again at once would only burn its processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn accept_inbound(listener: Listener, side: Inbound) {
    loop {
        match listener.accept().await {
            Ok(accepted) => drop(tokio::spawn(side.clone().serve(accepted))),
            Err(error) => pause(&error).await,
        }
    }
}

pub(super) async fn accept_outbound(listener: Listener, side: Outbound, alias: Option<Arc<Alias>>) {
    loop {
        match listener.accept().await {
            Ok(accepted) => drop(tokio::spawn(side.clone().serve(accepted, alias.clone()))),
            Err(error) => pause(&error).await,
        }
    }
}

async fn pause(error: &io::Error) {
    warn!(%error, "cannot accept");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// Listens as the file says, from one version of it to the next.
pub(super) async fn follow_listeners(file: PathBuf, options: (SocketOptions, SocketOptions), inbound: Inbound, outbound: Outbound) {
    let mut listening: HashMap<Mapping, Listening> = HashMap::new();
    let mut seen = None;
    loop {
        match tokio::fs::read_to_string(&file).await {
            Ok(text) if seen.as_ref() == Some(&text) => {}
            Ok(text) => {
                match Listeners::parse(&text) {
                    Ok(listeners) => {
                        listening.retain(|mapping, _| listeners.mappings().contains(mapping));
                        for mapping in listeners.mappings().iter().filter(|m| !listening.contains_key(m)).cloned().collect::<Vec<_>>() {
                            match listen(&mapping, options, &inbound, &outbound) {
                                Ok(task) => drop(listening.insert(mapping, task)),
                                Err(error) => error!(%mapping, %error, "a listener of the listeners file cannot be opened"),
                            }
                        }
                    }
                    Err(error) => {
                        error!(file = %file.display(), %error, "the listeners file cannot be read: the listeners stay as they are")
                    }
                }
                seen = Some(text);
            }
            Err(error) if seen.is_none() => warn!(file = %file.display(), %error, "the listeners file cannot be read yet"),
            Err(_) => {}
        }
        tokio::time::sleep(LISTENERS_INTERVAL).await;
    }
}

/// A listener's accept loop, which ends with it.
struct Listening(JoinHandle<()>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn listen(mapping: &Mapping, options: (SocketOptions, SocketOptions), inbound: &Inbound, outbound: &Outbound) -> io::Result<Listening> {
    let task = match mapping {
        Mapping::Inbound { listen, destination } => {
            let listener = Listener::bind(*listen, None, options.0, Destination::Published(*destination))?;
            tokio::spawn(accept_inbound(listener, inbound.clone()))
        }
        Mapping::Outbound { listen, destination, authority } => {
            let listener = Listener::bind(*listen, None, options.1, Destination::Mapped(*destination))?;
            let alias =
                Alias { listen: listen.to_string().parse().map_err(invalid)?, name: authority.to_string().parse().map_err(invalid)? };
            tokio::spawn(accept_outbound(listener, outbound.clone(), Some(Arc::new(alias))))
        }
    };
    Ok(Listening(task))
}
