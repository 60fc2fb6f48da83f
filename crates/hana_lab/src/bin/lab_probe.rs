//! The helper program that tests of the lab run on its hosts.
//!
//! It sends and receives datagrams, draws a window, or holds a lab until it is killed.

#![allow(clippy::print_stdout, clippy::print_stderr)]
// This program is part of the tests; see `lib.rs`.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;
use std::{env, thread};

/// The time limit after which a process that a test forgot ends.
const LIFE: Duration = Duration::from_mins(1);

fn main() {
    thread::spawn(|| {
        thread::sleep(LIFE);
        std::process::exit(3);
    });
    let words: Vec<String> = env::args().skip(1).collect();
    match &*words.iter().map(String::as_str).collect::<Vec<_>>() {
        ["echo", address] => echo(address.parse().unwrap()),
        ["ask", address] => ask(address),
        ["hear", group] => hear(group.parse().unwrap()),
        ["say", group, text] => say(group, text),
        ["hold"] => hold(),
        ["draw"] => draw(),
        _ => panic!(
            "usage: lab_probe echo ADDR | ask ADDR | hear GROUP | say GROUP TEXT | hold | draw"
        ),
    }
}

/// Returns every datagram to its sender.
fn echo(address: SocketAddr) {
    let socket = UdpSocket::bind(address).unwrap();
    println!("ready");
    let mut buffer = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let _ = socket.send_to(&buffer[..length], from);
    }
}

/// Succeeds if an echo comes back within 200 ms.
fn ask(address: &str) {
    let any = if address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut buffer = [0; 1500];
    let answer = socket.send_to(b"?", address).and_then(|_| socket.recv_from(&mut buffer));
    if let Err(error) = answer {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

/// Prints the messages to a multicast group.
fn hear(group: SocketAddr) {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, group.port())).unwrap();
    let IpAddr::V4(address) = group.ip() else { panic!("a group of IPv4") };
    socket.join_multicast_v4(&address, &Ipv4Addr::UNSPECIFIED).unwrap();
    println!("ready");
    let mut buffer = [0; 1500];
    while let Ok((length, _)) = socket.recv_from(&mut buffer) {
        println!("{}", String::from_utf8_lossy(&buffer[..length]));
    }
}

fn say(group: &str, text: &str) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.send_to(text.as_bytes(), group).unwrap();
}

/// Creates a lab with a process in it, prints its parts, and waits to be killed.
#[cfg(target_os = "linux")]
fn hold() {
    let lab = hana_lab::Lab::new("held").unwrap();
    let host = lab.host("h1");
    println!("{}", lab.directory().display());
    let mut sleep = host.command("sleep");
    sleep.arg("1000");
    let _sleep = host.spawn(sleep);
    for namespace in lab.namespaces() {
        println!("{namespace}");
    }
    println!("ready");
    thread::sleep(LIFE);
}

/// Shows a green window.
#[cfg(target_os = "linux")]
fn draw() {
    use x11rb::connection::Connection;
    use x11rb::protocol::xproto::AtomEnum;
    use x11rb::protocol::xproto::ConnectionExt;
    use x11rb::protocol::xproto::CreateWindowAux;
    use x11rb::protocol::xproto::PropMode;
    use x11rb::protocol::xproto::WindowClass;

    let (connection, screen) = x11rb::connect(None).unwrap();
    let root = connection.setup().roots[screen].root;
    let window = connection.generate_id().unwrap();
    let look = CreateWindowAux::new().background_pixel(0x0000_ff00);
    connection
        .create_window(0, window, root, 10, 20, 100, 50, 0, WindowClass::INPUT_OUTPUT, 0, &look)
        .unwrap();
    let (name, text) = (AtomEnum::WM_NAME, AtomEnum::STRING);
    connection.change_property(PropMode::REPLACE, window, name, text, 8, 5, b"probe").unwrap();
    connection.map_window(window).unwrap();
    connection.flush().unwrap();
    thread::sleep(LIFE);
}

#[cfg(not(target_os = "linux"))]
fn hold() {
    panic!("a lab needs Linux")
}

#[cfg(not(target_os = "linux"))]
fn draw() {
    panic!("a screen needs Linux")
}
