//! Sources of updates for a [`Driver`](crate::Driver), besides any other stream.

mod checked;
mod ledger;

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;
use meshkit_core::{Endpoint, Update};
use tokio::sync::mpsc;

pub use checked::{Check, Checked, Discovery, checked};
pub use ledger::Ledger;

/// One update, and the end: the stream of [`fixed`].
#[derive(Debug)]
pub struct Fixed(Option<Update>);

/// What is sent to the other end of a [`channel`].
#[derive(Debug)]
pub struct Receiver(mpsc::Receiver<Update>);

/// A set of endpoints that never changes.
pub fn fixed(endpoints: impl IntoIterator<Item = Endpoint>) -> Fixed {
    Fixed(Some(Update::Reset(endpoints.into_iter().collect())))
}

/// Updates by hand. At most `capacity` of them wait for the driver. Dropping the sender leaves the endpoints as they are.
#[must_use]
pub fn channel(capacity: usize) -> (mpsc::Sender<Update>, Receiver) {
    let (sender, receiver) = mpsc::channel(capacity.max(1));
    (sender, Receiver(receiver))
}

impl Stream for Fixed {
    type Item = Update;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Update>> {
        Poll::Ready(self.0.take())
    }
}

impl Stream for Receiver {
    type Item = Update;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Update>> {
        self.0.poll_recv(cx)
    }
}
