//! M1: the `manifest` example digests a warm tree with two workers, wall time from start to exit.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::benchmark::Benchmark;
use crate::command::Program;
use crate::error::Error;
use crate::figure::Unit;
use crate::floors::digest;
use crate::race::{Contender, Race};
use crate::tree::Tree;
use crate::versions;

pub(crate) const BENCHMARK: Benchmark = Benchmark { id: "M1", plan, measurements: &[] };

const WORKERS: usize = 2;

/// The variable that names the main workspace's target directory.
const TARGET_DIRECTORY: &str = "WORKFLEET_TARGET_DIR";

/// What people type today. `$1` is the tree, `$2` the manifest.
const XARGS: &str = r#"find "$1" -type f -print0 | xargs -0 -P2 -n64 sha256sum > "$2""#;

fn plan() -> Result<Vec<Race>, Error> {
    let tree = Rc::new(Tree::make()?);
    Ok(vec![Race {
        id: BENCHMARK.id,
        what: "manifest of a warm tree, 2 workers",
        unit: Unit::Seconds,
        ours: ours(&tree)?,
        limit: Some(limit(&tree)),
        rivals: vec![xargs(&tree)],
    }])
}

/// The example. Its manifest is found right once before any of its times count.
fn ours(tree: &Rc<Tree>) -> Result<Contender, Error> {
    let binary = target_directory().join("release/examples/manifest");
    if !binary.exists() {
        let reason = format!("{} is not built", binary.display());
        return Ok(Contender::absent("workfleet", reason));
    }
    let manifest = tree.beside("workfleet.sha256");
    let program = Program::new(binary)
        .arg("--workers")
        .arg(WORKERS.to_string())
        .arg("--output")
        .arg(&manifest)
        .arg(tree.root());
    let how = format!("{}, example manifest --workers {WORKERS}", versions::of_crate("workfleet"));
    let tree = Rc::clone(tree);
    let mut is_verified = false;
    Ok(Contender::new("workfleet", how, move || {
        if !is_verified {
            program.run()?;
            verify(&manifest, &tree)?;
            is_verified = true;
        }
        Ok(program.run()?.took.as_secs_f64())
    }))
}

fn xargs(tree: &Rc<Tree>) -> Contender {
    let how =
        format!("find -type f -print0 | xargs -0 -P2 -n64 sha256sum; {}", versions::of_program("sha256sum"));
    let program =
        Program::new("sh").arg("-c").arg(XARGS).arg("sh").arg(tree.root()).arg(tree.beside("xargs.sha256"));
    let tree = Rc::clone(tree);
    Contender::new("xargs sha256sum", how, move || {
        // The tree lives as long as anyone who reads it.
        let _tree = &tree;
        Ok(program.run()?.took.as_secs_f64())
    })
}

fn limit(tree: &Rc<Tree>) -> Contender {
    let tree = Rc::clone(tree);
    let how = format!(
        "{WORKERS} threads that do nothing but read and digest, {}; {} files, {:.2} GiB",
        versions::of_crate("sha2"),
        tree.files().len(),
        tree.len_bytes() as f64 / f64::from(1 << 30)
    );
    Contender::new("limit", how, move || Ok(digest::digest_all(tree.files(), WORKERS)?.as_secs_f64()))
}

/// Every file of the tree has its line, and `sha256sum` finds every line right. Without `--strict` it would
/// pass over a line that it cannot read.
fn verify(manifest: &Path, tree: &Tree) -> Result<(), Error> {
    let text = fs::read(manifest).map_err(Error::io("read the manifest"))?;
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
    if lines != tree.files().len() {
        return Err(Error::Wrong(format!("{lines} lines in the manifest of {} files", tree.files().len())));
    }
    Program::new("sha256sum").arg("-c").arg("--quiet").arg("--strict").arg(manifest).run().map(drop)
}

fn target_directory() -> PathBuf {
    let given: Option<OsString> = std::env::var_os(TARGET_DIRECTORY).filter(|value| !value.is_empty());
    given.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target"), PathBuf::from)
}
