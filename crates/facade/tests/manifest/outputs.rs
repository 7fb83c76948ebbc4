//! What an output can be: each beside what a shell does that is told to write the output of `sha256sum` there.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
};

use super::{
    stderr,
    support::{Place, ended},
};

const TREE: &str = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73  tree/file\n";

fn place() -> Place {
    let place = Place::new();
    place.write("tree/file", "content");
    place
}

/// Runs the example with such arguments and redirections; it says this, and its code is this.
fn says(place: &Place, arguments: &str, said: &str, code: i32) {
    let output = place.shell(&format!("exec \"$M\" {arguments}"));
    assert_eq!(ended(&output), (String::new(), said.to_owned(), Some(code)), "{arguments}");
}

#[test]
fn a_standard_output_that_takes_nothing_is_an_error() {
    let place = place();
    // `sha256sum` says the like, and ends with code 1.
    for (redirection, reason) in [
        (">/dev/full", "No space left on device (os error 28)"),
        (">&-", "Bad file descriptor (os error 9)"),
        ("<&- >&-", "Bad file descriptor (os error 9)"),
        ("1</dev/null", "Bad file descriptor (os error 9)"),
    ] {
        let said = format!("manifest: cannot write to standard output: {reason}\n");
        says(&place, &format!("tree {redirection}"), &said, 2);
        let beside = place.shell(&format!("exec sha256sum tree/file {redirection}"));
        assert_eq!(beside.status.code(), Some(1));
    }
    says(&place, "tree >/dev/null", "", 0);
    says(&place, "tree 1<>/dev/null", "", 0);
    // A closed standard error costs what is said there and nothing else.
    let output = place.shell("exec \"$M\" tree gone 2>&-");
    assert_eq!(ended(&output), (TREE.to_owned(), String::new(), Some(1)));
}

#[test]
fn the_names_of_standard_output_mean_it() {
    let place = place();
    for name in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
        let output = place.shell(&format!("exec \"$M\" --output {name} tree"));
        assert_eq!(ended(&output), (TREE.to_owned(), String::new(), Some(0)));
        // What was written before stays.
        says(&place, &format!("--output {name} tree >>sums"), "", 0);
        says(&place, &format!("--output {name} tree >/dev/null"), "", 0);
        let said = "manifest: cannot write to standard output: No space left on device (os error 28)\n";
        says(&place, &format!("--output {name} tree >/dev/full"), said, 2);
    }
    assert_eq!(place.read("sums"), TREE.repeat(3));
}

#[test]
fn what_is_no_file_is_refused_and_left_as_it_is() {
    let place = place();
    assert_eq!(place.shell("mkfifo fifo && ln -s fifo link").status.code(), Some(0));
    // If nobody reads a FIFO, a shell that opens it waits forever.
    for name in ["/dev/full", "/dev/null", "fifo", "link", "tree", "tree/", "."] {
        let said = format!("manifest: {name} is not a regular file, and the manifest would replace it\n");
        says(&place, &format!("--output {name} tree"), &said, 2);
    }
    for (name, reason) in [
        ("new/", "No such file or directory (os error 2)"),
        ("new/.", "No such file or directory (os error 2)"),
        ("new/..", "No such file or directory (os error 2)"),
        ("tree/file/", "Not a directory (os error 20)"),
        ("tree/file/new", "Not a directory (os error 20)"),
        ("/proc/new", "No such file or directory (os error 2)"),
    ] {
        says(
            &place,
            &format!("--output {name} tree"),
            &format!("manifest: cannot write {name}: {reason}\n"),
            2,
        );
    }
    let long = "n".repeat(256);
    let said = format!("manifest: cannot write {long}: File name too long (os error 36)\n");
    says(&place, &format!("--output {long} tree"), &said, 2);
    assert_eq!(place.shell("test -p fifo && test ! -e new && exec find . -name '.m*'").stdout, b"");
}

#[test]
fn what_may_not_be_written_is_refused_before_anything_is_read() {
    let place = place();
    for name in ["locked/SUMS", "sticky/SUMS", "own/SUMS"] {
        place.write(name, "old");
    }
    place.give("own");
    for (name, mode) in [("locked", 0o555), ("sticky", 0o1777), ("sticky/SUMS", 0o444), ("own/SUMS", 0o444)] {
        place.mode(name, mode);
    }
    // A shell says the same.
    for name in ["locked/new", "locked/SUMS", "sticky/SUMS", "own/SUMS"] {
        let mut command = place.as_other(place.program());
        // That the tree is not there is not even noticed.
        let output = command.args(["--output", name, "no-tree"]).output().expect("it starts");
        let said = format!("manifest: cannot write {name}: Permission denied (os error 13)\n");
        assert_eq!(ended(&output), (String::new(), said, Some(2)));
    }
    assert_eq!(["locked/SUMS", "sticky/SUMS", "own/SUMS"].map(|name| place.read(name)), ["old"; 3]);
    place.mode("locked", 0o755);
}

#[test]
fn a_file_is_replaced_by_one_of_its_owner_and_permissions() {
    let place = place();
    place.write("SUMS", "old");
    place.give("SUMS");
    place.mode("SUMS", 0o640);
    let before = fs::metadata(place.at("SUMS")).expect("it is there");
    says(&place, "--output SUMS tree", "", 0);
    let after = fs::metadata(place.at("SUMS")).expect("it is there");
    let kept = |of: &fs::Metadata| (of.mode(), of.uid(), of.gid());
    assert_eq!((kept(&after), place.read("SUMS").as_str()), (kept(&before), TREE));
    assert_ne!(after.ino(), before.ino());
    // One that failed to be complete is one all the same; one that was not made leaves the old one.
    says(&place, "--output SUMS tree gone", "manifest: gone: No such file or directory\n", 1);
    says(&place, "--output SUMS --log-directory tree/file tree", &log_directory_error(&place), 2);
    assert_eq!(place.read("SUMS"), TREE);
    assert_eq!(place.hidden(""), Vec::<String>::new());
}

/// What the example says where its log directory is a file.
fn log_directory_error(place: &Place) -> String {
    let said = stderr(&place.shell("exec \"$M\" --log-directory tree/file tree"));
    assert!(said.starts_with("manifest: the workers did not start: "), "{said}");
    said
}

#[test]
fn a_link_stays_though_nothing_is_where_it_leads() {
    let place = place();
    fs::create_dir(place.at("in")).expect("a directory");
    for (target, link) in
        [("in/link", "link"), ("../SUMS", "in/link"), ("no/SUMS", "nowhere"), ("new/", "slash")]
    {
        symlink(target, place.at(link)).expect("a link");
    }
    // The first time it is made, the second time replaced.
    for _ in 0..2 {
        says(&place, "--output link tree", "", 0);
        assert_eq!(place.read("SUMS"), TREE);
        assert!(place.at("link").is_symlink() && place.at("in/link").is_symlink());
    }
    for name in ["nowhere", "slash"] {
        let said = format!("manifest: cannot write {name}: No such file or directory (os error 2)\n");
        says(&place, &format!("--output {name} tree"), &said, 2);
    }
}

#[test]
fn what_nothing_can_take_the_place_of_is_written_over() {
    let place = place();
    place.write("SUMS", "old, and longer than what is written over it: ".repeat(9));
    place.write("outside", "old, and longer than what is written over it: ".repeat(9));
    // In a container, an output is mounted like this.
    let output = place.shell_with_mounts("mount --bind outside SUMS && exec \"$M\" --output SUMS tree");
    assert_eq!(ended(&output), (String::new(), String::new(), Some(0)));
    assert_eq!(place.read("outside"), TREE);
    // Another user's in a directory where none may be removed.
    fs::create_dir(place.at("sticky")).expect("a directory");
    place.mode("sticky", 0o1777);
    place.write("sticky/SUMS", "old");
    place.mode("sticky/SUMS", 0o666);
    let inode = || fs::metadata(place.at("sticky/SUMS")).expect("it is there").ino();
    let before = inode();
    let mut command = place.as_other(place.program());
    let output = command.args(["--output", "sticky/SUMS", "tree"]).output().expect("it starts");
    assert_eq!(ended(&output), (String::new(), String::new(), Some(0)));
    assert_eq!(place.read("sticky/SUMS"), TREE);
    assert_eq!(place.hidden("sticky"), Vec::<String>::new());
    if rustix::process::geteuid().is_root() {
        assert_eq!(inode(), before);
    }
}

#[test]
fn other_file_systems_take_a_manifest_unless_they_are_full_or_read_only() {
    let place = place();
    let script = |options: &str, more: &str| {
        format!(
            "{more}; mount -t tmpfs -o {options} none other && {{ \"$M\" --output other/SUMS tree; echo $?; ls -A other; }}"
        )
    };
    let output = place.shell_with_mounts(&script("rw", "mkdir other"));
    assert_eq!(ended(&output), ("0\nSUMS\n".to_owned(), String::new(), Some(0)));
    let output = place.shell_with_mounts(&script("ro", ":"));
    let said = "manifest: cannot write other/SUMS: Read-only file system (os error 30)\n".to_owned();
    assert_eq!(ended(&output), ("2\n".to_owned(), said, Some(0)));
    // One page, which the names do not fit into; the old manifest stays.
    let many = "for n in $(seq 200); do echo $n >tree/$n; done";
    let full = "mount -t tmpfs -o size=8k none other && echo old >other/SUMS
        \"$M\" --output other/SUMS tree; echo $?; ls -A other; cat other/SUMS";
    let output = place.shell_with_mounts(&format!("{many}; {full}"));
    let (printed, said, _) = ended(&output);
    assert_eq!(printed, "2\nSUMS\nold\n");
    assert!(said.ends_with("other/SUMS: No space left on device (os error 28)\n"), "{said}");
}
