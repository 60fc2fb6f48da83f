use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use hana_protocol::Accepted;
use hana_protocol::Answer;
use hana_protocol::Control;
use hana_protocol::CustomMessage;
use hana_protocol::Encoding;
use hana_protocol::Key;
use hana_protocol::Lane;
use hana_protocol::Message;
use hana_protocol::NodeId;
use hana_protocol::PayloadError;
use hana_protocol::TopicName;
use hana_protocol::codec;
use thiserror::Error;
use zenoh::Wait;
use zenoh::qos::CongestionControl;
use zenoh::query::ConsolidationMode;
use zenoh::query::Reply;

use crate::Pending;
use crate::node::Core;
use crate::outbox::quality;
use crate::pending::Promise;
use crate::publisher::encode;
use crate::reception::raw;

/// Why a message did not reach the node it was sent to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SendError {
    /// Nobody of that id hears that topic.
    #[error(
        "'{node}' is not on the mesh, or hears no '{topic}'; `hana nodes` lists who is there, `hana send {node}` what it hears"
    )]
    NotHeard {
        /// The id.
        node: NodeId,
        /// The topic.
        topic: TopicName,
    },
    /// It is there, but did not answer in time. Whether the message arrived is not known.
    #[error(
        "'{node}' did not answer '{topic}' within {} ms; `hana nodes` says how it is",
        waited.as_millis()
    )]
    NoAnswer {
        /// The id.
        node: NodeId,
        /// The topic.
        topic: TopicName,
        /// For how long we waited.
        waited: Duration,
    },
    /// It refused.
    #[error("'{node}' refuses '{topic}': {reason}")]
    Refused {
        /// The id.
        node: NodeId,
        /// The topic.
        topic: TopicName,
        /// Its words.
        reason: String,
    },
    /// It answered something that cannot be read; most likely it is of another version.
    #[error("the answer of '{node}' cannot be read: {problem}")]
    Malformed {
        /// The id.
        node: NodeId,
        /// What is wrong.
        problem: PayloadError,
    },
    /// The message could not be sent.
    #[error("the message was not sent: {problem}")]
    NotSent {
        /// Why.
        problem: String,
    },
}

/// Messages of a node that wait for their answers at most; a further one fails at once.
const UNANSWERED: usize = 256;

/// Sends a message to `node`, and brings its answer within `deadline`.
pub(super) fn send<M: CustomMessage>(
    core: &Core,
    node: &NodeId,
    message: &M,
    deadline: Duration,
) -> Pending<Result<Accepted, SendError>> {
    let topic = TopicName::of::<M>();
    let payload = encode(M::TOPIC, message).map_err(|problem| problem.to_string());
    ask(core, node, &topic, payload, M::LANE, deadline)
}

pub(super) fn ask(
    core: &Core,
    node: &NodeId,
    topic: &TopicName,
    payload: Result<Vec<u8>, String>,
    lane: Lane,
    deadline: Duration,
) -> Pending<Result<Accepted, SendError>> {
    let (promise, pending) = Pending::new();
    let payload = payload.and_then(|payload| {
        // One holder is the node itself.
        let waiting = Arc::strong_count(&core.unanswered).saturating_sub(1);
        let many = || format!("{waiting} messages wait for their answers already; send less");
        if waiting < UNANSWERED { Ok(payload) } else { Err(many()) }
    });
    let payload = match payload {
        Ok(payload) => payload,
        Err(problem) => {
            promise.keep(Err(SendError::NotSent { problem }));
            return pending;
        },
    };
    let key = Key::Inbox { node: node.clone(), topic: topic.clone() }.to_string();
    let attachment = core.identity.next_envelope(&key).encode().unwrap_or_default();
    let question = Question {
        node: node.clone(),
        topic: topic.clone(),
        asked: None,
        deadline,
        promise,
        _unanswered: Arc::clone(&core.unanswered),
    };
    let counters = Arc::clone(&core.counters);
    core.worker.run(move |session| {
        if question.send(session, key, payload, attachment, lane) {
            counters.sent.add(1);
        }
    });
    pending
}

struct Question {
    node: NodeId,
    topic: TopicName,
    /// When it was put to Zenoh; none before.
    asked: Option<Instant>,
    deadline: Duration,
    promise: Promise<Result<Accepted, SendError>>,
    _unanswered: Arc<()>,
}

impl Question {
    fn send(
        mut self,
        session: &zenoh::Session,
        key: String,
        payload: Vec<u8>,
        attachment: Vec<u8>,
        lane: Lane,
    ) -> bool {
        let (priority, _, express) = quality(lane);
        let promise = self.promise.clone();
        self.asked = Some(Instant::now());
        let sent = session
            .get(key)
            .payload(payload)
            .encoding(Encoding::MESSAGE_PACK)
            .attachment(attachment)
            .congestion_control(CongestionControl::Drop)
            .priority(priority)
            .express(express)
            .consolidation(ConsolidationMode::None)
            .timeout(self.deadline)
            // Dropped by Zenoh when the question has ended, answered or not.
            .callback(move |reply| self.hear(&reply))
            .wait();
        if let Err(problem) = &sent {
            promise.keep(Err(SendError::NotSent { problem: problem.to_string() }));
        }
        sent.is_ok()
    }

    fn hear(&self, reply: &Reply) {
        let Ok(sample) = reply.result() else {
            // Zenoh's own word for a question that nobody answered in time.
            return;
        };
        let node = self.node.clone();
        let raw = raw(sample, Control::MAX_BYTES);
        let answer =
            codec::decode_value::<Answer<Accepted>>(&raw.payload, raw.encoding, Control::MAX_BYTES);
        self.promise.keep(match answer {
            Ok(Answer::Accepted(accepted)) => Ok(accepted),
            Ok(Answer::Refused(refused)) => {
                Err(SendError::Refused { node, topic: self.topic.clone(), reason: refused.reason })
            },
            Err(problem) => Err(SendError::Malformed { node, problem }),
        });
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        let (node, topic) = (self.node.clone(), self.topic.clone());
        // Without effect if it was answered. A question that ends early found nobody to ask.
        self.promise.keep(Err(match self.asked.map(|asked| asked.elapsed()) {
            None => SendError::NotSent { problem: "there is no way onto the mesh now".into() },
            Some(waited) if waited < self.deadline => SendError::NotHeard { node, topic },
            Some(_) => SendError::NoAnswer { node, topic, waited: self.deadline },
        }));
    }
}
