//! `undr` beside the functions of Python's `undr.task`: `vectors/undr_task.txt` holds what those sent, and what they made
//! of what they received. `vectors/undr_task.py` wrote it, with undr 1.0.1.

use workfleet_wire::kinds::Direction;
use workfleet_wire::{FrameError, Kind, ReceiveError, Violation, undr};

fn hex(text: &str) -> Vec<u8> {
    if text == "-" {
        return Vec::new();
    }
    assert!(text.len().is_multiple_of(2), "{text}");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn kind(text: &str) -> Kind {
    Kind(hex(text)[0])
}

/// The lines that begin with this word, without it.
fn lines(first: &str) -> Vec<Vec<&'static str>> {
    include_str!("vectors/undr_task.txt")
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .filter(|words| words[0] == first)
        .map(|words| words[1..].to_vec())
        .collect()
}

#[test]
fn each_function_sends_what_its_namesake_sends() {
    let sent = lines("send");
    assert_eq!(sent.len(), 15);
    for words in sent {
        let (kind, payload, mut ours) = (kind(words[1]), hex(words[2]), Vec::new());
        match words[0] {
            "send_type" => undr::send_type(&mut ours, kind),
            "send_message" => undr::send_message(&mut ours, kind, &payload),
            "send_bytes" => undr::send_bytes(&mut ours, kind, &payload),
            other => panic!("no function {other}"),
        }
        .unwrap();
        assert_eq!(ours, hex(words[3]), "{words:?}");
    }
}

/// What a function of ours made of it, in the words of the vectors. undr has one error for all that ends a stream.
fn outcome(result: Result<Option<(Kind, Vec<u8>)>, ReceiveError>) -> String {
    match result {
        Ok(None) => "ok".to_owned(),
        Ok(Some((kind, payload))) if payload.is_empty() => format!("{:02x} -", kind.0),
        Ok(Some((kind, payload))) => {
            let payload: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{:02x} {payload}", kind.0)
        }
        Err(ReceiveError::Unexpected { .. }) => "error AssertionError".to_owned(),
        Err(ReceiveError::Ended | ReceiveError::Frame(FrameError::Truncated { .. })) => {
            "error ConnectionResetError".to_owned()
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn each_function_makes_the_same_of_what_it_receives() {
    let received = lines("receive");
    assert_eq!(received.len(), 15);
    for words in received {
        let bytes = hex(words[2]);
        let mut reader = undr::Reader::new(&bytes[..]);
        let ours = match words[0] {
            "receive_bytes" => {
                undr::receive_bytes(&mut reader).map(|frame| Some((frame.kind, frame.payload.to_vec())))
            }
            "receive_message" => {
                undr::receive_message(&mut reader).map(|(kind, pickle)| Some((kind, pickle.to_vec())))
            }
            "receive_type" => undr::receive_type(&mut reader, kind(words[1])).map(|()| None),
            other => panic!("no function {other}"),
        };
        assert_eq!(outcome(ours), words[3..].join(" "), "{words:?}");
    }
}

/// undr's documentation has it read until the type comes. Its code reads one frame and loses it; here it is handed back.
#[test]
fn another_type_than_the_expected_one_is_handed_back_and_the_next_frame_can_be_received() {
    let bytes = b"m\0\0\0\0\0\0\0\0s\0\0\0\0\0\0\0\0";
    let mut reader = undr::Reader::new(&bytes[..]);
    let error = undr::receive_type(&mut reader, undr::TASK_ACCEPTED).unwrap_err();
    assert!(matches!(error, ReceiveError::Unexpected { frame, .. } if frame.kind == undr::MESSAGE));
    undr::receive_type(&mut reader, undr::TASK_ACCEPTED).unwrap();
}

/// A conversation of undr's worker with undr's manager: each frame goes the way that the table says, each call has the kind
/// that its constant has, and each frame of the worker has one answer.
#[test]
fn a_conversation_of_undr_with_itself_is_within_the_table() {
    let said = lines("talk");
    assert_eq!(said.len(), 16);
    for turn in said.chunks(2) {
        let [worker, manager] = turn else { panic!("a frame without an answer: {turn:?}") };
        assert_eq!((worker[0], manager[0], worker[1]), ("worker", "manager", manager[1]));
        let [request, answer] =
            [(worker, Direction::ToManager), (manager, Direction::ToWorker)].map(|(words, way)| {
                let bytes = hex(words[2]);
                let mut reader = undr::Reader::new(&bytes[..]);
                let (kind, payload) = undr::receive_message(&mut reader).unwrap();
                assert_eq!(undr::check(kind, way, payload.len() as u64), Ok(()), "{words:?}");
                assert!(matches!(undr::receive_bytes(&mut reader), Err(ReceiveError::Ended)));
                kind
            });
        let (asks, answers) = match worker[1] {
            "next_task" => (undr::NEXT_TASK, undr::TASK),
            "acknowledge_and_next_task" => (undr::ACKNOWLEDGE_AND_NEXT_TASK, undr::TASK),
            "send_message" => (undr::MESSAGE, undr::MESSAGE),
            "schedule" => {
                (undr::schedule(request.schedule_priority().unwrap()).unwrap(), undr::TASK_ACCEPTED)
            }
            other => panic!("no call {other}"),
        };
        assert_eq!((request, answer), (asks, answers), "{}", worker[1]);
    }
}

/// undr's documentation says of `n` that the worker started a task. In its code the worker asks for one by it: the manager
/// answers the first with the pickle of `None`, since there is none, and the last with that of a `CloseRequest`.
#[test]
fn n_asks_for_a_task_and_its_answer_may_be_none_or_a_request_to_close() {
    let answers: Vec<Vec<u8>> = lines("talk")
        .into_iter()
        .filter(|words| words[..2] == ["manager", "next_task"])
        .map(|words| hex(words[2])[9..].to_vec())
        .collect();
    let [none, task, close] = &answers[..] else { panic!("{} answers", answers.len()) };
    let names = |pickle: &[u8], name: &[u8]| pickle.windows(name.len()).any(|window| window == name);
    assert_eq!(none, b"\x80\x04N.");
    assert!(names(task, b"Digest") && names(close, b"CloseRequest"));
}

/// undr's documentation has 128 levels of priority in the letters; its manager takes 127, and its functions send all.
#[test]
fn all_128_priorities_can_be_sent_though_a_manager_of_undr_takes_127() {
    assert_eq!(lines("levels"), [["127"]]);
    assert!(lines("send").iter().any(|words| kind(words[1]) == undr::schedule(127).unwrap()));
    assert_eq!(undr::schedule(128), None);
}

#[test]
fn each_kind_goes_only_the_way_and_with_the_payload_that_undr_documents() {
    use Direction::{ToManager, ToWorker};
    for byte in 0..=u8::MAX {
        let allowed =
            |direction| [0, 1].map(|len_bytes| undr::check(Kind(byte), direction, len_bytes).is_ok());
        let (to_manager, to_worker) = match byte {
            b'n' => ([true, false], [false, false]),
            b't' => ([true, false], [false, true]),
            b'm' => ([false, true], [true, false]),
            b's' => ([false, false], [true, false]),
            0x80.. => ([false, true], [false, false]),
            _ => ([false, false], [false, false]),
        };
        assert_eq!((allowed(ToManager), allowed(ToWorker)), (to_manager, to_worker), "{byte:#04x}");
    }
    let error = undr::check(undr::TASK_ACCEPTED, ToWorker, 1).unwrap_err();
    assert!(matches!(error, FrameError::Unexpected { violation: Violation::MustBeEmpty, .. }), "{error}");
    assert_eq!(undr::check(Kind(b'x'), ToManager, 0), Err(FrameError::UnknownKind { kind: Kind(b'x') }));
}
