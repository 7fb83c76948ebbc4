//! What a tree, or a file in it, can be: each beside what `find TREE -type f` finds and `sha256sum` says.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink, net::UnixListener},
    process::Output,
};

use super::{
    stderr,
    support::{Place, REFERENCE, ended, lines},
};

/// Makes the manifest of what a shell would call these trees, and asserts that it is the one which `find` and `sha256sum` make,
/// and that `sha256sum -c` agrees. Returns what the example said on standard error, and its code.
fn same_as_find(place: &Place, trees: &str) -> (String, Option<i32>) {
    let script = format!("{REFERENCE} reference {trees} 2>/dev/null");
    let expected = place.shell(&script);
    let output = place.shell(&format!("exec \"$M\" --workers 2 -- {trees}"));
    assert_eq!(lines(&output.stdout), lines(&expected.stdout), "{}", stderr(&output));
    // It refuses a list without a line, as it does that of `find`.
    if !output.stdout.is_empty() {
        fs::write(place.at("../SUMS"), &output.stdout).expect("it is written");
        let check = place.shell("exec sha256sum --check --strict --quiet ../SUMS");
        assert_eq!(ended(&check), (String::new(), String::new(), Some(0)));
    }
    (stderr(&output), output.status.code())
}

fn nothing_wrong() -> (String, Option<i32>) {
    (String::new(), Some(0))
}

#[test]
fn what_is_no_file_is_passed_over_below_a_tree_and_named_where_it_is_given() {
    let place = Place::new();
    place.write("tree/file", "content");
    let _socket = UnixListener::bind(place.at("tree/socket")).expect("a socket");
    assert_eq!(place.shell("mkfifo tree/fifo && ln -s /dev/zero tree/device").status.code(), Some(0));
    assert_eq!(same_as_find(&place, "tree"), nothing_wrong());
    // Reading any of them would wait for a writer, have no end, or fail.
    for given in ["tree/socket", "tree/fifo", "/dev/zero", "tree/device"] {
        let output = place.shell(&format!("exec \"$M\" {given}"));
        let said = format!("manifest: {given}: neither a regular file nor a directory\n");
        assert_eq!(ended(&output), (String::new(), said, Some(1)));
    }
}

#[test]
fn devices_in_a_tree_are_passed_over() {
    let place = Place::new();
    place.write("tree/file", "content");
    let made = place.shell("mknod tree/null c 1 3 && mknod tree/block b 7 99");
    if !made.status.success() {
        eprintln!("NOT RUN: this user may make no devices: {}", stderr(&made));
        return;
    }
    assert_eq!(same_as_find(&place, "tree"), nothing_wrong());
}

#[test]
fn names_of_all_kinds_are_found_and_read_back() {
    let place = Place::new();
    for name in [
        &b"ends in spaces  "[..],
        b"  begins with two",
        b" *star after a space",
        b"# a comment",
        b"\\",
        b"\\\\n",
        b"\n",
        b"\r",
        b"\r\n",
        b"a\nb\rc\\d",
        b"\xff",
        b"\xff\n\\",
        b"--workers",
        b"-",
        b"--",
        b"...",
        b"~",
        b"%s",
        b"\t",
        b"\x1b[2J",
        b"\x7f",
        &[b'n'; 255],
    ] {
        place.write(OsStr::from_bytes(&[&b"tree/"[..], name].concat()), name);
        place.write(OsStr::from_bytes(&[&b"tree/in/"[..], name, b"/file"].concat()), name);
        place.write(OsStr::from_bytes(name), name);
    }
    // As they are given, and below what is given; `-` itself is another test's.
    for trees in ["tree", ".", "./", "-- '  begins with two' '--workers' '--' '...' ' *star after a space'"] {
        let trees = trees.strip_prefix("-- ").unwrap_or(trees);
        let (said, code) = match trees.contains("--workers") {
            // `find` takes these for options of its own.
            false => same_as_find(&place, trees),
            true => {
                let expected = place.shell(&format!("exec sha256sum -- {trees}"));
                let output = place.shell(&format!("exec \"$M\" -- {trees}"));
                let sorted = |text: &[u8]| {
                    let mut lines = lines(text);
                    lines.sort();
                    lines
                };
                assert_eq!(sorted(&output.stdout), sorted(&expected.stdout));
                (stderr(&output), output.status.code())
            }
        };
        assert_eq!((said, code), nothing_wrong());
    }
}

#[test]
fn links_lead_nowhere_below_a_tree_and_everywhere_where_they_are_given() {
    let place = Place::new();
    place.write("tree/file", "content");
    place.write("tree/in/file", "inner");
    for (target, link) in [
        ("nowhere", "tree/dangling"),
        ("loop", "tree/loop"),
        (".", "tree/self"),
        ("..", "tree/in/up"),
        ("in", "tree/directory"),
        ("file", "tree/link"),
        ("/proc/self/fd", "tree/descriptors"),
        ("tree", "link-to-tree"),
        ("link-to-tree", "link-to-link"),
    ] {
        symlink(target, place.at(link)).expect("a link");
    }
    assert_eq!(same_as_find(&place, "tree"), nothing_wrong());
    // As `find -H` and `sha256sum` follow what they are given.
    for given in ["link-to-link", "tree/self", "tree/in/up", "tree/link", "link-to-tree/directory"] {
        let expected = place.shell(&format!("{REFERENCE} reference -H {given}"));
        let output = place.shell(&format!("exec \"$M\" {given}"));
        assert_eq!(lines(&output.stdout), lines(&expected.stdout));
        assert!(!output.stdout.is_empty());
    }
    for (given, reason) in [
        ("tree/dangling", "No such file or directory"),
        ("tree/loop", "Too many levels of symbolic links"),
        ("tree/file/", "Not a directory"),
    ] {
        let output = place.shell(&format!("exec \"$M\" {given}"));
        let said = format!("manifest: {given}: {reason}\n");
        assert_eq!(ended(&output), (String::new(), said, Some(1)));
    }
}

#[test]
fn what_may_not_be_read_is_named_and_the_rest_is_complete() {
    let place = Place::new();
    for directory in ["unlisted", "unsearched", "closed", "open"] {
        place.write(format!("tree/{directory}/file"), directory);
        place.write(format!("tree/{directory}/in/file"), directory);
    }
    place.write("tree/secret", "never read");
    place.write("tree/closed\nby\x1b[2J/file", "never read");
    place.give("tree");
    for (name, mode) in
        [("unlisted", 0o300), ("unsearched", 0o600), ("closed", 0), ("secret", 0), ("closed\nby\x1b[2J", 0)]
    {
        place.mode(&format!("tree/{name}"), mode);
    }
    let output = place.as_other(place.program()).arg("tree").output().expect("it starts");
    // `find` does not look at a file that it only names, and `sha256sum` finds then that it cannot open it.
    let said = stderr(&output);
    let mut said: Vec<_> = said.lines().collect();
    said.sort_unstable();
    assert_eq!(
        said,
        [
            "manifest: tree/closed: Permission denied",
            r"manifest: tree/closed\nby\u{1b}[2J: Permission denied",
            "manifest: tree/secret: Permission denied",
            "manifest: tree/unlisted: Permission denied",
            "manifest: tree/unsearched/file: Permission denied",
            "manifest: tree/unsearched/in: Permission denied",
        ]
    );
    assert_eq!(output.status.code(), Some(1));
    let script = format!("{REFERENCE} reference tree 2>/dev/null");
    let expected = place.as_other("sh").args(["-c", &script]).output().expect("it starts");
    assert_eq!(lines(&output.stdout), lines(&expected.stdout));
    assert_eq!(output.stdout.iter().filter(|&&byte| byte == b'\n').count(), 2);
    // A given tree that may not be read is one of them.
    let output = place.as_other(place.program()).args(["tree/closed", "tree/closed/in"]).output();
    let said = "manifest: tree/closed: Permission denied\nmanifest: tree/closed/in: Permission denied\n";
    assert_eq!(ended(&output.expect("it starts")), (String::new(), said.to_owned(), Some(1)));
    // So that it can be removed.
    place.shell("chmod -R u+rwx tree");
}

#[test]
fn a_tree_is_empty_or_a_file_or_given_twice() {
    let place = Place::new();
    fs::create_dir_all(place.at("empty/in")).expect("a directory");
    place.write("tree/in/file", "content");
    place.write("file", "");
    assert_eq!(same_as_find(&place, "empty"), nothing_wrong());
    assert_eq!(same_as_find(&place, "file"), nothing_wrong());
    assert_eq!(same_as_find(&place, "tree empty file"), nothing_wrong());
    assert_eq!(
        same_as_find(&place, "tree/in/../../tree .//tree/ tree/in/file/../file"),
        ("manifest: tree/in/file/../file: Not a directory\n".to_owned(), Some(1))
    );
    // `find` names a file as often as it is asked to; a manifest has each name once.
    let expected = place.shell(&format!("{REFERENCE} reference tree ./tree file"));
    let output = place.shell("exec \"$M\" tree file tree/in tree/ ./tree tree/in/file file tree");
    assert_eq!(stderr(&output), "");
    assert_eq!(lines(&output.stdout), lines(&expected.stdout));
}

#[test]
fn files_with_holes_and_files_without_a_size_are_read_to_their_end() {
    let place = Place::new();
    let sparse = fs::File::create_new(place.at("sparse")).expect("a file");
    sparse.set_len((24 << 20) + 5).expect("a file");
    std::os::unix::fs::FileExt::write_at(&sparse, b"an island", 11 << 20).expect("it is written");
    // Their size is zero, or a page, whatever is in them.
    let made_up = [
        "/proc/version",
        "/proc/sys/kernel/ostype",
        "/proc/filesystems",
        "/sys/kernel/mm/transparent_hugepage/enabled",
    ];
    let there: Vec<_> = made_up.into_iter().filter(|name| fs::metadata(name).is_ok()).collect();
    assert!(there.len() >= 3, "{there:?}");
    assert_eq!(same_as_find(&place, &format!("sparse {}", there.join(" "))), nothing_wrong());
    // This can be opened and not be read.
    let output = place.shell("exec \"$M\" /proc/self/mem sparse");
    assert_eq!(
        (stderr(&output).as_str(), output.status.code()),
        ("manifest: /proc/self/mem: Input/output error\n", Some(1))
    );
    // What is a file to this program alone is none to its workers: it is named, and nothing else is digested for it.
    let output = place.shell("exec \"$M\" /dev/stdin <sparse");
    let said = "manifest: /dev/stdin: not a regular file any more\n".to_owned();
    assert_eq!(ended(&output), (String::new(), said, Some(1)));
}

/// Mounts in a namespace of their own, of which nothing is left.
fn with_mounts(script: &str) -> Output {
    let place = Place::new();
    place.write("tree/file", "content");
    place.write("tree/in/file", "inner");
    fs::create_dir(place.at("tree/mounted")).expect("a directory");
    place.shell_with_mounts(&format!("{REFERENCE} {script}"))
}

#[test]
fn other_file_systems_below_a_tree_are_walked() {
    let output = with_mounts(
        "mount -t tmpfs none tree/mounted && echo more >tree/mounted/file
        reference tree >../expected; \"$M\" tree >../actual; cmp ../expected ../actual; grep -c mounted/file ../actual",
    );
    assert_eq!(ended(&output), ("1\n".to_owned(), String::new(), Some(0)));
}

#[test]
fn a_tree_that_is_mounted_below_itself_is_walked_once() {
    let output = with_mounts(
        "mount --bind tree tree/mounted
        reference tree >../expected 2>../errors; \"$M\" tree >../actual; echo $?
        cmp ../expected ../actual; grep -c 'File system loop' ../errors; grep -c . ../actual",
    );
    let said = "manifest: tree/mounted: a directory that it is in is mounted here\n".to_owned();
    assert_eq!(ended(&output), ("1\n1\n2\n".to_owned(), said, Some(0)));
}

#[test]
fn directories_beyond_the_longest_path_are_named_and_the_rest_is_complete() {
    let place = Place::new();
    // Each is made from the one above it: no path could name them all.
    let made = place.shell(
        "mkdir deep && cd deep && name=$(printf '%0200d' 1)
        for level in $(seq 25); do echo $level >file && mkdir $name && cd -P $name || exit 1; done; echo last >file",
    );
    assert_eq!((stderr(&made), made.status.code()), (String::new(), Some(0)));
    let expected = place.shell(&format!("{REFERENCE} reference deep 2>/dev/null"));
    let output = place.shell("exec \"$M\" deep");
    assert_eq!(lines(&output.stdout), lines(&expected.stdout));
    assert!(lines(&output.stdout).len() > 15);
    let said = stderr(&output);
    assert!(said.ends_with(": File name too long\n") && said.lines().count() == 1, "{said}");
    assert_eq!(output.status.code(), Some(1));
    // `remove_dir_all` goes by descriptors, as this does.
    assert_eq!(place.shell("rm -r deep").status.code(), Some(0));
}

#[test]
fn a_hundred_thousand_files_in_one_directory_are_found() {
    let place = Place::new();
    let made = place.shell("mkdir many && cd many && seq 100000 | split -l 1 -a 5 -");
    assert_eq!((stderr(&made), made.status.code()), (String::new(), Some(0)));
    assert_eq!(fs::read_dir(place.at("many")).expect("a directory").count(), 100_000);
    assert_eq!(same_as_find(&place, "many"), nothing_wrong());
}
