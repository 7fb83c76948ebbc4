//! The floor for waiting tasks: nothing but their payloads in a queue.

use std::collections::VecDeque;
use std::hint::black_box;

use super::socket::Peer;
use crate::error::Error;
use crate::procfs;

/// Resident bytes for each payload, from `few` to `many` of them, beside the payload itself.
pub(crate) fn of_payloads(few: usize, many: usize, payload_len_bytes: usize) -> Result<f64, Error> {
    let mut queue: VecDeque<Box<[u8]>> = VecDeque::new();
    let payload = |number: usize| vec![number as u8; payload_len_bytes].into_boxed_slice();
    queue.extend((0..few).map(payload));
    let before = procfs::resident_bytes()?;
    queue.extend((few..many).map(payload));
    let after = procfs::resident_bytes()?;
    black_box(&queue);
    Ok((after as f64 - before as f64) / (many - few) as f64 - payload_len_bytes as f64)
}

/// Descriptors that the sockets to so many processes take.
pub(crate) fn descriptors(processes: usize) -> Result<f64, Error> {
    let before = procfs::open_descriptors()?;
    let peers = (0..processes).map(|_| Peer::start()).collect::<Result<Vec<_>, _>>()?;
    let after = procfs::open_descriptors()?;
    drop(peers);
    Ok(after as f64 - before as f64)
}
