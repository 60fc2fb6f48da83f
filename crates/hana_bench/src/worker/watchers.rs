use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use hana_network::{Node, NodeConfig};
use hana_protocol::id::role;
use serde_json::json;

use crate::error::BenchError;
use crate::limits::REPLY_TIMEOUT;
use crate::worker::arrival_log::now_ns;
use crate::worker::serve::{argument, config, serve, unknown, words};

/// The times at which an observer first saw each number of nodes.
pub(crate) type Reached = Arc<Mutex<BTreeMap<usize, u64>>>;

/// Replies to the commands for `count` observers: `join ROUND` starts them, `seen COUNT` waits, `leave` ends them.
///
/// `observer` receives the round and the observer's number, and returns the function that runs the observer until the
/// flag is set.
pub(crate) fn serve_watchers<F>(
    count: usize,
    observer: impl Fn(&str, usize) -> Result<F, BenchError>,
) -> Result<(), BenchError>
where
    F: FnOnce(&AtomicBool, &Reached) + Send + 'static,
{
    let mut nodes: Vec<(Arc<AtomicBool>, thread::JoinHandle<()>)> = vec![];
    let mut reached: Vec<Reached> = vec![];
    let outcome = serve(|word| match words(word)[..] {
        ["join", round] => {
            reached.clear();
            for number in 0..count {
                let run = observer(round, number)?;
                let (ended, seen) = (Arc::new(AtomicBool::new(false)), Reached::default());
                reached.push(Arc::clone(&seen));
                let thread_ended = Arc::clone(&ended);
                nodes.push((ended, thread::spawn(move || run(&thread_ended, &seen))));
            }
            Ok(json!(null))
        },
        ["seen", wanted] => Ok(json!(await_seen(&reached, wanted))),
        ["leave"] => {
            for (ended, _) in &nodes {
                ended.store(true, Ordering::Relaxed);
            }
            for (_, node) in std::mem::take(&mut nodes) {
                node.join().ok();
            }
            Ok(json!(null))
        },
        _ => Err(unknown(word)),
    });
    for (ended, _) in &nodes {
        ended.store(true, Ordering::Relaxed);
    }
    outcome
}

/// Runs apps that observe the mesh.
pub(crate) fn run(arguments: &[String]) -> Result<(), BenchError> {
    let host: String = argument(arguments, 1)?;
    serve_watchers(argument(arguments, 0)?, |round, number| {
        let config = config(&format!("crowd-{host}-{round}-{number}"))?;
        Ok(move |ended: &AtomicBool, reached: &Reached| watch(config, ended, reached))
    })
}

/// Joins, and observes the mesh until `ended` is set.
fn watch(config: NodeConfig, ended: &AtomicBool, reached: &Reached) {
    let Ok(Ok(node)) = Node::<role::App>::join(config).wait(REPLY_TIMEOUT) else { return };
    let mut watch = node.watch_mesh();
    while !ended.load(Ordering::Relaxed) {
        watch.wait(Duration::from_millis(50));
        note(reached, watch.roster().present().count());
    }
    drop(watch);
    node.leave().wait(Duration::from_secs(2)).ok();
}

/// Records that an observer now sees `count` nodes.
pub(crate) fn note(reached: &Reached, count: usize) {
    reached.lock().unwrap_or_else(PoisonError::into_inner).entry(count).or_insert_with(now_ns);
}

/// Returns the time at which the last observer saw `wanted` nodes, or `None` if one of them does not in time.
fn await_seen(reached: &[Reached], wanted: &str) -> Option<u64> {
    let wanted: usize = wanted.parse().ok()?;
    let deadline = now_ns() + u64::try_from(REPLY_TIMEOUT.as_nanos()).ok()?;
    loop {
        let when = |of: &Reached| {
            let of = of.lock().unwrap_or_else(PoisonError::into_inner);
            of.range(wanted..).map(|(_, at)| *at).min()
        };
        let all: Option<Vec<u64>> = reached.iter().map(when).collect();
        if let Some(all) = all {
            return all.into_iter().max();
        }
        if now_ns() > deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(2));
    }
}
