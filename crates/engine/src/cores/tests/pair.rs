//! The core and the model, told the same, and asked for the same answers after every command.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    START,
    model::{End, LEASE, LEASES, LOST_LIMIT, Model, Naive, RATE, Refused, TASKS, WINDOW},
    testing::cases,
};
use crate::{
    Beat, Call, Cancelled, Concurrency, DeadCause, DeadLetterAnswer, DeadLetterOp, DeadLetters, Departure,
    EngineError, EngineOptions, Enqueued, FleetTaskId, Join, LeaseCall, MemberId, NewTask, Parent, Payload,
    Rate, Settled, Settlement, TaskOutcome, TaskRun, TaskState, Unique, UniqueFor, Verdict,
    cores::EngineCore,
};

/// What a task is like. Times are milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spec {
    pub(super) series: u8,
    pub(super) name: u8,
    pub(super) priority: u8,
    pub(super) not_before: u64,
    pub(super) deadline: Option<u64>,
    pub(super) unique: Option<(u8, UniqueFor)>,
    pub(super) concurrency: Option<(u8, u32)>,
    pub(super) keep: u64,
    pub(super) parent: Option<(MemberId, TaskRun)>,
}

#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "a few commands, which are copied")]
enum Command {
    Join(usize),
    JoinAgain(usize),
    Beat(usize),
    Leave(usize, bool),
    Enqueue {
        member: usize,
        specs: [Spec; 2],
        count: usize,
        parent: Option<usize>,
        again: Option<usize>,
    },
    Lease {
        member: usize,
        counts: [u32; 2],
        names: [bool; 2],
        is_repeated: bool,
    },
    Settle {
        member: usize,
        which: usize,
        verdict: u8,
        is_old: bool,
    },
    Cancel(usize, usize),
    DeadLetters {
        member: usize,
        op: DeadLetterOp,
        count: usize,
    },
    /// Repeats the last call of a member.
    Repeat(usize),
    /// The member learns of its answers.
    Confirm(usize),
    Pass(u64),
}

fn spec() -> impl Strategy<Value = Spec> {
    let unique = (
        0..2u8,
        prop_oneof![
            Just(UniqueFor::Task),
            prop_oneof![Just(0), Just(50), Just(500)]
                .prop_map(|ms| UniqueFor::Time(Duration::from_millis(ms)))
        ],
    );
    let times = (
        prop_oneof![3 => Just(0u64), 1 => Just(30), 1 => Just(120)],
        prop::option::weighted(0.3, prop_oneof![Just(0u64), Just(60), Just(200)]),
        prop_oneof![Just(0u64), Just(1000)],
    );
    let keys = (prop::option::weighted(0.3, unique), prop::option::weighted(0.4, (0..2u8, 1..3u32)));
    (0..2u8, 0..2u8, 0..3u8, times, keys).prop_map(
        |(series, name, priority, (not_before, deadline, keep), (unique, concurrency))| Spec {
            series,
            name,
            priority,
            not_before,
            deadline,
            unique,
            concurrency,
            keep,
            parent: None,
        },
    )
}

fn command() -> impl Strategy<Value = Command> {
    let member = || 0..3usize;
    let index = || any::<u8>().prop_map(usize::from);
    let op = prop_oneof![Just(DeadLetterOp::Retry), Just(DeadLetterOp::Drop)];
    prop_oneof![
        3 => member().prop_map(Command::Join),
        1 => member().prop_map(Command::JoinAgain),
        6 => member().prop_map(Command::Beat),
        1 => (member(), any::<bool>()).prop_map(|(member, died)| Command::Leave(member, died)),
        6 => (member(), [spec(), spec()], 1..3usize, prop::option::weighted(0.2, index()), prop::option::weighted(0.1, index()))
            .prop_map(|(member, specs, count, parent, again)| Command::Enqueue { member, specs, count, parent, again }),
        8 => (member(), [0..3u32, 0..3u32], [prop::bool::weighted(0.6), prop::bool::weighted(0.8)], prop::bool::weighted(0.2))
            .prop_map(|(member, counts, names, is_repeated)| Command::Lease { member, counts, names, is_repeated }),
        8 => (member(), index(), 0..4u8, prop::bool::weighted(0.2))
            .prop_map(|(member, which, verdict, is_old)| Command::Settle { member, which, verdict, is_old }),
        2 => (member(), index()).prop_map(|(member, which)| Command::Cancel(member, which)),
        2 => (member(), op, 0..3usize).prop_map(|(member, op, count)| Command::DeadLetters { member, op, count }),
        3 => member().prop_map(Command::Repeat),
        3 => member().prop_map(Command::Confirm),
        4 => prop_oneof![Just(0u64), Just(1), Just(20), Just(50), Just(99), Just(100), Just(300)].prop_map(Command::Pass),
    ]
}

/// What a call was, so that it can be repeated.
#[derive(Clone, Debug)]
enum Made {
    Enqueue(Vec<NewTask>, Vec<Enqueued>),
    Settle(Vec<Settlement>, Vec<Settled>),
    Cancel(FleetTaskId, Vec<Cancelled>),
    DeadLetters(DeadLetterOp, usize, Vec<DeadLetterAnswer>),
}

/// A member as the test knows it.
#[derive(Clone, Debug)]
struct Client {
    id: MemberId,
    made_at: u64,
    number: u64,
    confirmed: u64,
    batch: u64,
    last_batch: Vec<TaskRun>,
    last: Option<(Call, Made)>,
    beats: u64,
}

struct Pair {
    core: EngineCore,
    model: Model,
    start: Instant,
    clients: [Option<Client>; 3],
    /// All tasks that were ever taken, with when their ids were made.
    ids: Vec<(FleetTaskId, u64)>,
    /// The runs that were leased, in order. None comes twice.
    runs: Vec<(MemberId, TaskRun)>,
    random: u128,
    /// How often each task ended as done: once at most.
    done: BTreeMap<FleetTaskId, u32>,
}

fn refused(error: &EngineError) -> Refused {
    match error {
        EngineError::MemberGone { .. } => Refused::Gone,
        EngineError::Outdated { .. } => Refused::Outdated,
        EngineError::ParentFenced { .. } => Refused::ParentFenced,
        EngineError::IdTime { .. } => Refused::IdTime,
        EngineError::TooMany { .. } => Refused::TooMany,
        error => panic!("{error}"),
    }
}

impl Pair {
    fn new() -> Self {
        let options = EngineOptions {
            lease: Duration::from_millis(LEASE),
            repeat_window: Duration::from_millis(WINDOW),
            lost_limit: LOST_LIMIT,
            leases_per_member: LEASES,
            tasks: TASKS,
            ..EngineOptions::default()
        };
        let start = Instant::now();
        Self {
            core: EngineCore::new(options, start, START),
            model: Model::default(),
            start,
            clients: [const { None }; 3],
            ids: Vec::new(),
            runs: Vec::new(),
            random: 0,
            done: BTreeMap::new(),
        }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.model.now)
    }

    fn time(&self, ms: u64) -> crate::EngineTime {
        START + Duration::from_millis(ms)
    }

    /// A client that has joined. Its incarnation may be gone.
    fn client(&mut self, member: usize) -> Client {
        if self.clients[member].is_none() {
            self.join(member);
        }
        self.clients[member].clone().expect("it joined")
    }

    fn join(&mut self, member: usize) {
        self.random += 1;
        let made_at = self.model.now;
        let id = MemberId::new(self.time(made_at), self.random);
        self.model.join(id, made_at).expect("it is new");
        let joined = self.core.join(self.now(), Join { member: id, name: "m".into() }).expect("it is new");
        assert_eq!((joined.lease, joined.time), (Duration::from_millis(LEASE), self.time(made_at)));
        self.clients[member] = Some(Client {
            id,
            made_at,
            number: 0,
            confirmed: 0,
            batch: 0,
            last_batch: Vec::new(),
            last: None,
            beats: 0,
        });
    }

    fn run(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::Join(member) => {
                let is_gone = self.clients[member]
                    .as_ref()
                    .is_none_or(|client| !self.model.members.iter().any(|member| member.id == client.id));
                if is_gone {
                    self.join(member);
                }
            }
            Command::JoinAgain(member) => {
                let client = self.client(member);
                let expected = self.model.join(client.id, client.made_at);
                let got = self.core.join(now, Join { member: client.id, name: "m".into() });
                assert_eq!(got.map(drop).map_err(|error| refused(&error)), expected);
            }
            Command::Beat(member) => {
                let client = self.client(member);
                let beat = Beat { member: client.id, number: client.beats + 1, holding: Vec::new() };
                let got = self.core.beat(now, beat);
                let expected = self.model.beat(client.id);
                assert_eq!(got.map(|beaten| beaten.cancelled).map_err(|error| refused(&error)), expected);
            }
            Command::Leave(member, died) => {
                let client = self.client(member);
                let departure = if died { Departure::Died } else { Departure::Goodbye };
                self.core.leave(now, client.id, departure);
                self.model.end_member(client.id, died);
            }
            Command::Enqueue { member, specs, count, parent, again } => {
                self.enqueue(member, &specs[..count], parent, again);
            }
            Command::Lease { member, counts, names, is_repeated } => {
                self.lease(member, counts, names, is_repeated);
            }
            Command::Settle { member, which, verdict, is_old } => self.settle(member, which, verdict, is_old),
            Command::Cancel(member, which) => {
                let Some((id, _)) = pick(&self.ids, which) else { return };
                let (client, call) = self.call(member);
                let got = self.core.cancel(now, call, &[id]).map_err(|error| refused(&error));
                let expected = self.model.begin(client.id, call.number, call.confirmed);
                let expected = expected.map(|_| vec![self.model.cancel(id)]);
                assert_eq!(got, expected);
                if let Ok(answer) = got {
                    self.made(member, call, Made::Cancel(id, answer));
                }
            }
            Command::DeadLetters { member, op, count } => {
                let (client, call) = self.call(member);
                let got = self.core.settle_dead_letters(now, call, op, DeadLetters::First(count));
                let expected = self.model.begin(client.id, call.number, call.confirmed).map(|_| ());
                let expected = expected.map(|()| self.model.settle_dead_letters(op, count));
                let got = got.map_err(|error| refused(&error));
                assert_eq!(got, expected);
                if let Ok(answer) = got {
                    self.made(member, call, Made::DeadLetters(op, count, answer));
                }
            }
            Command::Repeat(member) => self.repeat(member),
            Command::Confirm(member) => {
                if let Some(client) = &mut self.clients[member] {
                    client.confirmed = client.number;
                }
            }
            Command::Pass(ms) => {
                self.model.pass(self.model.now + ms);
                self.core.handle_timeout(self.now());
            }
        }
        self.check();
    }

    fn call(&mut self, member: usize) -> (Client, Call) {
        self.client(member);
        let client = self.clients[member].as_mut().expect("it joined");
        client.number += 1;
        let call = Call { member: client.id, number: client.number, confirmed: client.confirmed };
        (client.clone(), call)
    }

    fn made(&mut self, member: usize, call: Call, made: Made) {
        self.model.keep(call.member, call.number);
        self.clients[member].as_mut().expect("it joined").last = Some((call, made));
    }

    fn enqueue(&mut self, member: usize, specs: &[Spec], parent: Option<usize>, again: Option<usize>) {
        let (client, call) = self.call(member);
        let parent = parent.and_then(|which| pick(&self.runs, which));
        let mut planned = Vec::new();
        for (index, spec) in specs.iter().enumerate() {
            self.random += 1;
            let new = (FleetTaskId::new(self.time(self.model.now), self.random), self.model.now);
            let again = again.filter(|_| index == 0).and_then(|which| pick(&self.ids, which));
            let (id, made) = again.unwrap_or(new);
            planned.push((id, made, Spec { parent, ..*spec }));
        }
        let tasks: Vec<_> = planned.iter().map(|(id, _, spec)| new_task(*id, spec)).collect();
        let got = self.core.enqueue(self.now(), call, tasks.clone()).map_err(|error| refused(&error));
        let expected = self.model.begin(client.id, call.number, call.confirmed);
        let expected = expected.and_then(|_| self.model.enqueue(&planned));
        assert_eq!(got, expected);
        if let Ok(answers) = got {
            let new = planned.iter().zip(&answers).filter(|(_, answer)| matches!(answer, Enqueued::New(_)));
            self.ids.extend(new.map(|((id, made, _), _)| (*id, *made)));
            self.made(member, call, Made::Enqueue(tasks, answers));
        }
    }

    fn lease(&mut self, member: usize, counts: [u32; 2], names: [bool; 2], is_repeated: bool) {
        let client = self.client(member);
        let known = ["a", "b"].into_iter().zip(names).filter(|(_, is_known)| *is_known);
        let call = |batch| LeaseCall {
            member: client.id,
            batch,
            series: vec![("".into(), counts[0]), ("slow".into(), counts[1])],
            names: known.clone().map(|(name, _)| name.into()).collect(),
            wait: Duration::ZERO,
        };
        let is_repeated = is_repeated && !client.last_batch.is_empty();
        let batch = client.batch + u64::from(!is_repeated);
        let got = self.core.lease(self.now(), &call(batch)).map_err(|error| refused(&error));
        let got = got.map(|tasks| tasks.iter().map(|task| task.task_run()).collect::<Vec<_>>());
        if is_repeated {
            let held = self.model.held(client.id);
            let is_held =
                |run: &&TaskRun| held.contains(&run.task) && self.core.queue.tasks[&run.task].run == run.run;
            let lives = self.model.members.iter().any(|member| member.id == client.id);
            let expected = client.last_batch.iter().filter(is_held).copied().collect();
            assert_eq!(got, if lives { Ok(expected) } else { Err(Refused::Gone) });
            return;
        }
        let expected = self.model.lease(client.id, counts, names);
        assert_eq!(got, expected);
        let Ok(batch_runs) = got else { return };
        for run in &batch_runs {
            assert!(!self.runs.iter().any(|(_, other)| other == run), "a run was used twice");
            self.runs.push((client.id, *run));
        }
        let client = self.clients[member].as_mut().expect("it joined");
        (client.batch, client.last_batch) = (batch, batch_runs);
        let older = LeaseCall { batch: batch - 1, ..call(batch) };
        let outdated = self.core.lease(self.now(), &older).map_err(|error| refused(&error));
        assert_eq!(outdated, Err(Refused::Outdated));
    }

    fn settle(&mut self, member: usize, which: usize, verdict: u8, is_old: bool) {
        let (client, call) = self.call(member);
        let held: Vec<_> = self.model.held(client.id);
        let run = match pick(&held, which) {
            Some(task) if !is_old => TaskRun { task, run: self.model.task(task).run },
            _ => match pick(&self.runs, which) {
                Some((_, run)) => run,
                None => return,
            },
        };
        let verdict = match verdict {
            0 => Verdict::Done(Payload::default()),
            1 => Verdict::Returned,
            2 => Verdict::Dead { failure: Bytes::new() },
            _ => Verdict::Retry { after: Duration::from_millis(30), failure: Bytes::new() },
        };
        let settlement = Settlement { run, attempts: 1, crashes: 0, verdict: verdict.clone() };
        // Twice in one call: the second is fenced, whatever the first is.
        let both = vec![settlement.clone(), settlement];
        let got = self.core.settle(self.now(), call, both.clone()).map_err(|error| refused(&error));
        let expected = self
            .model
            .begin(client.id, call.number, call.confirmed)
            .map(|_| [0, 1].map(|_| self.model.settle(client.id, run, &verdict)).to_vec());
        assert_eq!(got, expected);
        let Ok(answers) = got else { return };
        if answers[0] == Settled::Ok && matches!(verdict, Verdict::Done(_)) {
            *self.done.entry(run.task).or_default() += 1;
            assert_eq!(self.done[&run.task], 1, "it was done twice");
        }
        self.made(member, call, Made::Settle(both, answers));
    }

    fn repeat(&mut self, member: usize) {
        let client = self.client(member);
        let Some((call, made)) = client.last else { return };
        // The confirmation in a repetition may be newer.
        let call = Call { confirmed: client.confirmed.max(call.confirmed), ..call };
        let now = self.now();
        let known = self.model.begin(client.id, call.number, call.confirmed);
        assert_ne!(known, Ok(true), "it was made before");
        let known = known.map(|_| ());
        match made {
            Made::Enqueue(tasks, answer) => {
                let got = self.core.enqueue(now, call, tasks).map_err(|error| refused(&error));
                assert_eq!(got, known.map(|()| answer));
            }
            Made::Settle(settlements, answer) => {
                let got = self.core.settle(now, call, settlements).map_err(|error| refused(&error));
                assert_eq!(got, known.map(|()| answer));
            }
            Made::Cancel(task, answer) => {
                let got = self.core.cancel(now, call, &[task]).map_err(|error| refused(&error));
                assert_eq!(got, known.map(|()| answer));
            }
            Made::DeadLetters(op, count, answer) => {
                let got = self.core.settle_dead_letters(now, call, op, DeadLetters::First(count));
                assert_eq!(got.map_err(|error| refused(&error)), known.map(|()| answer));
            }
        }
    }

    fn check(&mut self) {
        self.model.pass(self.model.now);
        let now = self.now();
        for (id, _) in &self.ids {
            let state = self.core.outcomes(now, &[*id]).expect("it is one").remove(0);
            let task = self.model.tasks.iter().find(|task| task.id == *id);
            let expected = match task.map(|task| (task.state, task.run)) {
                None => TaskState::Unknown,
                Some((Naive::Waits { .. }, _)) => TaskState::Waiting,
                Some((Naive::Leased { by, .. }, run)) => TaskState::Leased { member: by, run },
                Some((Naive::Ended(end), _)) => TaskState::Ended(match end {
                    End::Done => TaskOutcome::Done(Payload::default()),
                    End::Cancelled => TaskOutcome::Cancelled,
                    End::Failed => TaskOutcome::Dead(DeadCause::Failed(Bytes::new())),
                    End::Deadline => TaskOutcome::Dead(DeadCause::Deadline),
                    End::Lost => TaskOutcome::Dead(DeadCause::Lost),
                }),
            };
            assert_eq!(state, expected, "{id}");
        }
        let inspection = self.core.inspect(now);
        let books = inspection.books;
        let count = |is: fn(&End) -> bool| self.model.ends.iter().filter(|end| is(end)).count() as u64;
        let open =
            self.model.tasks.iter().filter(|task| !matches!(task.state, Naive::Ended(_))).count() as u64;
        assert_eq!((books.enqueued, books.retried), (self.model.enqueued, self.model.retried));
        assert_eq!(books.done, count(|end| *end == End::Done));
        assert_eq!(books.cancelled, count(|end| *end == End::Cancelled));
        assert_eq!(books.dead, count(|end| !matches!(end, End::Done | End::Cancelled)));
        assert_eq!(books.pending, open);
        assert_eq!(books.enqueued + books.retried, books.done + books.cancelled + books.dead + books.pending);
        let mut members = self.model.members.clone();
        members.sort_by_key(|member| member.id);
        assert_eq!(inspection.members.len(), members.len());
        for (view, member) in inspection.members.iter().zip(members) {
            assert_eq!(
                (view.member, view.lease_left.as_millis() as u64),
                (member.id, member.lease_end - self.model.now)
            );
            let mut held = self.model.held(member.id);
            held.sort();
            assert!(view.leased.iter().map(|run| run.task).eq(held));
        }
        let mut letters: Vec<_> =
            self.model.tasks.iter().filter(|task| task.is_dead_letter).cloned().collect();
        letters.sort_by_key(|task| task.id);
        let got = self.core.dead_letters(now, None, TASKS).expect("they are few");
        assert_eq!(got.len(), letters.len());
        for (letter, task) in got.iter().zip(letters) {
            assert_eq!(
                (letter.task.id, letter.tally.lost, letter.tally.attempts),
                (task.id, task.lost, task.attempts)
            );
        }
        for backlog in &inspection.backlog {
            let is_it = |task: &&super::model::Task| {
                (series_name(task.spec.series), name(task.spec.name)) == (&*backlog.series, &*backlog.name)
            };
            let of = |is: &dyn Fn(&super::model::Task) -> bool| {
                self.model.tasks.iter().filter(is_it).filter(|task| is(task)).count()
            };
            let now = self.model.now;
            assert_eq!(
                backlog.ready,
                of(&|task| matches!(task.state, Naive::Waits { until } if until <= now))
            );
            assert_eq!(
                backlog.delayed,
                of(&|task| matches!(task.state, Naive::Waits { until } if until > now))
            );
            assert_eq!(backlog.leased, of(&|task| matches!(task.state, Naive::Leased { .. })));
            assert_eq!(backlog.dead, of(&|task| task.is_dead_letter));
        }
        // Nothing is kept of what is gone.
        let queue = &self.core.queue;
        assert_eq!(queue.tasks.len(), self.model.tasks.len());
        assert!(
            queue.reserved.iter().all(|(task, member)| self.core.members[member].reserved == Some(*task))
        );
        let open_series = |name: &str| {
            self.model
                .tasks
                .iter()
                .filter(|task| {
                    series_name(task.spec.series) == name && !matches!(task.state, Naive::Ended(_))
                })
                .count()
        };
        assert!(queue.series.iter().all(|(name, series)| series.open == open_series(name)));
        assert!(self.core.poll_timeout().is_none_or(|due| due > now), "everything due has happened");
        while self.core.poll_hint().is_some() {}
    }
}

fn name(name: u8) -> &'static str {
    ["a", "b"][usize::from(name)]
}

fn series_name(series: u8) -> &'static str {
    ["", "slow"][usize::from(series)]
}

fn pick<T: Copy>(from: &[T], which: usize) -> Option<T> {
    (!from.is_empty()).then(|| from[which % from.len()])
}

fn new_task(id: FleetTaskId, spec: &Spec) -> NewTask {
    let mut task = NewTask::new(id, name(spec.name), Payload::default());
    task.series = series_name(spec.series).into();
    task.priority = spec.priority;
    task.not_before = Duration::from_millis(spec.not_before);
    task.deadline = spec.deadline.map(Duration::from_millis);
    task.unique = spec.unique.map(|(key, until)| Unique { key: key.to_string().into(), until });
    task.concurrency =
        spec.concurrency.map(|(key, limit)| Concurrency { key: key.to_string().into(), limit });
    let (count, per) = RATE;
    task.rate = (spec.series == 1).then(|| Rate { count: count as u32, per: Duration::from_millis(per) });
    task.keep_outcome = Duration::from_millis(spec.keep);
    task.parent = spec.parent.map(|(member, run)| Parent { member, run });
    task
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn whatever_happens_the_engine_does_what_the_model_says(commands in prop::collection::vec(command(), 0..120)) {
        let mut pair = Pair::new();
        for command in commands {
            pair.run(command);
        }
    }
}
