//! Finds the node that has an id.

use std::thread;
use std::time::{Duration, Instant};

use hana_protocol::contract::Key;
use hana_protocol::id::NodeId;
use hana_protocol::message::NodeInfo;
use hana_protocol::wire::{Message, codec};
use zenoh::qos::CongestionControl;
use zenoh::query::{ConsolidationMode, QueryTarget};
use zenoh::sample::{Locality, Sample};
use zenoh::{Session, Wait};

use crate::presence::id_conflict::{IdConflict, IdHolder};
use crate::session::first_reply::first_reply;
use crate::transport::raw_message::RawMessage;

/// The time limit for a node with the same id to reply, and for the token of a dead node to disappear.
pub(crate) const ID_CHECK_TIMEOUT: Duration = Duration::from_millis(1500);
/// The time limit for the info of the node that has an id.
const INFO_TIMEOUT: Duration = Duration::from_millis(300);
/// The time limit for the info of another instance with the id of this node.
const INSTANCE_TIMEOUT: Duration = Duration::from_millis(500);
/// The interval between checks whether an id is free.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Waits until no other node has this id.
///
/// The token of a node that just died may take a moment to disappear.
pub(crate) fn wait_until_free(session: &Session, id: &NodeId) -> Result<(), IdConflict> {
    let deadline = Instant::now() + ID_CHECK_TIMEOUT;
    let tokens = format!("{}/{id}/alive/**", Key::ROOT);
    loop {
        let token = first_reply(|token_tx| {
            session
                .liveliness()
                .get(&tokens)
                .timeout(ID_CHECK_TIMEOUT)
                .callback(move |reply| {
                    if reply.result().is_ok() {
                        token_tx.try_send(()).ok();
                    }
                })
                .wait()
        });
        if token.is_none() {
            return Ok(());
        }
        let holder = id_holder(session, id);
        if holder.is_some() || Instant::now() >= deadline {
            return Err(IdConflict::new(id.clone(), holder));
        }
        thread::sleep(CHECK_INTERVAL);
    }
}

/// Returns the node that has this id, if it replies.
pub(crate) fn id_holder(session: &Session, id: &NodeId) -> Option<IdHolder> {
    first_reply(|holder_tx| {
        session
            .get(Key::Info(id.clone()).to_string())
            .congestion_control(CongestionControl::Drop)
            .timeout(INFO_TIMEOUT)
            .callback(move |reply| {
                if let Some(info) = reply.result().ok().and_then(info_in) {
                    holder_tx.try_send(IdHolder { host: info.host, pid: info.pid }).ok();
                }
            })
            .wait()
    })
}

/// Returns the other node with this id and this instance number, if it replies.
pub(crate) fn instance_holder(session: &Session, id: &NodeId, instance: u64) -> Option<IdHolder> {
    first_reply(|holder_tx| {
        session
            .get(Key::Info(id.clone()).to_string())
            .target(QueryTarget::All)
            .consolidation(ConsolidationMode::None)
            .congestion_control(CongestionControl::Drop)
            .allowed_destination(Locality::Remote)
            .timeout(INSTANCE_TIMEOUT)
            .callback(move |reply| {
                let info = reply.result().ok().and_then(info_in);
                if let Some(info) = info.filter(|info| info.instance == instance) {
                    holder_tx.try_send(IdHolder { host: info.host, pid: info.pid }).ok();
                }
            })
            .wait()
    })
}

fn info_in(sample: &Sample) -> Option<NodeInfo> {
    let raw = RawMessage::from_sample(sample, NodeInfo::MAX_BYTES);
    codec::decode(&raw.payload, raw.encoding).ok()
}
