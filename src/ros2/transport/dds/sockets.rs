//! The UDP socket at which our participant hears samples, found where the kernel lists this process's sockets.
//!
//! RustDDS makes it, hands it to nobody, and asks for a receive buffer as everybody may: the kernel cuts that to its limit.
//! With `CAP_NET_ADMIN` more can be had, and what the kernel dropped of this socket alone stands in `/proc/net/udp`.
#![expect(unsafe_code, reason = "a descriptor that RustDDS owns is borrowed by its number")]

use std::fs;
use std::os::fd::{BorrowedFd, RawFd};

use crate::ros2::kernel_limits::ask_for_receive_buffer;

/// The sockets of this process at one UDP port.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// Each with the kernel's number of it.
    found: Vec<(RawFd, u64)>,
}

impl Sockets {
    /// Those that listen at `port` now; none where `/proc` does not say.
    pub(super) fn at(port: u16) -> Self {
        let listed = fs::read_to_string("/proc/net/udp").unwrap_or_default();
        let inodes: Vec<u64> = rows(&listed).filter(|row| row.port == port).map(|row| row.inode).collect();
        let Ok(entries) = fs::read_dir("/proc/self/fd") else { return Self::default() };
        let found = entries.flatten().filter_map(|entry| {
            let link = fs::read_link(entry.path()).ok()?;
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()?;
            let descriptor = entry.file_name().to_str()?.parse().ok()?;
            inodes.contains(&inode).then_some((descriptor, inode))
        });
        Self { found: found.collect() }
    }

    /// Asks for a receive buffer of `bytes` for each, and says how many the smallest has.
    pub(super) fn enlarge(&self, bytes: u64) -> Option<u64> {
        let granted = self.found.iter().filter_map(|(descriptor, _)| {
            // SAFETY: this process's list of descriptors has just named it as a socket at a port of our participant, which
            // our caller holds, so that RustDDS keeps it open.
            let socket = unsafe { BorrowedFd::borrow_raw(*descriptor) };
            ask_for_receive_buffer(socket, bytes).ok()
        });
        granted.min()
    }

    /// Datagrams that they lost since they were made because a buffer was full.
    pub(super) fn dropped(&self) -> u64 {
        let listed = fs::read_to_string("/proc/net/udp").unwrap_or_default();
        let ours = |row: &Row| self.found.iter().any(|(_, inode)| *inode == row.inode);
        rows(&listed).filter(ours).map(|row| row.dropped).sum()
    }
}

/// A line of `/proc/net/udp` (proc_net_udp(5)).
struct Row {
    port: u16,
    inode: u64,
    dropped: u64,
}

fn rows(listed: &str) -> impl Iterator<Item = Row> {
    listed.lines().skip(1).filter_map(|line| {
        let mut columns = line.split_whitespace();
        let port = columns.nth(1)?.split_once(':')?.1;
        let inode = columns.nth(7)?.parse().ok()?;
        let dropped = columns.nth(2)?.parse().ok()?;
        Some(Row { port: u16::from_str_radix(port, 16).ok()?, inode, dropped })
    })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_socket_is_found_by_its_port_and_its_drops_are_counted() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let sockets = Sockets::at(address.port());
        let granted = sockets.enlarge(100_000).expect("it is there");
        assert!(100_000 <= granted, "{granted}");
        assert_eq!(sockets.dropped(), 0);
        for _ in 0..granted / 1000 {
            socket.send_to(&[0; 5000], address).unwrap();
        }
        assert!(0 < sockets.dropped(), "nothing was dropped of five times what fits");
        drop(socket);
        assert_eq!(Sockets::at(address.port()).enlarge(1), None);
    }

    #[test]
    fn lines_are_read_by_their_columns() {
        let listed = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
                      12345: 0100007F:1CF3 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 314159 2 0000000000000000 27\n\
                      cut: 0100007F:1CF3\n";
        let read: Vec<_> = rows(listed).map(|row| (row.port, row.inode, row.dropped)).collect();
        assert_eq!(read, [(7411, 314_159, 27)]);
    }
}
