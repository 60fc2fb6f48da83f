use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::sync::lock::Mutex;
use hana_protocol::contract::Key;
use hana_protocol::id::role::Role;
use hana_protocol::message::{Accepted, CommandReply, Control, Override, Refused};
use hana_protocol::wire::codec::Encoding;
use hana_protocol::wire::{Message, codec};
use zenoh::Wait;
use zenoh::query::Query;

use crate::config::node_config::NodeConfig;
use crate::node::node_shared::NodeShared;
use crate::playback::parameter_store::ParameterStore;
use crate::rpc::incoming_command::Request;
use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::sync::inbox::Inbox;
use crate::transport::inbound::admission::AdmissionFilter;
use crate::transport::inbound::inbound_stats::InboundStats;
use crate::transport::inbound::payload_dedup::PayloadDedup;
use crate::transport::outbound::sender_identity::SenderIdentity;
use crate::transport::raw_message::RawMessage;

/// Receives the commands to a node, carries out those that the node supports, and passes the others to the program.
pub(super) struct CommandHandler {
    key: String,
    role: Role,
    config: Arc<NodeConfig>,
    identity: SenderIdentity,
    inbound: InboundStats,
    parameters: Arc<ParameterStore>,
    requests: Inbox<Request>,
    is_shutdown_requested: Arc<AtomicBool>,
    /// Detects duplicates of commands without an envelope, which may arrive over two paths.
    duplicates: Mutex<PayloadDedup>,
}

/// The reason with which a visualization refuses a blackout.
const CANNOT_BLACK_OUT: &str = "its program cannot draw a blackout: with hana_plugin, build it with the feature `ui` or declare `draws_blackout_itself()`; without Bevy, declare `NodeConfig::with_blackout()`; `hana stop` ends the program";

impl CommandHandler {
    pub(super) fn new(shared: &NodeShared) -> Arc<Self> {
        let context = &shared.context;
        Arc::new(Self {
            key: Key::Control(context.identity.id.clone()).to_string(),
            role: shared.role,
            config: Arc::clone(&context.config),
            identity: context.identity.clone(),
            inbound: context.inbound.clone(),
            parameters: Arc::clone(&shared.parameters),
            requests: shared.requests.clone(),
            is_shutdown_requested: Arc::clone(&shared.is_shutdown_requested),
            duplicates: Mutex::default(),
        })
    }

    /// Receives commands on a session: as queries, which get a reply, and as puts, which get no reply.
    pub(super) fn receive_on(self: &Arc<Self>, worker: &SessionWorker) -> RegistrationGuard {
        let (handler, replying) = (Arc::clone(self), worker.clone());
        let filter = Arc::new(AdmissionFilter::for_commands());
        worker.declare(self.key.clone(), move |session| {
            let (handler, worker, filter) =
                (Arc::clone(&handler), replying.clone(), Arc::clone(&filter));
            let key = handler.key.clone();
            let queries = {
                let (handler, worker, filter) =
                    (Arc::clone(&handler), worker.clone(), Arc::clone(&filter));
                session
                    .declare_queryable(key.clone())
                    .complete(true)
                    .callback(move |query: Query| {
                        let limit = Control::MAX_BYTES;
                        if let Some(raw) = handler.inbound.admit_query(&query, limit, &filter) {
                            handler.handle(&raw, Some(query), &worker);
                        }
                    })
                    .wait()?
            };
            let puts = session
                .declare_subscriber(key)
                .callback(move |sample| {
                    let raw = handler.inbound.admit_sample(&sample, Control::MAX_BYTES, &filter);
                    if let Some(raw) = raw {
                        handler.handle(&raw, None, &worker);
                    }
                })
                .wait()?;
            Ok(Box::new((queries, puts)))
        })
    }

    fn handle(&self, raw: &RawMessage, query: Option<Query>, worker: &SessionWorker) {
        let is_duplicate = raw.envelope.is_none()
            && self.duplicates.lock().is_duplicate(&raw.payload, Instant::now());
        if is_duplicate {
            // Only the first copy of a query gets a reply.
            self.inbound.counters.late(Control::LANE, None, 1);
            return;
        }
        let Some(control) = self.inbound.decode::<Control>(raw) else {
            // The reply to the sender contains the same reason as the log.
            if let Some(query) = query {
                self.refuse_unreadable(worker, query, raw);
            }
            return;
        };
        self.inbound.counters.received(Control::LANE);
        let signature = self.identity.envelope(0).encode().unwrap_or_default();
        let (worker, inbound) = (worker.clone(), self.inbound.clone());
        let from = raw.sender().cloned();
        let request =
            Request::new(control, from, self.key.clone(), query, worker, inbound, signature);
        if request.control().is_for(self.role) {
            self.carry_out(request);
        } else {
            let reason = match (request.control(), self.role) {
                (Control::Shutdown(_), Role::Daemon) => {
                    "stop a daemon on its own machine, with Ctrl-C or SIGTERM".into()
                },
                (control, role) => {
                    format!(
                        "a node of role {role} does not accept the command '{}'",
                        control.name()
                    )
                },
            };
            request.refuse(reason);
        }
    }

    fn carry_out(&self, request: Request) {
        let from = request.from();
        match request.control() {
            Control::Ping(_) => request.accept(Accepted {}),
            Control::Set(set) => match self.parameters.change_by(from, set) {
                Ok(report) => request.accept(report),
                Err(problem) => request.refuse(problem.to_string()),
            },
            Control::Take(take) => match self.parameters.take(from, take) {
                Ok(taken) => request.accept(taken),
                Err(problem) => request.refuse(problem.to_string()),
            },
            Control::Release(release) => match self.parameters.release(from, release) {
                Ok(()) => request.accept(Accepted {}),
                Err(problem) => request.refuse(problem.to_string()),
            },
            Control::Shutdown(_) => {
                self.is_shutdown_requested.store(true, Ordering::Release);
                self.config.change_counter.increment();
                request.accept(Accepted {});
            },
            Control::Freeze(_) => self.set_override(request, Some(Override::Freeze)),
            Control::Blackout(_) if !self.config.draws_blackout => request.refuse(CANNOT_BLACK_OUT),
            Control::Blackout(_) => self.set_override(request, Some(Override::Blackout)),
            Control::Resume(_) => self.set_override(request, None),
            Control::Start(_)
            | Control::Stop(_)
            | Control::Restart(_)
            | Control::Kill(_)
            | Control::Acknowledge(_)
            | Control::Reload(_)
            | Control::Tempo(_)
            | Control::Play(_)
            | Control::Pause(_) => {
                let from = from.cloned();
                let dropped = self.requests.push("", request);
                self.inbound.counters.dropped(Control::LANE, from.as_ref(), dropped);
            },
        }
    }

    fn set_override(&self, request: Request, mode: Option<Override>) {
        self.parameters.set_override(mode);
        request.accept(Accepted {});
    }

    fn refuse_unreadable(&self, worker: &SessionWorker, query: Query, raw: &RawMessage) {
        let Err(problem) = raw.decode::<Control>() else { return };
        let refused = Refused { reason: format!("cannot decode the command: {problem}") };
        let Ok(payload) = codec::encode(&CommandReply::<Accepted>::Refused(refused)) else {
            return;
        };
        let key = self.key.clone();
        worker.spawn_reply(query, move |_, query| {
            let reply = query.reply(key, payload).encoding(Encoding::MESSAGE_PACK).wait();
            if let Err(problem) = reply {
                tracing::warn!("cannot reply to a command: {problem}");
            }
        });
    }
}
