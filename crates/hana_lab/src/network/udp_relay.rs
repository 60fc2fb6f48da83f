use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, thread};

/// A simulated bad network between UDP programs on this machine: it loses, delays, duplicates and reorders datagrams.
///
/// One or several clients send to [`address`](Self::address) instead of to `target`. To the target, each client
/// appears at a separate address. The lost datagrams depend only on `seed` and on the number of earlier datagrams in
/// the same direction, so that a test can be repeated. Dropping this value ends the relay.
pub struct UdpRelay {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// The settings of a simulated network, which apply to both directions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UdpRelaySettings {
    /// The seed of the random numbers.
    pub seed: u64,
    /// The share of lost datagrams, 0 to 1.
    pub loss: f64,
    /// The share of duplicated datagrams, 0 to 1; each copy has its own delay.
    pub duplicated: f64,
    /// The delay of each datagram.
    pub delay: Duration,
    /// The largest additional delay; the actual delays are evenly distributed. The order is kept, as in a queue.
    pub jitter: Duration,
    /// The share of reordered datagrams, 0 to 1.
    ///
    /// They are delayed by another two jitters and a millisecond, so that later datagrams overtake them.
    pub reordered: f64,
}

/// The counters of a [`UdpRelay`], for both directions together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UdpRelayCounts {
    /// The number of received datagrams.
    pub taken: u64,
    /// The number of received datagrams that were dropped.
    pub lost: u64,
    /// The number of received datagrams that were duplicated.
    pub duplicated: u64,
    /// The number of received datagrams that were delayed so that later ones overtake them.
    pub reordered: u64,
}

impl Default for UdpRelaySettings {
    /// Returns the settings of a perfect network.
    fn default() -> Self {
        Self {
            seed: 1,
            loss: 0.0,
            duplicated: 0.0,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            reordered: 0.0,
        }
    }
}

struct Shared {
    settings: Mutex<UdpRelaySettings>,
    ended: AtomicBool,
    taken: AtomicU64,
    lost: AtomicU64,
    duplicated: AtomicU64,
    reordered: AtomicU64,
}

/// A datagram in transit.
struct Datagram {
    due: Instant,
    /// The order of datagrams that are due at the same time.
    number: u64,
    from: Arc<UdpSocket>,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// The state of one direction between a client and the target: random numbers, and when the last datagram is due.
struct Direction {
    dice: u64,
    last_due: Instant,
}

/// The size of the largest possible datagram, in bytes.
const LARGEST: usize = 65_535;
/// The interval at which a waiting thread checks whether the relay has ended.
const GLANCE: Duration = Duration::from_millis(50);

impl UdpRelay {
    /// Starts to relay datagrams to `target`, and the replies of `target` back to their clients.
    #[must_use]
    pub fn new(target: SocketAddr, settings: UdpRelaySettings) -> Self {
        let socket = Arc::new(open());
        let address = socket.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            settings: Mutex::new(settings),
            ended: AtomicBool::new(false),
            taken: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            duplicated: AtomicU64::new(0),
            reordered: AtomicU64::new(0),
        });
        let (deliver, to_deliver) = mpsc::channel();
        let of_there = Arc::clone(&shared);
        let threads = vec![
            thread::spawn(move || relay_to_target(&socket, target, &of_there, &deliver)),
            thread::spawn(move || deliver_when_due(&to_deliver)),
        ];
        Self { address, shared, threads }
    }

    /// Returns the address that clients use instead of the target's.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the network. Datagrams in transit are not affected, and the sequence of random numbers continues.
    pub fn set(&self, settings: UdpRelaySettings) {
        *self.shared.settings() = settings;
    }

    /// Returns the counters so far.
    #[must_use]
    pub fn counts(&self) -> UdpRelayCounts {
        let Shared { taken, lost, duplicated, reordered, .. } = &*self.shared;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        UdpRelayCounts {
            taken: count(taken),
            lost: count(lost),
            duplicated: count(duplicated),
            reordered: count(reordered),
        }
    }
}

impl Drop for UdpRelay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            // A thread that panicked has already printed the reason.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn settings(&self) -> MutexGuard<'_, UdpRelaySettings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Receives the next datagram at `socket`, or returns `None` once the relay ends.
    fn receive(&self, socket: &UdpSocket, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        loop {
            if self.ended.load(Ordering::Acquire) {
                return None;
            }
            match socket.recv_from(buffer) {
                Ok(received) => return Some(received),
                // There is no datagram, or some systems report here that an earlier one was rejected.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock
                            | io::ErrorKind::TimedOut
                            | io::ErrorKind::Interrupted
                            | io::ErrorKind::ConnectionRefused
                            | io::ErrorKind::ConnectionReset
                    ) => {},
                Err(error) => panic!("the relay cannot receive: {error}"),
            }
        }
    }
}

fn open() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    socket.set_read_timeout(Some(GLANCE)).expect("a socket takes a timeout");
    socket
}

/// Relays the datagrams of all clients to the target, and starts a thread for each client's replies.
fn relay_to_target(
    socket: &Arc<UdpSocket>,
    target: SocketAddr,
    shared: &Arc<Shared>,
    deliver: &mpsc::Sender<Datagram>,
) {
    let mut pairs: HashMap<SocketAddr, (Arc<UdpSocket>, Direction)> = HashMap::new();
    let mut ways_back = vec![];
    let mut buffer = vec![0; LARGEST];
    while let Some((length, from)) = shared.receive(socket, &mut buffer) {
        let number = pairs.len() as u64;
        let (there, direction) = pairs.entry(from).or_insert_with(|| {
            let there = Arc::new(open());
            let back = (Arc::clone(&there), Arc::clone(socket));
            let (of_back, deliver) = (Arc::clone(shared), deliver.clone());
            let direction = Direction::new(shared, 2 * number + 1);
            ways_back.push(thread::spawn(move || {
                relay_to_client(&back.0, &back.1, from, direction, &of_back, &deliver);
            }));
            (there, Direction::new(shared, 2 * number))
        });
        direction.pass(there, target, &buffer[..length], shared, deliver);
    }
    for way in ways_back {
        let _ = way.join();
    }
}

fn relay_to_client(
    there: &Arc<UdpSocket>,
    socket: &Arc<UdpSocket>,
    to: SocketAddr,
    mut direction: Direction,
    shared: &Shared,
    deliver: &mpsc::Sender<Datagram>,
) {
    let mut buffer = vec![0; LARGEST];
    while let Some((length, _)) = shared.receive(there, &mut buffer) {
        direction.pass(socket, to, &buffer[..length], shared, deliver);
    }
}

impl Direction {
    fn new(shared: &Shared, number: u64) -> Self {
        let seed = shared.settings().seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (number + 1);
        let mut direction = Self { dice: seed | 1, last_due: Instant::now() };
        // The first numbers are skipped, since similar seeds begin with similar numbers.
        for _ in 0..8 {
            direction.share();
        }
        direction
    }

    /// Returns a number from 0 to 1.
    #[allow(clippy::cast_precision_loss)]
    fn share(&mut self) -> f64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Decides whether and when a datagram is delivered.
    ///
    /// Each datagram uses the same number of random numbers, whatever their values are.
    fn pass(
        &mut self,
        from: &Arc<UdpSocket>,
        to: SocketAddr,
        bytes: &[u8],
        shared: &Shared,
        deliver: &mpsc::Sender<Datagram>,
    ) {
        let settings = *shared.settings();
        let dice: [f64; 5] = std::array::from_fn(|_| self.share());
        let number = shared.taken.fetch_add(1, Ordering::Relaxed);
        if dice[0] < settings.loss {
            shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let is_duplicated = dice[1] < settings.duplicated;
        let is_held_back = dice[2] < settings.reordered;
        let arrives = Instant::now() + settings.delay;
        for jitter in &dice[3..=3 + usize::from(is_duplicated)] {
            let mut due = (arrives + settings.jitter.mul_f64(*jitter)).max(self.last_due);
            if is_held_back {
                due += settings.jitter * 2 + Duration::from_millis(1);
            } else {
                self.last_due = due;
            }
            let from = Arc::clone(from);
            // The send fails only while the relay ends.
            let _ = deliver.send(Datagram { due, number, from, to, bytes: bytes.to_vec() });
        }
        shared.duplicated.fetch_add(u64::from(is_duplicated), Ordering::Relaxed);
        shared.reordered.fetch_add(u64::from(is_held_back), Ordering::Relaxed);
    }
}

/// Delivers datagrams when they are due, until all senders have been dropped.
fn deliver_when_due(coming: &mpsc::Receiver<Datagram>) {
    let mut waiting: BinaryHeap<Reverse<Datagram>> = BinaryHeap::new();
    loop {
        let next = waiting.peek().map(|Reverse(datagram)| datagram.due);
        let pause = next.map_or(GLANCE, |due| due.saturating_duration_since(Instant::now()));
        match coming.recv_timeout(pause) {
            Ok(datagram) => waiting.push(Reverse(datagram)),
            Err(mpsc::RecvTimeoutError::Timeout) => {},
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
        while waiting.peek().is_some_and(|Reverse(next)| next.due <= Instant::now()) {
            let Some(Reverse(Datagram { from, to, bytes, .. })) = waiting.pop() else { break };
            // A real network does not report an unreachable receiver either.
            let _ = from.send_to(&bytes, to);
        }
    }
}

impl Ord for Datagram {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}
impl PartialOrd for Datagram {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Datagram {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Datagram {}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(5);

    /// Sends numbers through a relay, one per millisecond. Returns the numbers that arrived, with their time in
    /// transit.
    fn through(settings: UdpRelaySettings, most: u32) -> (Vec<(u32, Duration)>, UdpRelayCounts) {
        let there = open();
        let relay = UdpRelay::new(there.local_addr().unwrap(), settings);
        let here = open();
        here.connect(relay.address()).unwrap();
        let begun = Instant::now();
        let sender = thread::spawn(move || {
            let mut sent = vec![];
            for number in 0..most {
                let due = begun + Duration::from_millis(number.into());
                thread::sleep(due.saturating_duration_since(Instant::now()));
                sent.push(Instant::now());
                here.send(&number.to_le_bytes()).unwrap();
            }
            sent
        });
        let mut came = vec![];
        let mut buffer = [0; 16];
        let deadline = Instant::now() + DEADLINE;
        loop {
            match there.recv(&mut buffer) {
                Ok(length) => {
                    let number = u32::from_le_bytes(buffer[..length].try_into().unwrap());
                    came.push((number, Instant::now()));
                },
                Err(_) if sender.is_finished() => break,
                Err(_) => assert!(Instant::now() < deadline, "{} came", came.len()),
            }
        }
        let sent = sender.join().unwrap();
        let under_way = |(number, at): (u32, Instant)| (number, at - sent[number as usize]);
        (came.into_iter().map(under_way).collect(), relay.counts())
    }

    fn numbers(came: &[(u32, Duration)]) -> Vec<u32> {
        came.iter().map(|(number, _)| *number).collect()
    }

    #[test]
    fn perfect_network_passes_all_in_order() {
        let (came, counts) = through(UdpRelaySettings::default(), 100);
        assert_eq!(numbers(&came), (0..100).collect::<Vec<_>>());
        assert_eq!(counts, UdpRelayCounts { taken: 100, ..UdpRelayCounts::default() });
    }

    #[test]
    fn bad_network_loses_repeats_and_reorders_the_same_per_seed() {
        let settings = UdpRelaySettings {
            seed: 7,
            loss: 0.2,
            duplicated: 0.1,
            delay: Duration::from_millis(3),
            jitter: Duration::from_millis(2),
            reordered: 0.1,
        };
        let (came, counts) = through(settings, 500);
        assert!((60..140).contains(&counts.lost), "{counts:?}");
        assert!((20..70).contains(&counts.duplicated), "{counts:?}");
        assert!((20..70).contains(&counts.reordered), "{counts:?}");
        assert_eq!(came.len() as u64, counts.taken - counts.lost + counts.duplicated);
        assert!(came.iter().all(|(_, way)| *way >= settings.delay), "{came:?}");
        let order = numbers(&came);
        assert!(!order.is_sorted(), "no datagram has overtaken another");
        let (again, _) = through(settings, 500);
        let mut sorted = [order, numbers(&again)];
        for numbers in &mut sorted {
            numbers.sort_unstable();
        }
        assert_eq!(sorted[0], sorted[1]);
    }

    #[test]
    fn replies_return_to_their_senders() {
        let there = open();
        let relay = UdpRelay::new(there.local_addr().unwrap(), UdpRelaySettings::default());
        let mut buffer = [0; 16];
        for (asking, word) in [(open(), b"one"), (open(), b"two")] {
            asking.send_to(word, relay.address()).unwrap();
            let (length, from) = there.recv_from(&mut buffer).unwrap();
            there.send_to(&buffer[..length], from).unwrap();
            let (length, from) = asking.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..length], from), (word.as_slice(), relay.address()));
        }
        relay.set(UdpRelaySettings { loss: 1.0, ..UdpRelaySettings::default() });
        open().send_to(b"three", relay.address()).unwrap();
        assert!(there.recv_from(&mut buffer).is_err(), "all datagrams are lost");
        assert_eq!(relay.counts().lost, 1);
    }
}
