use std::time::{Duration, Instant};

use hana_protocol::contract::Key;
use hana_protocol::id::NodeId;
use hana_protocol::message::{Command, CommandReply, Control};
use hana_protocol::wire::{Message, codec};
use thiserror::Error;
use zenoh::query::Reply;

use crate::rpc::pending::{Pending, Promise};
use crate::session::session_worker::SessionWorker;
use crate::transport::inbound::raw;
use crate::transport::query;
use crate::transport::send_queue::SenderIdentity;

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CommandError {
    /// No node with that id accepts commands.
    #[error("there is no '{node}' on the mesh; `hana nodes` lists who is there")]
    NotThere {
        /// Id of the node.
        node: NodeId,
    },
    /// The node is on the mesh, but did not reply in time.
    #[error(
        "'{node}' did not answer '{command}' within {} ms; `hana nodes` says how it is",
        waited.as_millis()
    )]
    NoAnswer {
        /// Id of the node.
        node: NodeId,
        /// The command.
        command: &'static str,
        /// Time waited for the reply.
        waited: Duration,
    },
    /// The node refused the command.
    #[error("'{node}' refuses: {reason}")]
    Refused {
        /// Id of the node.
        node: NodeId,
        /// The reason that the node gave.
        reason: String,
    },
    /// The reply cannot be read; most likely the node has another version.
    #[error("the answer of '{node}' cannot be read: {problem}")]
    Malformed {
        /// Id of the node.
        node: NodeId,
        /// The decoding problem.
        problem: codec::PayloadError,
    },
    /// The command could not be sent.
    #[error("the command was not sent: {problem}")]
    NotSent {
        /// Why it could not be sent.
        problem: String,
    },
}

/// Sends a command to `node` on the session of `worker` and returns its reply within `deadline`.
pub(crate) fn ask<C: Command>(
    worker: &SessionWorker,
    identity: &SenderIdentity,
    node: &NodeId,
    command: C,
    deadline: Duration,
) -> Pending<Result<C::Reply, CommandError>> {
    let (promise, pending) = Pending::new();
    let control: Control = command.into();
    let question = CommandQuery {
        node: node.clone(),
        name: control.name(),
        asked: Instant::now(),
        deadline,
        promise,
    };
    let attachment = identity.envelope(0).encode().unwrap_or_default();
    match codec::encode(&control) {
        Ok(payload) => worker.run(move |session| question.send(session, payload, attachment)),
        Err(problem) => {
            question.promise.keep(Err(CommandError::NotSent { problem: problem.to_string() }));
        },
    }
    pending
}

struct CommandQuery<Reply> {
    node: NodeId,
    name: &'static str,
    asked: Instant,
    deadline: Duration,
    promise: Promise<Result<Reply, CommandError>>,
}

impl<R: Send + serde::de::DeserializeOwned + 'static> CommandQuery<R> {
    fn send(self, session: &zenoh::Session, payload: Vec<u8>, attachment: Vec<u8>) {
        let promise = self.promise.clone();
        let key = Key::Control(self.node.clone()).to_string();
        let (attachment, within) = (Some(attachment.into()), self.deadline);
        let hear = move |reply| self.hear(&reply);
        let sent = query::ask(session, &key, payload, attachment, Control::LANE, within, hear);
        if let Err(problem) = sent {
            promise.keep(Err(CommandError::NotSent { problem: problem.to_string() }));
        }
    }

    fn hear(&self, reply: &Reply) {
        let Ok(sample) = reply.result() else {
            // An error reply comes from Zenoh itself, when a query times out.
            return;
        };
        let node = self.node.clone();
        let raw = raw(sample, Control::MAX_BYTES);
        let answer =
            codec::decode_value::<CommandReply<R>>(&raw.payload, raw.encoding, Control::MAX_BYTES);
        self.promise.keep(match answer {
            Ok(CommandReply::Accepted(reply)) => Ok(reply),
            Ok(CommandReply::Refused(refused)) => {
                Err(CommandError::Refused { node, reason: refused.reason })
            },
            Err(problem) => Err(CommandError::Malformed { node, problem }),
        });
    }
}

impl<R> Drop for CommandQuery<R> {
    fn drop(&mut self) {
        let node = self.node.clone();
        let waited = self.asked.elapsed();
        // Has no effect if a reply came. A query that ends before its deadline reached no node.
        self.promise.keep(Err(if waited < self.deadline {
            CommandError::NotThere { node }
        } else {
            CommandError::NoAnswer { node, command: self.name, waited: self.deadline }
        }));
    }
}
