//! What limits do to the example: there is the whole manifest, or an error.

use std::{collections::BTreeMap, fs};

use super::{
    of_the_example,
    support::{Place, REFERENCE, ended, lines},
};

/// As many files as make a manifest of 64 KiB and more.
const FILES: u32 = 900;

fn place() -> Place {
    let place = Place::new();
    for number in 0..FILES {
        place.write(format!("tree/{number}"), number.to_string());
    }
    let expected = place.shell(&format!("{REFERENCE} reference tree"));
    assert_eq!(lines(&expected.stdout).len(), FILES as usize);
    place.write("../expected", expected.stdout);
    place
}

/// Runs the example under a limit, as a user whom limits hold back; it writes the whole manifest, or one that lacks what it
/// names, or it leaves the old one; nothing is left beside it. Returns whether it wrote it, and what it said.
fn whole_or_nothing(place: &Place, option: &str, limit: u64) -> (bool, String) {
    place.shell("rm -rf out && mkdir out && chmod 777 out && echo old >out/SUMS && chmod 666 out/SUMS");
    place.give("out");
    let script = format!(
        "ulimit -c 0; exec prlimit --{option}={limit} {:?} --workers 2 --output out/SUMS tree",
        place.program()
    );
    let output = place.as_other("sh").args(["-c", &script]).output().expect("it starts");
    let (printed, said, code) = ended(&output);
    assert_eq!(printed, "");
    assert_eq!(place.hidden("out"), Vec::<String>::new(), "{option}={limit}: {said}");
    let (written, expected) = (place.read("out/SUMS"), place.read("../expected"));
    match code {
        Some(0) => assert_eq!(lines(written.as_bytes()), lines(expected.as_bytes()), "{option}={limit}"),
        // What it lacks is named.
        Some(1) => {
            assert!(!said.is_empty(), "{option}={limit}");
            assert!(written.lines().all(|line| expected.contains(line)), "{option}={limit}: {said}");
        }
        // `None` is the kernel's signal or an abort, where there is no memory.
        Some(2) | None => assert_eq!(written, "old\n", "{option}={limit}: {said}"),
        // Where there is none for the program itself, it never ran.
        Some(127) => {
            assert!(said.contains(": error while loading shared libraries: "), "{option}={limit}: {said}");
            assert_eq!(written, "old\n", "{option}={limit}: {said}");
        }
        Some(other) => panic!("{option}={limit}: {other}: {said}"),
    }
    (code == Some(0), said)
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_leaves_nothing() {
    let place = place();
    let expected = fs::metadata(place.at("../expected")).expect("it is there").len();
    for limit in [100, 65_536, expected - 1] {
        let (is_written, said) = whole_or_nothing(&place, "fsize", limit);
        assert!(!is_written && of_the_example(&said).starts_with("manifest: "), "{limit}: {said}");
    }
    let said = whole_or_nothing(&place, "fsize", expected - 1).1;
    assert!(said.ends_with("out/SUMS: File too large (os error 27)\n"), "{said}");
    assert_eq!(whole_or_nothing(&place, "fsize", expected), (true, String::new()));
}

#[test]
fn few_descriptors_threads_or_little_memory_cost_the_manifest_or_nothing() {
    let place = place();
    let mut seen = BTreeMap::new();
    for (option, limits) in
        [("nofile", &[6, 15, 18, 64][..]), ("nproc", &[1, 4, 8, 10, 12, 64]), ("as", &[12 << 20, 1 << 30])]
    {
        for &limit in limits {
            let (is_written, said) = whole_or_nothing(&place, option, limit);
            // A program that fails says so. One without memory may be unable to.
            assert!(is_written || !said.is_empty() || option == "as", "{option}={limit}");
            seen.insert((option, limit), is_written);
        }
    }
    // The others prove nothing if these do not hold.
    for (option, limit, expected) in [
        ("nofile", 6, false),
        ("nofile", 64, true),
        ("nproc", 64, true),
        ("as", 12 << 20, false),
        ("as", 1 << 30, true),
    ] {
        assert_eq!(seen[&(option, limit)], expected, "{option}={limit}");
    }
}

#[test]
fn a_reason_is_said_once() {
    let place = place();
    let (_, said, code) = ended(&place.shell("ulimit -n 9; exec \"$M\" tree"));
    assert_eq!(of_the_example(&said).matches("Too many open files").count(), 1, "{said}");
    assert_eq!(code, Some(2));
}
