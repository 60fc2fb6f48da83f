use std::net::UdpSocket;

/// Counts the datagrams that the kernel dropped at a socket because its receive buffer was full.
///
/// Only Linux reports this; on other systems the count is unknown.
pub(super) struct KernelDrops {
    inode: Option<u64>,
    /// The last reading of the kernel's counter, which wraps.
    counted: u32,
}

impl KernelDrops {
    pub(super) fn of(socket: &UdpSocket) -> Self {
        Self { inode: inode_of(socket), counted: 0 }
    }

    /// Returns the number of drops since the last call; `None` where the system does not report it.
    pub(super) fn take(&mut self) -> Option<u64> {
        let dropped = read(self.inode?)?;
        let new = dropped.wrapping_sub(self.counted);
        self.counted = dropped;
        Some(u64::from(new))
    }
}

#[cfg(target_os = "linux")]
fn inode_of(socket: &UdpSocket) -> Option<u64> {
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::MetadataExt;

    let socket = OwnedFd::from(socket.try_clone().ok()?);
    Some(std::fs::File::from(socket).metadata().ok()?.ino())
}

#[cfg(not(target_os = "linux"))]
const fn inode_of(_socket: &UdpSocket) -> Option<u64> {
    None
}

/// Reads the kernel's tables.
///
/// `SO_RXQ_OVFL` would deliver the same number only with the next datagram, and would therefore miss the drops at the
/// end of a burst.
fn read(inode: u64) -> Option<u32> {
    let tables = ["/proc/net/udp", "/proc/net/udp6"];
    tables.into_iter().find_map(|table| drops_in(&std::fs::read_to_string(table).ok()?, inode))
}

/// Returns the last number in the line of a socket.
fn drops_in(table: &str, inode: u64) -> Option<u32> {
    const INODE: usize = 9;

    let mut lines = table.lines().map(|line| line.split_whitespace());
    let line = lines.find(|words| {
        let found = words.clone().nth(INODE).and_then(|word| word.parse().ok());
        found == Some(inode)
    })?;
    line.last()?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TABLE: &str = "\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
 1371: 0100007F:2328 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 00000000f4b6 12
 1372: 0100007F:2329 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 00000000f4b7 0
";

    #[test]
    fn drops_of_a_socket_are_found_by_its_inode() {
        assert_eq!(drops_in(TABLE, 4711), Some(12));
        assert_eq!(drops_in(TABLE, 4712), Some(0));
        assert_eq!(drops_in(TABLE, 4713), None);
        assert_eq!(drops_in("no table", 0), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn drops_of_a_full_buffer_are_counted_exactly() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = UdpSocket::bind(address) else { continue };
            rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4096).unwrap();
            let mut drops = KernelDrops::of(&socket);
            assert_eq!(drops.take(), Some(0));
            let sender = UdpSocket::bind(address).unwrap();
            for _ in 0..500 {
                sender.send_to(b"/hana", socket.local_addr().unwrap()).unwrap();
            }
            socket.set_nonblocking(true).unwrap();
            let read = std::iter::from_fn(|| socket.recv(&mut [0; 16]).ok()).count();
            assert!(read > 0 && read < 500, "{read}");
            assert_eq!(drops.take(), Some(500 - u64::try_from(read).unwrap()));
            assert_eq!(drops.take(), Some(0));
        }
    }
}
