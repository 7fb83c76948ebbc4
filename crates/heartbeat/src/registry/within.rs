//! Waiting for a future in time that this program saw pass.

use std::{future::Future, pin::pin};

use tokio::time::{Instant, timeout_at};

use crate::cores::Patience;

/// The future's output; none if the patience ends first. If both are there at once, it is the output.
pub(super) async fn within<F: Future>(patience: &mut Patience, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    loop {
        let Some(at) = patience.poll_timeout() else { return Some(future.await) };
        match timeout_at(at.into(), &mut future).await {
            Ok(output) => return Some(output),
            Err(_) if patience.handle_timeout(Instant::now().into_std()) => return None,
            // This program was stopped meanwhile: the process that has to answer was as well, or could not reach us.
            Err(_) => {}
        }
    }
}
