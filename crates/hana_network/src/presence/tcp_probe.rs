use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use hana_engine::roster::ProbeOutcome;

/// Time limit for a machine to reply.
///
/// On the same network it accepts or refuses within 1 ms; a busy Wi-Fi takes about 10 ms.
const PATIENCE: Duration = Duration::from_millis(250);
/// Maximum number of addresses probed; no machine has more networks.
const MOST: usize = 16;

/// Probes all addresses of a machine at once, given as Zenoh endpoints. Blocks for about 0.25 s, at most 0.5 s.
pub(crate) fn knock(endpoints: &[String]) -> ProbeOutcome {
    let (tell, told) = flume::unbounded();
    let addresses = endpoints.iter().filter_map(|endpoint| {
        endpoint.strip_prefix("tcp/").and_then(|address| address.parse::<SocketAddr>().ok())
    });
    for address in addresses.take(MOST) {
        let tell = tell.clone();
        let spawned = thread::Builder::new().name("hana knock".into()).spawn(move || {
            tell.send(knock_at(address)).ok();
        });
        if let Err(problem) = spawned {
            tracing::warn!("nobody can be sent to knock: {problem}");
        }
    }
    drop(tell);
    let until = Instant::now() + PATIENCE * 2;
    let mut heard = ProbeOutcome::Timeout;
    while let Ok(answer) = told.recv_deadline(until) {
        match answer {
            ProbeOutcome::Connected => return answer,
            ProbeOutcome::Refused => heard = answer,
            ProbeOutcome::Timeout => {},
        }
    }
    heard
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
    fn a_port_answers_or_refuses_and_an_address_that_leads_nowhere_is_silent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = format!("tcp/{}", listener.local_addr().unwrap());
        // No machine has this address.
        let nowhere = "tcp/255.255.255.255:7447".to_owned();
        assert_eq!(knock(&[nowhere.clone(), open.clone()]), ProbeOutcome::Connected);
        drop(listener);
        assert_eq!(knock(&[open]), ProbeOutcome::Refused);
        let asked = Instant::now();
        assert_eq!(knock(&[nowhere, "no endpoint".into()]), ProbeOutcome::Timeout);
        assert!(asked.elapsed() < Duration::from_secs(5));
        assert_eq!(knock(&[]), ProbeOutcome::Timeout);
    }
}
