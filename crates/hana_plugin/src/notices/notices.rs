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
/// all notices, also these lines: a daemon sets it for programs that it launches for an audience.
#[derive(Resource, Debug)]
pub struct Notices {
    all: VecDeque<Notice>,
    is_off: bool,
    /// When the connection of each node of the program last changed.
    since: BTreeMap<Role, Instant>,
    news: ChangeCounter,
}

/// The subject of a notice. A newer notice replaces an older one on the same subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    Connection(Role),
    Id(Role),
    Peer,
    Message,
    Queue,
}

#[derive(Debug)]
struct Notice {
    about: About,
    text: String,
    /// When the notice ended; `None` while it lasts.
    over: Option<Instant>,
}

/// How long a notice of a single event is shown; a lasting problem is shown for as long as it lasts.
pub(crate) const PASSING: Duration = Duration::from_secs(8);
/// How long an ended notice takes to fade.
const FADING: Duration = Duration::from_millis(800);
/// Maximum characters of a line; longer lines are cut.
const LONGEST: usize = 140;
/// How long joining may take before a notice appears.
const JOINING: Duration = Duration::from_secs(3);

/// The environment variable that enables or disables notices: `on` or `off`.
const VARIABLE: &str = "HANA_NOTICES";

impl Notices {
    const fn new(is_off: bool, news: ChangeCounter) -> Self {
        Self { all: VecDeque::new(), is_off, since: BTreeMap::new(), news }
    }

    pub(crate) fn of_environment(news: ChangeCounter) -> Self {
        Self::new(env::var(VARIABLE).is_ok_and(|set| set == "off"), news)
    }

    /// Returns the lines, the latest last.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.different().map(|notice| notice.text.as_str())
    }

    /// Leaves out duplicates, when two nodes of one program report the same.
    fn different(&self) -> impl Iterator<Item = &Notice> {
        self.all.iter().enumerate().filter_map(|(place, notice)| {
            let is_known = self.all.iter().take(place).any(|other| other.text == notice.text);
            (!is_known).then_some(notice)
        })
    }

    /// Returns each line with its opacity: 1, and less while it fades.
    #[cfg(feature = "ui")]
    pub(crate) fn fading(&self, now: Instant) -> impl Iterator<Item = (&str, f32)> {
        self.different().map(move |notice| {
            let faded =
                notice.over.map_or(Duration::ZERO, |over| now.saturating_duration_since(over));
            (notice.text.as_str(), 1.0 - (faded.as_secs_f32() / FADING.as_secs_f32()).min(1.0))
        })
    }

    pub(crate) fn tell(&mut self, about: About, text: &str, over: Option<Instant>) {
        if self.is_off {
            return;
        }
        self.news.tell();
        let text: String = text
            .chars()
            .take(LONGEST)
            // Bevy's default font has no other characters.
            .map(|of| if of.is_ascii() && !of.is_ascii_control() { of } else { '?' })
            .collect();
        match self.all.iter_mut().find(|notice| notice.about == about) {
            Some(known) => {
                known.text = text;
                known.over = over;
            },
            None => self.all.push_back(Notice { about, text, over }),
        }
    }

    fn is_over(&mut self, about: About, now: Instant) {
        for notice in &mut self.all {
            if notice.about == about {
                notice.over = Some(notice.over.map_or(now, |over| over.min(now)));
            }
        }
    }

    /// Updates, in every frame, the notice about the connection of the node of that role.
    ///
    /// Returns whether the next frame must update it too.
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
        match about_connection(connectivity, now.saturating_duration_since(*since)) {
            Some(text) => self.tell(About::Connection(role), text, None),
            None => self.is_over(About::Connection(role), now),
        }
        if connectivity.is_connected() {
            self.is_over(About::Id(role), now);
        }
        self.forget(now);
        !(self.all.is_empty() && connectivity.is_connected())
    }

    fn forget(&mut self, now: Instant) {
        self.all.retain(|notice| {
            notice.over.is_none_or(|over| now.saturating_duration_since(over) < FADING)
        });
    }
}

/// Returns the notice about the connection, if there is one.
///
/// A program that left on purpose needs none, and [`IdTaken`](crate::events::IdTaken) has its own notice, which names the other node.
fn about_connection(connectivity: &Connectivity, since: Duration) -> Option<&'static str> {
    match connectivity {
        Connectivity::Joining if since >= JOINING => Some("joining the network; drawing goes on"),
        Connectivity::DaemonLost => Some("daemon lost: drawing goes on; back without it in 5 s"),
        Connectivity::Disconnected { by: DisconnectedBy::Error, .. } => {
            Some("no network: drawing goes on; back by itself")
        },
        Connectivity::Joining
        | Connectivity::Connected { .. }
        | Connectivity::Disconnected { by: DisconnectedBy::Us | DisconnectedBy::Peer, .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(notices: &Notices) -> Vec<&str> {
        notices.lines().collect()
    }

    #[test]
    fn what_lasts_is_told_until_it_is_over_and_what_happened_for_a_while() {
        let start = Instant::now();
        let mut notices = Notices::new(false, ChangeCounter::default());
        notices.tell(About::Connection(Role::App), "no network", None);
        notices.tell(About::Peer, "two versions", Some(start + PASSING));
        notices.forget(start + PASSING);
        assert_eq!(lines(&notices), ["no network", "two versions"]);
        notices.forget(start + PASSING + FADING);
        assert_eq!(lines(&notices), ["no network"]);
        let over = start + PASSING * 2;
        notices.is_over(About::Connection(Role::App), over);
        notices.is_over(About::Connection(Role::App), over + FADING);
        notices.forget(over + FADING / 2);
        assert_eq!(lines(&notices), ["no network"], "it fades");
        notices.forget(over + FADING);
        assert!(lines(&notices).is_empty());
    }

    #[test]
    fn one_that_comes_again_is_told_once_and_anew() {
        let now = Instant::now();
        let mut notices = Notices::new(false, ChangeCounter::default());
        for n in 0..100 {
            notices.tell(About::Message, &format!("message {n}"), Some(now));
        }
        assert_eq!(lines(&notices), ["message 99"]);
        notices.tell(About::Message, "message 100", Some(now + PASSING));
        notices.forget(now + FADING);
        assert_eq!(lines(&notices), ["message 100"]);
    }

    #[test]
    fn a_line_is_plain_and_not_too_long_whatever_was_sent() {
        let mut notices = Notices::new(false, ChangeCounter::default());
        notices.tell(About::Message, &format!("zwölf\n{}", "x".repeat(1000)), None);
        let line = notices.lines().next().unwrap_or_default();
        assert!(line.starts_with("zw?lf?xxx") && line.len() == LONGEST, "{line}");
    }

    #[test]
    fn switched_off_there_are_none() {
        let mut notices = Notices::new(true, ChangeCounter::default());
        notices.tell(About::Connection(Role::App), "no network", None);
        assert!(lines(&notices).is_empty());
    }

    #[test]
    fn two_nodes_of_a_program_do_not_take_back_what_the_other_reports() {
        let mut notices = Notices::new(false, ChangeCounter::default());
        let way = hana_network::AttachMode::ThroughDaemon;
        notices.follow(Role::App, &Connectivity::DaemonLost, true);
        notices.follow(Role::Visualization, &Connectivity::Connected { way }, true);
        notices.forget(Instant::now() + PASSING);
        assert_eq!(lines(&notices).len(), 1, "{notices:?}");
        notices.follow(Role::Visualization, &Connectivity::DaemonLost, true);
        assert_eq!(lines(&notices).len(), 1, "the same words of both: {notices:?}");
    }
}
