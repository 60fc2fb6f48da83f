//! The worker processes that use plain Zenoh.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use zenoh::Wait;
use zenoh::sample::SampleKind;

use crate::baseline::messages::{RAW_ASK, number};
use crate::baseline::session::BaselineSession;
use crate::error::BenchError;
use crate::worker::receive_counter::{ReceiveCounter, reply_of};
use crate::worker::serve::{argument, serve, unknown};
use crate::worker::watchers::{Reached, note, serve_watchers};

pub(crate) fn gateway(arguments: &[String]) -> Result<(), BenchError> {
    let endpoint: String = argument(arguments, 0)?;
    let others = arguments.get(1..).unwrap_or_default();
    let _session = BaselineSession::Gateway(&endpoint, others).open()?;
    serve(|word| Err(unknown(word)))
}

pub(crate) fn subscriber(arguments: &[String]) -> Result<(), BenchError> {
    let how: String = argument(arguments, 0)?;
    let endpoint: String = argument(arguments, 1)?;
    let session = match how.as_str() {
        "listen" => BaselineSession::Listener(&endpoint).open()?,
        _ => BaselineSession::Client(&endpoint).open()?,
    };
    let mut counters = vec![];
    for key in arguments.get(2..).unwrap_or_default() {
        let counter = Arc::new(ReceiveCounter::default());
        // As in hana, Zenoh's thread passes messages to another thread. In counting mode, Zenoh's thread counts them.
        let (callback_counter, thread_counter) = (Arc::clone(&counter), Arc::clone(&counter));
        let (number_tx, number_rx) = std::sync::mpsc::channel::<u64>();
        thread::spawn(move || {
            for number in number_rx {
                thread_counter.record(number);
            }
        });
        session
            .declare_subscriber(key.clone())
            .callback(move |sample| {
                let number = number(&sample.payload().to_bytes()).unwrap_or_default();
                if callback_counter.counts_only.load(Ordering::Relaxed) {
                    callback_counter.count(1);
                } else {
                    number_tx.send(number).ok();
                }
            })
            .background()
            .wait()
            .map_err(BenchError::baseline("subscribing"))?;
        counters.push(counter);
    }
    serve(|word| reply_of(&counters, word).ok_or_else(|| unknown(word)))
}

pub(crate) fn queryable(arguments: &[String]) -> Result<(), BenchError> {
    let endpoint: String = argument(arguments, 0)?;
    let session = BaselineSession::Client(&endpoint).open()?;
    let _queryable = session
        .declare_queryable(RAW_ASK)
        .callback(|query| {
            query.reply(RAW_ASK, vec![0_u8; ANSWER_BYTES]).wait().ok();
        })
        .wait()
        .map_err(BenchError::baseline("declaring a queryable"))?;
    serve(|word| Err(unknown(word)))
}

/// The size of `{"accepted": {}}` in `MessagePack`.
const ANSWER_BYTES: usize = 11;

/// Runs clients that observe the liveliness tokens of all others.
pub(crate) fn watchers(arguments: &[String]) -> Result<(), BenchError> {
    let host: String = argument(arguments, 1)?;
    let endpoint: String = argument(arguments, 2)?;
    serve_watchers(argument(arguments, 0)?, |round, number| {
        let token = format!("raw/alive/{host}-{round}-{number}");
        let endpoint = endpoint.clone();
        Ok(move |ended: &AtomicBool, reached: &Reached| watch(&endpoint, &token, ended, reached))
    })
}

fn watch(endpoint: &str, token: &str, ended: &AtomicBool, reached: &Reached) {
    let Ok(session) = BaselineSession::Client(endpoint).open() else { return };
    let (sample_tx, sample_rx) = std::sync::mpsc::channel();
    let watch = session.liveliness().declare_subscriber("raw/alive/*").history(true);
    let watch = watch.callback(move |sample| {
        sample_tx.send((sample.kind(), sample.key_expr().to_string())).ok();
    });
    let Ok(_watch) = watch.wait() else { return };
    let Ok(_token) = session.liveliness().declare_token(token).wait() else { return };
    let mut there = BTreeSet::new();
    while !ended.load(Ordering::Relaxed) {
        if let Ok((kind, key)) = sample_rx.recv_timeout(Duration::from_millis(50)) {
            if kind == SampleKind::Put {
                there.insert(key);
            } else {
                there.remove(&key);
            }
            note(reached, there.len());
        }
    }
    session.close().wait().ok();
}
