use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::sync::lock::Mutex;
use hana_protocol::message::{Event, EventKind, Health};

use crate::context::node_context::NodeContext;
use crate::presence::frame_counter::{FrameCounter, FrameMeter};
use crate::presence::memory;
use crate::transport::outbound::publisher::Publisher;

/// Publishes the health and the diagnostics of a node at every heartbeat.
pub(crate) struct StatusPublisher {
    pub(crate) health: Publisher<Health>,
    pub(crate) events: Publisher<Event>,
    /// The frame counter of a visualization. A visualization that has not drawn a frame yet is still starting.
    pub(crate) frames: Option<Arc<FrameCounter>>,
    /// The reason why the program runs without a window; `None` if it has a window.
    pub(crate) headless: Arc<Mutex<Option<String>>>,
    /// The function that adds the values of other subsystems to the health.
    pub(crate) add_to_health: Box<dyn Fn(&mut Health) + Send>,
    /// The function that publishes the other data of the node at each heartbeat.
    pub(crate) on_heartbeat: HeartbeatHook,
}

/// A function that runs at each heartbeat and gets the heartbeat's number.
pub(crate) type HeartbeatHook = Box<dyn FnMut(&NodeContext, u32) + Send>;

/// The heartbeat interval. Each heartbeat publishes the health, a changed look, and a few pending diagnostics.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(100);
/// The maximum number of diagnostics published per second.
///
/// Further diagnostics are only counted, so that a flood of invalid messages does not become a flood of reports.
const REPORTS_PER_SECOND: u32 = 5;

impl StatusPublisher {
    /// Starts the heartbeat, which ends with the node.
    pub(crate) fn start(mut self, context: &Arc<NodeContext>) -> std::io::Result<()> {
        let context = Arc::downgrade(context);
        thread::Builder::new().name("hana heart".into()).spawn(move || self.run(&context))?;
        Ok(())
    }

    fn run(&mut self, context: &Weak<NodeContext>) {
        let began = Instant::now();
        let mut meter = FrameMeter::default();
        let mut remaining_reports = REPORTS_PER_SECOND;
        for number in 0_u32.. {
            {
                let Some(context) = context.upgrade() else { return };
                let now = Instant::now();
                self.publish_health(&context, &mut meter, began, now);
                (self.on_heartbeat)(&context, number);
                context.republish_states(now);
                if number.is_multiple_of(10) {
                    remaining_reports = REPORTS_PER_SECOND;
                }
                self.report_problems(&context, &mut remaining_reports);
            }
            // The next time is computed from the start, so that heartbeats do not drift. A late heartbeat follows at
            // once.
            let next = began + HEARTBEAT_INTERVAL * (number + 1);
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }

    fn publish_health(
        &self,
        context: &NodeContext,
        meter: &mut FrameMeter,
        began: Instant,
        now: Instant,
    ) {
        let counters = &context.inbound.counters;
        let mut health = Health {
            frames: self.frames.as_ref().map(|frames| meter.read(frames, now)),
            headless: self.headless.lock().clone(),
            uptime_ms: u64::try_from(now.duration_since(began).as_millis()).unwrap_or(u64::MAX),
            memory_bytes: memory::resident_bytes(),
            counters: counters.totals(),
            lanes: counters.lanes(),
            troubles: counters.troubles(),
            ..Health::default()
        };
        (self.add_to_health)(&mut health);
        if let Err(problem) = self.health.publish(&health) {
            tracing::warn!("cannot publish the health of this node: {problem}");
        }
    }

    fn report_problems(&self, context: &NodeContext, remaining: &mut u32) {
        while *remaining > 0 {
            let Some(diagnostic) = context.inbound.next_report() else { return };
            let text = diagnostic.to_string();
            *remaining -= 1;
            tracing::warn!("{text}");
            let about = context.identity.id.clone();
            let event = Event { kind: EventKind::MessageRefused, about, text };
            if let Err(problem) = self.events.publish(&event) {
                tracing::warn!("cannot publish a problem report: {problem}");
            }
        }
    }
}
