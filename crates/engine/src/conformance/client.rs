//! A member as the tests drive it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use workfleet_shared_lock::{
    Fence, Mode,
    cores::{LockOp, RequestEnd, RequestId, RequestState},
};

use super::Subject;
use crate::{
    Beat, Beaten, Calls, Cancelled, DeadLetterAnswer, DeadLetterOp, DeadLetters, Departure, Engine,
    EngineError, EngineOptions, Enqueued, FleetTaskId, Held, Join, LeaseCall, LeasedTask, LockCall,
    LockOwner, MemberId, NewTask, Payload, Settled, Settlement, TaskOutcome, TaskRun, TaskState, Verdict,
};

pub(super) type LockState = RequestState<Arc<str>, LockOwner>;

/// An engine under test.
pub(super) struct Bench<'a> {
    pub(super) subject: &'a dyn Subject,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) options: EngineOptions,
}

impl<'a> Bench<'a> {
    pub(super) async fn new(subject: &'a dyn Subject) -> Self {
        Self::with(subject, |_| {}).await
    }

    pub(super) async fn with(subject: &'a dyn Subject, change: impl FnOnce(&mut EngineOptions)) -> Self {
        let mut options = subject.options();
        change(&mut options);
        let engine = subject.engine(options.clone()).await;
        Self { subject, engine, options }
    }

    pub(super) async fn pass(&self, time: Duration) {
        self.subject.pass(time).await;
    }

    /// Lets so many parts of a hundred of a lease pass.
    pub(super) async fn pass_lease(&self, percent: u32) {
        self.pass(self.options.lease * percent / 100).await;
    }

    pub(super) async fn id(&self) -> FleetTaskId {
        FleetTaskId::generate(self.engine.time().await.expect("it has a time"))
            .expect("there are random bits")
    }

    pub(super) async fn task(&self) -> NewTask {
        NewTask::new(self.id().await, "work", Payload::postcard("content"))
    }

    pub(super) async fn join(&self) -> Client {
        let time = self.engine.time().await.expect("it has a time");
        let member = MemberId::generate(time).expect("there are random bits");
        let joined = self.engine.join(Join { member, name: "a member".into() }).await.expect("it is new");
        let EngineOptions { lease, lock_delay, repeat_window, .. } = self.options;
        let times = (joined.lease, joined.lock_delay, joined.repeat_window);
        assert_eq!(times, (lease, lock_delay, repeat_window), "the times of the options");
        Client {
            engine: self.engine.clone(),
            id: member,
            calls: Calls::new(member),
            batch: 1,
            beats: 0,
            request: 0,
            version: 0,
        }
    }

    pub(super) async fn is_free(&self, key: &str, mode: Mode) -> bool {
        self.engine.is_free(key.into(), mode).await.expect("it answers")
    }

    pub(super) async fn state(&self, task: FleetTaskId) -> TaskState {
        let states = self.engine.outcomes(vec![task], Duration::ZERO).await.expect("it is one");
        assert_eq!(states.len(), 1, "one answer for one task");
        states.into_iter().next().expect("there is one")
    }

    pub(super) async fn outcome(&self, task: FleetTaskId) -> TaskOutcome {
        match self.state(task).await {
            TaskState::Ended(outcome) => outcome,
            state => panic!("it has not ended: {state:?}"),
        }
    }

    /// Lets a lease run out, while these members beat.
    pub(super) async fn expire(&self, others: &mut [&mut Client]) {
        for _ in 0..5 {
            self.pass_lease(22).await;
            for other in others.iter_mut() {
                other.beat().await;
            }
        }
    }
}

/// One member.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) id: MemberId,
    pub(super) calls: Calls,
    pub(super) batch: u64,
    pub(super) beats: u64,
    pub(super) request: u64,
    pub(super) version: u64,
}

impl Client {
    pub(super) async fn try_enqueue(&mut self, tasks: Vec<NewTask>) -> Result<Vec<Enqueued>, EngineError> {
        let call = self.calls.begin();
        let answer = self.engine.enqueue(call, tasks).await;
        self.calls.answered(call.number);
        answer
    }

    pub(super) async fn enqueue(&mut self, task: NewTask) -> Enqueued {
        let answers = self.try_enqueue(vec![task]).await.expect("it is taken");
        assert_eq!(answers.len(), 1, "one answer for one task");
        answers[0]
    }

    /// Asks for tasks of the default series with the usual name.
    pub(super) fn ask(&self, count: u32, wait: Duration) -> LeaseCall {
        let (series, names) = (vec![("".into(), count)], vec!["work".into()]);
        LeaseCall { member: self.id, batch: self.batch, series, names, wait }
    }

    pub(super) async fn try_lease(&mut self, call: LeaseCall) -> Result<Vec<LeasedTask>, EngineError> {
        let tasks = self.engine.lease(call).await?;
        // As long as none came, the number stays.
        self.batch += u64::from(!tasks.is_empty());
        Ok(tasks)
    }

    pub(super) async fn lease(&mut self, count: u32) -> Vec<LeasedTask> {
        self.try_lease(self.ask(count, Duration::ZERO)).await.expect("the member lives")
    }

    /// Leases the one task that there is.
    pub(super) async fn lease_one(&mut self) -> LeasedTask {
        let tasks = self.lease(2).await;
        assert_eq!(tasks.len(), 1, "one task: {tasks:?}");
        tasks.into_iter().next().expect("there is one")
    }

    pub(super) async fn try_settle(
        &mut self,
        run: TaskRun,
        verdict: Verdict,
    ) -> Result<Settled, EngineError> {
        let settlement = Settlement { run, attempts: 1, crashes: 0, verdict };
        let call = self.calls.begin();
        let answers = self.engine.settle(call, vec![settlement]).await;
        self.calls.answered(call.number);
        let answers = answers?;
        assert_eq!(answers.len(), 1, "one answer for one settlement");
        Ok(answers[0])
    }

    pub(super) async fn settle(&mut self, task: &LeasedTask, verdict: Verdict) {
        let settled = self.try_settle(task.task_run(), verdict).await.expect("the member lives");
        assert_eq!(settled, Settled::Ok, "the run stands");
    }

    pub(super) async fn cancel(&mut self, tasks: &[FleetTaskId]) -> Vec<Cancelled> {
        let call = self.calls.begin();
        let answer = self.engine.cancel(call, tasks.to_vec()).await;
        self.calls.answered(call.number);
        answer.expect("they are few")
    }

    pub(super) async fn dead_letters(
        &mut self,
        op: DeadLetterOp,
        which: DeadLetters,
    ) -> Vec<DeadLetterAnswer> {
        let call = self.calls.begin();
        let answer = self.engine.settle_dead_letters(call, op, which).await;
        self.calls.answered(call.number);
        answer.expect("they are few")
    }

    pub(super) async fn try_beat(&mut self, holding: Vec<Held>) -> Result<Beaten, EngineError> {
        self.beats += 1;
        self.engine.beat(Beat { member: self.id, number: self.beats, holding }).await
    }

    pub(super) async fn beat(&mut self) -> Beaten {
        self.try_beat(Vec::new()).await.expect("the member lives")
    }

    pub(super) async fn leave(&self, departure: Departure) {
        self.engine.leave(self.id, departure).await.expect("it is heard");
    }

    /// Asks for a lock, and returns the request.
    pub(super) async fn request(&mut self, key: &str, mode: Mode, owner: Option<&str>) -> RequestId {
        let op = LockOp::Request { key: key.into(), mode, owner: owner.map(Arc::from) };
        self.new_request(op).await
    }

    pub(super) async fn new_request(&mut self, op: LockOp<Arc<str>, Arc<str>>) -> RequestId {
        self.request += 1;
        let request = RequestId::new(self.request);
        self.lock_op(request, op).await;
        request
    }

    pub(super) async fn lock_op(&mut self, request: RequestId, op: LockOp<Arc<str>, Arc<str>>) {
        let call =
            LockCall { member: self.id, ops: vec![(request, op)], since: self.version, wait: Duration::ZERO };
        let answer = self.engine.locks(call).await.expect("the member lives");
        assert_eq!(answer.refused, [], "it is carried out");
    }

    /// How a request stands. Nothing is confirmed, so that all are told.
    pub(super) async fn lock_state(&self, request: RequestId) -> LockState {
        let call = LockCall { member: self.id, ops: Vec::new(), since: 0, wait: Duration::ZERO };
        let answer = self.engine.locks(call).await.expect("the member lives");
        let found = answer.changes.requests.into_iter().find(|(id, _)| *id == request);
        found.expect("it is known").1
    }

    /// The fence of a request that is granted.
    pub(super) async fn granted(&self, request: RequestId) -> Fence {
        match self.lock_state(request).await {
            RequestState::Granted { fence, .. } => fence,
            state => panic!("it is not granted: {state:?}"),
        }
    }

    pub(super) async fn assert_waits(&self, request: RequestId) {
        let state = self.lock_state(request).await;
        assert!(matches!(state, RequestState::Waiting { .. }), "it does not wait: {state:?}");
    }

    pub(super) async fn assert_ended(&self, request: RequestId, end: RequestEnd<Arc<str>, LockOwner>) {
        assert_eq!(self.lock_state(request).await, RequestState::Ended(end));
    }
}

pub(super) fn done() -> Verdict {
    Verdict::Done(Payload::postcard("output"))
}

pub(super) fn failure() -> Bytes {
    Bytes::from_static(b"failure")
}

pub(super) fn runs(tasks: &[LeasedTask]) -> Vec<TaskRun> {
    tasks.iter().map(LeasedTask::task_run).collect()
}

pub(super) fn ids(tasks: &[LeasedTask]) -> Vec<FleetTaskId> {
    tasks.iter().map(|task| task.task.id).collect()
}

#[track_caller]
pub(super) fn assert_gone<T: std::fmt::Debug>(answer: Result<T, EngineError>) {
    assert!(matches!(answer, Err(EngineError::MemberGone { .. })), "the member is gone: {answer:?}");
}
