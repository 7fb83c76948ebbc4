//! How a manager closes, on its own thread: a caller asks for a way to close, and waits for the report or does not.
//!
//! So closing goes on if a caller stops waiting. A blocking call and an asynchronous one differ only in how they wait.
//! And a manager can be dropped on a thread that must not be blocked.
//!
//! Invariants:
//! - What was asked for only becomes harsher: `Join`, then `Cancel`, then `Kill`.
//! - The report is handed out once: to one of the callers that wait for it, or to the log if there is none.
//! - Closing has ended when the manager's thread has nothing left to do, however it came to that.

use std::{
    convert::Infallible,
    future::{pending, poll_fn},
    sync::PoisonError,
    task::Poll,
    time::Duration,
};

use tokio::{sync::watch, task::yield_now};

use super::{ClosePolicy, CloseReport, Mode, Shared, waits};
use crate::{
    guards::woken,
    inbox::{ReaderId, Reads, Taken},
    stats::TaskCounts,
};

/// How many items are read before the manager's thread looks after everything else.
const ITEMS_IN_A_ROW: u32 = 256;

impl Shared {
    /// Begins to close by this policy: refuses new tasks, starts no more tasks unless the policy is `Join`, and leaves
    /// the rest to the manager's thread. Waits for nothing.
    pub(super) fn ask_to_close(&self, policy: ClosePolicy) {
        self.refuse_newcomers();
        self.closing.begin(self.books().cancelled);
        match policy {
            ClosePolicy::Join => {}
            ClosePolicy::Cancel => self.halt(Mode::Leaving),
            ClosePolicy::Kill => self.halt(Mode::Killing),
        }
        self.closing.asked.send_if_modified(|asked| {
            let harsher = asked.is_none_or(|asked| asked.severity() < policy.severity());
            if harsher {
                *asked = Some(policy);
            }
            harsher
        });
    }

    /// The report, once closing has ended: the first call gets it, and every other only the books.
    pub(super) fn take_report(&self) -> CloseReport {
        let report = self.closing.lock().report.take();
        report.unwrap_or_else(|| CloseReport { tasks: self.books().into(), ..CloseReport::default() })
    }

    /// No caller will ask for the report: the losses that it names go to the log.
    pub(super) fn leave_alone(&self) {
        let mut outcome = self.closing.lock();
        outcome.left_alone = true;
        let report = if outcome.has_ended { outcome.report.take() } else { None };
        drop(outcome);
        report.iter().for_each(|report| self.tell_what_is_lost(report));
    }

    /// Logs the losses in a report that no caller gets, unless they were logged before.
    pub(super) fn tell_what_is_lost(&self, report: &CloseReport) {
        if !report.is_clean() && self.closing.is_to_be_said() {
            report.tell_what_is_lost();
        }
    }

    /// The manager's thread has nothing left to do.
    pub(super) fn has_closed(&self) {
        self.refuse_newcomers();
        let items = self.inbox.close();
        let tasks = TaskCounts::from(self.books());
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let (unstarted, abandoned) =
            (std::mem::take(&mut left.unstarted), std::mem::take(&mut left.abandoned));
        drop(left);
        let mut outcome = self.closing.lock();
        let cut_short = outcome.cut_short(tasks.cancelled);
        if let Some(report) = &mut outcome.report {
            items.into_iter().for_each(|item| report.add(item));
            report.tasks = tasks;
            report.cut_short = cut_short;
            report.dropped_messages = self.inbox.dropped();
            report.unstarted = unstarted;
            report.abandoned = abandoned;
        }
        outcome.has_ended = true;
        let to_log = if outcome.left_alone { outcome.report.take() } else { None };
        drop(outcome);
        to_log.iter().for_each(|report| self.tell_what_is_lost(report));
        // It wakes those who wait.
        woken(|| {
            self.closing.ended.send_replace(true);
        });
    }

    /// Has the workers do this, unless they are to do something harsher already.
    pub(super) fn raise_mode(&self, to: Mode) {
        self.mode.send_if_modified(|mode| {
            let before = *mode;
            *mode = before.max(to);
            before != *mode
        });
    }

    fn read_in_closing(&self, (taken, room): (Taken, bool)) -> bool {
        if room {
            self.resume();
        }
        let item = match taken {
            Taken::Item(item) => item,
            // It stands in the report by its number.
            Taken::Dropped { .. } => return true,
            Taken::End => return false,
        };
        if let Some(report) = &mut self.closing.lock().report {
            report.add(item);
        }
        true
    }
}

/// Sees to what is asked for, on the manager's thread, until that has nothing left to do.
pub(super) async fn carry_out(shared: &Shared, grace: Duration) -> Infallible {
    let mut asked = shared.closing.asked.subscribe();
    let mut policy = at_least(&mut asked, 0).await;
    loop {
        policy = match policy {
            ClosePolicy::Join => tokio::select! {
                biased;
                harsher = at_least(&mut asked, policy.severity() + 1) => harsher,
                () = consume_inbox(shared, grace) => break,
            },
            ClosePolicy::Cancel => {
                let mut patience = waits::patience(grace);
                tokio::select! {
                    biased;
                    harsher = at_least(&mut asked, policy.severity() + 1) => harsher,
                    ended = waits::within(&mut patience, tasks_end(shared)) => {
                        if ended.is_none() {
                            workfleet_notice::warn!(?grace, "tasks outlast their cancellation and are ended");
                            shared.raise_mode(Mode::Killing);
                        }
                        break;
                    }
                }
            }
            // The workers were told when it was asked for.
            ClosePolicy::Kill => break,
        };
    }
    shared.raise_mode(Mode::Finishing);
    pending().await
}

/// Waits until a policy of this severity, or a harsher one, is asked for.
async fn at_least(asked: &mut watch::Receiver<Option<ClosePolicy>>, severity: u8) -> ClosePolicy {
    let is_enough = |asked: &Option<ClosePolicy>| asked.is_some_and(|asked| asked.severity() >= severity);
    match asked.wait_for(is_enough).await.map(|asked| *asked) {
        Ok(Some(policy)) => policy,
        // The sender is in what the caller holds, and no policy is not harsh enough.
        Ok(None) | Err(_) => pending().await,
    }
}

/// A reader of the inbox, open while this lives.
struct OpenReader<'a> {
    shared: &'a Shared,
    reader: ReaderId,
}

impl<'a> OpenReader<'a> {
    fn new(shared: &'a Shared, reads: Reads) -> Self {
        Self { shared, reader: shared.inbox.open(reads) }
    }

    fn poll(&self, cx: &mut std::task::Context<'_>) -> Poll<(Taken, bool)> {
        self.shared.inbox.poll_take(self.reader, cx)
    }
}

impl Drop for OpenReader<'_> {
    fn drop(&mut self) {
        self.shared.inbox.shut(self.reader);
    }
}

/// Waits until every task has ended, and reads what is for no reader that lasts until the manager closes.
async fn consume_inbox(shared: &Shared, grace: Duration) {
    let inbox = &shared.inbox;
    let mut reader = OpenReader::new(shared, Reads::Closing);
    // For how long the inbox may stay full, and how much had been read when that began.
    let (mut patience, mut taken_before) = (None, 0);
    let mut in_a_row = 0;
    loop {
        let waits_for_room = patience.is_some();
        let taken = tokio::select! {
            biased;
            taken = poll_fn(|cx| match reader.poll(cx) {
                Poll::Ready(taken) => Poll::Ready(Some(taken)),
                Poll::Pending if !waits_for_room && inbox.is_full() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }) => taken,
            () = waits::run_out(&mut patience) => None,
        };
        match taken {
            Some(taken) => {
                if !shared.read_in_closing(taken) {
                    return;
                }
                in_a_row += 1;
                if in_a_row == ITEMS_IN_A_ROW {
                    in_a_row = 0;
                    yield_now().await;
                }
            }
            None if !inbox.is_full() => patience = None,
            None if waits_for_room && inbox.taken() == taken_before => {
                workfleet_notice::warn!(
                    ?grace,
                    "the inbox is full and its readers do not read: closing consumes what was left to them"
                );
                reader = OpenReader::new(shared, Reads::ClosingAll);
                patience = None;
            }
            None => (patience, taken_before) = (Some(waits::patience(grace)), inbox.taken()),
        }
    }
}

/// Waits until every task has ended, and reads nothing.
async fn tasks_end(shared: &Shared) {
    let reader = OpenReader::new(shared, Reads::Nothing);
    poll_fn(|cx| reader.poll(cx)).await;
}
