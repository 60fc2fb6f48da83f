//! The exchange of claims and notes with the other apps.

use std::collections::{BTreeMap, BTreeSet};

use hana_protocol::id::{NodeId, Stamp};
use hana_protocol::message::{Claim, Note, OperatorState, Priority};

use crate::ownership::claims::ClaimManager;
use crate::ownership::claims::claim_event::ClaimEvent;
use crate::ownership::claims::claim_key::{ClaimKey, ClaimState};
use crate::ownership::lww_map::LwwEntry;

/// The maximum size of the published claims in bytes; beyond it, the oldest claims are left out.
const MAX_PUBLISHED_BYTES: usize = 180 * 1024;

impl ClaimManager {
    /// Applies the state that another app, which is present, has published.
    pub fn apply_peer_state(&mut self, from: &NodeId, session: &OperatorState, unix_ms: u64) {
        // Ended claims are applied first: an app that knowingly takes over a claim publishes both the end of the old
        // claim and the new claim.
        let (ended, live): (Vec<&Claim>, Vec<&Claim>) =
            session.claims.iter().partition(|wish| wish.ended);
        for wish in ended.into_iter().chain(live) {
            self.apply_claim(wish, unix_ms);
        }
        for Note { app, text, stamp } in &session.notes {
            if !self.clock.observe(stamp) || text.chars().count() > OperatorState::MAX_NOTE {
                continue;
            }
            let before = self.notes.get(app).cloned().unwrap_or_default();
            let written = LwwEntry { stamp: stamp.clone(), value: Some(text.clone()) };
            if self.notes.write(app.clone(), written) && *app != self.own && before != *text {
                self.version += 1;
                self.tell(ClaimEvent::NoteChanged { app: app.clone(), text: text.clone() });
            }
        }
        self.update_unreported(from, session);
    }

    /// Updates the set of writes that an app made but does not publish.
    ///
    /// The app lost them in a restart, or publishes older writes instead, because the clock of its earlier instance was
    /// ahead.
    fn update_unreported(&mut self, from: &NodeId, session: &OperatorState) {
        let published = session.claims.iter().filter(|wish| wish.stamp.by == *from);
        let published: BTreeMap<ClaimKey, &Stamp> =
            published.map(|wish| (ClaimKey::of(wish), &wish.stamp)).collect();
        let wrote = self.map.all_written().filter(|(_, written)| written.stamp.by == *from);
        let claims = wrote
            .filter(|(of, written)| published.get(of).is_none_or(|stamp| **stamp < written.stamp))
            .map(|(of, _)| of.clone())
            .collect();
        let published = session.notes.iter().filter(|note| note.stamp.by == *from);
        let published: BTreeMap<&NodeId, &Stamp> =
            published.map(|note| (&note.app, &note.stamp)).collect();
        let wrote = self.notes.all_written().filter(|(_, written)| written.stamp.by == *from);
        let notes = wrote
            .filter(|(app, written)| published.get(app).is_none_or(|stamp| **stamp < written.stamp))
            .map(|(app, _)| app.clone())
            .collect();
        let unreported: (BTreeSet<ClaimKey>, BTreeSet<NodeId>) = (claims, notes);
        let before = if unreported.0.is_empty() && unreported.1.is_empty() {
            self.unreported.remove(from)
        } else {
            self.unreported.insert(from.clone(), unreported.clone())
        };
        self.version += u64::from(before.unwrap_or_default() != unreported);
    }

    fn apply_claim(&mut self, wish: &Claim, unix_ms: u64) {
        if !self.clock.observe(&wish.stamp) {
            return;
        }
        let of = ClaimKey::of(wish);
        let before = self.map.written(&of).cloned();
        let was_live =
            before.as_ref().is_some_and(|of| of.value.as_ref().is_some_and(ClaimState::is_live));
        let state = ClaimState { priority: wish.priority, ended: wish.ended, to: wish.to.clone() };
        let written = LwwEntry { stamp: wish.stamp.clone(), value: Some(state) };
        if !self.map.write(of.clone(), written) {
            return;
        }
        self.version += 1;
        self.unsettle(&of);
        if of.app == self.own && wish.stamp.by == self.own && self.decided.contains(&of) {
            // An earlier instance of this app, whose clock was ahead, wrote this claim. This instance's decision is
            // newer.
            match before.and_then(|before| before.value) {
                Some(ClaimState { ended: true, to, .. }) => self.end(of, to, unix_ms),
                _ => self.renew(of, unix_ms),
            }
            return;
        }
        if of.app == self.own {
            self.confirmed.remove(&(of.node.clone(), of.parameter.clone()));
            if was_live && wish.ended {
                let by = wish.to.clone().unwrap_or_else(|| wish.stamp.by.clone());
                let ClaimKey { node, parameter, .. } = of;
                self.request_now(&node);
                // Otherwise, an earlier instance of this app released the claim, and no other app took the parameter.
                if by != self.own {
                    self.tell(ClaimEvent::Lost { node, parameter, by, apart: false });
                }
            }
            return;
        }
        let mine = ClaimKey { app: self.own.clone(), ..of.clone() };
        let Some(own) =
            self.map.written(&mine).filter(|of| of.value.as_ref().is_some_and(ClaimState::is_live))
        else {
            return;
        };
        let own_priority = own.value.as_ref().map_or_else(Priority::default, |own| own.priority);
        let is_lesser = (own_priority, &own.stamp) < (wish.priority, &wish.stamp);
        let ClaimKey { app: of_app, node, parameter } = of;
        if wish.ended {
            // The other app noticed the conflict first. Check whether this app knew of the other claim when it made its
            // own.
            let knew = was_live
                || before.is_some_and(|before| {
                    before.stamp.by == self.own && before.stamp.ms == own.stamp.ms
                });
            if !knew && wish.to.as_ref() == Some(&self.own) {
                let from = wish.app.clone();
                self.tell(ClaimEvent::Retained { node, parameter, from });
            }
        } else if !self.present.contains(&of_app) {
            // The claimant is gone. If it comes back, the visualization decides.
        } else if is_lesser {
            let by = wish.app.clone();
            self.end(mine, Some(by.clone()), unix_ms);
            self.tell(ClaimEvent::Lost { node, parameter, by, apart: true });
        } else {
            let from = wish.app.clone();
            self.tell(ClaimEvent::Retained { node, parameter, from });
        }
    }

    /// Returns the state to publish: this app's own writes, and other apps' writes that those apps do not publish.
    #[must_use]
    pub fn operator_state(&self) -> OperatorState {
        let is_said_here =
            |stamp: &Stamp| stamp.by == self.own || !self.present.contains(&stamp.by);
        let is_unsaid = |of: &ClaimKey, by: &NodeId| {
            self.unreported.get(by).is_some_and(|(claims, _)| claims.contains(of))
        };
        let is_unsaid_note = |of: &NodeId, by: &NodeId| {
            self.unreported.get(by).is_some_and(|(_, notes)| notes.contains(of))
        };
        let mut claims: Vec<Claim> = self
            .map
            .all_written()
            .filter(|(of, LwwEntry { stamp, .. })| is_said_here(stamp) || is_unsaid(of, &stamp.by))
            .filter_map(|(of, written)| {
                let ClaimState { priority, ended, to } = written.value.clone()?;
                let ClaimKey { app, node, parameter } = of.clone();
                Some(Claim {
                    app,
                    node,
                    parameter,
                    priority,
                    ended,
                    to,
                    stamp: written.stamp.clone(),
                })
            })
            .collect();
        claims.sort_by(|a, b| b.stamp.cmp(&a.stamp));
        let mut bytes = 0;
        claims.retain(|wish| {
            let names = [&wish.app, &wish.node, &wish.stamp.by].map(|id| id.as_str().len());
            let names = names.iter().sum::<usize>() + wish.parameter.as_str().len();
            bytes += 100 + names;
            bytes <= MAX_PUBLISHED_BYTES
        });
        let notes = self.notes.all_written().filter(|(app, LwwEntry { stamp, .. })| {
            is_said_here(stamp) || is_unsaid_note(app, &stamp.by)
        });
        let notes = notes.filter_map(|(app, written)| {
            let (app, text, stamp) = (app.clone(), written.value.clone()?, written.stamp.clone());
            Some(Note { app, text, stamp })
        });
        OperatorState { priority: self.priority, claims, notes: notes.collect() }
    }
}
