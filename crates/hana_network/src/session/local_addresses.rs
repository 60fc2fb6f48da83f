use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use if_addrs::{IfAddr, Interface};

use crate::config::play_transport::DirectLinkTransport;

/// The addresses at which other machines can currently reach this machine.
///
/// Includes all interfaces that are up and plugged in, except the loopback.
///
/// IPv4 link-local addresses (169.254.x.y), which two machines on one cable assign to themselves, come last among the
/// IPv4 addresses. IPv6 link-local addresses are excluded: another machine needs the name of its own interface to use
/// one.
///
/// The addresses are read from the operating system each time, because Zenoh reads the interfaces only once per
/// process and does not detect later ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LocalAddresses(BTreeSet<Address>);

/// An address and its network, ordered as other nodes try the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Address {
    is_v6: bool,
    is_link_local: bool,
    ip: IpAddr,
    prefix: u8,
    /// The index of the interface. An interface that is created again has a new index.
    interface: Option<u32>,
    has_multicast: bool,
}

impl LocalAddresses {
    /// Reads the addresses of all interfaces, or of the given interface. Takes about ten microseconds.
    pub(crate) fn now(interface: Option<&str>) -> Self {
        let all = if_addrs::get_if_addrs().unwrap_or_else(|problem| {
            tracing::warn!("cannot read the addresses of this machine: {problem}");
            vec![]
        });
        let without = interfaces_without_multicast();
        let wanted = all.iter().filter(|found| interface.is_none_or(|name| found.name == name));
        let addresses = wanted.filter_map(Address::of).map(|address| Address {
            has_multicast: address.interface.is_none_or(|index| !without.contains(&index)),
            ..address
        });
        Self(addresses.collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn has(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|address| address.ip == ip)
    }

    /// Returns whether the two sets have an address in common.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().any(|address| other.has(address.ip))
    }

    /// Returns whether `other` contains all of these addresses.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        self.0.iter().all(|address| other.has(address.ip))
    }

    /// Returns the IPv4 addresses usable for multicast discovery, each with the index of its interface.
    pub(crate) fn with_multicast(&self) -> BTreeSet<(Ipv4Addr, Option<u32>)> {
        let v4 = |address: &Address| match address.ip {
            IpAddr::V4(ip) if address.has_multicast => Some((ip, address.interface)),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        };
        self.0.iter().filter_map(v4).collect()
    }

    /// Returns the Zenoh endpoints for this port on the addresses of this machine, IPv4 first.
    pub(crate) fn endpoints(&self, port: u16) -> Vec<String> {
        self.endpoints_over(DirectLinkTransport::Tcp, port)
    }

    /// Returns the endpoints for `transport` and this port on the addresses of this machine.
    pub(crate) fn endpoints_over(&self, transport: DirectLinkTransport, port: u16) -> Vec<String> {
        self.0.iter().map(|address| endpoint(transport, address.ip, port)).collect()
    }

    /// Returns the endpoints of this port for a program at the address `asker`, the nearest first.
    ///
    /// An address in a network that `asker` is in can be reached. An address of a container network may lead nowhere,
    /// or to the machine of `asker` itself.
    pub(crate) fn endpoints_for(&self, asker: Ipv4Addr, port: u16) -> Vec<String> {
        if asker.is_loopback() {
            return vec![endpoint(DirectLinkTransport::Tcp, Ipv4Addr::LOCALHOST.into(), port)];
        }
        let (near, far): (Vec<&Address>, Vec<&Address>) =
            self.0.iter().partition(|address| address.is_near(asker));
        let all = near.into_iter().chain(far);
        all.map(|address| endpoint(DirectLinkTransport::Tcp, address.ip, port)).collect()
    }

    /// Sorts the endpoints of another node by reachability.
    ///
    /// If the node is on this machine, the loopback comes first; otherwise it is removed. Next come addresses in a
    /// network of this machine. An address that this machine has too comes last, because container networks use the
    /// same addresses on every machine.
    pub(crate) fn by_way(&self, mut endpoints: Vec<String>, is_here: bool) -> Vec<String> {
        endpoints.retain(|endpoint| is_here || !ip_of(endpoint).is_some_and(|ip| ip.is_loopback()));
        endpoints.sort_by_key(|endpoint| match ip_of(endpoint) {
            Some(ip) if ip.is_loopback() => 0,
            Some(ip) if !is_here && self.has(ip) => 3,
            Some(IpAddr::V4(ip)) if self.0.iter().any(|own| own.is_near(ip)) => 1,
            _ => 2,
        });
        endpoints
    }

    /// Removes the endpoints that lead to `own_port` of this machine.
    pub(crate) fn elsewhere(&self, mut endpoints: Vec<String>, own_port: u16) -> Vec<String> {
        let leads_here = |endpoint: &String| {
            let address = address_of(endpoint);
            address.is_some_and(|address| address.port() == own_port && self.has(address.ip()))
        };
        endpoints.retain(|endpoint| !leads_here(endpoint));
        endpoints
    }
}

impl Address {
    fn of(interface: &Interface) -> Option<Self> {
        if !interface.is_oper_up() || interface.is_loopback() {
            return None;
        }
        let (ip, prefix, is_link_local) = match &interface.addr {
            IfAddr::V4(v4) => (IpAddr::V4(v4.ip), v4.prefixlen, v4.is_link_local()),
            IfAddr::V6(v6) if v6.is_link_local() => return None,
            IfAddr::V6(v6) => (IpAddr::V6(v6.ip), v6.prefixlen, false),
        };
        let (is_v6, interface) = (ip.is_ipv6(), interface.index);
        Some(Self { is_v6, is_link_local, ip, prefix, interface, has_multicast: true })
    }

    /// Returns whether `other` is in the same network as this address.
    fn is_near(&self, other: Ipv4Addr) -> bool {
        let IpAddr::V4(own) = self.ip else { return false };
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0);
        (own.to_bits() ^ other.to_bits()) & mask == 0
    }
}

fn endpoint(transport: DirectLinkTransport, ip: IpAddr, port: u16) -> String {
    match ip {
        IpAddr::V4(ip) => format!("{transport}/{ip}:{port}"),
        IpAddr::V6(ip) => format!("{transport}/[{ip}]:{port}"),
    }
}

/// Returns the indices of the interfaces that do not support multicast, or on which it is disabled.
#[cfg(unix)]
fn interfaces_without_multicast() -> BTreeSet<u32> {
    let all = pnet_datalink::interfaces().into_iter();
    all.filter(|interface| !interface.is_multicast()).map(|interface| interface.index).collect()
}

/// Returns an empty set: these systems report missing multicast only when it is used.
#[cfg(not(unix))]
const fn interfaces_without_multicast() -> BTreeSet<u32> {
    BTreeSet::new()
}

fn address_of(endpoint: &str) -> Option<SocketAddr> {
    endpoint.split_once('/')?.1.parse().ok()
}

fn ip_of(endpoint: &str) -> Option<IpAddr> {
    address_of(endpoint).map(|address| address.ip())
}

/// Decides when to reopen a listening session. Pure.
///
/// Changed addresses alone do not require that: the session also listens on addresses that are added later, and
/// [`scouting`](crate::session::discovery::scouting) discovers other nodes on every new interface. Addresses matter
/// only where daemons find each other by Zenoh's gossip, which carries the addresses that the machine had when the
/// session was opened.
#[derive(Debug)]
pub(crate) struct Renewal {
    /// The addresses that gossip announces.
    published: LocalAddresses,
    /// Whether the session listens only on these addresses.
    is_bound_to_published: bool,
    relies_on_gossip: bool,
}

impl Renewal {
    /// Creates the state for the first session of a process. `published` are the addresses when it was opened.
    pub(crate) const fn new(published: LocalAddresses, relies_on_gossip: bool) -> Self {
        Self { published, is_bound_to_published: false, relies_on_gossip }
    }

    /// Returns whether to reopen the session now. If so, the new session must announce `current` and listen on these
    /// addresses.
    pub(crate) fn poll(&mut self, current: &LocalAddresses) -> bool {
        let is_out_of_date = !current.overlaps(&self.published);
        let is_unreachable = self.is_bound_to_published && !current.is_within(&self.published);
        let must =
            self.relies_on_gossip && !current.is_empty() && (is_out_of_date || is_unreachable);
        if must {
            self.opened_with(current);
        }
        must
    }

    /// Records that the session was reopened with these addresses.
    pub(crate) fn opened_with(&mut self, current: &LocalAddresses) {
        self.published = current.clone();
        self.is_bound_to_published = true;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn address(ip: &str, prefix: u8) -> Address {
        let ip: IpAddr = ip.parse().unwrap();
        let is_link_local = matches!(ip, IpAddr::V4(ip) if ip.is_link_local());
        let (interface, has_multicast) = (Some(1), true);
        Address { is_v6: ip.is_ipv6(), is_link_local, ip, prefix, interface, has_multicast }
    }

    fn addresses(all: &[&str]) -> LocalAddresses {
        LocalAddresses(all.iter().map(|ip| address(ip, 24)).collect())
    }

    fn interface(addr: IfAddr) -> Interface {
        Interface {
            name: "eth0".into(),
            addr,
            index: Some(2),
            oper_status: if_addrs::IfOperStatus::Up,
            is_p2p: false,
        }
    }

    #[test]
    fn partial_address_change_keeps_the_session() {
        let mut renewal = Renewal::new(addresses(&["10.0.0.1"]), false);
        for now in [
            &["10.0.0.1", "172.17.0.1"][..],
            &["10.0.0.1", "2001:db8::1"],
            &["10.0.0.1"],
            &[],
            &["10.0.0.52"],
            &["169.254.3.4"],
        ] {
            assert!(!renewal.poll(&addresses(now)), "{now:?}");
        }
        let mut booted = Renewal::new(addresses(&[]), false);
        assert!(!booted.poll(&addresses(&["10.0.0.1"])));
    }

    #[test]
    fn outdated_gossip_reopens_the_session_once() {
        let mut renewal = Renewal::new(addresses(&["10.0.0.1"]), true);
        assert!(!renewal.poll(&addresses(&["10.0.0.1", "10.8.0.6"])), "a VPN");
        assert!(!renewal.poll(&addresses(&[])), "the cable is out");
        assert!(!renewal.poll(&addresses(&["10.0.0.1"])), "and in again");
        assert!(renewal.poll(&addresses(&["10.0.0.52"])), "another address by DHCP");
        assert!(!renewal.poll(&addresses(&["10.0.0.52"])));
        assert!(renewal.poll(&addresses(&["10.0.0.52", "10.8.0.6"])), "it does not listen there");
        assert!(!renewal.poll(&addresses(&["10.8.0.6"])), "one that goes is no reason");
    }

    #[test]
    fn only_ipv4_link_local_addresses_count() {
        let v4 = |ip: [u8; 4]| {
            interface(IfAddr::V4(if_addrs::Ifv4Addr {
                ip: ip.into(),
                netmask: [255, 255, 0, 0].into(),
                prefixlen: 16,
                broadcast: None,
            }))
        };
        let v6 = |ip: &str| {
            interface(IfAddr::V6(if_addrs::Ifv6Addr {
                ip: ip.parse().unwrap(),
                netmask: "ffff:ffff:ffff:ffff::".parse().unwrap(),
                prefixlen: 64,
                broadcast: None,
            }))
        };
        let all = [v6("fe80::1"), v6("fd00::1"), v4([169, 254, 10, 1]), v4([192, 168, 1, 2])];
        let found = LocalAddresses(all.iter().filter_map(Address::of).collect());
        assert_eq!(
            found.endpoints(7447),
            ["tcp/192.168.1.2:7447", "tcp/169.254.10.1:7447", "tcp/[fd00::1]:7447"]
        );
        let asked: Vec<String> =
            found.with_multicast().iter().map(|(ip, _)| ip.to_string()).collect();
        assert_eq!(asked, ["169.254.10.1", "192.168.1.2"]);
        let quiet = LocalAddresses(
            found.0.iter().map(|of| Address { has_multicast: false, ..*of }).collect(),
        );
        assert_eq!((quiet.with_multicast().len(), quiet.endpoints(1).len()), (0, 3));
        let mut unplugged = v4([10, 0, 0, 1]);
        unplugged.oper_status = if_addrs::IfOperStatus::Down;
        assert_eq!(Address::of(&unplugged), None);
        assert_eq!(Address::of(&v4([127, 0, 0, 1])), None);
    }

    #[test]
    fn shared_network_is_tried_first() {
        let own = addresses(&["192.168.1.2", "172.17.0.1", "169.254.10.1"]);
        let endpoints = [
            "udp/10.8.0.9:4000",
            "tcp/172.17.0.1:4000",
            "tcp/192.168.1.77:4000",
            "tcp/127.0.0.1:4000",
        ]
        .map(ToOwned::to_owned);
        let there = own.by_way(endpoints.to_vec(), false);
        assert_eq!(there, ["tcp/192.168.1.77:4000", "udp/10.8.0.9:4000", "tcp/172.17.0.1:4000"]);
        let here = own.by_way(endpoints.to_vec(), true);
        assert_eq!(here.first().unwrap(), "tcp/127.0.0.1:4000");
        let link_local = ["tcp/10.8.0.9:4000".to_owned(), "tcp/169.254.10.2:4000".to_owned()];
        assert_eq!(
            own.by_way(link_local.to_vec(), false).first().unwrap(),
            "tcp/169.254.10.2:4000"
        );
    }

    #[test]
    fn own_endpoints_are_not_probed() {
        let own = addresses(&["192.168.1.2", "172.17.0.1"]);
        let endpoints = ["tcp/172.17.0.1:7447", "tcp/172.17.0.1:7448", "tcp/192.168.1.77:7447"];
        let elsewhere = own.elsewhere(endpoints.map(ToOwned::to_owned).to_vec(), 7447);
        assert_eq!(elsewhere, ["tcp/172.17.0.1:7448", "tcp/192.168.1.77:7447"]);
    }

    #[test]
    fn reply_lists_the_network_of_the_querier_first() {
        let all = addresses(&["10.0.0.1", "172.17.0.1", "192.168.1.2", "2001:db8::1"]);
        let published = all.endpoints_for([192, 168, 1, 77].into(), 7447);
        assert_eq!(
            published,
            [
                "tcp/192.168.1.2:7447",
                "tcp/10.0.0.1:7447",
                "tcp/172.17.0.1:7447",
                "tcp/[2001:db8::1]:7447"
            ]
        );
        assert_eq!(all.endpoints_for(Ipv4Addr::LOCALHOST, 7447), ["tcp/127.0.0.1:7447"]);
        let all_zero = address("10.0.0.1", 0);
        assert!(all_zero.is_near([192, 168, 1, 77].into()));
    }
}
