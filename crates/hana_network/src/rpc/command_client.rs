use std::time::{Duration, Instant};

use hana_protocol::contract::Key;
use hana_protocol::id::NodeId;
use hana_protocol::message::{Command, CommandReply, Control};
use hana_protocol::wire::{Message, codec};
use serde::de::DeserializeOwned;
use thiserror::Error;
use zenoh::query::Reply;
use zenoh::sample::Sample;

use crate::session::session_worker::SessionWorker;
use crate::sync::pending::Pending;
use crate::transport::outbound::sender_identity::SenderIdentity;
use crate::transport::query;
use crate::transport::query::QueryHandle;
use crate::transport::raw_message::RawMessage;

/// A reason why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CommandError {
    /// No node with that id accepts commands.
    #[error("there is no '{node}' on the mesh; `hana nodes` lists the nodes")]
    NoSuchNode {
        /// The id of the node.
        node: NodeId,
    },
    /// The node is on the mesh, but did not reply in time.
    #[error(
        "'{node}' did not reply to '{command}' within {} ms; `hana nodes` shows its state",
        waited.as_millis()
    )]
    NoAnswer {
        /// The id of the node.
        node: NodeId,
        /// The command.
        command: &'static str,
        /// The time for which the sender waited.
        waited: Duration,
    },
    /// The node refused the command.
    #[error("'{node}' refused: {reason}")]
    Refused {
        /// The id of the node.
        node: NodeId,
        /// The reason given by the node.
        reason: String,
    },
    /// The reply cannot be read. The likely cause is that the node has another version.
    #[error("cannot read the reply of '{node}': {problem}")]
    Malformed {
        /// The id of the node.
        node: NodeId,
        /// The decoding problem.
        problem: codec::PayloadError,
    },
    /// The command could not be sent.
    #[error("cannot send the command: {problem}")]
    NotSent {
        /// The reason why it could not be sent.
        problem: String,
    },
}

/// Sends a command to `node` on the session of `worker` and returns its reply within `deadline`.
pub(crate) fn send_command<C: Command>(
    worker: &SessionWorker,
    identity: &SenderIdentity,
    node: &NodeId,
    command: C,
    deadline: Duration,
) -> Pending<Result<C::Reply, CommandError>> {
    let (promise, pending) = Pending::new();
    let control: Control = command.into();
    let payload = match codec::encode(&control) {
        Ok(payload) => payload,
        Err(problem) => {
            promise.fulfil(Err(CommandError::NotSent { problem: problem.to_string() }));
            return pending;
        },
    };
    let (node, name, sent_at) = (node.clone(), control.name(), Instant::now());
    let attachment = identity.envelope(0).encode().unwrap_or_default();
    let (on_reply, on_end, on_error) = (promise.clone(), promise.clone(), promise);
    let (key, replier) = (Key::Control(node.clone()).to_string(), node.clone());
    let handle = QueryHandle::new(move |()| {
        // This has no effect after a reply. If a query ends without a reply before its deadline, no node received it.
        on_end.fulfil(Err(if sent_at.elapsed() < deadline {
            CommandError::NoSuchNode { node }
        } else {
            CommandError::NoAnswer { node, command: name, waited: deadline }
        }));
    });
    let receive = move |reply: Reply| {
        let _ = &handle;
        // An error reply comes from Zenoh itself when the query times out.
        if let Ok(sample) = reply.result() {
            on_reply.fulfil(read_reply(&replier, sample));
        }
    };
    worker.run(move |session| {
        let (attachment, lane) = (Some(attachment.into()), Control::LANE);
        let sent = query::query(session, &key, payload, attachment, lane, deadline, receive);
        if let Err(problem) = sent {
            on_error.fulfil(Err(CommandError::NotSent { problem: problem.to_string() }));
        }
    });
    pending
}

fn read_reply<R: DeserializeOwned>(node: &NodeId, sample: &Sample) -> Result<R, CommandError> {
    let node = node.clone();
    let raw = RawMessage::from_sample(sample, Control::MAX_BYTES);
    match codec::decode_value(&raw.payload, raw.encoding, Control::MAX_BYTES) {
        Ok(CommandReply::Accepted(reply)) => Ok(reply),
        Ok(CommandReply::Refused(refused)) => {
            Err(CommandError::Refused { node, reason: refused.reason })
        },
        Err(problem) => Err(CommandError::Malformed { node, problem }),
    }
}
