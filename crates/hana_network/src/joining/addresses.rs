use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
use std::time::Instant;

use crate::PlayTransport;

/// The addresses under which others can reach this machine at a moment: those of interfaces that are up and
/// plugged in, without the loopback and without link-local ones, which say nothing on another machine.
///
/// Read from the operating system each time: Zenoh reads interfaces once per process, and does not see one
/// that comes later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Addresses(BTreeSet<IpAddr>);

impl Addresses {
    /// Those of all interfaces, or of one. Takes some ten microseconds.
    pub(crate) fn now(interface: Option<&str>) -> Self {
        let all = if_addrs::get_if_addrs().unwrap_or_else(|problem| {
            tracing::warn!("the addresses of this machine cannot be read: {problem}");
            vec![]
        });
        let reachable = all
            .into_iter()
            .filter(|of| of.is_oper_up() && !of.is_loopback() && !of.is_link_local())
            .filter(|of| interface.is_none_or(|name| of.name == name))
            .map(|of| of.ip())
            .collect();
        Self(reachable)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where others reach a port of this machine, as Zenoh endpoints; IPv4 first.
    pub(crate) fn endpoints(&self, port: u16) -> Vec<String> {
        self.endpoints_over(PlayTransport::Tcp, port)
    }

    /// The same over UDP, where that is listened on.
    pub(crate) fn endpoints_over(&self, transport: PlayTransport, port: u16) -> Vec<String> {
        self.0
            .iter()
            .map(|address| match address {
                IpAddr::V4(address) => format!("{transport}/{address}:{port}"),
                IpAddr::V6(address) => format!("{transport}/[{address}]:{port}"),
            })
            .collect()
    }

    /// The IPv4 ones as Zenoh's list of interfaces to scout on, where there are any.
    pub(crate) fn to_scout_on(&self) -> Option<String> {
        let listed: Vec<String> =
            self.0.iter().filter(|address| address.is_ipv4()).map(ToString::to_string).collect();
        (!listed.is_empty()).then(|| listed.join(","))
    }
}

/// Says when a session that listens and scouts has to be opened anew, since the addresses of the machine
/// are others than when it was opened. Pure: it is told the addresses and the time.
#[derive(Debug)]
pub(crate) struct AddressWatch {
    /// Those that the session knows.
    known: Addresses,
    /// Since when the machine has had no address at all.
    cut_off: Option<Instant>,
}

/// A machine that was off the network for longer than this has been given up by the others, who are found
/// again at once by a new session, but after up to 8 s by an old one, whose scouting has grown slow.
const GIVEN_UP: Duration = Duration::from_millis(1500);

impl AddressWatch {
    pub(crate) const fn new(known: Addresses) -> Self {
        Self { known, cut_off: None }
    }

    /// Whether to open anew now. The new session knows `current`.
    pub(crate) fn look(&mut self, current: &Addresses, now: Instant) -> bool {
        if current.is_empty() {
            self.cut_off.get_or_insert(now);
            return false;
        }
        let was_given_up = self
            .cut_off
            .take()
            .is_some_and(|since| now.saturating_duration_since(since) >= GIVEN_UP);
        let brings_new = !current.0.is_subset(&self.known.0);
        if brings_new || was_given_up {
            self.known = current.clone();
        }
        brings_new || was_given_up
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn addresses(last: &[u8]) -> Addresses {
        Addresses(last.iter().map(|n| IpAddr::V4(Ipv4Addr::new(10, 0, 0, *n))).collect())
    }

    #[test]
    fn an_address_that_comes_late_opens_the_session_anew_once() {
        let now = Instant::now();
        let mut watch = AddressWatch::new(addresses(&[]));
        assert!(!watch.look(&addresses(&[]), now));
        assert!(watch.look(&addresses(&[1]), now));
        assert!(!watch.look(&addresses(&[1]), now));
        assert!(watch.look(&addresses(&[1, 2]), now));
        assert!(!watch.look(&addresses(&[2]), now), "one that goes is no reason");
        assert!(!watch.look(&addresses(&[1, 2]), now), "nor one that is known when it comes back");
    }

    #[test]
    fn a_cable_that_was_out_for_long_opens_the_session_anew_and_one_that_flickers_does_not() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut watch = AddressWatch::new(addresses(&[1]));
        assert!(!watch.look(&addresses(&[]), start));
        assert!(!watch.look(&addresses(&[1]), after(700)));
        assert!(!watch.look(&addresses(&[]), after(1000)));
        assert!(!watch.look(&addresses(&[]), after(2000)));
        assert!(watch.look(&addresses(&[1]), after(2500)));
        assert!(!watch.look(&addresses(&[1]), after(3000)));
    }

    #[test]
    fn endpoints_are_written_as_zenoh_reads_them() {
        let mut both = addresses(&[7]);
        both.0.insert("2001:db8::1".parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
        assert_eq!(both.endpoints(7447), ["tcp/10.0.0.7:7447", "tcp/[2001:db8::1]:7447"]);
        assert_eq!(both.to_scout_on().as_deref(), Some("10.0.0.7"));
    }
}
