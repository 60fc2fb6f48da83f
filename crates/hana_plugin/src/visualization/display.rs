//! Detection of the display on which a program can open a window.

use std::env;
use std::ffi::OsString;

use thiserror::Error;

/// The reason why a program cannot or must not open a window.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoDisplay {
    /// `HANA_HEADLESS=1`: the user wants no window.
    #[error("HANA_HEADLESS=1 asks for no window")]
    Unwanted,
    /// No variable names a display, as in an ssh login, cron or a service.
    #[error(
        "no display: DISPLAY is not set, as over ssh, in cron or before the desktop is up; start hanad from the desktop, or set DISPLAY (such as DISPLAY=:0) for it"
    )]
    NotSet,
    /// There is a Wayland session without Xwayland.
    #[error(
        "no display: DISPLAY is not set, and this program opens windows by X11, not on the Wayland display '{display}'; start Xwayland, or build the program with Bevy's feature `wayland`"
    )]
    OnlyWayland {
        /// The value of `WAYLAND_DISPLAY`.
        display: String,
    },
    /// `DISPLAY` names a display that does not answer.
    #[error(
        "the display '{display}' cannot be reached ({problem}); start the desktop or X server that DISPLAY names, correct DISPLAY, or set HANA_HEADLESS=1 to run without a window"
    )]
    Unreachable {
        /// The value of `DISPLAY`.
        display: String,
        /// The error of the operating system.
        problem: String,
    },
}

impl NoDisplay {
    /// Whether the program should run without a window: the user wants none, or the environment names no usable
    /// display.
    ///
    /// If the environment names a display that does not answer, the program should exit with an error instead, since
    /// the daemon restarts it.
    #[must_use]
    pub const fn is_headless(&self) -> bool {
        !matches!(self, Self::Unreachable { .. })
    }
}

/// Checks for the display on which a program with Bevy's feature `x11` opens its window.
///
/// On Linux `DISPLAY` must name a display that answers. `HANA_HEADLESS=1` rules out a display on all systems. Blocks
/// for a few seconds at most.
///
/// # Errors
///
/// The reason why there is no display.
pub fn find_display() -> Result<(), NoDisplay> {
    let display = wanted_display(|name| env::var_os(name))?;
    display.map_or(Ok(()), |display| {
        x11::reach(&display).map_err(|problem| NoDisplay::Unreachable { display, problem })
    })
}

/// Returns the X display that the environment names; `None` on systems on which displays have no names.
fn wanted_display(
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<String>, NoDisplay> {
    let set = |name| {
        let value = variable(name).filter(|value| !value.is_empty());
        value.map(|value| value.to_string_lossy().into_owned())
    };
    if set("HANA_HEADLESS").is_some_and(|value| value == "1") {
        return Err(NoDisplay::Unwanted);
    }
    if !cfg!(target_os = "linux") {
        return Ok(None);
    }
    match (set("DISPLAY"), set("WAYLAND_DISPLAY")) {
        (Some(display), _) => Ok(Some(display)),
        (None, Some(display)) => Err(NoDisplay::OnlyWayland { display }),
        (None, None) => Err(NoDisplay::NotSet),
    }
}

/// Splits `host:number.screen` into its parts.
#[cfg(any(target_os = "linux", test))]
fn parts(display: &str) -> Option<(&str, u16)> {
    let (host, rest) = display.rsplit_once(':')?;
    let number = rest.split_once('.').map_or(rest, |(number, _)| number);
    Some((host, number.parse().ok()?))
}

#[cfg(target_os = "linux")]
mod x11 {
    use std::io;
    use std::net::{TcpStream, ToSocketAddrs};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixStream};
    use std::time::Duration;

    use crate::visualization::display::parts;

    /// Base TCP port of X servers; the display number is added to it.
    const PORT: u16 = 6000;
    /// How long another machine may take to answer.
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

    /// Checks that a server accepts connections at this display, not whether it authorizes this program.
    pub(super) fn reach(display: &str) -> Result<(), String> {
        let Some((host, number)) = parts(display) else {
            return Err("it is no name of a display, such as ':0'".into());
        };
        if host.starts_with('/') {
            // Some servers use the path of a socket as the name of the display; such a display is not checked.
            return Ok(());
        }
        let reached = match host {
            "" | "unix" => by_socket(number).or_else(|problem| {
                // The error of the socket is more useful than that of the port.
                by_tcp("localhost", number).map_err(|_| problem)
            }),
            host => by_tcp(host.trim_matches(['[', ']']), number),
        };
        reached.map_err(|problem| problem.to_string())
    }

    fn by_socket(number: u16) -> io::Result<()> {
        let path = format!("/tmp/.X11-unix/X{number}");
        let in_files = UnixStream::connect(&path).map(drop);
        in_files.or_else(|problem| {
            let address = SocketAddr::from_abstract_name(&path)?;
            UnixStream::connect_addr(&address).map(drop).map_err(|_| problem)
        })
    }

    fn by_tcp(host: &str, number: u16) -> io::Result<()> {
        let port = PORT.checked_add(number).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in (host, port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(_) => return Ok(()),
                Err(problem) => last = problem,
            }
        }
        Err(last)
    }
}

#[cfg(not(target_os = "linux"))]
mod x11 {
    /// Always succeeds, since displays have no names on this system.
    pub(super) const fn reach(_: &str) -> Result<(), String> {
        Ok(())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn wanted(set: &[(&str, &str)]) -> Result<Option<String>, NoDisplay> {
        wanted_display(|name| {
            set.iter().find(|(of, _)| *of == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_cause_names_the_missing_variable() {
        assert_eq!(wanted(&[]), Err(NoDisplay::NotSet));
        assert_eq!(wanted(&[("DISPLAY", "")]), Err(NoDisplay::NotSet));
        assert_eq!(wanted(&[("HANA_HEADLESS", "1"), ("DISPLAY", ":0")]), Err(NoDisplay::Unwanted));
        let wayland = wanted(&[("WAYLAND_DISPLAY", "wayland-0")]);
        assert_eq!(wayland, Err(NoDisplay::OnlyWayland { display: "wayland-0".into() }));
        assert_eq!(wanted(&[("DISPLAY", ":1"), ("WAYLAND_DISPLAY", "w")]), Ok(Some(":1".into())));
        for cause in [NoDisplay::NotSet, NoDisplay::OnlyWayland { display: "w".into() }] {
            assert!(cause.is_headless() && cause.to_string().contains("DISPLAY"), "{cause}");
        }
    }

    #[test]
    fn a_missing_display_is_unreachable() {
        let problem = x11::reach(":3977").err();
        assert!(problem.is_some(), "there is no such server");
        assert!(x11::reach("nonsense").is_err());
        assert_eq!(parts(":77.0"), Some(("", 77)));
        assert_eq!(parts("[::1]:0"), Some(("[::1]", 0)));
    }
}
