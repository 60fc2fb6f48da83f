use std::sync::Weak;
use std::thread;
use std::time::{Duration, Instant};

use hana_protocol::message::{Counters, Event, EventKind, Health, Look, ParameterOwners};

use crate::node::node::NodeContext;
use crate::presence::frame_counter::FrameMeter;
use crate::presence::memory;
use crate::state::state_publisher::StatePublisher;
use crate::transport::publisher::Publisher;

/// Ten beats a second: health is said, a changed look is shown, and complaints are voiced, a few at a time.
const BEAT: Duration = Duration::from_millis(100);
/// Complaints said in a second; the others are only counted, so that a flood of bad messages does not
/// become a flood of good ones.
const COMPLAINTS_PER_SECOND: u32 = 5;

/// Beats from one time that is said who holds what to the next, where nothing changes: who has missed a change would else go
/// on thinking that he has, or has not, what he plays.
const HOLDERS_AGAIN: u32 = 20;

/// What the heart says.
pub(crate) struct StatusPublisher {
    pub(crate) health: Publisher<Health>,
    pub(crate) events: Publisher<Event>,
    /// Whether it has frames to count. One that has drawn none yet is still starting.
    pub(crate) draws: bool,
    /// Only a visualization has a look.
    pub(crate) look: Option<StatePublisher<Look>>,
    /// Nor does anybody else have parameters to hold.
    pub(crate) holders: Option<StatePublisher<ParameterOwners>>,
}

impl StatusPublisher {
    /// Starts to beat, until the node is gone.
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
                self.tell_holders(&core, &mut held, beat);
                core.repeat_states(now);
                if beat.is_multiple_of(10) {
                    may_complain = COMPLAINTS_PER_SECOND;
                }
                self.complain(&core, &mut may_complain);
            }
            // From the time it should be, so that beats do not drift; at once if one was missed.
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

    fn tell_holders(&self, core: &NodeContext, told: &mut u64, beat: u32) {
        let Some(publisher) = &self.holders else { return };
        core.watch_new_players(Instant::now());
        let Some((version, holders)) = core.board.holders_since(*told) else {
            if beat.is_multiple_of(HOLDERS_AGAIN) {
                publisher.say_again();
            }
            return;
        };
        match publisher.set(&holders) {
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
