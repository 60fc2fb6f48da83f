use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use hana_engine::playout::{JitterBufferSettings, ModulationReceiver};
use hana_network::{DirectLinkTransport, MachineConfig, NetworkSettings, Node};
use hana_protocol::id::role;
use hana_protocol::parameter::{Parameter, ParameterName};
use hana_protocol::wire::Lane;
use serde_json::json;

use crate::error::BenchError;
use crate::limits::REPLY_TIMEOUT;
use crate::worker::arrival_log::now_ns;
use crate::worker::receive_counter::ReceiveCounter;
use crate::worker::serve::{argument, config, serve, unknown};

/// Creates the parameters that are played in a bench. Their values are integers that identify messages.
fn parameters(count: usize) -> Result<Vec<Parameter>, BenchError> {
    (0..count)
        .map(|number| {
            let name = ParameterName::new(&format!("p{number}"))
                .map_err(BenchError::network("naming a parameter"))?;
            Ok(Parameter { min: 0.0, max: MOST, ..Parameter::new(name, 0.0) })
        })
        .collect()
}

/// The number up to which an `f32` represents every integer.
const MOST: f32 = 16_777_216.0;

/// A reader of the visualization's board, with its own rate.
#[derive(Default)]
struct SeenValue {
    /// The changes of the first parameter, each recorded on arrival.
    counter: ReceiveCounter,
    /// The number of values that were shown after newer ones, or too late.
    stale: AtomicU64,
    /// The time, in nanoseconds, at which the played value was 0, or zero if stale values are not counted.
    ///
    /// The value grows by 1 each millisecond.
    epoch_ns: AtomicU64,
    ended: AtomicBool,
}

pub(crate) fn run(arguments: &[String]) -> Result<(), BenchError> {
    let count: usize = argument(arguments, 0)?;
    let is_udp: bool = argument(arguments, 1)?;
    let delay = Duration::from_millis(argument(arguments, 2)?);
    let name: String = argument(arguments, 3)?;
    let network =
        MachineConfig::find(None).map_err(BenchError::network("reading its settings"))?.network;
    let play_link = if is_udp { DirectLinkTransport::Udp } else { DirectLinkTransport::Tcp };
    let config = config(&name)?
        .with_network(NetworkSettings { play_link, ..network })
        .with_parameters(parameters(count)?)
        .with_playout(JitterBufferSettings { delay, ..JitterBufferSettings::default() });
    let node = Node::<role::Visualization>::join(config)
        .wait(REPLY_TIMEOUT)
        .map_err(BenchError::network("joining the mesh"))?
        .map_err(BenchError::network("joining the mesh"))?;
    let seen = Arc::new(SeenValue::default());
    let board = Arc::clone(node.parameters());
    let looking = {
        let seen = Arc::clone(&seen);
        let at_once = delay.is_zero();
        thread::spawn(move || {
            let (mut version, mut arrivals, mut values) = (0, 0, vec![]);
            let mut shown = vec![0.0_f32; count];
            while !seen.ended.load(Ordering::Relaxed) {
                if at_once {
                    arrivals = board.wait_for_update(arrivals, Duration::from_millis(50));
                } else {
                    // A visualization reads its board once a frame.
                    thread::sleep(Duration::from_micros(16_667));
                }
                let now = board.read_if_changed(version, &mut values);
                if now != version {
                    version = now;
                    seen.look(&mut shown, &values, delay);
                }
            }
        })
    };
    let outcome = serve(|word| {
        let lane = node.lane(Lane::UnreliableSequenced);
        if let Some(epoch) = word.strip_prefix("epoch ") {
            seen.epoch_ns.store(epoch.parse().unwrap_or_default(), Ordering::Relaxed);
            return Ok(json!(null));
        }
        match word {
            "info" => Ok(json!(node.info())),
            "take" => Ok(json!(vec![seen.counter.log.take()])),
            "lane" => Ok(json!(lane)),
            "stale" => Ok(json!(seen.stale.swap(0, Ordering::Relaxed))),
            _ => Err(unknown(word)),
        }
    });
    seen.ended.store(true, Ordering::Relaxed);
    looking.join().ok();
    node.leave().wait(Duration::from_secs(1)).ok();
    outcome
}

impl SeenValue {
    /// Compares the current values on the board with the previous ones, and records the changes.
    fn look(&self, shown: &mut [f32], values: &[f32], delay: Duration) {
        let epoch = self.epoch_ns.load(Ordering::Relaxed);
        if epoch == 0 {
            if let (Some(was), Some(is)) = (shown.first_mut(), values.first())
                && was.to_bits() != is.to_bits()
            {
                *was = *is;
                self.counter.log.record(whole(*is));
            }
            return;
        }
        let now = now_ns();
        let oldest = delay + ModulationReceiver::STALE;
        let mut stale = 0;
        for (was, is) in shown.iter_mut().zip(values) {
            if was.to_bits() != is.to_bits() {
                let set = epoch + whole(*is) * 1_000_000;
                let age = Duration::from_nanos(now.saturating_sub(set));
                stale += u64::from(is < was || age > oldest);
                *was = *is;
            }
        }
        self.stale.fetch_add(stale, Ordering::Relaxed);
    }
}

/// Converts a value to an integer. It is never negative and is below [`MOST`].
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
const fn whole(value: f32) -> u64 {
    value as u64
}
