//! Beats in other processes: those that a token's sender was sent to.

#[cfg(not(feature = "remote"))]
mod others {
    use std::sync::Arc;

    use crate::{
        cores::{Key, Patience},
        registry::shared::Shared,
    };

    /// Senders do not leave this process.
    pub(in crate::registry) async fn flush(
        _shared: &Arc<Shared>,
        _key: Key,
        _patience: &mut Patience,
    ) -> Result<(), Vec<String>> {
        Ok(())
    }

    pub(in crate::registry) async fn catch_up(_shared: &Arc<Shared>) {}

    pub(in crate::registry) fn forget(_shared: &Arc<Shared>, _key: Key) {}
}

#[cfg(feature = "remote")]
mod others {
    use std::{sync::Arc, time::Duration, vec::Drain};

    use tokio::{sync::oneshot, time::Instant};

    use crate::{
        cores::{Key, Patience},
        ports::{Arrived, BeatSink, TokenPlace},
        registry::{shared::Shared, within::within},
    };

    /// How long it may take to read what has been sent. Only a pool whose thread is held up by a service takes longer.
    const CATCH_UP_LIMIT: Duration = Duration::from_secs(1);

    /// Has every process with the token's sender deliver its beats.
    ///
    /// # Errors
    /// It was not done in time. The value has the names of the processes that have not answered. There may be none: they
    /// were only about to be asked.
    pub(in crate::registry) async fn flush(
        shared: &Arc<Shared>,
        key: Key,
        patience: &mut Patience,
    ) -> Result<(), Vec<String>> {
        let Some(place) = shared.change(|state| state.places.get(&key).cloned()) else {
            return Ok(());
        };
        let (tell, flushed) = oneshot::channel();
        // An error of the sending means that the deadline has passed.
        let unanswered = place.flush(Box::new(move || tell.send(()).unwrap_or(())));
        match within(patience, flushed).await {
            Some(Ok(())) => Ok(()),
            // Nobody will tell any more: that is no flush either.
            Some(Err(_)) | None => Err(unanswered.names()),
        }
    }

    /// Processes everything that was sent before, because this process itself may have been late. No timer runs
    /// meanwhile.
    pub(in crate::registry) async fn catch_up(shared: &Arc<Shared>) {
        // Without a sender elsewhere, nothing is sent. All places are in the same tree.
        let place = shared.change(|state| state.places.values().next().cloned());
        let Some(place) = place else { return };
        let (tell, done) = oneshot::channel();
        place.catch_up(Box::new(move || tell.send(()).unwrap_or(())));
        let mut patience = Patience::new(Instant::now().into_std(), CATCH_UP_LIMIT);
        match within(&mut patience, done).await {
            Some(Ok(())) => {}
            Some(Err(_)) => {
                workfleet_notice::error!("a connection has dropped the request to read what was sent")
            }
            None => {
                workfleet_notice::warn!(limit = ?CATCH_UP_LIMIT, "what workers have sent could not be read in time");
            }
        }
    }

    /// The token is gone: what comes of it from elsewhere is ignored.
    pub(in crate::registry) fn forget(shared: &Arc<Shared>, key: Key) {
        let place = shared.change(|state| state.places.remove(&key));
        // Not under the lock.
        drop(place);
    }

    impl Shared {
        /// Where other processes find the token; made when it is first asked for. None if the token is gone.
        pub(crate) fn place(
            self: &Arc<Self>,
            key: Key,
            make: impl FnOnce(Arc<dyn BeatSink>, Key) -> Arc<dyn TokenPlace>,
        ) -> Option<Arc<dyn TokenPlace>> {
            if !self.is_here() {
                return None;
            }
            self.change(|state| {
                if !state.table.is_registered(key) {
                    return None;
                }
                let place = state.places.entry(key).or_insert_with(|| make(Arc::clone(self) as _, key));
                Some(Arc::clone(place))
            })
        }
    }

    impl BeatSink for Shared {
        /// Once these heartbeaters have stopped, beats are ignored.
        fn beats(self: Arc<Self>, beats: Drain<'_, Arrived>) -> u64 {
            let now = self.now();
            self.change(|state| {
                if state.stopped {
                    return beats.map(|beat| beat.superseded.saturating_add(1)).fold(0, u64::saturating_add);
                }
                for Arrived { key, details, superseded } in beats {
                    state.table.superseded_elsewhere(superseded);
                    state.table.beat(now, key, details);
                }
                0
            })
        }
    }
}

pub(super) use others::{catch_up, flush, forget};
