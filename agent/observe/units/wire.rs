//! The socket under a connection: what comes over it is bounded before room is made for it.

use std::io::{self, ErrorKind};
use std::os::fd::{BorrowedFd, OwnedFd};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use zbus::Message;
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
use zbus::export::async_trait::async_trait;

/// Longest message that is taken, in bytes. D-Bus allows 128 MiB, and a library makes room for what a message says of its own length.
/// The longest that systemd has reason to send are the properties of a unit, of some 20 kB, or as long as what its files say:
/// systemd reads none longer than 1 MiB (`LONG_LINE_MAX` of src/basic/def.h is the limit of a line).
const LONGEST: u64 = 4 << 20;
/// The part of a header that tells how long the message is (D-Bus specification, "Message Format").
const PRIMARY_HEADER: usize = 16;

/// The sender field of a message, up to its length: code 7, a variant of a string.
const SENDER: &[u8] = b"\x07\x01s\0";
/// How systemd signs on its private socket (`sd_bus_set_sender` in src/core/dbus.c). The specification knows unique names only, which
/// begin with a colon, and zbus ends the connection at any other.
const SIGNATURE: &[u8] = b"org.freedesktop.systemd1\0";

/// A Unix socket that takes no message longer than [`LONGEST`], and no file descriptors.
#[derive(Debug)]
pub(super) struct Bounded {
    pub(super) stream: UnixStream,
    /// systemd itself is at the other end.
    pub(super) private: bool,
}

impl Socket for Bounded {
    type ReadHalf = BoundedReader;
    type WriteHalf = Writer;

    fn split(self) -> Split<BoundedReader, Writer> {
        let (read, write) = self.stream.into_split();
        Split::new(BoundedReader { socket: Reader(BufReader::new(read)), private: self.private }, Writer(write))
    }
}

#[derive(Debug)]
pub(super) struct BoundedReader {
    socket: Reader,
    private: bool,
}

impl BoundedReader {
    /// Reads on until this much is there.
    async fn fill(&mut self, received: &mut Vec<u8>, length: usize) -> io::Result<()> {
        let mut have = received.len();
        received.resize(have.max(length), 0);
        while let Some(missing) = received.get_mut(have..length).filter(|missing| !missing.is_empty()) {
            match self.socket.0.read(missing).await? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                read => have = have.saturating_add(read),
            }
        }
        Ok(())
    }
}

#[async_trait]
impl ReadHalf for BoundedReader {
    async fn receive_message(&mut self, seq: u64, received: &mut Vec<u8>, fds: &mut Vec<OwnedFd>) -> zbus::Result<Message> {
        self.fill(received, PRIMARY_HEADER).await?;
        match length(received) {
            Some(length) if length <= LONGEST => {
                if self.private {
                    self.fill(received, usize::try_from(length).unwrap_or_default()).await?;
                    sign(received);
                }
                self.socket.receive_message(seq, received, fds).await
            }
            Some(length) => Err(too_long(length).into()),
            None => Err(io::Error::new(ErrorKind::InvalidData, "it does not speak D-Bus").into()),
        }
    }

    /// Used by the handshake.
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        self.socket.recvmsg(buffer).await
    }
}

/// zbus reads a message by its primary header and then the rest: buffered, that is one system call for several messages.
#[derive(Debug)]
struct Reader(BufReader<OwnedReadHalf>);

#[async_trait]
impl ReadHalf for Reader {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        Ok((self.0.read(buffer).await?, Vec::new()))
    }
}

#[derive(Debug)]
pub(super) struct Writer(OwnedWriteHalf);

#[async_trait]
impl WriteHalf for Writer {
    async fn send_messages(&mut self, messages: &[Message]) -> zbus::Result<()> {
        let bytes: Vec<u8> = messages.iter().flat_map(|message| message.data().iter().copied()).collect();
        Ok(self.0.write_all(&bytes).await?)
    }

    async fn sendmsg(&mut self, buffer: &[u8], _: &[BorrowedFd<'_>]) -> io::Result<usize> {
        self.0.write(buffer).await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }
}

fn too_long(length: u64) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("a message of {length} bytes, and nothing that systemd has to say is longer than {LONGEST}"))
}

/// Makes systemd's signature a unique name of the same length.
fn sign(message: &mut [u8]) {
    let length = size_of::<u32>();
    let is_sender = |field: &[u8]| field.starts_with(SENDER) && field.ends_with(SIGNATURE);
    let at = message.windows(SENDER.len() + length + SIGNATURE.len()).position(is_sender);
    if let Some(first) = at.and_then(|at| message.get_mut(at + SENDER.len() + length)) {
        *first = b':';
    }
}

/// How long the message is that begins so, in bytes: its header with its fields, padded to 8, and its body.
fn length(header: &[u8]) -> Option<u64> {
    let number = |at: usize| {
        let bytes: [u8; 4] = header.get(at..at.checked_add(4)?)?.try_into().ok()?;
        match header.first()? {
            b'l' => Some(u64::from(u32::from_le_bytes(bytes))),
            b'B' => Some(u64::from(u32::from_be_bytes(bytes))),
            _ => None,
        }
    };
    let (body, fields) = (number(4)?, number(12)?);
    Some((PRIMARY_HEADER as u64 + fields).next_multiple_of(8) + body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_messages_length_stands_in_its_first_bytes() {
        let message = Message::method_call("/", "Ping").build(&("hello",)).unwrap();
        let bytes = message.data().to_vec();
        assert_eq!(length(&bytes), Some(bytes.len() as u64));
        let mut longest = bytes;
        longest[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        longest[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(length(&longest), Some(2 * (1 << 32) + 16 - 1));
        assert_eq!(length(b"l"), None);
        assert_eq!(length(b"HTTP/1.1 400 Bad"), None);
    }
}
