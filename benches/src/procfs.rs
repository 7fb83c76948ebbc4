//! What Linux tells in `/proc` about processes: their memory, descriptors, processor time and wake-ups.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io;
use std::path::Path;

use crate::error::Error;

/// Bytes of this process that are in memory.
pub(crate) fn resident_bytes() -> Result<u64, Error> {
    let text = read(Path::new("/proc/self/statm"))?;
    let pages: Option<u64> = text.split_whitespace().nth(1).and_then(|field| field.parse().ok());
    let pages = pages.ok_or_else(|| Error::Wrong(format!("/proc/self/statm says {text:?}")))?;
    Ok(pages * rustix::param::page_size() as u64)
}

/// How many descriptors this process has open.
pub(crate) fn open_descriptors() -> Result<usize, Error> {
    let listed = fs::read_dir("/proc/self/fd").map_err(Error::io("list the descriptors"))?.count();
    // The listing takes one itself.
    Ok(listed - 1)
}

/// What the threads of some processes have used up to one moment.
#[derive(Debug)]
pub(crate) struct Usage {
    by_thread: HashMap<u32, Thread>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Thread {
    cpu_ns: u64,
    wakeups: u64,
}

impl Usage {
    /// Of a process and all its descendants.
    pub(crate) fn of_tree(root: u32) -> Result<Usage, Error> {
        let mut by_thread = HashMap::new();
        let mut processes = VecDeque::from([root]);
        while let Some(process) = processes.pop_front() {
            for entry in entries(&Path::new("/proc").join(process.to_string()).join("task"))? {
                let Some(thread) = entry.file_name().and_then(|name| name.to_str()?.parse().ok()) else {
                    continue;
                };
                // A thread that has ended meanwhile has used nothing since.
                let Ok(used) = Thread::read(&entry) else { continue };
                by_thread.insert(thread, used);
                let children = fs::read_to_string(entry.join("children")).unwrap_or_default();
                processes.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
            }
        }
        if by_thread.is_empty() {
            return Err(Error::Wrong(format!("process {root} is gone")));
        }
        Ok(Usage { by_thread })
    }

    /// How many threads there were.
    pub(crate) fn threads(&self) -> usize {
        self.by_thread.len()
    }

    /// Processor time in nanoseconds, and how often threads slept and were woken, since `earlier`.
    pub(crate) fn since(&self, earlier: &Usage) -> (u64, u64) {
        self.by_thread.iter().fold((0, 0), |(cpu_ns, wakeups), (thread, now)| {
            let before = earlier.by_thread.get(thread).copied().unwrap_or_default();
            let wakeups_since = now.wakeups.saturating_sub(before.wakeups);
            (cpu_ns + now.cpu_ns.saturating_sub(before.cpu_ns), wakeups + wakeups_since)
        })
    }
}

impl Thread {
    fn read(directory: &Path) -> Result<Thread, Error> {
        let schedstat = read(&directory.join("schedstat"))?;
        let status = read(&directory.join("status"))?;
        let parsed = schedstat.split_whitespace().next().and_then(|field| field.parse().ok());
        match (parsed, voluntary_switches(&status)) {
            (Some(cpu_ns), Some(wakeups)) => Ok(Thread { cpu_ns, wakeups }),
            _ => Err(Error::Wrong(format!("{} has no figures", directory.display()))),
        }
    }
}

fn voluntary_switches(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    value.trim().parse().ok()
}

fn entries(directory: &Path) -> Result<Vec<std::path::PathBuf>, Error> {
    let listed = match fs::read_dir(directory) {
        Ok(listed) => listed,
        // The process has ended meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(format!("list {}", directory.display()))(error)),
    };
    Ok(listed.filter_map(Result::ok).map(|entry| entry.path()).collect())
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(Error::io(format!("read {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_used_is_resident() -> Result<(), Error> {
        let before = resident_bytes()?;
        let used = std::hint::black_box(vec![1_u8; 64 << 20]);
        let after = resident_bytes()?;
        drop(used);
        assert!(after >= before + (60 << 20), "{before} {after}");
        Ok(())
    }

    #[test]
    fn an_open_file_is_a_descriptor() -> Result<(), Error> {
        // Other tests open files meanwhile, but not so many.
        let before = open_descriptors()?;
        let files: Vec<_> = (0..200).filter_map(|_| fs::File::open("/dev/null").ok()).collect();
        assert!(open_descriptors()? >= before + 100);
        assert_eq!(files.len(), 200);
        Ok(())
    }

    #[test]
    fn work_is_seen_and_so_are_children() -> Result<(), Error> {
        let before = Usage::of_tree(std::process::id())?;
        let mut child =
            std::process::Command::new("sleep").arg("60").spawn().map_err(Error::io("start a child"))?;
        crate::spin::spin(std::time::Duration::from_millis(20));
        let after = Usage::of_tree(std::process::id())?;
        let _ = child.kill();
        let _ = child.wait();
        assert!(after.by_thread.contains_key(&child.id()));
        assert!(after.since(&before).0 >= 10_000_000, "{:?}", after.since(&before));
        Ok(())
    }

    #[test]
    fn only_the_voluntary_switches_count() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t41\nnonvoluntary_ctxt_switches:\t7\n";
        assert_eq!(voluntary_switches(status), Some(41));
        assert_eq!(voluntary_switches("Name:\tx\n"), None);
    }
}
