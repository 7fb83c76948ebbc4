//! Who else may have beats of ours in hand: the processes that a token's sender was sent to.

#[cfg(not(feature = "remote"))]
mod others {
    use std::sync::Arc;

    use crate::{
        cores::{Key, Patience},
        hub::Shared,
    };

    /// Senders do not leave this process.
    pub(in crate::hub) async fn flush(
        _shared: &Arc<Shared>,
        _key: Key,
        _patience: &mut Patience,
    ) -> Result<(), Vec<String>> {
        Ok(())
    }

    pub(in crate::hub) async fn catch_up() {}

    pub(in crate::hub) fn forget(_shared: &Arc<Shared>, _key: Key) {}
}

#[cfg(feature = "remote")]
mod others {
    use std::{sync::Arc, time::Duration};

    use tokio::{sync::oneshot, time::Instant};

    use crate::{
        Details,
        cores::{Key, Patience},
        hub::{
            Shared,
            batch::{Batch, Gathered},
            within::within,
        },
        tree::{self, Address, Channel, Inlet, Node},
    };

    /// How long it may take to read what has been sent. Only a pool whose thread is held up by a service takes longer.
    const CATCH_UP_LIMIT: Duration = Duration::from_secs(1);

    /// Has everybody who holds the token's sender deliver what it has.
    ///
    /// # Errors
    /// It was not done in time; the names of those who have not answered. There may be none: they were only about to be
    /// asked.
    pub(in crate::hub) async fn flush(
        shared: &Arc<Shared>,
        key: Key,
        patience: &mut Patience,
    ) -> Result<(), Vec<String>> {
        let Some(channel) = shared.change(|state| state.channels.get(&key).cloned()) else {
            return Ok(());
        };
        let (tell, flushed) = oneshot::channel();
        // An error of the sending means that the deadline has passed.
        let flush = tree::flush(&channel, Box::new(move || tell.send(()).unwrap_or(())));
        match within(patience, flushed).await {
            Some(Ok(())) => Ok(()),
            // Nobody will tell any more: that is no flush either.
            Some(Err(_)) | None => Err(flush.missing()),
        }
    }

    /// Takes in everything that was sent before: we may be the one who was late. No timer runs meanwhile.
    pub(in crate::hub) async fn catch_up() {
        let (tell, done) = oneshot::channel();
        tree::catch_up(Node::own(), Box::new(move || tell.send(()).unwrap_or(())));
        let mut patience = Patience::new(Instant::now().into_std(), CATCH_UP_LIMIT);
        match within(&mut patience, done).await {
            Some(Ok(())) => {}
            Some(Err(_)) => tracing::error!("a connection has dropped the request to read what was sent"),
            None => {
                tracing::warn!(limit = ?CATCH_UP_LIMIT, "what workers have sent could not be read in time");
            }
        }
    }

    /// The token is gone: what comes of it from elsewhere is ignored.
    pub(in crate::hub) fn forget(shared: &Arc<Shared>, key: Key) {
        let channel = shared.change(|state| state.channels.remove(&key));
        // Not under the lock.
        drop(channel);
    }

    impl Shared {
        /// Where other processes find the token.
        pub(crate) fn address(self: &Arc<Self>, key: Key) -> Address {
            if !self.is_here() {
                return Node::own().address_of_nothing();
            }
            let address = self.change(|state| {
                if !state.table.is_registered(key) {
                    return None;
                }
                let channel = state.channels.entry(key).or_insert_with(|| {
                    Node::own().export_channel(Arc::new(Registered { shared: Arc::clone(self), key }))
                });
                Some(channel.address().clone())
            });
            address.unwrap_or_else(|| Node::own().address_of_nothing())
        }
    }

    /// A token that other processes may know.
    struct Registered {
        shared: Arc<Shared>,
        key: Key,
    }

    impl Inlet for Registered {
        fn beat(&self, batch: &mut Batch, details: Details, superseded: u64) {
            batch.add(&self.shared, Gathered { key: self.key, details, superseded });
        }
    }

    pub(in crate::hub) type Channels = std::collections::BTreeMap<Key, Arc<Channel>>;
}

#[cfg(feature = "remote")]
pub(super) use others::Channels;
pub(super) use others::{catch_up, flush, forget};
