use std::marker::PhantomData;
use std::time::{Duration, Instant};

use bevy_app::{App, Plugin, PostUpdate};
use bevy_diagnostic::{Diagnostic, DiagnosticPath, Diagnostics, RegisterDiagnostic};
use bevy_ecs::prelude::*;
use hana_protocol::id::role::NodeRole;
use hana_protocol::message::LaneTraffic;
use hana_protocol::wire::Lane;

use crate::session::MeshSession;
use crate::sets::HanaSystems;

/// Bevy diagnostics of this program's messages: for each lane, the rate of each counter per second.
///
/// Add it together with the plugin of the same role: `MessageDiagnosticsPlugin::<role::Visualization>::default()`.
/// The paths are those of [`path`](Self::path); `LogDiagnosticsPlugin` prints them.
pub struct MessageDiagnosticsPlugin<R>(PhantomData<fn(R)>);

/// A counter of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LaneCounter {
    /// Messages handed to the network.
    Sent,
    /// Messages delivered to the program.
    Received,
    /// Messages dropped because a queue was full.
    Dropped,
    /// Messages replaced by a newer message on the same key.
    Coalesced,
    /// Messages that were missing at first, then retransmitted and delivered.
    Recovered,
    /// Messages that were never received.
    Missed,
    /// Messages that arrived twice, or after a newer message.
    Late,
}

const INTERVAL: Duration = Duration::from_secs(1);

impl LaneCounter {
    /// All counters.
    pub const ALL: [Self; 7] = [
        Self::Sent,
        Self::Received,
        Self::Dropped,
        Self::Coalesced,
        Self::Recovered,
        Self::Missed,
        Self::Late,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
            Self::Dropped => "dropped",
            Self::Coalesced => "coalesced",
            Self::Recovered => "recovered",
            Self::Missed => "missed",
            Self::Late => "late",
        }
    }

    const fn of(self, traffic: &LaneTraffic) -> u64 {
        match self {
            Self::Sent => traffic.sent,
            Self::Received => traffic.received,
            Self::Dropped => traffic.dropped,
            Self::Coalesced => traffic.coalesced,
            Self::Recovered => traffic.recovered,
            Self::Missed => traffic.missed,
            Self::Late => traffic.late,
        }
    }
}

impl<R> Default for MessageDiagnosticsPlugin<R> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<R: NodeRole> MessageDiagnosticsPlugin<R> {
    /// Returns the path of a diagnostic, such as `hana/visualization/reliable_ordered/missed`.
    #[must_use]
    pub fn path(lane: Lane, counter: LaneCounter) -> DiagnosticPath {
        DiagnosticPath::from_components(["hana", R::ROLE.as_str(), lane.as_str(), counter.as_str()])
    }
}

impl<R: NodeRole> Plugin for MessageDiagnosticsPlugin<R> {
    fn build(&self, app: &mut App) {
        for lane in Lane::ALL {
            for counter in LaneCounter::ALL {
                app.register_diagnostic(
                    Diagnostic::new(Self::path(lane, counter)).with_suffix("/s"),
                );
            }
        }
        app.add_systems(PostUpdate, measure::<R>.in_set(HanaSystems::Send));
    }
}

/// The time and the counters of the last reading.
type Before = (Option<Instant>, [LaneTraffic; Lane::ALL.len()]);

fn measure<R: NodeRole>(
    session: Res<MeshSession<R>>,
    mut before: Local<Before>,
    mut diagnostics: Diagnostics,
) {
    let Some(node) = session.node() else { return };
    let (at, seen) = &mut *before;
    let passed = at.map(|at| at.elapsed());
    if passed.is_some_and(|passed| passed < INTERVAL) {
        return;
    }
    *at = Some(Instant::now());
    for (lane, seen) in Lane::ALL.into_iter().zip(seen) {
        let now = node.lane(lane);
        for counter in LaneCounter::ALL {
            // A node that has rejoined counts from zero.
            let count = counter.of(&now).saturating_sub(counter.of(seen));
            if let Some(passed) = passed {
                // The cast is exact for any count that a network can reach.
                #[allow(clippy::cast_precision_loss)]
                let rate = count as f64 / passed.as_secs_f64();
                diagnostics
                    .add_measurement(&MessageDiagnosticsPlugin::<R>::path(lane, counter), || rate);
            }
        }
        *seen = now;
    }
}
