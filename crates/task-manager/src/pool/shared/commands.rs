//! What callers and running tasks want: they schedule, cancel and send.

use std::sync::Arc;

use workfleet_scheduler::{Class, Lease};

use super::{
    Mode, Shared,
    body::{Body, Command, carry_out},
    core::Core,
};
use crate::{
    ids::TaskId,
    inbox::{Item, Told},
    message::EncodedMessage,
    outcome::OutcomeCell,
    priority::Priority,
    protocol::Cancel,
    refusal::ScheduleErrorKind,
    run::Attempt,
    task::EncodedTask,
};

impl Shared {
    /// Takes a task from outside.
    pub(crate) fn schedule(
        &self,
        task: EncodedTask,
        priority: Priority,
        cell: Option<Arc<OutcomeCell>>,
    ) -> Result<TaskId, (EncodedTask, ScheduleErrorKind)> {
        let (task_type, class) = match self.check(&task, priority) {
            Ok(checked) => checked,
            Err(kind) => return Err((task, kind)),
        };
        let body = Body::new(task, task_type, cell);
        let command = |sequence, body| {
            self.inbox.task_added();
            Command::Schedule { sequence, priority: priority.0, class, body }
        };
        match self.submissions.push_new(body, command) {
            Ok(pushed) => {
                if pushed.is_urgent {
                    self.run_scheduler(|_core, _deliveries| ());
                }
                Ok(TaskId::new(self.id, pushed.sequence))
            }
            Err(body) => Err((body.task, ScheduleErrorKind::Closed)),
        }
    }

    /// Whether a task can be taken, and of which type it is.
    fn check(&self, task: &EncodedTask, priority: Priority) -> Result<(u32, Class), ScheduleErrorKind> {
        if !self.home.is_here() {
            return Err(ScheduleErrorKind::Forked);
        }
        let levels = self.levels;
        let (len_bytes, limit_bytes) = (task.payload.len() as u64, self.frame_limit_bytes);
        if priority.0 >= levels {
            return Err(ScheduleErrorKind::Priority { priority, levels });
        }
        let Some(task_type) = self.index.of(task) else {
            return Err(ScheduleErrorKind::Unregistered { name: task.name() });
        };
        if len_bytes > limit_bytes {
            return Err(ScheduleErrorKind::TooLarge { len_bytes, limit_bytes });
        }
        Ok((task_type, self.index.class(task_type)))
    }

    /// Takes the next child of an attempt that runs in this process. It is numbered here, under the core's lock: threads
    /// that share the attempt's proxy would otherwise overtake one another, and the one behind be taken for a repetition.
    pub(crate) fn schedule_child(
        &self,
        slot: usize,
        lease: u64,
        task: EncodedTask,
        priority: Priority,
    ) -> Result<(), (EncodedTask, ScheduleErrorKind)> {
        let (task_type, class) = match self.check(&task, priority) {
            Ok(checked) => checked,
            Err(kind) => return Err((task, kind)),
        };
        self.run_scheduler(|core, _| {
            let limit = self.children_limit;
            let index = match core.scheduler.next_child(slot, Lease::from_bits(lease)) {
                None => return Err((task, ScheduleErrorKind::AttemptEnded)),
                Some(next) if *next >= limit => {
                    return Err((task, ScheduleErrorKind::TooManyChildren { limit }));
                }
                Some(next) => std::mem::replace(next, *next + 1),
            };
            let body = Body::new(task, task_type, None);
            core.add_child(self, slot, lease, index, priority.0, class, body);
            Ok(())
        })
    }

    /// Puts a message of an attempt that runs in this process into the inbox.
    pub(crate) fn put_message(&self, attempt: Attempt, message: EncodedMessage) -> Told {
        let task = Some(TaskId::new(self.id, attempt.sequence));
        self.inbox.put([Item::Message { task, attempt: attempt.number, message }], 0)
    }

    pub(crate) fn cancel(&self, sequence: u64) {
        self.submissions.push(Command::Cancel { sequence });
        self.run_scheduler(|_core, _deliveries| ());
    }

    /// A message from the manager's own side.
    pub(crate) fn send(&self, message: EncodedMessage) -> Result<(), crate::MessageSendError> {
        if !self.home.is_here() {
            return Err(crate::MessageSendError::Forked);
        }
        message.check_len(self.frame_limit_bytes)?;
        if self.submissions.is_closed() {
            return Err(crate::MessageSendError::Closed);
        }
        if self.inbox.is_full() {
            let (waiting_bytes, limit_bytes) = self.inbox.fill();
            return Err(crate::MessageSendError::Full { waiting_bytes, limit_bytes });
        }
        if self.inbox.deliver([Item::Message { task: None, attempt: 0, message }], 0) {
            self.resume();
        }
        Ok(())
    }

    /// Takes nothing more from outside.
    pub(crate) fn refuse_newcomers(&self) {
        self.submissions.close();
    }

    /// Starts nothing more, cancels what runs.
    pub(crate) fn halt(&self, mode: Mode) {
        self.run_scheduler(|core, _| {
            core.scheduler.halt();
            // Before the first worker goes by this: no slot starts another for it, or lets one go that is to die.
            self.raise_mode(mode);
            for slot in 0..core.slots.len() {
                core.cancel(slot, Cancel::All);
            }
        });
    }

    /// The inbox has room again.
    pub(crate) fn resume(&self) {
        self.run_scheduler(|_core, _deliveries| ());
    }
}

impl Core {
    /// Takes a child of the attempt under `lease`, unless it is a repetition.
    #[expect(clippy::too_many_arguments, reason = "what a frame would carry")]
    pub(super) fn add_child(
        &mut self,
        shared: &Shared,
        slot: usize,
        lease: u64,
        index: u32,
        priority: u8,
        class: Class,
        body: Body,
    ) {
        let Self { scheduler, commands, .. } = self;
        // What came from outside before has the smaller numbers.
        shared.submissions.take_and_add(commands, |commands, sequence| {
            carry_out(scheduler, commands);
            let taken = scheduler.admits_child(slot, Lease::from_bits(lease), index);
            if taken {
                shared.inbox.task_added();
                scheduler.schedule(sequence, priority, class, body);
            }
            taken
        });
    }
}
