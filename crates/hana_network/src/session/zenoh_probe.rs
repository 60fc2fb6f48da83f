//! Identifies the program that listens at an address, from its reply to the first message of Zenoh's handshake.
//!
//! Zenoh itself reports only that it could not connect.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The kind of program at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProbeResult {
    /// No program listens at the address, or the address is unreachable.
    Unreachable,
    /// A program accepts the connection but sends nothing: it does not use Zenoh, or is suspended.
    NoResponse,
    /// The program does not use Zenoh's protocol, or uses another version of it.
    NotZenoh,
    /// The program uses Zenoh and requires a secret.
    AuthRequired,
    /// The program uses Zenoh and requires no secret.
    Accepting(WhatAmI),
}

/// The role of a Zenoh program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhatAmI {
    /// A router: `zenohd`.
    Router,
    /// A peer: a hana daemon, or a node without a daemon.
    Peer,
    /// A client that listens.
    Client,
}

impl ProbeResult {
    /// Probes an address. Blocks until a reply arrives, at most for twice `timeout`.
    pub(crate) fn probe(address: SocketAddr, timeout: Duration) -> Self {
        let Ok(stream) = TcpStream::connect_timeout(&address, timeout) else {
            return Self::Unreachable;
        };
        let until = Instant::now() + timeout;
        if stream.set_write_timeout(Some(timeout)).is_err()
            || (&stream).write_all(&INIT_SYN).is_err()
        {
            return Self::NoResponse;
        }
        let mut answer = Vec::with_capacity(64);
        loop {
            if let Some(door) = Self::from_reply(&answer) {
                return door;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
                return Self::NoResponse;
            }
            let mut bytes = [0; 64];
            match (&stream).read(&mut bytes) {
                // The program closed the connection because it does not understand the message.
                Ok(0) => return Self::NotZenoh,
                Ok(count) => answer.extend_from_slice(bytes.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                    return Self::NotZenoh;
                },
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {},
                Err(_) => return Self::NoResponse,
            }
        }
    }

    /// Returns the result that the first bytes of a reply imply, or `None` if more bytes are needed.
    fn from_reply(answer: &[u8]) -> Option<Self> {
        // The reply has two bytes of length, then the message: its kind and, for an INIT, the version and the sender's
        // role.
        let &kind = answer.get(2)?;
        match kind & 0b1_1111 {
            INIT if kind & ACK != 0 => {
                let &who = answer.get(4)?;
                Some(match who & 0b11 {
                    0b00 => Self::Accepting(WhatAmI::Router),
                    0b01 => Self::Accepting(WhatAmI::Peer),
                    0b10 => Self::Accepting(WhatAmI::Client),
                    _ => Self::NotZenoh,
                })
            },
            CLOSE => Some(match *answer.get(3)? {
                // This code means that the secret is missing or wrong: Zenoh has other codes for other reasons.
                GENERIC => Self::AuthRequired,
                _ => Self::NotZenoh,
            }),
            _ => Some(Self::NotZenoh),
        }
    }

    /// Describes the program that uses a port.
    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::Unreachable => "a program that is unreachable on the loopback",
            Self::NoResponse => "a program that does not respond (not hanad, or a suspended one)",
            Self::NotZenoh => "a program that is neither hanad nor Zenoh",
            Self::AuthRequired => "hanad or another Zenoh program, with a secret",
            Self::Accepting(WhatAmI::Router) => "a Zenoh router (zenohd)",
            Self::Accepting(WhatAmI::Peer | WhatAmI::Client) => "hanad or another Zenoh program",
        }
    }
}

const INIT: u8 = 0x01;
const CLOSE: u8 = 0x03;
const ACK: u8 = 1 << 5;
const GENERIC: u8 = 0x00;

/// An `InitSyn` of a client without extensions: length, kind, protocol version, id length and role, and id.
const INIT_SYN: [u8; 9] = [7, 0, INIT, 0x09, 0b0011_0010, b'h', b'a', b'n', b'a'];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

    /// Starts a server that sends `answer` on each connection, then closes it or stays silent.
    fn server(answer: &'static [u8], hangs_up: bool) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut received = [0; 9];
            stream.read_exact(&mut received).unwrap();
            stream.write_all(answer).unwrap();
            if !hangs_up {
                thread::sleep(PROBE_TIMEOUT * 3);
            }
        });
        address
    }

    #[test]
    fn foreign_servers_are_recognized() {
        let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(ProbeResult::probe(unused, PROBE_TIMEOUT), ProbeResult::Unreachable);
        assert_eq!(
            ProbeResult::probe(server(b"", false), PROBE_TIMEOUT / 10),
            ProbeResult::NoResponse
        );
        assert_eq!(ProbeResult::probe(server(b"", true), PROBE_TIMEOUT), ProbeResult::NotZenoh);
        let http = server(b"HTTP/1.1 400 Bad Request\r\n\r\n", true);
        assert_eq!(ProbeResult::probe(http, PROBE_TIMEOUT), ProbeResult::NotZenoh);
    }

    #[test]
    fn every_reply_prefix_is_read_without_panic() {
        for kind in 0..=u8::MAX {
            for more in 0..=u8::MAX {
                let answer = [9, 0, kind, more, more];
                for length in 0..=answer.len() {
                    ProbeResult::from_reply(&answer[..length]);
                }
            }
        }
    }
}
