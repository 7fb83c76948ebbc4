//! What the keeper tells the guardian: one record is one message of a socket that keeps their borders. Some carry a
//! descriptor.

/// A longer marker is none of ours.
const MARK_LIMIT_BYTES: usize = 64;
/// No record is longer: kind, id, process id, and a marker.
pub(super) const LIMIT_BYTES: usize = 1 + 8 + 4 + MARK_LIMIT_BYTES;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// The program to watch, with its process id; comes with its pidfd.
    Program { pid: u32 },
    /// A worker with this marker is about to be started.
    Announced { id: u64, marker: String },
    /// The worker with this marker is this process; comes with its pidfd.
    Registered { id: u64, pid: u32, marker: String },
    /// It is dead and reaped, or was not started.
    Forgotten { id: u64 },
}

impl Record {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LIMIT_BYTES);
        let (kind, id): (u8, u64) = match self {
            Self::Program { .. } => (b'P', 0),
            Self::Announced { id, .. } => (b'A', *id),
            Self::Registered { id, .. } => (b'R', *id),
            Self::Forgotten { id } => (b'F', *id),
        };
        bytes.push(kind);
        bytes.extend_from_slice(&id.to_le_bytes());
        match self {
            Self::Program { pid } => bytes.extend_from_slice(&pid.to_le_bytes()),
            Self::Registered { pid, marker, .. } => {
                bytes.extend_from_slice(&pid.to_le_bytes());
                bytes.extend_from_slice(marker.as_bytes());
            }
            Self::Announced { marker, .. } => bytes.extend_from_slice(marker.as_bytes()),
            Self::Forgotten { .. } => {}
        }
        bytes
    }

    /// None for what is no record.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&kind, bytes) = bytes.split_first()?;
        let (id, rest) = bytes.split_first_chunk()?;
        let id = u64::from_le_bytes(*id);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let pid = || rest.split_first_chunk().map(|(pid, rest)| (u32::from_le_bytes(*pid), rest));
        Some(match kind {
            b'P' => match pid()? {
                (pid, []) => Self::Program { pid },
                _ => return None,
            },
            b'A' => Self::Announced { id, marker: text(rest)? },
            b'R' => {
                let (pid, marker) = pid()?;
                Self::Registered { id, pid, marker: text(marker)? }
            }
            b'F' => Self::Forgotten { id },
            _ => return None,
        })
    }
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_understood_and_nothing_else() {
        let marker = format!("{}:{}", u64::MAX, u64::MAX);
        for record in [
            Record::Program { pid: 1 },
            Record::Announced { id: u64::MAX, marker: marker.clone() },
            Record::Registered { id: 2, pid: u32::MAX, marker },
            Record::Forgotten { id: 3 },
        ] {
            let bytes = record.encode();
            assert!(bytes.len() <= LIMIT_BYTES, "{record:?}");
            assert_eq!(Record::decode(&bytes), Some(record));
        }
        for bytes in [
            &b""[..],
            b"P",
            b"P12345678123",
            b"P1234567812345",
            b"R12345678123",
            b"X12345678",
            b"A12345678\xff",
        ] {
            assert_eq!(Record::decode(bytes), None, "{bytes:?}");
        }
    }
}
