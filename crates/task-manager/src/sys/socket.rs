//! Sending and receiving on a Unix socket without SIGPIPE, in blocking and in non-blocking mode.
//!
//! Invariant: nothing here waits but [`receive`] and [`wait_writable`].

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::retry_on_intr,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, recv, recvmsg, send, sendmsg,
    },
};

#[cfg(not(target_vendor = "apple"))]
const SEND_FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);
#[cfg(target_vendor = "apple")]
const SEND_FLAGS: SendFlags = SendFlags::DONTWAIT;

/// Keeps a write to a closed connection from raising SIGPIPE where a flag of each send cannot say so.
pub(crate) fn refuse_sigpipe(socket: impl AsFd) -> io::Result<()> {
    #[cfg(target_vendor = "apple")]
    rustix::net::sockopt::set_socket_nosigpipe(socket, true)?;
    #[cfg(not(target_vendor = "apple"))]
    let _ = socket;
    Ok(())
}

/// Sends as much of `bytes` as the socket takes now; `WouldBlock` if that is nothing.
pub(crate) fn send_now(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    Ok(retry_on_intr(|| send(&socket, bytes, SEND_FLAGS))?)
}

/// Receives what is there; `Ok(0)` at the end of the stream, `WouldBlock` if nothing is there.
pub(crate) fn receive_now(socket: impl AsFd, space: &mut [u8]) -> io::Result<usize> {
    receive_with(socket, space, RecvFlags::DONTWAIT)
}

/// Waits until something is there, and receives it; `Ok(0)` at the end of the stream.
pub(crate) fn receive(socket: impl AsFd, space: &mut [u8]) -> io::Result<usize> {
    loop {
        match receive_with(&socket, space, RecvFlags::empty()) {
            // In the mode that the socket is in, it does not wait by itself.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_for(&socket, PollFlags::IN)?,
            result => return result,
        }
    }
}

fn receive_with(socket: impl AsFd, space: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
    Ok(retry_on_intr(|| recv(&socket, &mut *space, flags))?.0)
}

/// So many descriptors may come with the first bytes.
const DESCRIPTORS: usize = 3;

/// Sends `bytes`, which a fresh socket has room for, together with at most [`DESCRIPTORS`].
pub(crate) fn send_with_descriptors(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(descriptors)), "there is space for them");
    let sent = retry_on_intr(|| sendmsg(&socket, &[IoSlice::new(bytes)], &mut ancillary, SEND_FLAGS))?;
    if sent < bytes.len() {
        let reason = format!("a fresh socket took {sent} of {} bytes", bytes.len());
        return Err(io::Error::new(io::ErrorKind::WriteZero, reason));
    }
    Ok(())
}

/// Receives bytes, waiting for the first, and the descriptors that come with them.
pub(crate) fn receive_with_descriptors(
    socket: impl AsFd,
    space: &mut [u8],
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut ancillary_space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut ancillary_space);
    #[cfg(not(target_vendor = "apple"))]
    let flags = RecvFlags::CMSG_CLOEXEC;
    #[cfg(target_vendor = "apple")]
    let flags = RecvFlags::empty();
    let received = retry_on_intr(|| recvmsg(&socket, &mut [IoSliceMut::new(space)], &mut ancillary, flags))?;
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    Ok((received.bytes, descriptors))
}

/// Waits until the socket takes bytes again, or has failed.
pub(crate) fn wait_writable(socket: impl AsFd) -> io::Result<()> {
    wait_for(socket, PollFlags::OUT)
}

fn wait_for(socket: impl AsFd, event: PollFlags) -> io::Result<()> {
    loop {
        match poll(&mut [PollFd::new(&socket, event)], None) {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result.map(drop)?),
        }
    }
}

/// How many bytes have come and were not received; none if that cannot be told.
pub(crate) fn waiting_bytes(socket: impl AsFd) -> u64 {
    rustix::io::ioctl_fionread(socket).unwrap_or(0)
}
