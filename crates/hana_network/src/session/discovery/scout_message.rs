//! The two discovery messages of Zenoh programs: a multicast query, and the reply to its sender.

use zenoh::config::{Locator, WhatAmI, WhatAmIMatcher};
use zenoh::internal::buffers::{HasReader, HasWriter};
use zenoh_codec::{RCodec, WCodec, Zenoh080};
use zenoh_protocol::VERSION;
use zenoh_protocol::core::ZenohIdProto;
use zenoh_protocol::scouting::{HelloProto, Scout, ScoutingBody, ScoutingMessage};

/// The id of a Zenoh session.
pub(crate) type SessionId = ZenohIdProto;

/// The contents of a discovery packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ScoutPacket {
    /// A query of a program that searches for peers; a hana node includes its session id.
    Question {
        /// The session id of the sender, if included.
        from: Option<SessionId>,
    },
    /// The reply of a peer or a router.
    Answer {
        /// The session id of the sender.
        from: SessionId,
        /// The endpoints at which the sender listens.
        locators: Vec<Locator>,
    },
}

/// Encodes a query to all peers and routers.
pub(crate) fn question(from: SessionId) -> Vec<u8> {
    let what = WhatAmIMatcher::empty().router().peer();
    write(Scout { version: VERSION, what, zid: Some(from) }.into())
}

/// Encodes the reply of a peer that listens at these endpoints.
pub(crate) fn answer(from: SessionId, endpoints: &[String]) -> Vec<u8> {
    let locators = endpoints.iter().filter_map(|endpoint| endpoint.parse().ok()).collect();
    let whatami = WhatAmI::Peer;
    write(HelloProto { version: VERSION, whatami, zid: from, locators }.into())
}

fn write(message: ScoutingMessage) -> Vec<u8> {
    let mut packet = vec![];
    // Writing to a vector cannot fail for lack of space.
    let written = Zenoh080::new().write(&mut packet.writer(), &message);
    if written.is_err() {
        packet.clear();
    }
    packet
}

/// Decodes a packet; `None` if it is neither a query for peers nor a reply.
pub(crate) fn read(packet: &[u8]) -> Option<ScoutPacket> {
    let message: ScoutingMessage = Zenoh080::new().read(&mut packet.reader()).ok()?;
    match message.body {
        ScoutingBody::Scout(scout) if scout.what.matches(WhatAmI::Peer) => {
            Some(ScoutPacket::Question { from: scout.zid })
        },
        ScoutingBody::Hello(hello) if hello.whatami != WhatAmI::Client => {
            Some(ScoutPacket::Answer { from: hello.zid, locators: hello.locators })
        },
        ScoutingBody::Scout(_) | ScoutingBody::Hello(_) => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn packet_round_trips() {
        let id = SessionId::rand();
        assert_eq!(read(&question(id)), Some(ScoutPacket::Question { from: Some(id) }));
        let endpoints = ["tcp/169.254.10.1:7447".to_owned(), "tcp/[fd00::1]:7447".to_owned()];
        let locators = endpoints.iter().map(|endpoint| endpoint.parse().unwrap()).collect();
        assert_eq!(read(&answer(id, &endpoints)), Some(ScoutPacket::Answer { from: id, locators }));
    }

    #[test]
    fn truncated_or_forged_packet_is_read_without_panic() {
        let whole = answer(SessionId::rand(), &["tcp/10.0.0.1:7447".to_owned()]);
        for length in 0..whole.len() {
            assert_eq!(read(whole.get(..length).unwrap()), None);
        }
        for kind in 0..=u8::MAX {
            for more in 0..=u8::MAX {
                read(&[kind, 9, more, more, more, more]);
            }
        }
    }

    #[test]
    fn query_for_routers_alone_is_ignored() {
        let what = WhatAmIMatcher::empty().router();
        let packet = write(Scout { version: VERSION, what, zid: None }.into());
        assert_eq!(read(&packet), None);
    }
}
