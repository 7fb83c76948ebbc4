//! Real forks.

mod support;

use std::{ptr, sync::Barrier, thread};

use support::in_a_fork;
use workfleet_fork::{Home, PerProcess};

#[test]
fn a_fork_and_a_fork_of_it_are_other_homes_and_have_their_own() {
    let home = Home::here();
    assert!(home.is_here());
    in_a_fork(|| {
        assert!(!home.is_here());
        let own = Home::here();
        assert!(own.is_here());
        assert_ne!(own, home);
        in_a_fork(|| assert!(!home.is_here() && !own.is_here() && Home::here().is_here()));
    });
    assert!(home.is_here() && home == Home::here());
}

#[test]
fn each_process_has_its_own_of_a_static() {
    static HOME: PerProcess<Home> = PerProcess::new();
    let here = HOME.get_or_init(Home::here);
    in_a_fork(|| {
        let own = HOME.get_or_init(Home::here);
        assert!(own.is_here() && ptr::eq(own, HOME.get_or_init(Home::here)));
        in_a_fork(|| assert!(HOME.get_or_init(Home::here).is_here()));
        assert!(ptr::eq(own, HOME.get_or_init(Home::here)));
    });
    assert!(here.is_here() && ptr::eq(here, HOME.get_or_init(Home::here)));
}

#[test]
fn threads_that_are_the_first_get_the_same() {
    static NUMBER: PerProcess<u32> = PerProcess::new();
    let made = Barrier::new(4);
    let addresses = thread::scope(|scope| {
        let threads = [1, 2, 3, 4].map(|number| {
            let made = &made;
            scope.spawn(move || {
                // Each has made one before any is put in place.
                let make = || {
                    made.wait();
                    number
                };
                ptr::from_ref(NUMBER.get_or_init(make)).addr()
            })
        });
        threads.map(|thread| thread.join().expect("it gets one"))
    });
    assert!(addresses.iter().all(|&address| address == addresses[0]));
}
