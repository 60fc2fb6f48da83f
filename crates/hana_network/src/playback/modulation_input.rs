use std::sync::Arc;

use hana_protocol::contract::{Key, Topics};
use hana_protocol::message::{Modulation, ModulationBatch, PlayPath};
use hana_protocol::wire::Message;

use crate::context::node_context::NodeContext;
use crate::playback::mesh_echo::MeshEcho;
use crate::playback::parameter_store::ParameterStore;
use crate::playback::playback_state::ApplyOutcome;
use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::transport::diagnostic::Diagnostic;
use crate::transport::inbound::admission::AdmissionFilter;
use crate::transport::inbound::inbound_stats::InboundStats;
use crate::transport::raw_message::RawMessage;

/// Applies received modulation to the parameters of a visualization.
///
/// The mesh and the direct links share one admission filter. A value that is delayed on the slower path therefore
/// counts as late if a newer value has arrived on the faster path.
pub(crate) struct ModulationInput {
    parameters: Arc<ParameterStore>,
    inbound: InboundStats,
    filter: AdmissionFilter,
    echo: MeshEcho,
    pattern: String,
    /// The instance of this node.
    instance: u64,
}

impl ModulationInput {
    pub(crate) fn new(
        context: &Arc<NodeContext>,
        parameters: &Arc<ParameterStore>,
    ) -> std::io::Result<Arc<Self>> {
        let pattern = Topics::<Modulation>::modulation_of(&context.identity.id);
        Ok(Arc::new(Self {
            parameters: Arc::clone(parameters),
            inbound: context.inbound.clone(),
            filter: AdmissionFilter::for_message::<Modulation>(),
            echo: MeshEcho::start(context, parameters.declared())?,
            pattern: pattern.pattern().to_owned(),
            instance: context.identity.instance,
        }))
    }

    /// Receives modulation on a session whose messages arrive over `path`.
    pub(crate) fn receive_on(
        self: &Arc<Self>,
        worker: &SessionWorker,
        path: PlayPath,
    ) -> RegistrationGuard {
        let input = Arc::clone(self);
        worker.subscribe(self.pattern.as_str(), move |sample| {
            // The pattern for single parameters also matches modulation batches, which are larger.
            let limit = ModulationBatch::MAX_BYTES;
            let raw = input.inbound.admit_sample(&sample, limit, &input.filter);
            if let Some(raw) = raw
                && let Err(diagnostic) = input.apply(&raw, path)
            {
                input.inbound.report_malformed(Modulation::LANE, diagnostic);
            }
        })
    }

    /// Applies a received value or modulation batch to the parameters.
    ///
    /// A message that cannot be decoded was already reported.
    fn apply(&self, raw: &RawMessage, path: PlayPath) -> Result<(), Diagnostic> {
        let envelope = raw.envelope.as_ref();
        let (key, sender) = (|| raw.key.clone(), || raw.sender().cloned());
        let value_refused =
            |problem| Diagnostic::ValueRefused { key: key(), sender: sender(), problem };
        let (outcome, is_batch) = match Key::parse(&raw.key) {
            Some(Key::Modulation { parameter, .. }) => {
                let Some(Modulation { value }) = self.inbound.decode(raw) else { return Ok(()) };
                (
                    self.parameters
                        .apply_value(envelope, &parameter, value)
                        .map_err(value_refused)?,
                    false,
                )
            },
            Some(Key::ModulationBatch(_)) => {
                let Some(batch) = self.inbound.decode::<ModulationBatch>(raw) else {
                    return Ok(());
                };
                if batch.instance != self.instance {
                    let (of, run) = (batch.instance, self.instance);
                    return Err(Diagnostic::StaleInstance {
                        key: key(),
                        sender: sender(),
                        of,
                        run,
                    });
                }
                (self.parameters.apply_batch(envelope, batch).map_err(value_refused)?, true)
            },
            _ => {
                let wanted = "parameter of one node";
                return Err(Diagnostic::WildcardKey { key: key(), sender: sender(), wanted });
            },
        };
        let ApplyOutcome { received, values, refused, to_report } = outcome;
        // A single value that arrives over the mesh has already reached the other nodes.
        if !values.is_empty() && (is_batch || path == PlayPath::Direct) {
            self.echo.queue(values);
        }
        let counters = &self.inbound.counters;
        if received.taken > 0 {
            counters.received(Modulation::LANE);
        }
        if received.late > 0 {
            counters.late(Modulation::LANE, raw.sender(), received.late);
        }
        if refused > 0 {
            counters.held(Modulation::LANE, raw.sender(), refused);
        }
        if let Some((by, count)) = to_report {
            self.inbound.report_violation(Diagnostic::OwnedByOther {
                key: key(),
                sender: sender(),
                by,
                count,
            });
        }
        Ok(())
    }
}
