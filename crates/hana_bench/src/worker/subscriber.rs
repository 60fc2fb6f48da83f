use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use hana_network::Node;
use hana_protocol::contract::routes::ReceivedBy;
use hana_protocol::id::role;
use hana_protocol::message::Direction;
use serde_json::json;

use crate::error::BenchError;
use crate::fixture::numbered::{BestEffort, Latest, Numbered, ReliableOrdered, ReliableUnordered};
use crate::limits::REPLY_TIMEOUT;
use crate::worker::receive_counter::{ReceiveCounter, reply_of};
use crate::worker::serve::{config, serve, unknown};

pub(crate) fn run() -> Result<(), BenchError> {
    let config = config("subscriber")?
        .with_message::<Latest>(Direction::Subscribed)
        .with_message::<ReliableOrdered>(Direction::Subscribed)
        .with_message::<BestEffort>(Direction::Subscribed)
        .with_message::<ReliableUnordered>(Direction::Subscribed);
    let node = Arc::new(
        Node::<role::App>::join(config)
            .wait(REPLY_TIMEOUT)
            .map_err(BenchError::network("joining the mesh"))?
            .map_err(BenchError::network("joining the mesh"))?,
    );
    let ended = Arc::new(AtomicBool::new(false));
    let counters = [
        listen::<Latest>(&node, &ended),
        listen::<ReliableOrdered>(&node, &ended),
        listen::<BestEffort>(&node, &ended),
        listen::<ReliableUnordered>(&node, &ended),
    ];
    let outcome = serve(|word| match word {
        "lanes" => Ok(json!(node.lanes())),
        _ => reply_of(&counters, word).ok_or_else(|| unknown(word)),
    });
    ended.store(true, Ordering::Relaxed);
    outcome
}

/// Starts a thread that receives the messages of the type `M`.
fn listen<M: Numbered + ReceivedBy<role::App>>(
    node: &Arc<Node<role::App>>,
    ended: &Arc<AtomicBool>,
) -> Arc<ReceiveCounter> {
    let counter = Arc::new(ReceiveCounter::default());
    let (thread_counter, ended, node) = (Arc::clone(&counter), Arc::clone(ended), Arc::clone(node));
    let messages = node.subscribe_custom::<M>();
    thread::spawn(move || {
        let mut received = 0;
        while !ended.load(Ordering::Relaxed) {
            let message = messages.recv_timeout(Duration::from_millis(20));
            if thread_counter.counts_only.load(Ordering::Relaxed) {
                // The count includes messages that newer ones replaced before this thread read them, since they were
                // delivered.
                let now = node.lane(M::LANE).received;
                if now > received {
                    thread_counter.count(now - received);
                    received = now;
                }
            } else if let Some(message) = message {
                received = node.lane(M::LANE).received;
                thread_counter.record(message.message.number());
            }
        }
    });
    counter
}
