//! Finds Zenoh programs that refuse connections because of another secret, or that a firewall blocks.
//!
//! Zenoh retries forever, and logs each failure without its cause. This module logs each such program once, with the
//! cause.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};
use std::{fmt, thread};

use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::config::network_settings::NetworkSettings;
use crate::session::zenoh_probe::ProbeResult;

/// A log layer that removes Zenoh's messages about failed connections and passes their addresses to
/// [`ConnectDiagnostics`].
pub struct ConnectFailureLayer {
    hints: flume::Sender<FailedAddresses>,
}

/// Determines why connections to other programs fail, and logs each program and cause once.
pub struct ConnectDiagnostics {
    hints: flume::Receiver<FailedAddresses>,
}

/// The addresses of a failed connection.
struct FailedAddresses(Vec<SocketAddr>);

/// The maximum number of waiting hints; further hints are dropped, since Zenoh repeats its messages.
const MAX_HINTS: usize = 64;
/// The timeout of a probe.
const PROBE_TIMEOUT: Duration = Duration::from_millis(1500);
/// The interval between probes of an endpoint in `connect`, until a Zenoh program responds there.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
/// The time for which a program must be unreachable before it is reported, since it may have just exited.
const REPORT_DELAY: Duration = Duration::from_secs(3);
/// The maximum number of programs whose cause is stored.
const MAX_REPORTED: usize = 256;

/// The log targets of Zenoh's messages, and the beginning of one of them.
const SCOUTED: (&str, &str) =
    ("zenoh::net::runtime::orchestrator", "Unable to connect to any locator of scouted peer");
const ESTABLISHMENT: &str = "zenoh_transport::unicast::establishment";

impl ConnectFailureLayer {
    /// Creates the layer, and the diagnostics that receive hints from it.
    #[must_use]
    pub fn new() -> (Self, ConnectDiagnostics) {
        let (sender, receiver) = flume::bounded(MAX_HINTS);
        (Self { hints: sender }, ConnectDiagnostics { hints: receiver })
    }
}

impl<S: Subscriber> Layer<S> for ConnectFailureLayer {
    fn event_enabled(&self, event: &tracing::Event<'_>, _: Context<'_, S>) -> bool {
        let target = event.metadata().target();
        let is_establishment = target.starts_with(ESTABLISHMENT);
        if !is_establishment && target != SCOUTED.0 {
            return true;
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        if !is_establishment && !text.0.starts_with(SCOUTED.1) {
            return true;
        }
        let addresses = addresses_in(&text.0);
        if !addresses.is_empty() {
            // If the queue is full, the hint is dropped; Zenoh will repeat the message.
            self.hints.try_send(FailedAddresses(addresses)).ok();
        }
        false
    }
}

/// The message of a log event.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            write!(self.0, "{value:?}").ok();
        }
    }
}

/// Returns the addresses in a message of Zenoh: those that it tried, or the remote end of a link.
fn addresses_in(line: &str) -> Vec<SocketAddr> {
    let line = line.split_once("=>").map_or(line, |(_, far)| far);
    line.split("tcp/")
        .skip(1)
        .filter_map(|rest| {
            let end = rest
                .find(|c: char| !c.is_ascii_hexdigit() && !matches!(c, '.' | ':' | '[' | ']'))
                .unwrap_or(rest.len());
            let address = rest.get(..end)?.trim_end_matches([']', ':', '.']);
            // The bracket that closes a list is trimmed; the brackets of an IPv6 address stay.
            address.parse().ok()
        })
        .collect()
}

impl ConnectDiagnostics {
    /// Starts the diagnostics in a thread that ends with the program.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub fn watch(self, settings: &NetworkSettings) -> std::io::Result<()> {
        let mut reported =
            ReportedHosts { has_secret: settings.secret.is_some(), hosts: BTreeMap::new() };
        let mut named = settings.connect.clone();
        thread::Builder::new().name("hana unmet".into()).spawn(move || {
            let mut next_look = Instant::now() + PROBE_TIMEOUT;
            loop {
                let hint = if named.is_empty() {
                    self.hints.recv().map_err(|_| flume::RecvTimeoutError::Disconnected)
                } else {
                    self.hints.recv_deadline(next_look)
                };
                match hint {
                    Ok(FailedAddresses(addresses)) => reported.probe_addresses(&addresses),
                    Err(flume::RecvTimeoutError::Disconnected) => return,
                    Err(flume::RecvTimeoutError::Timeout) => {
                        named.retain(|endpoint| reported.probe_endpoint(endpoint));
                        next_look = Instant::now() + PROBE_INTERVAL;
                    },
                }
            }
        })?;
        Ok(())
    }
}

/// The cause of a failed connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    RequiresSecret,
    OtherSecret,
    HasNoSecret,
    OutOfReach,
}

/// The cause for each program, when it began, and whether it was reported. A host may run several programs.
struct ReportedHosts {
    has_secret: bool,
    hosts: BTreeMap<SocketAddr, (Reason, Instant, bool)>,
}

impl ReportedHosts {
    /// Returns the cause of a failed connection, if the probe result explains it.
    const fn reason(&self, result: ProbeResult) -> Option<Reason> {
        match (result, self.has_secret) {
            (ProbeResult::AuthRequired, false) => Some(Reason::RequiresSecret),
            (ProbeResult::AuthRequired, true) => Some(Reason::OtherSecret),
            (ProbeResult::Accepting(_), true) => Some(Reason::HasNoSecret),
            // The program responds, and nothing prevents a connection any more.
            (ProbeResult::Accepting(_), false) => None,
            (ProbeResult::Unreachable | ProbeResult::NoResponse | ProbeResult::NotZenoh, _) => {
                Some(Reason::OutOfReach)
            },
        }
    }

    /// Records the cause for this program; returns the cause if a report is due now.
    fn observe(
        &mut self,
        host: SocketAddr,
        reason: Option<Reason>,
        now: Instant,
    ) -> Option<Reason> {
        let Some(reason) = reason else {
            self.hosts.remove(&host);
            return None;
        };
        if !self.hosts.contains_key(&host) && self.hosts.len() >= MAX_REPORTED {
            self.hosts.pop_first();
        }
        let (known, since, is_told) = self.hosts.entry(host).or_insert((reason, now, false));
        if *known != reason {
            (*known, *since, *is_told) = (reason, now, false);
        }
        let is_due = reason != Reason::OutOfReach || now.duration_since(*since) >= REPORT_DELAY;
        if *is_told || !is_due {
            return None;
        }
        *is_told = true;
        Some(reason)
    }

    /// Probes the addresses of a failed connection.
    fn probe_addresses(&mut self, addresses: &[SocketAddr]) {
        let mut sorted = addresses.to_vec();
        // A link-local address is useless without its interface. IPv4 addresses come first, because people recognize
        // hosts by them.
        sorted.retain(
            |address| !matches!(address.ip(), IpAddr::V6(ip) if ip.is_unicast_link_local()),
        );
        sorted.sort_by_key(SocketAddr::is_ipv6);
        let Some(first) = sorted.first().copied() else { return };
        let (address, result) = sorted
            .iter()
            .map(|address| (*address, ProbeResult::probe(*address, PROBE_TIMEOUT)))
            .find(|(_, result)| !matches!(result, ProbeResult::Unreachable))
            .unwrap_or((first, ProbeResult::Unreachable));
        let reason = self.reason(result);
        if let Some(reason) = self.observe(address, reason, Instant::now()) {
            report(&address.to_string(), reason, "replies to discovery");
        }
    }

    /// Probes an endpoint named in `connect`; returns whether to probe it again.
    fn probe_endpoint(&mut self, endpoint: &str) -> bool {
        let address = endpoint
            .strip_prefix("tcp/")
            .and_then(|address| address.split(['?', '#']).next())
            .and_then(|address| address.to_socket_addrs().ok()?.next());
        let Some(address) = address else {
            tracing::warn!(
                "cannot resolve {endpoint} in `connect`; write it like tcp/10.0.0.7:7447"
            );
            return false;
        };
        let result = ProbeResult::probe(address, PROBE_TIMEOUT);
        // Another secret can be detected only after Zenoh has tried to connect.
        let reason = self.reason(result).filter(|reason| *reason != Reason::OtherSecret);
        let Some(reason) = reason else { return result == ProbeResult::Unreachable };
        if let Some(reason) = self.observe(address, Some(reason), Instant::now()) {
            report(&address.to_string(), reason, "is named in `connect`");
        }
        reason == Reason::OutOfReach
    }
}

fn report(address: &str, reason: Reason, source: &str) {
    match reason {
        Reason::RequiresSecret => tracing::warn!(
            "{address} requires a secret, and none is set here, so the two hosts do not see each other. If it belongs to this show, set HANA_SECRET, or `secret` in hanad.toml (reported once)"
        ),
        Reason::OtherSecret => tracing::warn!(
            "{address} has another secret, so the two hosts do not see each other. If it belongs to this show, correct one of the two secrets (reported once)"
        ),
        Reason::HasNoSecret => tracing::warn!(
            "{address} has no secret, and this host has one, so it is refused. If it belongs to this show, set HANA_SECRET there, or `secret` in its hanad.toml (reported once)"
        ),
        Reason::OutOfReach => tracing::warn!(
            "{address} {source}, but is unreachable; check the firewall, and whether hanad runs there. See docs/network.md (retrying, reported once)"
        ),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::session::zenoh_probe::WhatAmI;

    #[test]
    fn addresses_in_a_log_line_are_found() {
        let found = |line: &str| {
            addresses_in(line).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            found(
                "Unable to connect to any locator of scouted peer 4d3a: [tcp/[fe80::1]:7447, tcp/10.77.0.2:7447]"
            ),
            "[fe80::1]:7447 10.77.0.2:7447"
        );
        assert_eq!(
            found(
                "Received a close message (reason GENERIC) in response to an OpenSyn on: TransportLinkUnicast { link: tcp/10.77.0.1:40000 => tcp/10.77.0.2:7447, config: x }"
            ),
            "10.77.0.2:7447"
        );
        assert_eq!(found("UsrPwd extension - Recv OpenSyn. Invalid password."), "");
    }

    #[test]
    fn each_host_and_reason_is_reported_once() {
        let mut reported = ReportedHosts { has_secret: true, hosts: BTreeMap::new() };
        let host = SocketAddr::from(([10, 0, 0, 1], 7447));
        let now = Instant::now();
        let guarded = reported.reason(ProbeResult::AuthRequired);
        assert_eq!(reported.observe(host, guarded, now), Some(Reason::OtherSecret));
        assert_eq!(reported.observe(host, guarded, now + PROBE_INTERVAL), None);
        let open = reported.reason(ProbeResult::Accepting(WhatAmI::Peer));
        assert_eq!(reported.observe(host, open, now + PROBE_INTERVAL), Some(Reason::HasNoSecret));
        let away = reported.reason(ProbeResult::Unreachable);
        assert_eq!(reported.observe(host, away, now), None);
        assert_eq!(reported.observe(host, away, now + REPORT_DELAY), Some(Reason::OutOfReach));
        assert_eq!(reported.observe(host, away, now + REPORT_DELAY * 2), None);
        assert_eq!(reported.observe(host, None, now), None);
        assert_eq!(reported.observe(host, guarded, now), Some(Reason::OtherSecret));
    }

    #[test]
    fn memory_is_bounded() {
        let mut reported = ReportedHosts { has_secret: false, hosts: BTreeMap::new() };
        for number in 0..1_000_u32 {
            reported.observe(
                (std::net::Ipv4Addr::from(number), 7447).into(),
                Some(Reason::RequiresSecret),
                Instant::now(),
            );
        }
        assert_eq!(reported.hosts.len(), MAX_REPORTED);
    }
}
