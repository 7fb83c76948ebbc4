//! Typed messages: what comes back, and what is refused.

mod common;

use std::collections::BTreeMap;

use common::cases;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use workfleet_wire::{DecodeError, Kind, encode_frame_with, message};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Message {
    Nothing,
    Progress { files: u64, share: Option<f32> },
    Named(String, Vec<i16>),
    Table(BTreeMap<u8, Vec<u8>>),
}

fn messages() -> impl Strategy<Value = Message> {
    prop_oneof![
        Just(Message::Nothing),
        (any::<u64>(), prop::option::of(-1e9..1e9_f32))
            .prop_map(|(files, share)| Message::Progress { files, share }),
        (".{0,20}", prop::collection::vec(any::<i16>(), 0..20))
            .prop_map(|(name, numbers)| Message::Named(name, numbers)),
        prop::collection::btree_map(any::<u8>(), prop::collection::vec(any::<u8>(), 0..20), 0..8)
            .prop_map(Message::Table),
    ]
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn messages_come_back_as_they_were_sent(message in messages()) {
        let payload = message::encode(&message)?;
        prop_assert_eq!(message::decode::<Message>(&payload)?, message);
    }

    #[test]
    fn trailing_bytes_are_refused(message in messages(), trailing in prop::collection::vec(any::<u8>(), 1..20)) {
        let mut payload = message::encode(&message)?;
        payload.extend_from_slice(&trailing);
        match message::decode::<Message>(&payload) {
            Err(DecodeError::Trailing { len_bytes, trailing_bytes, .. }) => {
                prop_assert_eq!((len_bytes, trailing_bytes), (payload.len(), trailing.len()));
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn a_message_that_is_cut_off_is_refused(message in messages(), cut in any::<prop::sample::Index>()) {
        let payload = message::encode(&message)?;
        let cut = &payload[..cut.index(payload.len())];
        let malformed = matches!(message::decode::<Message>(cut), Err(DecodeError::Malformed { .. }));
        prop_assert!(malformed);
    }

    #[test]
    fn garbage_is_a_message_or_an_error(garbage in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = message::decode::<Message>(&garbage);
        let _ = message::decode_borrowed::<(&str, Vec<Option<char>>, &[u8])>(&garbage);
        let _ = message::decode::<Vec<BTreeMap<String, (bool, i128)>>>(&garbage);
    }

    #[test]
    fn a_message_in_a_frame_is_its_payload(message in messages()) {
        let mut frame = Vec::new();
        encode_frame_with(Kind(b'm'), &mut frame, |out| message::encode_into(&message, out))?;
        prop_assert_eq!(&frame[9..], message::encode(&message)?);
    }
}

#[test]
fn errors_name_the_type_and_the_lengths() {
    let error = message::decode::<u64>(&[1, 2, 3]).unwrap_err();
    assert_eq!(error.to_string(), "2 of 3 bytes are left over after a value of type u64");
    let error = message::decode::<u64>(&[0x80]).unwrap_err();
    assert_eq!(error.to_string(), "1 bytes are not a value of type u64");
    assert!(std::error::Error::source(&error).is_some());
}
