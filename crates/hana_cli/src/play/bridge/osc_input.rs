use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::osc_message;

/// The largest UDP datagram.
const LARGEST: usize = 65_536;
/// Interval at which the reader thread checks whether it must end.
const LOOK: Duration = Duration::from_millis(100);
/// Pause after a socket error, so that a permanent error does not occupy a core.
const AFTER_ERROR: Duration = Duration::from_millis(10);
/// The requested size of the kernel's receive buffer: room for 80,000 messages.
///
/// The memory is used only while messages wait. Without privileges, `net.core.rmem_max` is the limit.
#[cfg(target_os = "linux")]
const KERNEL_BUFFER: usize = 32 << 20;
/// The nice value of the reader thread, which gives it priority over drawing and computing, if the system allows it.
#[cfg(target_os = "linux")]
const NICE: i32 = -10;

/// The datagrams received at a socket.
///
/// A dedicated thread does nothing but read them, since the kernel drops datagrams once its receive buffer is full.
pub(super) struct OscInput {
    shared: Arc<OscQueue>,
}

#[derive(Default)]
struct OscQueue {
    waiting: Mutex<Waiting>,
    has_come: Condvar,
    is_ended: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    batch: DatagramBatch,
    problem: Option<String>,
}

impl OscInput {
    /// Starts reading.
    ///
    /// # Errors
    ///
    /// When no thread can be started, or the socket cannot be used.
    pub(super) fn start(socket: &UdpSocket) -> std::io::Result<Self> {
        let socket = socket.try_clone()?;
        socket.set_read_timeout(Some(LOOK))?;
        enlarge(&socket);
        let shared = Arc::new(OscQueue::default());
        let thread_shared = Arc::clone(&shared);
        thread::Builder::new().name("hana osc".into()).spawn(move || {
            hurry();
            read(&socket, &thread_shared);
        })?;
        Ok(Self { shared })
    }

    /// Waits for datagrams, at most for `timeout`, and replaces the content of `batch` by them.
    ///
    /// Returns the last error of the socket since the previous call, if there was one.
    pub(super) fn take(&self, batch: &mut DatagramBatch, timeout: Duration) -> Option<String> {
        batch.clear();
        let is_idle = |waiting: &mut Waiting| waiting.batch.is_empty() && waiting.problem.is_none();
        let waited = self.shared.has_come.wait_timeout_while(self.shared.lock(), timeout, is_idle);
        let mut waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        std::mem::swap(&mut waiting.batch, batch);
        let problem = waiting.problem.take();
        drop(waiting);
        problem
    }
}

impl Drop for OscInput {
    fn drop(&mut self) {
        self.shared.is_ended.store(true, Ordering::Release);
    }
}

impl OscQueue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(socket: &UdpSocket, shared: &OscQueue) {
    let mut datagram = vec![0; LARGEST];
    while !shared.is_ended.load(Ordering::Acquire) {
        match socket.recv(&mut datagram) {
            Ok(length) => {
                let mut waiting = shared.lock();
                let is_first = waiting.batch.is_empty();
                waiting.batch.push(&datagram[..length]);
                drop(waiting);
                if is_first {
                    shared.has_come.notify_one();
                }
            },
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {},
            // Some systems report here that no socket accepted a datagram that this program sent. Reading continues.
            Err(error) => {
                shared.lock().problem = Some(error.to_string());
                shared.has_come.notify_one();
                thread::sleep(AFTER_ERROR);
            },
        }
    }
}

/// Makes the kernel's receive buffer as large as this process is allowed.
#[cfg(target_os = "linux")]
fn enlarge(socket: &UdpSocket) {
    use rustix::net::sockopt;

    if sockopt::set_socket_recv_buffer_size_force(socket, KERNEL_BUFFER).is_err() {
        sockopt::set_socket_recv_buffer_size(socket, KERNEL_BUFFER).ok();
    }
}

#[cfg(not(target_os = "linux"))]
const fn enlarge(_socket: &UdpSocket) {}

/// Raises the priority of this thread only. Without the privilege, the priority is unchanged.
#[cfg(target_os = "linux")]
fn hurry() {
    // On Linux, `None` means the calling thread.
    rustix::process::setpriority_process(None, NICE).ok();
}

#[cfg(not(target_os = "linux"))]
const fn hurry() {}

/// Datagrams in order of arrival, in one buffer, so that no datagram needs its own allocation.
#[derive(Debug, Default)]
pub(super) struct DatagramBatch {
    bytes: Vec<u8>,
    /// The end offset of each datagram.
    ends: Vec<usize>,
    /// The number of datagrams dropped because the buffer was full.
    dropped: u64,
}

impl DatagramBatch {
    /// Maximum number of buffered bytes. A consumer that falls so far behind has stalled or is far too slow.
    const MAX_BYTES: usize = 16 << 20;
    const MAX_DATAGRAMS: usize = 1 << 19;
    /// Maximum number of datagrams that are all played. In a larger batch, only the newest value of each address is
    /// played, since the others are late anyway.
    const LATE: usize = 4096;

    pub(super) const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(super) const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns the number of datagrams dropped because the buffer was full.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.dropped = 0;
    }

    fn push(&mut self, datagram: &[u8]) {
        let is_full = self.bytes.len() + datagram.len() > Self::MAX_BYTES
            || self.ends.len() >= Self::MAX_DATAGRAMS;
        if is_full {
            self.drop_oldest_half();
        }
        self.bytes.extend_from_slice(datagram);
        self.ends.push(self.bytes.len());
    }

    /// Drops the older half, since the newest values count.
    fn drop_oldest_half(&mut self) {
        let dropped = self.ends.len().div_ceil(2);
        let Some(begin) = dropped.checked_sub(1).and_then(|last| self.ends.get(last)).copied()
        else {
            return;
        };
        self.bytes.drain(..begin);
        self.ends.drain(..dropped);
        for end in &mut self.ends {
            *end -= begin;
        }
        self.dropped += u64::try_from(dropped).unwrap_or(u64::MAX);
    }

    fn datagram(&self, index: usize) -> &[u8] {
        let begin = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[begin..self.ends[index]]
    }

    /// Returns the datagrams to play, in order.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let superseded = if self.len() > Self::LATE { self.superseded() } else { vec![] };
        let is_played = move |index: &usize| !superseded.get(*index).copied().unwrap_or_default();
        (0..self.len()).filter(is_played).map(|index| self.datagram(index))
    }

    /// Returns, for each datagram, whether a later datagram sets the same parameter by the same address.
    fn superseded(&self) -> Vec<bool> {
        let mut superseded = vec![false; self.len()];
        let mut seen = HashSet::new();
        for index in (0..self.len()).rev() {
            if let Some((head, _)) = osc_message::simple(self.datagram(index)) {
                superseded[index] = !seen.insert(head);
            }
        }
        superseded
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn message(parameter: usize, value: f32) -> Vec<u8> {
        // The number has three digits, so that the address ends at a multiple of four.
        let mut message = format!("/hana/p/p{parameter:03}\0\0\0\0,f\0\0").into_bytes();
        message.extend(value.to_be_bytes());
        message
    }

    fn batch_of(datagrams: impl IntoIterator<Item = Vec<u8>>) -> DatagramBatch {
        let mut batch = DatagramBatch::default();
        datagrams.into_iter().for_each(|datagram| batch.push(&datagram));
        batch
    }

    #[test]
    fn batch_in_time_is_played_whole_and_in_order() {
        let sent: Vec<Vec<u8>> = [&b""[..], b"/a", b"/b"].map(Vec::from).into();
        let batch = batch_of(sent.clone());
        assert_eq!(batch.datagrams().collect::<Vec<_>>(), sent);
        assert_eq!(batch.dropped(), 0);
    }

    #[test]
    fn late_batch_plays_the_newest_value_of_each_address() {
        let count = DatagramBatch::LATE + 10;
        let sent = (0..count).map(|n| {
            if n == 5 {
                b"#bundle\0".to_vec()
            } else {
                message(n % 3, f32::from(u16::try_from(n).unwrap()))
            }
        });
        let batch = batch_of(sent);
        let played: Vec<Vec<u8>> = batch.datagrams().map(Vec::from).collect();
        let newest =
            (count - 3..count).map(|n| message(n % 3, f32::from(u16::try_from(n).unwrap())));
        let expected: Vec<Vec<u8>> = std::iter::once(b"#bundle\0".to_vec()).chain(newest).collect();
        assert_eq!(played, expected);
    }

    #[test]
    fn full_batch_drops_and_counts_the_oldest() {
        let large = vec![7; LARGEST - 1];
        let count = DatagramBatch::MAX_BYTES / large.len() * 3;
        let mut batch = batch_of((0..count).map(|_| large.clone()));
        batch.push(b"/last");
        let kept = batch.datagrams().count();
        assert_eq!(batch.dropped(), u64::try_from(count + 1 - kept).unwrap());
        assert!(kept > 1 && batch.bytes.len() <= DatagramBatch::MAX_BYTES);
        assert_eq!(batch.datagrams().last(), Some(&b"/last"[..]));
    }

    #[test]
    fn datagrams_of_the_socket_are_taken_in_order() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let input = OscInput::start(&socket).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sent: Vec<Vec<u8>> = (0..100).map(|n| vec![n]).collect();
        for datagram in &sent {
            sender.send_to(datagram, socket.local_addr().unwrap()).unwrap();
        }
        let (mut batch, mut taken) = (DatagramBatch::default(), vec![]);
        let deadline = Instant::now() + Duration::from_secs(10);
        while taken.len() < sent.len() && Instant::now() < deadline {
            assert_eq!(input.take(&mut batch, Duration::from_millis(50)), None);
            taken.extend(batch.datagrams().map(Vec::from));
        }
        assert_eq!(taken, sent);
    }
}
