//! Ten thousand values are sent over a UDP direct link that loses a third, repeats some and reorders some. The newest
//! value must arrive, no value may be presented after a newer one, and the lost values must be counted.
#![allow(clippy::unwrap_used, missing_docs)]

use std::thread;
use std::time::{Duration, Instant};

use hana_lab::show::figure;
use hana_lab::{UdpRelay, UdpRelaySettings};
use hana_network::{DirectLinkTransport, NetworkSettings, Node, NodeConfig};
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::Modulation;
use hana_protocol::parameter::{Parameter, ParameterName};
use hana_protocol::wire::Lane;

const SOON: Duration = Duration::from_secs(20);
const COUNT: u16 = 10_000;
/// The interval at which values are set.
const PACE: Duration = Duration::from_micros(500);

fn config(id: &str) -> NodeConfig {
    // Without multicast, each test has a network of its own, where nodes find only configured addresses.
    let play_link = DirectLinkTransport::Udp;
    let network = NetworkSettings { multicast: false, play_link, ..NetworkSettings::default() };
    NodeConfig::from_environment(NodeId::new(id).unwrap()).unwrap().with_network(network)
}

#[test]
fn newest_value_wins_over_a_bad_link_and_losses_are_counted() {
    let name = ParameterName::new("ramp").unwrap();
    let played = config("badly-played").with_parameters(vec![Parameter::new(name.clone(), -1.0)]);
    let played = Node::<role::Visualization>::join(played).wait(SOON).unwrap().unwrap();
    let app = Node::<role::App>::join(config("bad-hands")).wait(SOON).unwrap().unwrap();
    let mut info = played.info();
    let direct = info.play.iter().find_map(|at| at.strip_prefix("udp/127.0.0.1:")).unwrap();
    let target = ([127, 0, 0, 1], direct.parse().unwrap()).into();
    // The link opens while the network is good.
    let relay = UdpRelay::new(target, UdpRelaySettings::default());
    info.play = vec![format!("udp/{}", relay.address())];
    let link = app.open_direct_link(&info).wait(SOON).unwrap().unwrap();
    relay.set(UdpRelaySettings {
        seed: 11,
        loss: 0.3,
        duplicated: 0.1,
        delay: Duration::from_millis(2),
        jitter: Duration::from_millis(3),
        reordered: 0.1,
    });
    let publisher = link.modulation(name);
    let mut shown = vec![];
    let look = |shown: &mut Vec<f32>| {
        let value = played.parameters().values()[0];
        if shown.last() != Some(&value) {
            shown.push(value);
        }
    };
    let begun = Instant::now();
    for number in 0..COUNT {
        thread::sleep((begun + PACE * number.into()).saturating_duration_since(Instant::now()));
        let value = f32::from(number) / f32::from(COUNT);
        publisher.publish(&Modulation { value }).unwrap();
        look(&mut shown);
    }
    let deadline = Instant::now() + Duration::from_secs(1);
    while Instant::now() < deadline {
        look(&mut shown);
        thread::sleep(Duration::from_millis(1));
    }
    assert!(shown.is_sorted(), "an older value after a newer one: {shown:?}");
    let (traffic, of_app) =
        (played.lane(Lane::UnreliableSequenced), app.lane(Lane::UnreliableSequenced));
    figure(&format!(
        "of {COUNT} values over UDP with 30 % loss {} arrived, {} were missed, {} were late, {} were coalesced by the sender; {} were shown; {:?}",
        traffic.received,
        traffic.missed,
        traffic.late,
        of_app.coalesced,
        shown.len(),
        relay.counts()
    ));
    // The received and the missed values must add up to the sent values; losses at the very end cannot be detected.
    let sent = u64::from(COUNT) - of_app.coalesced.min(u64::from(COUNT));
    let accounted = traffic.received + traffic.missed + traffic.late;
    assert!((sent.saturating_sub(100)..=sent + 20).contains(&accounted), "{accounted} of {sent}");
    assert!(traffic.missed > sent / 5, "the network was bad: {traffic:?}");
}
