//! Bytes both ways.

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};

/// Four TLS records, and more: smaller costs more calls, larger costs cache.
const BUFFER: usize = 128 << 10;

/// Copies until both sides have ended. What broke a connection is of no interest to its peer.
pub(super) async fn copy<A: AsyncRead + AsyncWrite + Unpin, B: AsyncRead + AsyncWrite + Unpin>(mut a: A, mut b: B) {
    let _ = copy_bidirectional_with_sizes(&mut a, &mut b, BUFFER, BUFFER).await;
}
