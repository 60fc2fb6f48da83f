use std::sync::Weak;
use std::thread;
use std::time::{Duration, Instant};

use hana_protocol::message::{Counters, Event, EventKind, Health, Look, ParameterOwners};

use crate::node::node::NodeContext;
use crate::presence::frame_counter::FrameMeter;
use crate::presence::memory;
use crate::state::state_publisher::StatePublisher;
use crate::transport::publisher::Publisher;

/// Heartbeat interval. Each heartbeat publishes health, a changed look and a few pending reports.
const BEAT: Duration = Duration::from_millis(100);
/// Maximum number of problem reports published per second.
///
/// Others are only counted, so that a flood of bad messages does not become a flood of reports.
const COMPLAINTS_PER_SECOND: u32 = 5;

/// Heartbeats between two publications of unchanged owners.
///
/// A controller that missed a change would otherwise keep a wrong view of what it owns.
const HOLDERS_AGAIN: u32 = 20;

/// Publishes health, look, owners and problem reports of a node at every heartbeat.
pub(crate) struct StatusPublisher {
    pub(crate) health: Publisher<Health>,
    pub(crate) events: Publisher<Event>,
    /// Whether the node has frames to count. A node that has drawn none yet is still starting.
    pub(crate) draws: bool,
    /// The look; only a visualization has one.
    pub(crate) look: Option<StatePublisher<Look>>,
    /// The parameter owners; only a visualization has parameters.
    pub(crate) owners: Option<StatePublisher<ParameterOwners>>,
}

impl StatusPublisher {
    /// Starts the heartbeat, which ends with the node.
    pub(crate) fn start(self, core: Weak<NodeContext>) -> std::io::Result<()> {
        thread::Builder::new().name("hana heart".into()).spawn(move || self.beat(&core))?;
        Ok(())
    }

    fn beat(&self, core: &Weak<NodeContext>) {
        let begun = Instant::now();
        let mut meter = FrameMeter::default();
        let (mut looked, mut held) = (0, 0);
        let mut may_complain = COMPLAINTS_PER_SECOND;
        for beat in 0_u32.. {
            {
                let Some(core) = core.upgrade() else { return };
                let now = Instant::now();
                self.say_health(&core, &mut meter, begun, now);
                self.show_look(&core, &mut looked);
                self.tell_owners(&core, &mut held, beat);
                core.repeat_states(now);
                if beat.is_multiple_of(10) {
                    may_complain = COMPLAINTS_PER_SECOND;
                }
                self.complain(&core, &mut may_complain);
            }
            // Computed from the planned time, so that heartbeats do not drift; a missed one follows at once.
            let next = begun + BEAT * (beat + 1);
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }

    fn say_health(&self, core: &NodeContext, meter: &mut FrameMeter, begun: Instant, now: Instant) {
        let health = Health {
            frames: self.draws.then(|| meter.read(&core.frames, now)),
            headless: core.headless(),
            uptime_ms: u64::try_from(now.duration_since(begun).as_millis()).unwrap_or(u64::MAX),
            memory_bytes: memory::resident_bytes(),
            counters: Counters { overdue: core.board.overdue(), ..core.counters.totals() },
            lanes: core.counters.lanes(),
            troubles: core.counters.troubles(),
            plays: core.sessions.statuses().into_iter().take(Health::MAX_PLAYS).collect(),
        };
        if let Err(problem) = self.health.publish(&health) {
            tracing::warn!("health is not said: {problem}");
        }
    }

    fn show_look(&self, core: &NodeContext, looked: &mut u64) {
        let Some(look) = &self.look else { return };
        let version = core.board.version();
        if version == *looked {
            return;
        }
        match look.set(&core.board.look()) {
            Ok(_) => *looked = version,
            Err(problem) => tracing::warn!("the look is not shown: {problem}"),
        }
    }

    fn tell_owners(&self, core: &NodeContext, told: &mut u64, beat: u32) {
        let Some(publisher) = &self.owners else { return };
        core.watch_new_players(Instant::now());
        let Some((version, owners)) = core.board.owners_since(*told) else {
            if beat.is_multiple_of(HOLDERS_AGAIN) {
                publisher.say_again();
            }
            return;
        };
        match publisher.set(&owners) {
            Ok(_) => *told = version,
            Err(problem) => tracing::warn!("who holds what is not said: {problem}"),
        }
    }

    fn complain(&self, core: &NodeContext, may_complain: &mut u32) {
        while *may_complain > 0 {
            let Some(problem) = core.reception.next_complaint() else { return };
            let text = problem.to_string();
            *may_complain -= 1;
            tracing::warn!("{text}");
            let event =
                Event { kind: EventKind::MessageRefused, about: core.identity.id.clone(), text };
            if let Err(problem) = self.events.publish(&event) {
                tracing::warn!("a complaint is not said: {problem}");
            }
        }
    }
}
