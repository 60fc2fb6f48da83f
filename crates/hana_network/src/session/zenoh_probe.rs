//! Identifies the program that listens at an address, from its reply to the first message of Zenoh's handshake.
//!
//! Zenoh itself only reports that it could not connect.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The kind of program at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProbeResult {
    /// No program listens there, or the address is unreachable.
    Closed,
    /// A program accepts the connection and sends nothing: not Zenoh, or suspended.
    Silent,
    /// A program that does not use Zenoh's protocol, or uses another version of it.
    Foreign,
    /// Zenoh, with a secret required for access.
    Guarded,
    /// Zenoh, without a secret.
    Open(WhatAmI),
}

/// The role of a Zenoh program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhatAmI {
    /// A router: `zenohd`.
    Router,
    /// A peer: a hana daemon, or a node without one.
    Peer,
    /// A client that listens.
    Client,
}

impl ProbeResult {
    /// Probes an address. Blocks until there is a reply, for twice `patience` at most.
    pub(crate) fn at(address: SocketAddr, patience: Duration) -> Self {
        let Ok(stream) = TcpStream::connect_timeout(&address, patience) else {
            return Self::Closed;
        };
        let until = Instant::now() + patience;
        if stream.set_write_timeout(Some(patience)).is_err() || (&stream).write_all(&KNOCK).is_err()
        {
            return Self::Silent;
        }
        let mut answer = Vec::with_capacity(64);
        loop {
            if let Some(door) = Self::of_answer(&answer) {
                return door;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
                return Self::Silent;
            }
            let mut bytes = [0; 64];
            match (&stream).read(&mut bytes) {
                // Connection closed: the program does not understand the message.
                Ok(0) => return Self::Foreign,
                Ok(count) => answer.extend_from_slice(bytes.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                    return Self::Foreign;
                },
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {},
                Err(_) => return Self::Silent,
            }
        }
    }

    /// Returns the result that the first bytes of a reply imply; `None` while more bytes are needed.
    fn of_answer(answer: &[u8]) -> Option<Self> {
        // Two bytes of length, then the message: its kind and, for an INIT, the version and the role of the sender.
        let &kind = answer.get(2)?;
        match kind & 0b1_1111 {
            INIT if kind & ACK != 0 => {
                let &who = answer.get(4)?;
                Some(match who & 0b11 {
                    0b00 => Self::Open(WhatAmI::Router),
                    0b01 => Self::Open(WhatAmI::Peer),
                    0b10 => Self::Open(WhatAmI::Client),
                    _ => Self::Foreign,
                })
            },
            CLOSE => Some(match *answer.get(3)? {
                // Zenoh has no separate code for a missing secret, but has codes for other reasons.
                GENERIC => Self::Guarded,
                _ => Self::Foreign,
            }),
            _ => Some(Self::Foreign),
        }
    }

    /// Describes the program that uses a port.
    pub(crate) const fn in_words(self) -> &'static str {
        match self {
            Self::Closed => "a program that cannot be reached at the loopback",
            Self::Silent => "a program that does not answer (no hanad, or one that is stopped)",
            Self::Foreign => "a program that is neither hanad nor Zenoh",
            Self::Guarded => "a hanad or another Zenoh program, with a secret",
            Self::Open(WhatAmI::Router) => "a Zenoh router (zenohd)",
            Self::Open(WhatAmI::Peer | WhatAmI::Client) => "a hanad or another Zenoh program",
        }
    }
}

const INIT: u8 = 0x01;
const CLOSE: u8 = 0x03;
const ACK: u8 = 1 << 5;
const GENERIC: u8 = 0x00;

/// An `InitSyn` of a client without extensions: the length, kind, protocol version, id length and role, and the id.
const KNOCK: [u8; 9] = [7, 0, INIT, 0x09, 0b0011_0010, b'h', b'a', b'n', b'a'];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    /// Starts a server that sends `answer` on each connection, then closes it or stays silent.
    fn somebody(answer: &'static [u8], hangs_up: bool) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = [0; 9];
            stream.read_exact(&mut heard).unwrap();
            stream.write_all(answer).unwrap();
            if !hangs_up {
                thread::sleep(PATIENCE * 3);
            }
        });
        address
    }

    #[test]
    fn who_is_no_zenoh_is_told_apart() {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(ProbeResult::at(nobody, PATIENCE), ProbeResult::Closed);
        assert_eq!(ProbeResult::at(somebody(b"", false), PATIENCE / 10), ProbeResult::Silent);
        assert_eq!(ProbeResult::at(somebody(b"", true), PATIENCE), ProbeResult::Foreign);
        let http = somebody(b"HTTP/1.1 400 Bad Request\r\n\r\n", true);
        assert_eq!(ProbeResult::at(http, PATIENCE), ProbeResult::Foreign);
    }

    #[test]
    fn every_beginning_of_an_answer_is_read_without_fault() {
        for kind in 0..=u8::MAX {
            for more in 0..=u8::MAX {
                let answer = [9, 0, kind, more, more];
                for length in 0..=answer.len() {
                    ProbeResult::of_answer(&answer[..length]);
                }
            }
        }
    }
}
