//! Values that a message cannot carry: refused where they are sent, with the reason; and what does travel arrives unchanged.

use std::{
    ffi::OsStr,
    mem,
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use workfleet_task_manager::{
    CHAIN_NESTING_LIMIT, Chain, FailureCause, MessageSendError, Registry, ScheduleErrorKind, Task,
    TaskContext, TaskError, TaskMessage, TaskSpec,
};

use crate::{
    builder,
    support::{alone, close},
};

fn is_zero(number: &u8) -> bool {
    *number == 0
}

/// Its field is left out for one value. The next would be read in its place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Skips {
    #[serde(default, skip_serializing_if = "is_zero")]
    a: u8,
    b: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Shape {
    Square(u8),
}

/// Behind a skipped variant, the others have other numbers where they are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Command {
    Start,
    #[serde(skip)]
    _Local,
    Stop,
    Kill,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Nested(Option<Box<Nested>>);

impl Nested {
    fn new(levels: usize) -> Self {
        (0..levels).fold(Self(None), |inner, _| Self(Some(Box::new(inner))))
    }
}

/// From the outside in, so that no stack is needed for it.
impl Drop for Nested {
    fn drop(&mut self) {
        let mut inner = self.0.take();
        while let Some(mut nested) = inner {
            inner = nested.0.take();
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Freight {
    Skips(Skips),
    Shape(Shape),
    Command(Command),
    Path(PathBuf),
    Time(SystemTime),
    Nested(Nested),
}

impl Freight {
    /// Each with what its error says.
    fn bad() -> [(Self, &'static str); 6] {
        let path = PathBuf::from(OsStr::from_bytes(b"/not/utf-8/\xff"));
        let time = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        [
            (
                Self::Skips(Skips { a: 0, b: vec![1, 9] }),
                "field `a` of `Skips` was skipped (`skip_serializing_if`): values that travel have all their \
                 fields; remove the attribute",
            ),
            (Self::Shape(Shape::Square(1)), "an untagged enum (`#[serde(untagged)]`)"),
            (Self::Command(Command::Stop), "variant `Stop` of `Command`: it arrives as `Kill`"),
            (Self::Path(path), "path contains invalid UTF-8 characters"),
            (Self::Time(time), "SystemTime must be later than UNIX_EPOCH"),
            (Self::Nested(Nested::new(8000)), "is nested more than 256 levels deep"),
        ]
    }

    fn good() -> [Self; 6] {
        [
            Self::Skips(Skips { a: 1, b: vec![1, 9] }),
            Self::Command(Command::Start),
            Self::Path("/ü".into()),
            Self::Time(SystemTime::UNIX_EPOCH),
            Self::Nested(Nested::new(100)),
            Self::Nested(Nested(None)),
        ]
    }
}

/// Yields its freight. What is bad is made where it runs, as it would not get there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Ship {
    freight: Option<Freight>,
    bad: Option<usize>,
    sends: bool,
}

impl TaskSpec for Ship {
    const NAME: &'static str = "ship";
    type Output = Option<Freight>;
}

impl Task for Ship {
    fn run(self, cx: &TaskContext) -> Result<Option<Freight>, TaskError> {
        let Some(bad) = self.bad else { return Ok(self.freight) };
        let [freight] = &Freight::bad()[bad..=bad] else { unreachable!("it is one") };
        if self.sends {
            let error = cx.send_message(&Note(freight.0.clone())).expect_err("it does not travel");
            return Err(error.into());
        }
        Ok(Some(freight.0.clone()))
    }
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note(Freight);

impl TaskMessage for Note {
    const NAME: &'static str = "note";
}

pub(super) fn register(registry: Registry) -> Registry {
    registry.task::<Ship>()
}

fn carry(freight: Freight) -> Ship {
    Ship { freight: Some(freight), bad: None, sends: false }
}

#[test]
fn a_payload_that_would_be_altered_is_refused_with_the_reason() {
    let _alone = alone();
    let manager = builder(1).start().expect("it starts");
    for (freight, reason) in Freight::bad() {
        let task = carry(freight);
        let error = manager.submit(task.clone()).map(drop).expect_err("it does not travel");
        assert!(matches!(error.kind(), ScheduleErrorKind::Encode(_)), "{error}");
        let text = error.to_string();
        assert!(text.starts_with("the task cannot be encoded: `"), "{text}");
        assert!(text.contains("::Ship`") && text.contains(reason), "{text}\ndoes not say\n{reason}");
        assert!(error.into_task() == task, "it is handed back");
        let error = manager.schedule(task.clone()).expect_err("it does not travel");
        assert!(error.to_string().contains(reason), "{error}");
        let error = Chain::new().then(&task).expect_err("it does not travel");
        assert!(error.to_string().contains(reason), "{error}");
    }
    for freight in Freight::good() {
        let outcome = manager.submit(carry(freight.clone())).expect("it travels").wait();
        assert!(outcome.expect("it is done") == Some(freight), "it is what was sent");
    }
    close(&manager);
}

#[test]
fn an_output_that_would_be_altered_is_a_failure_with_the_reason() {
    let _alone = alone();
    let manager = builder(1).start().expect("it starts");
    for (bad, (_, reason)) in Freight::bad().into_iter().enumerate() {
        let task = Ship { freight: None, bad: Some(bad), sends: false };
        let failure = manager.submit(task).expect("it travels").wait().expect_err("its output does not");
        let FailureCause::Output { reason: said, .. } = &failure.cause else { panic!("{failure}") };
        assert!(said.contains("::Freight>`") && said.contains(reason), "{said}\ndoes not say\n{reason}");
        assert!(failure.deaths.is_empty(), "{failure}");
    }
    close(&manager);
}

#[test]
fn a_message_that_would_be_altered_is_refused_with_the_reason() {
    let _alone = alone();
    let manager = builder(1).start().expect("it starts");
    for (bad, (freight, reason)) in Freight::bad().into_iter().enumerate() {
        let error = manager.send_message(&Note(freight)).expect_err("it does not travel");
        assert!(matches!(error, MessageSendError::Encode(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains("::Note`") && text.contains(reason), "{text}\ndoes not say\n{reason}");
        let task = Ship { freight: None, bad: Some(bad), sends: true };
        let failure = manager.submit(task).expect("it travels").wait().expect_err("its message does not");
        assert!(failure.to_string().contains(reason), "{failure}");
    }
    for freight in Freight::good() {
        manager.send_message(&Note(freight)).expect("it travels");
    }
    let notes: Vec<_> = manager.messages::<Note>().map(|note| note.map(|note| note.content.0)).collect();
    let notes: Result<Vec<_>, _> = notes.into_iter().collect();
    assert!(notes.expect("they decode") == Freight::good(), "they are what was sent");
    close(&manager);
}

#[test]
fn chains_within_chains_are_bounded() {
    let _alone = alone();
    let manager = builder(1).start().expect("it starts");
    let mut chain = Chain::new().then(&carry(Freight::Command(Command::Start))).expect("it travels");
    for _ in 0..CHAIN_NESTING_LIMIT {
        let inner = mem::take(&mut chain);
        chain = chain.then(&inner).expect("it is not too deep");
    }
    let error = Chain::new().then(&chain).expect_err("it is too deep");
    assert!(error.to_string().ends_with("::Chain` is nested more than 128 levels deep"), "{error}");
    let mut outputs = manager.submit(chain).expect("it travels").wait().expect("it is done");
    for _ in 0..CHAIN_NESTING_LIMIT {
        outputs = outputs.get::<Chain>(0).expect("it is one");
    }
    let output = outputs.get::<Ship>(0).expect("it is one");
    assert!(output == Some(Freight::Command(Command::Start)), "it is what was sent");
    close(&manager);
}
