//! Reports the plugin's events as notices.

use std::time::Instant;

use bevy_app::App;
use bevy_ecs::prelude::*;
use hana_network::{QueueKind, SchemaMismatch};

use crate::change_signal::ChangeSignal;
use crate::events::{DecodeFailed, IdTaken, MessageDropped, PeerIncompatible, QueueFull};
use crate::notices::notices::{EVENT_DURATION, Notices, Subject};

/// Adds the notices; with `draws` and the feature `ui`, also draws them.
pub(crate) fn build(app: &mut App, draws: bool) {
    #[cfg(feature = "ui")]
    if draws {
        crate::notices::notice_panel::build(app);
    }
    #[cfg(not(feature = "ui"))]
    let _ = draws;
    if app.world().contains_resource::<Notices>() {
        // The program's other node has added them.
        return;
    }
    let change_signal = ChangeSignal::of(app.world_mut());
    app.insert_resource(Notices::of_environment(change_signal))
        .add_observer(|taken: On<IdTaken>, mut notices: ResMut<Notices>| {
            let by = taken.holder.as_ref().map_or_else(
                || "another program".into(),
                |(host, pid)| format!("process {pid} on host '{host}'"),
            );
            let text =
                format!("the id '{}' is taken by {by}; set HANA_NODE to another", taken.node);
            notices.show(Subject::Id(taken.role), &text, None);
        })
        .add_observer(|of: On<PeerIncompatible>, mut notices: ResMut<Notices>| {
            let PeerIncompatible(SchemaMismatch { sender, topic, .. }) = of.event();
            let text = format!(
                "cannot read '{topic}' of '{sender}': the two programs define it differently"
            );
            notices.show(Subject::Peer, &text, Some(after_event()));
        })
        .add_observer(|failed: On<DecodeFailed>, mut notices: ResMut<Notices>| {
            let from =
                failed.sender.as_ref().map_or("an unnamed program", |sender| sender.as_str());
            let field = failed.field.as_ref().map_or(String::new(), |f| format!(", field '{f}'"));
            let text = format!("cannot read a message from {from}: {}{field}", failed.key);
            notices.show(Subject::Message, &text, Some(after_event()));
        })
        .add_observer(|full: On<QueueFull>, mut notices: ResMut<Notices>| {
            let text = format!("send queue full: {}", full.key);
            notices.show(Subject::Queue, &text, Some(after_event()));
        })
        .add_observer(|dropped: On<MessageDropped>, mut notices: ResMut<Notices>| {
            let text = match dropped.queue {
                QueueKind::Inbox => format!("receive queue full: {}", dropped.key),
                QueueKind::Network => format!("messages lost in the network: {}", dropped.key),
                QueueKind::Outbox => {
                    format!("send queue full: {}", dropped.key)
                },
            };
            notices.show(Subject::Queue, &text, Some(after_event()));
        });
}

fn after_event() -> Instant {
    Instant::now() + EVENT_DURATION
}
