//! What the kernel lets UDP hold, and whether it dropped anything.
//!
//! An image arrives as a burst of datagrams. The stock limit of a receive buffer holds 208 KiB of them, so that larger
//! images lose some and, read best effort, with them the whole; this is so for every DDS vendor. `doctor` and `run` say
//! it and how to mend it.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;

use rustix::net::sockopt;

/// With buffers of this size raw images of 1280×720 arrive at 30 Hz.
pub const RECEIVE_BUFFER_BYTES_WANTED: u64 = 4 << 20;

/// What the node asks the kernel for unless it is told otherwise: raw images of 1920×1080 fit.
pub const RECEIVE_BUFFER_BYTES_ASKED: u64 = 8 << 20;

/// The line that mends it until the next boot; the same in `/etc/sysctl.d/60-ros2.conf` mends it for good.
pub const SYSCTL_LINE: &str = "sudo sysctl -w net.core.rmem_max=67108864 net.core.rmem_default=8388608";

/// How a program may have larger buffers than the limit without changing it for everyone.
pub const CAPABILITY_LINE: &str = "sudo setcap cap_net_admin+ep $(command -v perihelion) (under systemd: AmbientCapabilities=CAP_NET_ADMIN)";

/// The kernel's limits of UDP buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelLimits {
    /// `net.core.rmem_max`: the largest receive buffer that a program may ask for.
    pub receive_bytes_max: u64,
    /// `net.core.rmem_default`: what a program gets that does not ask, such as many Fast DDS readers.
    pub receive_bytes_default: u64,
}

impl KernelLimits {
    /// Reads them, or `None` where there is no `/proc`.
    pub fn read() -> Option<Self> {
        let read =
            |name: &str| fs::read_to_string(format!("/proc/sys/net/core/{name}")).ok()?.trim().parse().ok();
        Some(Self { receive_bytes_max: read("rmem_max")?, receive_bytes_default: read("rmem_default")? })
    }
}

/// Asks the kernel for a receive buffer of `bytes`, beyond its limit where this process has `CAP_NET_ADMIN`, and says how
/// many it grants. A larger buffer stays as it is.
///
/// # Errors
/// If `socket` is none.
pub fn ask_for_receive_buffer(socket: impl AsFd, bytes: u64) -> io::Result<u64> {
    // The kernel doubles what was asked for, for its own bookkeeping, and tells the double.
    let granted = || Ok::<_, io::Error>(sockopt::socket_recv_buffer_size(&socket)? as u64 / 2);
    let wanted = usize::try_from(bytes).unwrap_or(usize::MAX);
    if granted()? < bytes {
        sockopt::set_socket_recv_buffer_size(&socket, wanted)?;
    }
    if granted()? < bytes {
        // Refused without the capability; then it stays at the limit.
        let _ = sockopt::set_socket_recv_buffer_size_force(&socket, wanted);
    }
    granted()
}

/// The receive buffer that a socket of this process gets when it asks for [`RECEIVE_BUFFER_BYTES_ASKED`].
pub fn receive_buffer_granted() -> Option<u64> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    ask_for_receive_buffer(socket, RECEIVE_BUFFER_BYTES_ASKED).ok()
}

/// The largest image that surely arrives best effort in a receive buffer of this size: messages a little smaller do.
pub fn image_bytes_safe(receive_buffer_bytes: u64) -> u64 {
    // The kernel counts a datagram with its headers.
    receive_buffer_bytes - receive_buffer_bytes / 10
}

/// The largest image that comes whole at a camera's rate where what is lost of it is sent again: beyond, asking takes longer
/// than there is between two images.
///
/// Of raw images at 30 Hz from Fast DDS through the stock limit, 922 kB came all; of 2.8 MB some did not, of 6.2 MB hardly any did.
pub fn image_bytes_repeated(receive_buffer_bytes: u64) -> u64 {
    receive_buffer_bytes.saturating_mul(6)
}

/// What a receive buffer of this size does to images, or `None` if nothing.
pub fn advice(receive_buffer_bytes: u64) -> Option<String> {
    (receive_buffer_bytes < RECEIVE_BUFFER_BYTES_WANTED).then(|| {
        format!(
            "the kernel grants UDP receive buffers of {receive_buffer_bytes} bytes, so that images over about {} kB, raw \
             or compressed, are lost unless their camera publishes reliably",
            image_bytes_safe(receive_buffer_bytes) / 1000,
        )
    })
}

/// How to mend what [`advice`] says.
pub fn remedy() -> String {
    format!("{SYSCTL_LINE}, or for this program alone {CAPABILITY_LINE}")
}

/// Datagrams that the kernel dropped since it started because a receive buffer was full, over all programs.
pub fn receive_buffer_errors() -> Option<u64> {
    parse_receive_buffer_errors(&fs::read_to_string("/proc/net/snmp").ok()?)
}

fn parse_receive_buffer_errors(snmp: &str) -> Option<u64> {
    let mut udp = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (udp.next()?, udp.next()?);
    let column = names.split_whitespace().position(|name| name == "RcvbufErrors")?;
    values.split_whitespace().nth(column)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stock_kernel_gets_advice() {
        let advised = advice(212_992).unwrap();
        assert!(advised.contains("about 191 kB") && remedy().contains(SYSCTL_LINE), "{advised}");
        assert_eq!(advice(4 << 20), None);
    }

    #[test]
    fn a_socket_gets_what_the_kernel_grants_and_never_less_than_it_has() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let few = ask_for_receive_buffer(&socket, 100_000).unwrap();
        assert!(100_000 <= few, "{few}");
        let limit = KernelLimits::read().map_or(212_992, |limits| limits.receive_bytes_max);
        let many = ask_for_receive_buffer(&socket, 1 << 30).unwrap();
        assert!(limit.min(1 << 30) <= many, "{many} of {limit}");
        assert_eq!(ask_for_receive_buffer(&socket, 1).unwrap(), many);
    }

    #[test]
    fn the_counter_is_found_by_its_name() {
        let snmp = "Tcp: A B\nTcp: 1 2\nUdp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors\n\
                    Udp: 9 8 7 6 42 5\nUdpLite: InDatagrams\nUdpLite: 0\n";
        assert_eq!(parse_receive_buffer_errors(snmp), Some(42));
        assert_eq!(parse_receive_buffer_errors("Udp: A\n"), None);
    }
}
