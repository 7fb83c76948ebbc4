//! Pins keep an event, or the route of a sender, alive while its serialised form is on its way.
//!
//! Code that serialises an event may drop it before the copy arrives. And a process that passes a sender on serves its children only
//! while it holds the route itself. So code that keeps the bytes keeps the [`Pins`] too.

use std::{any::Any, cell::RefCell, fmt, mem::ManuallyDrop, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Holds the events and routes that a value referred to when it was serialised. Usually there are none.
///
/// Keep it beside the serialised bytes. It serialises as nothing; but if it is serialised, its contents count as serialised too, so a
/// value that contains bytes and their pins can itself be sent.
#[derive(Clone, Default)]
pub struct Pins(Option<Arc<Vec<Pin>>>);

/// An event, or the place of a token. It is there to be held.
type Pin = Arc<dyn Any + Send + Sync>;

thread_local! {
    /// What was serialised on this thread, while a caller collects it. It has no destructor, so it can be asked for even
    /// while the thread ends.
    static SERIALISED: ManuallyDrop<RefCell<Option<Vec<Pin>>>> = const { ManuallyDrop::new(RefCell::new(None)) };
}

/// Gathers what is serialised, also if that panics.
struct Gathering {
    outer: Option<Vec<Pin>>,
}

impl Drop for Gathering {
    fn drop(&mut self) {
        let outer = self.outer.take();
        SERIALISED.with(|serialised| serialised.replace(outer));
    }
}

impl Pins {
    /// Serialises something by `serialise`, and holds the events and senders in it.
    pub fn of<R>(serialise: impl FnOnce() -> R) -> (R, Self) {
        let outer = SERIALISED.with(|serialised| serialised.replace(Some(Vec::new())));
        let gathering = Gathering { outer };
        let result = serialise();
        let gathered = SERIALISED.with(|serialised| serialised.take()).filter(|pins| !pins.is_empty());
        drop(gathering);
        (result, Self(gathered.map(Arc::new)))
    }

    /// Whether there is nothing to hold.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// Notes what is serialised, if a caller collects it, and if the value is really sent.
pub(crate) fn pin(pin: impl FnOnce() -> Pin) {
    if workfleet_wire::message::is_dry_run() {
        return;
    }
    SERIALISED.with(|serialised| {
        if let Some(pins) = &mut *serialised.borrow_mut() {
            pins.push(pin());
        }
    });
}

impl Serialize for Pins {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        for held in self.0.iter().flat_map(|pins| pins.iter()) {
            pin(|| Arc::clone(held));
        }
        ().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Pins {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer).map(|()| Self::default())
    }
}

/// Pins do not count in a comparison: all are equal.
impl PartialEq for Pins {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Pins {}

impl fmt::Debug for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pins({})", self.0.as_ref().map_or(0, |pins| pins.len()))
    }
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use std::cell::OnceCell;

    use super::*;
    use crate::{Details, Event};

    fn encode(value: &impl Serialize) -> (Vec<u8>, Pins) {
        Pins::of(|| workfleet_wire::message::encode(value).expect("it encodes"))
    }

    fn holders(event: &Event) -> usize {
        Arc::strong_count(&event.shared) - 1
    }

    #[test]
    fn what_was_serialised_is_held_until_the_pins_are_dropped() {
        let (one, other) = (Event::new(), Event::new());
        let (_, pins) = encode(&(&one, 1_u8, [&other, &other]));
        assert_eq!((holders(&one), holders(&other)), (1, 2));
        drop(pins);
        assert_eq!((holders(&one), holders(&other)), (0, 0));
        assert!(encode(&1_u8).1.is_empty());
        // Nobody wants to know.
        workfleet_wire::message::encode(&one).expect("it encodes");
        assert_eq!(holders(&one), 0);
    }

    #[test]
    fn pins_within_a_value_are_held_by_the_outer_ones_too_and_take_no_bytes() {
        let event = Event::new();
        let (bytes, inner) = encode(&event);
        let (outer_bytes, outer) = encode(&(&inner, 7_u8));
        assert_eq!(outer_bytes, [7]);
        drop((bytes, inner));
        assert_eq!(holders(&event), 1);
        drop(outer);
        assert_eq!(holders(&event), 0);
    }

    #[test]
    fn a_value_that_serialises_others_on_its_own_account_or_panics_leaves_nothing_behind() {
        struct Odd(Event, bool);
        impl Serialize for Odd {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                drop(encode(&self.0));
                self.0.serialize(serializer).inspect(|_| assert!(!self.1, "as it was told"))
            }
        }
        let event = Event::new();
        let (_, pins) = encode(&(Odd(event.clone(), false), &event));
        assert_eq!(holders(&event), 2);
        drop(pins);
        let odd = Odd(event.clone(), true);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| encode(&odd))).expect_err("it panics");
        assert!(encode(&1_u8).1.is_empty());
        assert_eq!(holders(&event), 1, "the one in there");
    }

    /// A value is read where it is sent, to check it: that holds and reaches nothing.
    #[test]
    fn a_copy_that_is_read_for_a_check_is_nobodys() {
        #[derive(Serialize)]
        struct Sets(Event);
        impl<'de> Deserialize<'de> for Sets {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let event = Event::deserialize(deserializer)?;
                let reached = event.set();
                assert_eq!(reached.is_ok(), !workfleet_wire::message::is_dry_run());
                Ok(Self(event))
            }
        }
        let event = Event::new();
        let value = Sets(event.clone());
        for _ in 0..20 {
            let (payload, pins) = Pins::of(|| workfleet_wire::message::encode_checked(&value));
            let payload = payload.expect("it arrives");
            assert_eq!((format!("{pins:?}").as_str(), holders(&event)), ("Pins(1)", 2));
            assert!(!event.is_set());
            drop(pins);
            drop(workfleet_wire::message::decode::<Sets>(&payload).expect("it is one"));
            assert!(event.is_set());
            event.clear().expect("it is here");
        }
    }

    #[test]
    fn a_sender_that_is_read_for_a_check_beats_nowhere() {
        #[derive(Serialize)]
        struct Beats(crate::HeartbeatSender);
        impl<'de> Deserialize<'de> for Beats {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let sender = crate::HeartbeatSender::deserialize(deserializer)?;
                assert_eq!(sender.send(&1_u8).is_ok(), !workfleet_wire::message::is_dry_run());
                Ok(Self(sender))
            }
        }
        let heartbeaters = crate::Heartbeaters::new().expect("they start");
        let sender = heartbeaters.register("checked", |_: crate::Report| ()).expect("it is free");
        let payload = workfleet_wire::message::encode_checked(&Beats(sender)).expect("it arrives");
        drop(workfleet_wire::message::decode::<Beats>(&payload).expect("it is one"));
    }

    struct AtTheEnd(Event);

    impl Drop for AtTheEnd {
        fn drop(&mut self) {
            let (encoded, pins) = Pins::of(|| Details::encode(&self.0));
            assert!(encoded.is_ok() && !pins.is_empty());
        }
    }

    thread_local! {
        static LAST: OnceCell<AtTheEnd> = const { OnceCell::new() };
    }

    #[test]
    fn what_is_serialised_while_a_thread_ends_is_held_as_well() {
        let thread = std::thread::spawn(|| {
            LAST.with(|last| last.set(AtTheEnd(Event::new())).unwrap_or_else(|_| unreachable!("it is new")));
            // What was used last, ends first.
            assert!(!Pins::of(|| Details::encode(&Event::new())).1.is_empty());
        });
        assert!(thread.join().is_ok());
    }
}
