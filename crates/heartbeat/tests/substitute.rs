//! What a program substitutes for `Heartbeaters`, within one process.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        mpsc::{self, channel},
    },
    time::Duration,
};

use workfleet_heartbeat::{
    Details, Event, HeartbeatCallback, HeartbeatError, HeartbeatReceiver, HeartbeatSender,
    HeartbeaterOptions, HeartbeaterRegistry, Heartbeaters, RegisterError, Report, Token, UnregisterError,
    Unregistering,
};

/// Without `Heartbeaters`: it calls the callback where the beat is received.
#[derive(Default)]
struct Direct(Mutex<BTreeMap<Token, HeartbeatReceiver>>);

impl HeartbeaterRegistry for Direct {
    fn new_event(&self) -> Event {
        Event::new()
    }

    fn register(
        &self,
        token: Token,
        options: HeartbeaterOptions,
        callback: HeartbeatCallback,
    ) -> Result<HeartbeatSender, RegisterError> {
        if options.get_timeout().is_some() || !options.get_throttle().is_zero() {
            return Err(RegisterError::refused(token, "neither timeouts nor throttles"));
        }
        let mut tokens = self.0.lock().expect("nobody panics");
        if tokens.contains_key(&token) {
            return Err(RegisterError::taken(token));
        }
        let callback = Mutex::new(callback);
        let receiver = HeartbeatReceiver::new(&token, move |details| {
            callback.lock().expect("it does not panic")(Report::Beat(details));
            Ok(())
        });
        let sender = receiver.sender();
        tokens.insert(token, receiver);
        Ok(sender)
    }

    fn unregister(&self, token: Token) -> Unregistering {
        let receiver = self.0.lock().expect("nobody panics").remove(&token);
        Box::pin(async move {
            let Some(receiver) = receiver else { return Err(UnregisterError::unknown(token)) };
            receiver.flush().await;
            Ok(())
        })
    }
}

/// What every registry promises.
fn check(registry: &dyn HeartbeaterRegistry) {
    let (told, reports) = channel();
    let report = move |report| told.send(report).unwrap_or(());
    let sender =
        registry.register("token".into(), HeartbeaterOptions::new(), Box::new(report)).expect("a new token");
    assert_eq!(sender.token(), &Token::from("token"));
    let again = registry.register("token".into(), HeartbeaterOptions::new(), Box::new(|_| ()));
    assert_eq!(again.expect_err("it is taken"), RegisterError::taken("token"));

    sender.send(&1_u64).expect("it is registered");
    let elsewhere = sender.clone();
    std::thread::spawn(move || elsewhere.send(&2_u64)).join().expect("it ends").expect("it is registered");
    registry.blocking_unregister("token".into()).expect("it is flushed");
    // The callback was dropped, or this would not end.
    let Some(Report::Beat(last)) = reports.iter().last() else { panic!("it beat") };
    assert_eq!(last.decode::<u64>().expect("a number"), 2);
    let again = registry.blocking_unregister("token".into());
    assert_eq!(again.expect_err("it is gone"), UnregisterError::unknown("token"));

    let event = registry.new_event();
    assert!(!event.is_set());
    event.set().expect("it is at home here");
    assert!(event.is_set());
}

#[test]
fn heartbeaters_and_what_a_program_substitutes_for_them_keep_the_same_promises() {
    check(&Heartbeaters::new().expect("a thread"));
    check(&Direct::default());
    let shared: Arc<dyn HeartbeaterRegistry> = Arc::new(Direct::default());
    check(&*shared);
}

#[test]
fn an_own_registry_sees_the_options_and_refuses_by_a_typed_error() {
    let options = HeartbeaterOptions::new().timeout(Duration::from_secs(3)).throttle(Duration::from_secs(1));
    assert_eq!(
        (options.get_timeout(), options.get_throttle()),
        (Some(Duration::from_secs(3)), Duration::from_secs(1))
    );
    let error = Direct::default().register("a".into(), options, Box::new(|_| ())).expect_err("not heeded");
    assert_eq!(error.to_string(), "the token a was refused: neither timeouts nor throttles");
}

#[test]
fn a_receiver_tells_the_sender_what_it_returns_and_its_panics_go_no_further() {
    let receiver = HeartbeatReceiver::new("token", |details: Details| match details.decode::<u8>() {
        Ok(0) => Ok(()),
        Ok(1) => Err(HeartbeatError::refused("the disk is full")),
        _ => panic!("neither"),
    });
    let sender = receiver.sender();
    assert_eq!(sender.send(&0_u8), Ok(()));
    let error = sender.send(&1_u8).expect_err("it refuses");
    assert_eq!(error.to_string(), "the heartbeat was refused: the disk is full");
    let error = sender.send(&2_u8).expect_err("it panics");
    assert_eq!(error.to_string(), "the heartbeat was refused: the receiver panicked: neither");
    assert_eq!(sender.send(&0_u8), Ok(()));
}

#[test]
fn nothing_comes_to_a_receiver_that_is_gone() {
    let (told, beats) = mpsc::channel();
    let receiver = HeartbeatReceiver::new("token", move |details| {
        told.send(details).unwrap_or(());
        Ok(())
    });
    let sender = receiver.sender();
    sender.send(&1_u8).expect("it is there");
    drop(receiver);
    assert_eq!(sender.send(&2_u8), Err(HeartbeatError::NotConnected));
    assert_eq!(beats.try_iter().count(), 1);
}
