use std::collections::{BTreeMap, VecDeque};
use std::env;
use std::time::{Duration, Instant};

use bevy_ecs::prelude::*;
use hana_network::{ChangeCounter, DisconnectedBy};
use hana_protocol::id::role::Role;

use crate::connectivity::Connectivity;

/// The current problems, in plain words for a person in front of the window. ASCII, one line each.
///
/// With the feature `ui` the plugin draws them, small, at the bottom left of the window. A program that shows them in
/// its own way calls `without_notices()` on the plugin and reads [`lines`](Self::lines). `HANA_NOTICES=off` disables
/// all notices, including these lines: a daemon sets it for programs that it launches for an audience.
#[derive(Resource, Debug)]
pub struct Notices {
    all: VecDeque<Notice>,
    is_off: bool,
    /// The time at which the connection of each of the program's nodes last changed.
    since: BTreeMap<Role, Instant>,
    change_signal: ChangeCounter,
}

/// The subject of a notice. A newer notice replaces an older one on the same subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Connection(Role),
    Id(Role),
    Peer,
    Message,
    Queue,
}

#[derive(Debug)]
struct Notice {
    subject: Subject,
    text: String,
    /// The time at which the notice ended; `None` while it lasts.
    ended_at: Option<Instant>,
}

/// How long a notice of a single event is shown; a lasting problem is shown for as long as it lasts.
pub(crate) const EVENT_DURATION: Duration = Duration::from_secs(8);
/// How long an ended notice takes to fade.
const FADE_DURATION: Duration = Duration::from_millis(800);
/// Maximum characters of a line; longer lines are cut.
const MAX_CHARS: usize = 140;
/// How long joining may take before a notice appears.
const JOIN_DELAY: Duration = Duration::from_secs(3);

/// The environment variable that enables or disables notices: `on` or `off`.
const VARIABLE: &str = "HANA_NOTICES";

impl Notices {
    const fn new(is_off: bool, change_signal: ChangeCounter) -> Self {
        Self { all: VecDeque::new(), is_off, since: BTreeMap::new(), change_signal }
    }

    pub(crate) fn of_environment(change_signal: ChangeCounter) -> Self {
        Self::new(env::var(VARIABLE).is_ok_and(|set| set == "off"), change_signal)
    }

    /// Returns the lines, the latest last.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.unique().map(|notice| notice.text.as_str())
    }

    /// Iterates over the notices without duplicates, which arise when two nodes of the program report the same
    /// problem.
    fn unique(&self) -> impl Iterator<Item = &Notice> {
        self.all.iter().enumerate().filter_map(|(place, notice)| {
            let is_known = self.all.iter().take(place).any(|other| other.text == notice.text);
            (!is_known).then_some(notice)
        })
    }

    /// Returns each line with its opacity: 1, or less while the line fades.
    #[cfg(feature = "ui")]
    pub(crate) fn fading(&self, now: Instant) -> impl Iterator<Item = (&str, f32)> {
        self.unique().map(move |notice| {
            let faded = notice
                .ended_at
                .map_or(Duration::ZERO, |ended_at| now.saturating_duration_since(ended_at));
            (
                notice.text.as_str(),
                1.0 - (faded.as_secs_f32() / FADE_DURATION.as_secs_f32()).min(1.0),
            )
        })
    }

    pub(crate) fn show(&mut self, subject: Subject, text: &str, ended_at: Option<Instant>) {
        if self.is_off {
            return;
        }
        self.change_signal.increment();
        let text: String = text
            .chars()
            .take(MAX_CHARS)
            // Bevy's default font has no other characters.
            .map(|of| if of.is_ascii() && !of.is_ascii_control() { of } else { '?' })
            .collect();
        match self.all.iter_mut().find(|notice| notice.subject == subject) {
            Some(known) => {
                known.text = text;
                known.ended_at = ended_at;
            },
            None => self.all.push_back(Notice { subject, text, ended_at }),
        }
    }

    fn end(&mut self, subject: Subject, now: Instant) {
        for notice in &mut self.all {
            if notice.subject == subject {
                notice.ended_at = Some(notice.ended_at.map_or(now, |ended_at| ended_at.min(now)));
            }
        }
    }

    /// Updates the notice about the connection of the node of that role.
    ///
    /// Returns whether the notice must be updated again in the next frame.
    pub(crate) fn follow(
        &mut self,
        role: Role,
        connectivity: &Connectivity,
        is_changed: bool,
    ) -> bool {
        let now = Instant::now();
        let since = self.since.entry(role).or_insert(now);
        if is_changed {
            *since = now;
        }
        match text_of_connection(connectivity, now.saturating_duration_since(*since)) {
            Some(text) => self.show(Subject::Connection(role), text, None),
            None => self.end(Subject::Connection(role), now),
        }
        if connectivity.is_connected() {
            self.end(Subject::Id(role), now);
        }
        self.forget(now);
        !(self.all.is_empty() && connectivity.is_connected())
    }

    fn forget(&mut self, now: Instant) {
        self.all.retain(|notice| {
            notice
                .ended_at
                .is_none_or(|ended_at| now.saturating_duration_since(ended_at) < FADE_DURATION)
        });
    }
}

/// Returns the notice about the connection, if it needs one.
///
/// A program that left on purpose needs no notice. [`IdTaken`](crate::events::IdTaken) has its own notice, which
/// names the other node.
fn text_of_connection(connectivity: &Connectivity, since: Duration) -> Option<&'static str> {
    match connectivity {
        Connectivity::Joining if since >= JOIN_DELAY => {
            Some("joining the network; the program keeps drawing")
        },
        Connectivity::DaemonLost => Some("daemon lost: reconnecting without it in 5 s"),
        Connectivity::Disconnected { by: DisconnectedBy::NoNetwork, .. } => {
            Some("no network: reconnecting when there is one")
        },
        Connectivity::Joining
        | Connectivity::Connected { .. }
        | Connectivity::Disconnected {
            by: DisconnectedBy::LocalLeave | DisconnectedBy::IdConflict,
            ..
        } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(notices: &Notices) -> Vec<&str> {
        notices.lines().collect()
    }

    #[test]
    fn a_lasting_notice_stays_and_an_event_fades() {
        let start = Instant::now();
        let mut notices = Notices::new(false, ChangeCounter::default());
        notices.show(Subject::Connection(Role::App), "no network", None);
        notices.show(Subject::Peer, "two versions", Some(start + EVENT_DURATION));
        notices.forget(start + EVENT_DURATION);
        assert_eq!(lines(&notices), ["no network", "two versions"]);
        notices.forget(start + EVENT_DURATION + FADE_DURATION);
        assert_eq!(lines(&notices), ["no network"]);
        let ended_at = start + EVENT_DURATION * 2;
        notices.end(Subject::Connection(Role::App), ended_at);
        notices.end(Subject::Connection(Role::App), ended_at + FADE_DURATION);
        notices.forget(ended_at + FADE_DURATION / 2);
        assert_eq!(lines(&notices), ["no network"], "it fades");
        notices.forget(ended_at + FADE_DURATION);
        assert!(lines(&notices).is_empty());
    }

    #[test]
    fn a_repeated_notice_replaces_the_former_one() {
        let now = Instant::now();
        let mut notices = Notices::new(false, ChangeCounter::default());
        for n in 0..100 {
            notices.show(Subject::Message, &format!("message {n}"), Some(now));
        }
        assert_eq!(lines(&notices), ["message 99"]);
        notices.show(Subject::Message, "message 100", Some(now + EVENT_DURATION));
        notices.forget(now + FADE_DURATION);
        assert_eq!(lines(&notices), ["message 100"]);
    }

    #[test]
    fn a_line_is_short_ascii() {
        let mut notices = Notices::new(false, ChangeCounter::default());
        notices.show(Subject::Message, &format!("zwölf\n{}", "x".repeat(1000)), None);
        let line = notices.lines().next().unwrap_or_default();
        assert!(line.starts_with("zw?lf?xxx") && line.len() == MAX_CHARS, "{line}");
    }

    #[test]
    fn notices_can_be_switched_off() {
        let mut notices = Notices::new(true, ChangeCounter::default());
        notices.show(Subject::Connection(Role::App), "no network", None);
        assert!(lines(&notices).is_empty());
    }

    #[test]
    fn two_nodes_keep_each_others_notices() {
        let mut notices = Notices::new(false, ChangeCounter::default());
        let attach_mode = hana_network::AttachMode::ViaDaemon;
        notices.follow(Role::App, &Connectivity::DaemonLost, true);
        notices.follow(Role::Visualization, &Connectivity::Connected { attach_mode }, true);
        notices.forget(Instant::now() + EVENT_DURATION);
        assert_eq!(lines(&notices).len(), 1, "{notices:?}");
        notices.follow(Role::Visualization, &Connectivity::DaemonLost, true);
        assert_eq!(lines(&notices).len(), 1, "the same words of both: {notices:?}");
    }
}
