//! Who listens at an address, as far as can be told at the door: the first message of Zenoh's handshake,
//! and what comes back. Zenoh itself says only that it could not connect.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// What answers at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProbeResult {
    /// Nobody listens there, or nobody can be reached there.
    Closed,
    /// Somebody takes the connection and says nothing: no Zenoh, or stopped.
    Silent,
    /// Somebody who does not speak Zenoh, or another version of it.
    Foreign,
    /// Zenoh, which wants a secret from who comes in.
    Guarded,
    /// Zenoh, which lets in whoever comes.
    Open(WhatAmI),
}

/// What kind of Zenoh program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhatAmI {
    /// A router: `zenohd`.
    Router,
    /// A peer: a daemon of hana, or a node without one.
    Peer,
    /// A client that listens.
    Client,
}

impl ProbeResult {
    /// Knocks. Blocks until there is an answer, at most twice as long as `patience`.
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
                // Hung up: a program that takes what we say for nonsense.
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

    /// What the first bytes of an answer say; none while more are needed.
    fn of_answer(answer: &[u8]) -> Option<Self> {
        // Two bytes of length, then the message: its kind, and of an INIT version and who answers.
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
                // Zenoh has no reason of its own for who lacks a secret; other reasons are.
                GENERIC => Self::Guarded,
                _ => Self::Foreign,
            }),
            _ => Some(Self::Foreign),
        }
    }

    /// In words, as who holds a port.
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

/// An `InitSyn` of a client without extensions: length, kind, version of the protocol, length of the id and
/// role, the id.
const KNOCK: [u8; 9] = [7, 0, INIT, 0x09, 0b0011_0010, b'h', b'a', b'n', b'a'];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    /// Somebody who listens, answers `answer` to whoever comes, and hangs up or keeps silent.
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
