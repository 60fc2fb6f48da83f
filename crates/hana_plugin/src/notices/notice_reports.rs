//! Reports the plugin's events as notices.

use std::time::Instant;

use bevy_app::App;
use bevy_ecs::prelude::*;
use hana_network::{QueueKind, SchemaMismatch};

use crate::change_signal::ChangeSignal;
use crate::events::{DecodeFailed, IdTaken, MessageDropped, PeerIncompatible, QueueFull};
use crate::notices::notices::{About, Notices, PASSING};

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
    let news = ChangeSignal::of(app.world_mut());
    app.insert_resource(Notices::of_environment(news))
        .add_observer(|taken: On<IdTaken>, mut notices: ResMut<Notices>| {
            let by = taken.holder.as_ref().map_or_else(
                || "another program".into(),
                |(host, pid)| format!("process {pid} on host '{host}'"),
            );
            let text =
                format!("the id '{}' is taken by {by}; set HANA_NODE to another", taken.node);
            notices.tell(About::Id(taken.role), &text, None);
        })
        .add_observer(|of: On<PeerIncompatible>, mut notices: ResMut<Notices>| {
            let PeerIncompatible(SchemaMismatch { sender, topic, .. }) = of.event();
            let text = format!(
                "'{sender}' and this program are of two versions: its '{topic}' is not read"
            );
            notices.tell(About::Peer, &text, Some(passing()));
        })
        .add_observer(|failed: On<DecodeFailed>, mut notices: ResMut<Notices>| {
            let from = failed.sender.as_ref().map_or("somebody", |sender| sender.as_str());
            let field = failed.field.as_ref().map_or(String::new(), |f| format!(", field '{f}'"));
            let text = format!("a message of {from} cannot be read: {}{field}", failed.key);
            notices.tell(About::Message, &text, Some(passing()));
        })
        .add_observer(|full: On<QueueFull>, mut notices: ResMut<Notices>| {
            let text = format!("more is sent than the network takes: {}", full.key);
            notices.tell(About::Queue, &text, Some(passing()));
        })
        .add_observer(|dropped: On<MessageDropped>, mut notices: ResMut<Notices>| {
            let text = match dropped.queue {
                QueueKind::Inbox => format!("more comes than this program reads: {}", dropped.key),
                QueueKind::Network => format!("messages are lost on the way: {}", dropped.key),
                QueueKind::Outbox => {
                    format!("more is sent than the network takes: {}", dropped.key)
                },
            };
            notices.tell(About::Queue, &text, Some(passing()));
        });
}

fn passing() -> Instant {
    Instant::now() + PASSING
}
