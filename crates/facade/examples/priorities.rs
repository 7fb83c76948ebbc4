//! Crawls HTML, Markdown and text files by their links, the nearest pages first, and reports links that lead nowhere.
//!
//! ```sh
//! cargo run --release --example priorities -- README.md
//! cargo doc && cargo run --release --example priorities -- target/doc/workfleet/index.html target/doc
//! ```
//!
//! The second argument is the directory that is not left; by default, that of the first page.
//!
//! Tasks schedule tasks: a page schedules the pages that it links to, at a priority that is their distance from the
//! start; plain text, which links to nothing, comes last. Many pages link to one, and a page whose worker died is read
//! again, so each page belongs to the task that *claims* it first, whichever attempt of that task it is.

use std::{
    env, fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use workfleet::prelude::*;

const LEVELS: u8 = 16;
const LAST: u8 = LEVELS - 1;

/// Reads a page, and schedules those that it links to.
#[derive(Debug, Serialize, Deserialize)]
struct Page {
    path: PathBuf,
    /// How many links it is away from the start, by the way that was taken to it.
    distance: u8,
    site: Site,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Site {
    root: PathBuf,
    /// One file for each page that a task has claimed.
    claims: PathBuf,
}

/// What a page tells the program.
#[derive(Debug, Serialize, Deserialize)]
enum Found {
    Page { path: PathBuf, distance: u8, links: usize },
    Broken { page: PathBuf, link: String },
}

impl TaskMessage for Found {
    const NAME: &'static str = "found";
}

impl TaskSpec for Page {
    const NAME: &'static str = "page";
    type Output = ();
}

impl Task for Page {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        if !self.site.claim(&self.path, &cx.task_id().to_string())? {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&fs::read(&self.path)?).into_owned();
        let links = if is_text(&self.path) { Vec::new() } else { links(&text) };
        for link in &links {
            let Some(target) = self.site.resolve(&self.path, link) else { continue };
            match target.canonicalize() {
                Err(_) => {
                    cx.send_message(&Found::Broken { page: self.path.clone(), link: link.clone() })?;
                }
                Ok(path) if path.starts_with(&self.site.root) && is_page(&path) => {
                    let distance = self.distance.saturating_add(1);
                    let priority = if is_text(&path) { LAST } else { distance.min(LAST) };
                    if self.site.is_free(&path) {
                        cx.schedule_with(
                            Page { path, distance, site: self.site.clone() },
                            Priority(priority),
                        )?;
                    }
                }
                Ok(_elsewhere) => {}
            }
        }
        Ok(cx.send_message(&Found::Page { path: self.path, distance: self.distance, links: links.len() })?)
    }
}

impl Site {
    fn claim_of(&self, page: &Path) -> PathBuf {
        let digest = Sha256::digest(page.as_os_str().as_encoded_bytes());
        self.claims.join(digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    fn is_free(&self, page: &Path) -> bool {
        !self.claim_of(page).exists()
    }

    /// Whether the page belongs to `task`, now or since an attempt that died. A claim appears whole or not at all.
    fn claim(&self, page: &Path, task: &str) -> io::Result<bool> {
        let (claim, mine) = (self.claim_of(page), self.claims.join(task));
        fs::write(&mine, task)?;
        match fs::hard_link(&mine, &claim) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(fs::read_to_string(claim)? == task),
            linked => linked.map(|()| true),
        }
    }

    /// The file that a link means; none if it leads out of the site.
    fn resolve(&self, page: &Path, link: &str) -> Option<PathBuf> {
        let link = link.split(['#', '?']).next().filter(|link| !link.is_empty() && !link.contains(':'))?;
        let target = match link.strip_prefix('/') {
            Some(from_root) => self.root.join(from_root),
            None => page.parent()?.join(link),
        };
        let index = target.join("index.html");
        Some(if index.is_file() { index } else { target })
    }
}

fn is_page(path: &Path) -> bool {
    is_text(path) || matches!(path.extension().and_then(|end| end.to_str()), Some("html" | "md"))
}

fn is_text(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "txt")
}

/// What stands in `href="…"` and behind `](`, but for scripts, which put their links together by themselves.
fn links(text: &str) -> Vec<String> {
    let mut parts = text.split("<script");
    let mut text = parts.next().unwrap_or_default().to_owned();
    text.extend(parts.filter_map(|part| Some(part.split_once("</script>")?.1)));
    let between = |open: &'static str, close: char| {
        text.split(open).skip(1).filter_map(move |rest| Some(rest.split_once(close)?.0.to_owned()))
    };
    between("href=\"", '"').chain(between("](", ')')).collect()
}

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let registry = Registry::new().task::<Page>();
    workfleet::init(&registry); // in a worker process this never returns

    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let start = arguments.next().ok_or("usage: priorities <page or directory> [root]")?;
    let start = if start.is_dir() { start.join("index.html") } else { start }.canonicalize()?;
    let root = arguments.next().or_else(|| start.parent().map(Path::to_owned)).ok_or("no directory")?;
    let claims = tempfile::tempdir()?;
    let site = Site { root: root.canonicalize()?, claims: claims.path().to_owned() };

    let manager = ProcessManager::builder(registry).priority_levels(LEVELS).start()?;
    manager.schedule_with(Page { path: start, distance: 0, site: site.clone() }, Priority(0))?;
    let mut failed = false;
    let shown = |path: &Path| path.strip_prefix(&site.root).unwrap_or(path).display().to_string();
    for message in manager.messages::<Found>() {
        match message {
            Ok(Message { content: Found::Page { path, distance, links }, .. }) => {
                println!("{distance} {}: {links} links", shown(&path));
            }
            Ok(Message { content: Found::Broken { page, link }, .. }) => {
                println!("broken: {link} in {}", shown(&page));
                failed = true;
            }
            Err(error) => {
                println!("failed: {error}");
                failed = true;
            }
        }
    }
    manager.close(ClosePolicy::Join)?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
