"""Damaged RTPS packets at a node whose camera runs: it lives, its memory is bounded, and it answers again.

    python flood.py PERIHELION REASON_ENGINE WORK_DIR [N_PACKETS] [SEED]

Packets of the node's own conversation are taken from the loopback interface, which needs root, and come back at its ports with
bits turned, numbers made huge, tails cut, and bytes put in. Every kind of submessage that was heard is among them.
"""

import os
import random
import socket
import struct
import sys
import threading
import time

from camera import Camera
from ours import Ours, Peer

PERIHELION, REASON, WORK = sys.argv[1:4]
N_PACKETS = int(sys.argv[4]) if 4 < len(sys.argv) else 300_000
SEED = int(sys.argv[5]) if 5 < len(sys.argv) else time.time_ns() % 10**6
DOMAIN = int(os.environ["ROS_DOMAIN_ID"])
FIRST_PORT = 7400 + 250 * DOMAIN
# What the network's process may add to what the node has at rest.
GROWTH_BYTES_MAX = 512 << 20
HUGE = [0xFF, 0x7F, 0x80, 0x00, 0x01]


def hear(packets, is_over):
    """Packets of our domain on the loopback interface, with the ports that they went to."""
    ears = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
    ears.bind(("lo", 0))
    ears.settimeout(0.1)
    while not is_over.is_set():
        try:
            packet, address = ears.recvfrom(70_000)
        except TimeoutError:
            continue
        header = (packet[0] & 15) * 4
        if address[2] == socket.PACKET_OUTGOING or packet[9] != socket.IPPROTO_UDP:
            continue
        port = struct.unpack(">H", packet[header + 2 : header + 4])[0]
        body = packet[header + 8 :]
        if FIRST_PORT <= port < FIRST_PORT + 250 and body[:4] == b"RTPS" and len(packets) < 4000:
            packets.append((port, body[:1400]))


def kinds(packet):
    """The submessages of a packet."""
    at, found = 20, set()
    while at + 4 <= len(packet):
        found.add(packet[at])
        length = struct.unpack("<H", packet[at + 2 : at + 4])[0]
        if not length:
            break
        at += 4 + length
    return found


def damaged(packet, dice):
    bytes_ = bytearray(packet)
    for _ in range(dice.choice((1, 1, 2, 4, 8))):
        if len(bytes_) < 28:
            break
        at = dice.randrange(20, len(bytes_))
        how = dice.randrange(5)
        if how == 0:
            bytes_[at] ^= 1 << dice.randrange(8)
        elif how == 1:
            bytes_[at : at + dice.choice((1, 2, 4, 8))] = bytes(dice.choice(HUGE) for _ in range(dice.choice((1, 2, 4, 8))))
        elif how == 2:
            del bytes_[at:]
        elif how == 3:
            bytes_[at:at] = bytes(dice.randrange(256) for _ in range(dice.choice((1, 4, 16))))
        else:
            # A number of four bytes where RTPS has numbers: on a multiple of four.
            at -= at % 4
            bytes_[at : at + 4] = struct.pack("<i", dice.choice((-1, 1, 0, 2**31 - 1, -(2**31), dice.randrange(2**31))))
    return bytes(bytes_)


def family(process):
    """A process and its children: what /proc says of their state."""
    found = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            status = dict(line.split(":", 1) for line in open(f"/proc/{entry}/status") if ":" in line)
        except OSError:
            continue
        if int(entry) == process or int(status["PPid"]) == process:
            found[int(entry)] = status
    return found


def memory_bytes(process):
    """What a process and its children hold for themselves."""
    return sum(1024 * int(status.get("RssAnon", "0 kB").split()[0]) for status in family(process).values())


def ports(process):
    """The UDP ports of a process and its children in our domain."""
    inodes = set()
    for member in family(process):
        folder = f"/proc/{member}/fd"
        inodes |= {os.readlink(f"{folder}/{entry}") for entry in os.listdir(folder)}
    rows = [line.split() for line in open("/proc/net/udp")][1:]
    ours = {int(row[1].split(":")[1], 16) for row in rows if f"socket:[{row[9]}]" in inodes}
    return {port for port in ours if FIRST_PORT < port < FIRST_PORT + 250}


def main():
    dice = random.Random(SEED)
    with Peer("flooded") as peer:
        camera = Camera(peer, 1280, 720)
        packets, is_over = [], threading.Event()
        ears = threading.Thread(target=hear, args=(packets, is_over))
        ears.start()
        node = Ours(PERIHELION, WORK, "flood", [REASON])
        if peer.until(camera.is_seen, 10) is None:
            raise SystemExit("flood: the camera is not found")
        peer.spin(0.2)
        camera.play(60, 30)
        is_over.set()
        ears.join()
        heard = set().union(*(kinds(packet) for _, packet in packets))
        print(f"flood: seed {SEED}, {len(packets)} packets heard, submessages {sorted(hex(kind) for kind in heard)}")
        assert {0x06, 0x07, 0x15, 0x16} <= heard, "a kind of submessage was not heard"
        at_rest, most = memory_bytes(node.process.pid), 0
        targets = ports(node.process.pid)
        assert targets, "the node listens nowhere"
        packets = [(port, packet) for port, packet in packets if port in targets]
        mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        begin = time.monotonic()
        next_frame = begin
        for n_sent in range(N_PACKETS):
            port, packet = dice.choice(packets)
            try:
                mouth.sendto(damaged(packet, dice), ("127.0.0.1", port))
            except OSError:
                pass
            if n_sent % 256 == 0:
                if next_frame < time.monotonic():
                    next_frame += 1 / 30
                    camera.send()
                if n_sent % 4096 == 0:
                    most = max(most, memory_bytes(node.process.pid))
                    assert node.process.poll() is None, f"the node ended after {n_sent} packets: {node.process.returncode}"
        took = time.monotonic() - begin
        # The camera goes on. What strangers' packets said of sequence numbers may have confused who follows topics; what
        # the node makes of frames is what counts.
        n_before, end = node.n_said(), time.monotonic()
        while node.n_said() == n_before and time.monotonic() < end + 20:
            camera.play(1, 30)
        again = time.monotonic() - end
        most = max(most, memory_bytes(node.process.pid))
        n_restarts = node.log().count("it starts again")
        print(f"flood: {N_PACKETS} damaged packets in {took:.1f} s; memory {at_rest >> 20} MiB at rest, {most >> 20} MiB at most; "
              f"{n_restarts} restarts; an answer {again:.2f} s later")
        code = node.stop()
        account = node.account("answers")
        print(f"flood: {account}, exit code {code}")
        assert code == 0, f"the node ended with {code}"
        assert most < at_rest + GROWTH_BYTES_MAX, "its memory grew too far"
        assert again < 2, "it took long to answer again"
        total = sum(account[key] for key in ("answered", "clip_members", "dropped", "in_flight"))
        assert account["received"] == total, "the account does not balance"


main()
