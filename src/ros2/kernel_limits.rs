//! What the kernel lets UDP hold, and whether it dropped anything.
//!
//! A raw image arrives as a burst of datagrams. The stock limit of a receive buffer holds 208 KiB of them, so that larger
//! images lose some and with them the whole; this is so for every DDS vendor. `doctor` and `run` say it and how to
//! mend it.

use std::fs;

/// With buffers of this size raw images of 1280×720 arrive at 30 Hz.
pub const RECEIVE_BUFFER_BYTES_WANTED: u64 = 4 << 20;

/// The line that mends it until the next boot; the same in `/etc/sysctl.d/60-ros2.conf` mends it for good.
pub const SYSCTL_LINE: &str = "sudo sysctl -w net.core.rmem_max=67108864 net.core.rmem_default=8388608";

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

    /// The largest raw image that surely arrives: messages a little below the buffer's size do.
    pub fn image_bytes_safe(&self) -> u64 {
        // The kernel doubles the size for its own bookkeeping and counts a datagram with its headers.
        self.receive_bytes_max - self.receive_bytes_max / 10
    }

    /// What is wrong and how to mend it, or `None` if nothing is.
    pub fn advice(&self) -> Option<String> {
        if RECEIVE_BUFFER_BYTES_WANTED <= self.receive_bytes_max {
            return None;
        }
        Some(format!(
            "the kernel limits UDP receive buffers to {} bytes, so that raw images over about {} kB are lost \
             (compressed ones are smaller); mend it with `{SYSCTL_LINE}`",
            self.receive_bytes_max,
            self.image_bytes_safe() / 1000,
        ))
    }
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
        let stock = KernelLimits { receive_bytes_max: 212_992, receive_bytes_default: 212_992 };
        let advice = stock.advice().unwrap();
        assert!(advice.contains("about 191 kB") && advice.contains(SYSCTL_LINE), "{advice}");
        let tuned = KernelLimits { receive_bytes_max: 4 << 20, receive_bytes_default: 212_992 };
        assert_eq!(tuned.advice(), None);
    }

    #[test]
    fn the_counter_is_found_by_its_name() {
        let snmp = "Tcp: A B\nTcp: 1 2\nUdp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors\n\
                    Udp: 9 8 7 6 42 5\nUdpLite: InDatagrams\nUdpLite: 0\n";
        assert_eq!(parse_receive_buffer_errors(snmp), Some(42));
        assert_eq!(parse_receive_buffer_errors("Udp: A\n"), None);
    }
}
