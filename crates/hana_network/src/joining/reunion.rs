//! How daemons that lost each other, where a network was parted, come together again within about a second.
//!
//! Zenoh looks for peers ever more slowly, up to every 8 s, which cannot be set. So a daemon that lost others asks who is there,
//! itself, twice a second for ten minutes. When one that was lost answers, it introduces the two: a short-lived peer opens a link to
//! both, and Zenoh's gossip does the rest, since each hears from it where the other listens.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use serde_json::json;
use zenoh::Config;
use zenoh::Wait;
use zenoh::config::WhatAmI;
use zenoh::config::ZenohId;
use zenoh::sample::SampleKind;
use zenoh::scouting::Hello;
use zenoh::session::TransportEvent;

use crate::NodeConfig;
use crate::joining::addresses::Addresses;
use crate::joining::session::Part;
use crate::joining::worker::Declaration;
use crate::joining::worker::Worker;
use crate::node::Core;

/// Who was lost, and when. Pure.
#[derive(Debug, Default)]
struct Lost(HashMap<ZenohId, Instant>);

/// So long it is asked for who was lost; after that Zenoh's own looking is all there is.
const PATIENCE: Duration = Duration::from_mins(10);
/// Who was lost so lately may not have noticed, where a machine was too busy to be heard and no cable was pulled: to be connected
/// anew while one end still holds the old connection leaves Zenoh with declarations that only one of them knows of.
const SETTLED: Duration = Duration::from_secs(2);
/// From one question who is there to the next. Answers take some milliseconds.
const ASK: Duration = Duration::from_millis(500);
/// How long an introduction may take.
const INTRODUCTION: Duration = Duration::from_millis(1500);
/// From one look whether it has happened to the next.
const LOOK: Duration = Duration::from_millis(20);

impl Lost {
    fn lose(&mut self, who: ZenohId, now: Instant) {
        self.0.insert(who, now);
    }

    fn find(&mut self, who: &ZenohId) {
        self.0.remove(who);
    }

    /// Whether somebody is still looked for.
    fn is_anybody(&mut self, now: Instant) -> bool {
        self.0.retain(|_, since| now.saturating_duration_since(*since) < PATIENCE);
        !self.0.is_empty()
    }

    fn has(&self, who: &ZenohId) -> bool {
        self.0.contains_key(who)
    }

    /// Whether it was lost, and so long ago that it knows.
    fn has_settled(&self, who: &ZenohId, now: Instant) -> bool {
        self.0.get(who).is_some_and(|since| now.saturating_duration_since(*since) >= SETTLED)
    }
}

/// Looks for the daemons that this one loses, as long as what comes back lives.
pub(crate) fn start(core: Weak<Core>, worker: &Worker) -> std::io::Result<Declaration> {
    let lost = Arc::new(Mutex::new(Lost::default()));
    let (wake, woken) = flume::bounded(1);
    let of_thread = Arc::clone(&lost);
    thread::Builder::new().name("hana reunion".into()).spawn(move || {
        for () in woken {
            while lock(&of_thread).is_anybody(Instant::now()) {
                let Some(config) = core.upgrade().map(|core| core.config.clone()) else { return };
                look(&config, &of_thread);
            }
        }
    })?;
    Ok(worker.declare("who is lost", move |session| {
        let (lost, wake) = (Arc::clone(&lost), wake.clone());
        let callback = move |event: TransportEvent| {
            let transport = event.transport();
            if transport.whatami() != WhatAmI::Peer {
                return;
            }
            if event.kind() == SampleKind::Delete {
                lock(&lost).lose(*transport.zid(), Instant::now());
                // Full means that it looks already.
                wake.try_send(()).ok();
            } else {
                lock(&lost).find(transport.zid());
            }
        };
        let listener = session.info().transport_events_listener().callback(callback).wait()?;
        Ok(Box::new(listener))
    }))
}

/// Asks once who is there, and introduces who was lost.
fn look(config: &NodeConfig, lost: &Mutex<Lost>) {
    let until = Instant::now() + ASK;
    match ask(config) {
        Ok(answers) => {
            while let Ok(hello) = answers.recv_deadline(until) {
                if lock(lost).has_settled(&hello.zid(), Instant::now()) {
                    introduce(config, &hello, lost);
                }
            }
        },
        Err(problem) => tracing::debug!("who is there cannot be asked: {problem}"),
    }
    // A question that failed shall not be asked again at once.
    thread::sleep(until.saturating_duration_since(Instant::now()));
}

/// The daemons and peers that answer, as long as the answers are listened to.
fn ask(config: &NodeConfig) -> zenoh::Result<Answers> {
    let mut settings = Config::default();
    // Zenoh's own reading of the interfaces is of when the process began.
    let addresses = Addresses::now(config.network.interface.as_deref());
    if let Some(interface) = addresses.to_scout_on() {
        settings.insert_json5("scouting/multicast/interface", &json!(interface).to_string())?;
    }
    let (tell, told) = flume::unbounded();
    let hear = move |hello: Hello| {
        tell.send(hello).ok();
    };
    let scout = zenoh::scout(WhatAmI::Peer, settings).callback(hear).wait()?;
    Ok(Answers { told, _scout: scout })
}

struct Answers {
    told: flume::Receiver<Hello>,
    /// Stops when it is dropped.
    _scout: zenoh::scouting::Scout<()>,
}

impl Answers {
    fn recv_deadline(&self, deadline: Instant) -> Result<Hello, flume::RecvTimeoutError> {
        self.told.recv_deadline(deadline)
    }
}

/// Opens a link to both ends for a moment: each hears from it where the other is.
fn introduce(config: &NodeConfig, hello: &Hello, lost: &Mutex<Lost>) {
    let own = format!("tcp/{}", config.daemon);
    let theirs = hello.locators().iter().map(ToString::to_string);
    let endpoints = std::iter::once(own).chain(theirs).collect();
    let begun = Instant::now();
    match (Part::Introducer { endpoints }).open(config) {
        Ok(session) => {
            while lock(lost).has(&hello.zid()) && begun.elapsed() < INTRODUCTION {
                thread::sleep(LOOK);
            }
            session.close().wait().ok();
        },
        Err(problem) => tracing::debug!("{} is not introduced: {problem}", hello.zid()),
    }
}

fn lock(lost: &Mutex<Lost>) -> MutexGuard<'_, Lost> {
    lost.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_lost_is_looked_for_until_he_is_found_or_for_ten_minutes() {
        let (start, who) = (Instant::now(), ZenohId::default());
        let mut lost = Lost::default();
        assert!(!lost.is_anybody(start));
        lost.lose(who, start);
        assert!(lost.has(&who) && lost.is_anybody(start + PATIENCE / 2));
        assert!(!lost.has_settled(&who, start) && lost.has_settled(&who, start + SETTLED));
        assert!(!lost.is_anybody(start + PATIENCE));
        lost.lose(who, start);
        lost.find(&who);
        assert!(!lost.is_anybody(start));
    }
}
