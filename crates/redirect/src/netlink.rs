//! The little of netlink that a capture needs: one question at a time, asked of the namespace that the socket was opened
//! in, without the cost of starting a program.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

/// Length of a netlink message's header.
pub(crate) const HEADER: usize = 16;
/// Most bytes that the kernel puts into one datagram of answers.
const MAX_ANSWER: usize = 32 * 1024;

/// A socket to one part of the kernel.
pub(crate) struct Link(OwnedFd);

impl Link {
    /// Opens it in the namespace that the calling thread is in.
    pub(crate) fn open(protocol: SockProtocol) -> io::Result<Self> {
        Ok(Self(socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            protocol,
        )?))
    }

    /// Asks for a change and waits for the kernel's word on it; the errors in `fine` are no errors.
    pub(crate) fn change(
        &self,
        kind: u16,
        flags: u16,
        body: &[u8],
        fine: &[i32],
    ) -> io::Result<()> {
        let answer = self.ask(kind, flags | libc::NLM_F_ACK as u16, body)?;
        match -code(&answer)? {
            0 => Ok(()),
            error if fine.contains(&error) => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// Asks, and returns the answer's first message with its header.
    pub(crate) fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<u8>> {
        self.send(kind, flags, body)?;
        self.receive()
    }

    /// Asks for a list and shows each entry's kind and content.
    pub(crate) fn list(
        &self,
        kind: u16,
        body: &[u8],
        mut each: impl FnMut(u16, &[u8]),
    ) -> io::Result<()> {
        self.send(kind, libc::NLM_F_DUMP as u16, body)?;
        loop {
            let answer = self.receive()?;
            let mut rest = answer.as_slice();
            while !rest.is_empty() {
                let message = first(rest).ok_or_else(short)?;
                match i32::from(message_kind(message).ok_or_else(short)?) {
                    libc::NLMSG_DONE => return Ok(()),
                    libc::NLMSG_ERROR => {
                        return match -code(message)? {
                            0 => Ok(()),
                            error => Err(io::Error::from_raw_os_error(error)),
                        };
                    }
                    kind => each(kind as u16, message.get(HEADER..).unwrap_or_default()),
                }
                // Messages begin at multiples of four.
                rest = rest
                    .get(message.len().next_multiple_of(4)..)
                    .unwrap_or_default();
            }
        }
    }

    fn send(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        message.extend([0; 8]); // sequence and port: there is one question at a time
        message.extend(body);
        send(self.0.as_raw_fd(), &message, MsgFlags::empty())?;
        Ok(())
    }

    fn receive(&self) -> io::Result<Vec<u8>> {
        let mut answer = vec![0; MAX_ANSWER];
        let length = recv(self.0.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        answer.truncate(length);
        Ok(answer)
    }
}

/// The first message of several, without what follows it.
fn first(messages: &[u8]) -> Option<&[u8]> {
    let length = u32::from_ne_bytes(messages.get(..4)?.try_into().ok()?);
    let length = usize::try_from(length).ok()?;
    if length < HEADER {
        return None;
    }
    messages.get(..length)
}

/// The type of a message.
pub(crate) fn message_kind(message: &[u8]) -> Option<u16> {
    Some(u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?))
}

/// The (negative) error number of an acknowledgement; 0 is success.
fn code(message: &[u8]) -> io::Result<i32> {
    let bytes = message.get(HEADER..HEADER + 4).ok_or_else(short)?;
    Ok(i32::from_ne_bytes(bytes.try_into().map_err(|_| short())?))
}

pub(crate) fn short() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the kernel's answer is cut short",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_answer_is_no_message() {
        let whole = [16u32.to_ne_bytes(), [3, 0, 0, 0], [0; 4], [0; 4]].concat();
        assert_eq!(first(&whole).and_then(message_kind), Some(3));
        for cut in 0..16 {
            assert!(first(&whole[..cut]).is_none(), "{cut}");
        }
        let tiny = [8u32.to_ne_bytes(), [0; 4], [0; 4], [0; 4]].concat();
        assert!(first(&tiny).is_none());
    }
}
