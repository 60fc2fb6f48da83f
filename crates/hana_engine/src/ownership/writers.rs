use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use hana_protocol::id::NodeId;
use hana_protocol::message::Priority;

/// The apps that write parameters of a visualization, with their priorities and liveliness tokens.
#[derive(Debug, Default)]
pub(super) struct Writers {
    pub(super) apps: BTreeMap<NodeId, ParameterWriter>,
    /// The number of apps without a token. While it is zero, no search for them is needed.
    gone: usize,
    /// The identity of this node's connection to the mesh, which changes when the node reconnects.
    session_id: String,
}

/// An app with its liveliness tokens; it may have two of them while it reconnects.
#[derive(Debug, Default)]
pub(super) struct ParameterWriter {
    tokens: BTreeSet<String>,
    /// The time since which the app has had no token.
    gone: Option<Instant>,
    priority: Priority,
    /// Whether the app's tokens are watched.
    is_watched: bool,
}

/// The maximum number of remembered apps. Beyond it, a live app is indistinguishable from one that was never seen.
pub(super) const MOST_APPS: usize = 256;
/// The time for which a vanished app keeps its parameters: if its daemon crashes, an app reconnects sooner.
pub(super) const GRACE: Duration = Duration::from_secs(6);

impl Writers {
    /// Returns the priority of an app.
    pub(super) fn priority_of(&self, app: &NodeId) -> Priority {
        self.apps.get(app).map_or_else(Priority::default, |app| app.priority)
    }

    /// Updates the priority of a known app; returns whether it changed.
    pub(super) fn set_priority(&mut self, app: &NodeId, priority: Priority) -> bool {
        let Some(known) = self.apps.get_mut(app).filter(|known| known.priority != priority) else {
            return false;
        };
        known.priority = priority;
        true
    }

    /// Returns the priorities other than the default.
    pub(super) fn priorities(&self) -> BTreeMap<NodeId, Priority> {
        let set = self.apps.iter().filter(|(_, app)| app.priority != Priority::default());
        set.map(|(id, app)| (id.clone(), app.priority)).collect()
    }

    pub(super) fn is_known(&self, app: &NodeId) -> bool {
        self.apps.contains_key(app)
    }

    /// Returns whether every known app has a token.
    pub(super) const fn are_all_present(&self) -> bool {
        self.gone == 0
    }

    /// Returns whether an app has had no token for [`GRACE`].
    pub(super) fn has_vanished(&self, app: &NodeId, now: Instant) -> bool {
        let gone = self.apps.get(app).and_then(|app| app.gone);
        gone.is_some_and(|gone| now.saturating_duration_since(gone) >= GRACE)
    }

    /// Counts a message from an app as a sign of life, whatever the state of its token.
    ///
    /// Over a direct link an app is reachable even when the mesh is not.
    pub(super) fn seen(&mut self, app: &NodeId, now: Instant) {
        if self.gone == 0 {
            return;
        }
        if let Some(gone) = self.apps.get_mut(app).and_then(|known| known.gone.as_mut()) {
            *gone = now;
        }
    }

    /// Registers an app that sends a command rather than values. Its token may not have been seen yet.
    pub(super) fn touch(&mut self, app: &NodeId, now: Instant) {
        if let Some(known) = self.apps.get_mut(app) {
            if known.tokens.is_empty() {
                known.gone = Some(now);
                self.count_gone();
            }
            return;
        }
        if !self.has_room(now) {
            return;
        }
        self.apps
            .insert(app.clone(), ParameterWriter { gone: Some(now), ..ParameterWriter::default() });
        self.count_gone();
    }

    fn has_room(&mut self, now: Instant) -> bool {
        if self.apps.len() >= MOST_APPS {
            self.apps.retain(|_, app| {
                app.gone.is_none_or(|gone| now.saturating_duration_since(gone) < GRACE)
            });
        }
        self.apps.len() < MOST_APPS
    }

    fn count_gone(&mut self) {
        self.gone = self.apps.values().filter(|app| app.gone.is_some()).count();
    }

    /// Records that a token of an app appeared; returns whether there was room for the app.
    pub(super) fn token_added(&mut self, app: &NodeId, token: &str, now: Instant) -> bool {
        if !self.apps.contains_key(app) && !self.has_room(now) {
            return false;
        }
        let known = self.apps.entry(app.clone()).or_default();
        known.is_watched = true;
        known.tokens.insert(token.into());
        known.gone = None;
        self.count_gone();
        true
    }

    /// Records that a token of an app disappeared.
    pub(super) fn token_removed(&mut self, app: &NodeId, token: &str, now: Instant) {
        if let Some(known) = self.apps.get_mut(app) {
            known.tokens.remove(token);
            if known.tokens.is_empty() {
                known.gone.get_or_insert(now);
            }
        }
        self.count_gone();
    }

    /// Clears the token sets after this node reconnected to the mesh; live tokens are announced again.
    ///
    /// A repeated call with the same `session_id` has no effect.
    pub(super) fn reset_tokens(&mut self, session_id: &str, now: Instant) {
        if self.session_id == session_id {
            return;
        }
        self.session_id = session_id.into();
        // An app without a token, such as a one-off command, does not vanish when this node reconnects.
        for app in self.apps.values_mut().filter(|app| !app.tokens.is_empty()) {
            app.tokens.clear();
            app.gone.get_or_insert(now);
        }
        self.count_gone();
    }

    /// Adds unknown apps; returns all apps whose tokens are not watched yet, and marks them as watched.
    pub(super) fn take_unwatched(&mut self, strangers: Vec<NodeId>, now: Instant) -> Vec<NodeId> {
        for app in strangers {
            if self.apps.contains_key(&app) || !self.has_room(now) {
                continue;
            }
            self.apps.insert(app, ParameterWriter::default());
        }
        let unwatched = self.apps.iter_mut().filter(|(_, app)| !app.is_watched);
        unwatched
            .map(|(id, app)| {
                app.is_watched = true;
                id.clone()
            })
            .collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn id(text: &str) -> NodeId {
        NodeId::new(text).unwrap()
    }

    #[test]
    fn app_vanishes_after_its_last_token_and_the_grace_period() {
        let (start, app) = (Instant::now(), id("app"));
        let mut writers = Writers::default();
        assert!(writers.token_added(&app, "1", start) && writers.token_added(&app, "2", start));
        writers.token_removed(&app, "1", start);
        assert!(writers.are_all_present());
        writers.token_removed(&app, "2", start);
        assert!(!writers.are_all_present() && !writers.has_vanished(&app, start));
        assert!(writers.has_vanished(&app, start + GRACE));
        writers.seen(&app, start + GRACE);
        assert!(!writers.has_vanished(&app, start + GRACE));
    }

    #[test]
    fn new_session_clears_the_tokens_once() {
        let (start, app) = (Instant::now(), id("app"));
        let mut writers = Writers::default();
        writers.token_added(&app, "1", start);
        writers.reset_tokens("a", start);
        assert!(!writers.are_all_present());
        writers.token_added(&app, "1", start);
        writers.reset_tokens("a", start);
        assert!(writers.are_all_present());
    }

    #[test]
    fn stranger_is_returned_once_to_be_watched() {
        let start = Instant::now();
        let mut writers = Writers::default();
        assert_eq!(writers.take_unwatched(vec![id("app")], start), [id("app")]);
        assert_eq!(writers.take_unwatched(vec![id("app")], start), []);
    }
}
