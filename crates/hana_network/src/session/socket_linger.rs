//! Removes the `SO_LINGER` option that Zenoh sets on its TCP sockets.
//!
//! Zenoh sets the option to ten seconds on each TCP connection, and closes the connection in a receiving thread. If
//! the remote machine was unplugged, the last data sent to it is never acknowledged, so closing blocks that thread for
//! ten seconds. Zenoh has two such threads; after two machines are lost, the process receives nothing at all for that
//! time. Zenoh has no setting for this. Without the option, the kernel delivers the remaining data after the close,
//! and no thread waits.
//!
//! Only Linux blocks when a non-blocking socket with this option is closed, so other systems need no change.

#[cfg(target_os = "linux")]
pub(crate) use linux::LingerReset;

#[cfg(not(target_os = "linux"))]
#[derive(Default)]
pub(crate) struct LingerReset;

#[cfg(not(target_os = "linux"))]
impl LingerReset {
    pub(crate) const fn reset(&mut self) {}
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeSet;
    use std::time::Duration;
    use std::{fs, io};

    use rustix::net::sockopt;
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    /// The value that Zenoh sets. Sockets of the program with another value stay unchanged.
    const ZENOH_LINGER: Duration = Duration::from_secs(10);

    /// The sockets that are already checked, by inode.
    #[derive(Default)]
    pub(crate) struct LingerReset {
        seen: BTreeSet<String>,
    }

    impl LingerReset {
        /// Checks the sockets opened since the last call. Takes about ten microseconds for each open file of the
        /// process.
        pub(crate) fn reset(&mut self) {
            if let Err(problem) = self.look() {
                tracing::debug!("cannot read socket options: {problem}");
            }
        }

        fn look(&mut self) -> io::Result<()> {
            let mut open = BTreeSet::new();
            for entry in fs::read_dir("/proc/self/fd")? {
                let entry = entry?;
                let name = entry.file_name();
                let Some(number) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
                    continue;
                };
                // If this fails, the file was closed in the meantime.
                let Ok(target) = fs::read_link(entry.path()) else { continue };
                let Some(socket) = target.to_str().filter(|name| name.starts_with("socket:"))
                else {
                    continue;
                };
                if !self.seen.contains(socket) {
                    reset_of(number).ok();
                }
                open.insert(socket.to_owned());
            }
            self.seen = open;
            Ok(())
        }
    }

    /// Resets the option through a duplicate descriptor of the socket.
    ///
    /// This is safe even if the socket is closed meanwhile and another file gets its number.
    fn reset_of(number: i32) -> rustix::io::Result<()> {
        let own = pidfd_open(getpid(), PidfdFlags::empty())?;
        let socket = pidfd_getfd(&own, number, PidfdGetfdFlags::empty())?;
        if sockopt::socket_linger(&socket)? == Some(ZENOH_LINGER) {
            sockopt::set_socket_linger(&socket, None)?;
        }
        Ok(())
    }

    #[cfg(test)]
    #[allow(clippy::unwrap_used)]
    mod tests {
        use std::net::{TcpListener, TcpStream};

        use super::*;

        #[test]
        fn only_zenoh_linger_option_is_reset() {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let [of_zenoh, of_program] =
                [(); 2].map(|()| TcpStream::connect(listener.local_addr().unwrap()).unwrap());
            sockopt::set_socket_linger(&of_zenoh, Some(ZENOH_LINGER)).unwrap();
            sockopt::set_socket_linger(&of_program, Some(Duration::from_secs(3))).unwrap();
            let mut linger = LingerReset::default();
            linger.reset();
            assert_eq!(sockopt::socket_linger(&of_zenoh).unwrap(), None);
            let left = Some(Duration::from_secs(3));
            assert_eq!(sockopt::socket_linger(&of_program).unwrap(), left);
            assert!(linger.seen.len() >= 3);
            drop((of_zenoh, of_program, listener));
            linger.reset();
        }
    }
}
