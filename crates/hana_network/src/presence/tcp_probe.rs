use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use hana_engine::roster::ProbeOutcome;

/// The time limit for a machine to respond.
///
/// A machine in the same network accepts or refuses within 1 ms, or within about 10 ms over a busy Wi-Fi.
const PATIENCE: Duration = Duration::from_millis(250);
/// The maximum number of addresses that are probed; no machine has more networks.
const MOST: usize = 16;

/// Probes all addresses of a machine at the same time.
///
/// The addresses are Zenoh endpoints. Blocks for about 0.25 s, at most 0.5 s.
pub(crate) fn probe(endpoints: &[String]) -> ProbeOutcome {
    let (outcome_tx, outcome_rx) = flume::unbounded();
    let addresses = endpoints.iter().filter_map(|endpoint| {
        endpoint.strip_prefix("tcp/").and_then(|address| address.parse::<SocketAddr>().ok())
    });
    for address in addresses.take(MOST) {
        let outcome_tx = outcome_tx.clone();
        let spawned = thread::Builder::new().name("hana probe".into()).spawn(move || {
            outcome_tx.send(knock_at(address)).ok();
        });
        if let Err(problem) = spawned {
            tracing::warn!("cannot start a thread to probe a host: {problem}");
        }
    }
    drop(outcome_tx);
    let until = Instant::now() + PATIENCE * 2;
    let mut outcome = ProbeOutcome::Timeout;
    while let Ok(probed) = outcome_rx.recv_deadline(until) {
        match probed {
            ProbeOutcome::Connected => return probed,
            ProbeOutcome::Refused => outcome = probed,
            ProbeOutcome::Timeout => {},
        }
    }
    outcome
}

fn knock_at(address: SocketAddr) -> ProbeOutcome {
    match TcpStream::connect_timeout(&address, PATIENCE) {
        Ok(_) => ProbeOutcome::Connected,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => ProbeOutcome::Refused,
        Err(_) => ProbeOutcome::Timeout,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn probe_distinguishes_open_closed_and_silent_addresses() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = format!("tcp/{}", listener.local_addr().unwrap());
        // No machine has this address.
        let nowhere = "tcp/255.255.255.255:7447".to_owned();
        assert_eq!(probe(&[nowhere.clone(), open.clone()]), ProbeOutcome::Connected);
        drop(listener);
        assert_eq!(probe(&[open]), ProbeOutcome::Refused);
        let asked = Instant::now();
        assert_eq!(probe(&[nowhere, "no endpoint".into()]), ProbeOutcome::Timeout);
        assert!(asked.elapsed() < Duration::from_secs(5));
        assert_eq!(probe(&[]), ProbeOutcome::Timeout);
    }
}
