//! The RTPS datagrams that we send ourselves, beside RustDDS (RTPS 2.5, chapter 9.4).
//!
//! Others need four things that RustDDS does not say: who leaves, by a hash of the key; that a new reader wants to know
//! what there is; that a writer has nothing yet; and whose request it is that a reply of several fragments answers. They are about identities that RustDDS
//! tells us, and each is a datagram that no network cuts in two.

use std::net::SocketAddrV4;

use rustdds::{GUID, SampleIdentity, Timestamp};

/// "RTPS", version 2.3, and the vendor id of RustDDS, whose participant we speak for.
const HEADER: [u8; 8] = *b"RTPS\x02\x03\x01\x12";
const PREFIX_BYTES: usize = 12;

const ACKNACK: u8 = 0x06;
const INFO_TIMESTAMP: u8 = 0x09;
const INFO_SOURCE: u8 = 0x0c;
const INFO_DESTINATION: u8 = 0x0e;
const INFO_REPLY: u8 = 0x0f;
const HEARTBEAT: u8 = 0x07;
const DATA: u8 = 0x15;
const DATA_FRAGMENTS: u8 = 0x16;
/// A submessage's numbers are little-endian.
const LITTLE_ENDIAN: u8 = 0x01;
/// No answer is wanted to a `HEARTBEAT`.
const FINAL: u8 = 0x02;
/// `DATA` and `DATA_FRAG` have parameters before their payload.
const INLINE_PARAMETERS: u8 = 0x02;

const PARAMETER_END: u16 = 0x01;
const PARAMETER_KEY_HASH: u16 = 0x70;
const PARAMETER_STATUS: u16 = 0x71;
/// Whose request a reply answers: as the standard numbers it, and as Fast DDS did before.
const PARAMETERS_REQUEST: [u16; 2] = [0x83, 0x800f];
/// Disposed and unregistered, big-endian whatever the submessage says.
const STATUS_GONE: [u8; 4] = [0, 0, 0, 3];

/// The entities by which participants are announced and heard of.
const ANNOUNCER: [u8; 4] = [0, 1, 0, 0xc2];
const DETECTOR: [u8; 4] = [0, 1, 0, 0xc7];
/// Later than any announcement of ours: RustDDS counts these from 1, one every ten seconds.
const LAST_ANNOUNCEMENT: u32 = i32::MAX as u32;

/// The count of a first question or heartbeat: those that are not above zero are ignored.
const FIRST_COUNT: u32 = 1;

/// Bytes of a fragment. A reader takes those of one sample for alike, so that ours are as long as RustDDS's.
const FRAGMENT_BYTES: usize = 256;
/// Fragments of a datagram: with what goes before them they pass wherever datagrams of 1280 bytes do.
const FRAGMENTS_OF_A_DATAGRAM: usize = 4;
/// To all readers of the participant that the datagram is for.
const ANY_ENTITY: [u8; 4] = [0; 4];

/// Asks `writer` what it has, in the place of `reader`, which is ours: a question of no sample, before the first.
///
/// Fast DDS answers it with a heartbeat at once; its own readers begin with it.
pub(super) fn question(writer: GUID, reader: GUID) -> Vec<u8> {
    let (writer, reader) = (writer.to_bytes(), reader.to_bytes());
    let mut datagram = begin(&reader);
    submessage(&mut datagram, INFO_DESTINATION, 0, &writer[..PREFIX_BYTES]);
    let (base, n_bits, count) = (number(0), [0; 4], FIRST_COUNT.to_le_bytes());
    let body = [&reader[PREFIX_BYTES..], &writer[PREFIX_BYTES..], &base, &n_bits, &count].concat();
    submessage(&mut datagram, ACKNACK, 0, &body);
    datagram
}

/// Tells `reader`, one of ours, that `writer` has a sample of number 1, and that questions about it go to `answer_to`.
///
/// The datagram goes from us to us: its header names our own participant, so that RustDDS learns nothing of the way to
/// the writer from it, and a later submessage names the writer.
pub(super) fn heartbeat(writer: GUID, reader: GUID, answer_to: SocketAddrV4) -> Vec<u8> {
    let (writer, reader) = (writer.to_bytes(), reader.to_bytes());
    let mut datagram = begin(&reader);
    // A reserved word, the version, and the vendor, with whose id a GUID begins.
    let source = [&[0; 4], &HEADER[4..6], &writer[..2], &writer[..PREFIX_BYTES]].concat();
    submessage(&mut datagram, INFO_SOURCE, 0, &source);
    // One locator: its kind (UDP over IPv4), its port, and an address of 16 bytes. RustDDS reads one byte more, which says
    // that there is no multicast.
    let (one, kind, port) =
        (1u32.to_le_bytes(), 1u32.to_le_bytes(), u32::from(answer_to.port()).to_le_bytes());
    let reply = [&one[..], &kind, &port, &[0; 12], &answer_to.ip().octets(), &[0; 4]].concat();
    submessage(&mut datagram, INFO_REPLY, 0, &reply);
    submessage(&mut datagram, INFO_DESTINATION, 0, &reader[..PREFIX_BYTES]);
    let (first, last, count) = (number(1), number(1), 1u32.to_le_bytes());
    let body = [&reader[PREFIX_BYTES..], &writer[PREFIX_BYTES..], &first, &last, &count].concat();
    submessage(&mut datagram, HEARTBEAT, 0, &body);
    datagram
}

/// Tells `reader`, which is somebody's, that `writer`, which is ours, has published nothing yet.
///
/// Heartbeats are counted, and this is the count of the first that RustDDS sends: who has heard one ignores it.
pub(super) fn nothing_yet(writer: GUID, reader: GUID) -> Vec<u8> {
    let (writer, reader) = (writer.to_bytes(), reader.to_bytes());
    let mut datagram = begin(&writer);
    submessage(&mut datagram, INFO_DESTINATION, 0, &reader[..PREFIX_BYTES]);
    let (first, last, count) = (number(1), number(0), FIRST_COUNT.to_le_bytes());
    let body = [&reader[PREFIX_BYTES..], &writer[PREFIX_BYTES..], &first, &last, &count].concat();
    submessage(&mut datagram, HEARTBEAT, FINAL, &body);
    datagram
}

/// Says a sample of `writer`, which is ours, in fragments to the readers of `participant`: the reply to `request`.
///
/// `sample` is the body behind the four bytes that tell its encoding, and `sequence` what the writer numbers it.
pub(super) fn fragments(
    writer: GUID,
    participant: GUID,
    sequence: u32,
    stamp: Timestamp,
    request: SampleIdentity,
    sample: &[u8],
) -> Vec<Vec<u8>> {
    let (writer, participant) = (writer.to_bytes(), participant.to_bytes());
    let ticks = stamp.to_ticks();
    let stamp = [((ticks >> 32) as u32).to_le_bytes(), (ticks as u32).to_le_bytes()].concat();
    let asked = i64::from(request.sequence_number);
    let (high, low) = (((asked >> 32) as i32).to_le_bytes(), (asked as u32).to_le_bytes());
    let request = [&request.writer_guid.to_bytes()[..], &high, &low].concat();
    let mut first = 1u32;
    let datagram = |piece: &[u8]| {
        let mut datagram = begin(&writer);
        submessage(&mut datagram, INFO_TIMESTAMP, 0, &stamp);
        submessage(&mut datagram, INFO_DESTINATION, 0, &participant[..PREFIX_BYTES]);
        // Flags, and the distance from behind this number to the parameters.
        let mut body = vec![0, 0, 28, 0];
        body.extend_from_slice(&ANY_ENTITY);
        body.extend_from_slice(&writer[PREFIX_BYTES..]);
        body.extend_from_slice(&number(sequence));
        body.extend_from_slice(&first.to_le_bytes());
        let n_fragments = piece.len().div_ceil(FRAGMENT_BYTES) as u16;
        body.extend_from_slice(&n_fragments.to_le_bytes());
        body.extend_from_slice(&(FRAGMENT_BYTES as u16).to_le_bytes());
        body.extend_from_slice(&(sample.len() as u32).to_le_bytes());
        for parameter in PARAMETERS_REQUEST {
            push_parameter(&mut body, parameter, &request);
        }
        push_parameter(&mut body, PARAMETER_END, &[]);
        body.extend_from_slice(piece);
        submessage(&mut datagram, DATA_FRAGMENTS, INLINE_PARAMETERS, &body);
        first += u32::from(n_fragments);
        datagram
    };
    sample.chunks(FRAGMENTS_OF_A_DATAGRAM * FRAGMENT_BYTES).map(datagram).collect()
}

/// Tells everyone that `participant`, which is ours, is gone with all that it had.
pub(super) fn departure(participant: GUID) -> Vec<u8> {
    let key = participant.to_bytes();
    let mut datagram = begin(&key);
    let mut body = Vec::new();
    // Flags, and the distance from behind this number to the parameters.
    body.extend_from_slice(&[0, 0, 16, 0]);
    body.extend_from_slice(&DETECTOR);
    body.extend_from_slice(&ANNOUNCER);
    body.extend_from_slice(&number(LAST_ANNOUNCEMENT));
    for (parameter, value) in
        [(PARAMETER_KEY_HASH, &key[..]), (PARAMETER_STATUS, &STATUS_GONE), (PARAMETER_END, &[])]
    {
        push_parameter(&mut body, parameter, value);
    }
    submessage(&mut datagram, DATA, INLINE_PARAMETERS, &body);
    datagram
}

/// A datagram's header, from the participant of this GUID.
fn begin(guid: &[u8; 16]) -> Vec<u8> {
    [&HEADER[..], &guid[..PREFIX_BYTES]].concat()
}

fn submessage(datagram: &mut Vec<u8>, kind: u8, flags: u8, body: &[u8]) {
    datagram.extend_from_slice(&[kind, flags | LITTLE_ENDIAN]);
    datagram.extend_from_slice(&(body.len() as u16).to_le_bytes());
    datagram.extend_from_slice(body);
}

fn push_parameter(body: &mut Vec<u8>, parameter: u16, value: &[u8]) {
    body.extend_from_slice(&parameter.to_le_bytes());
    body.extend_from_slice(&(value.len() as u16).to_le_bytes());
    body.extend_from_slice(value);
}

/// A sequence number: its high word, then its low word.
fn number(low: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[4..].copy_from_slice(&low.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guid(fill: u8, entity: [u8; 4]) -> GUID {
        let mut bytes = [fill; 16];
        bytes[12..].copy_from_slice(&entity);
        GUID::from_bytes(bytes)
    }

    #[test]
    fn a_heartbeat_comes_from_us_and_speaks_of_the_writer() {
        let answer_to = SocketAddrV4::new([127, 0, 0, 1].into(), 0x1234);
        let datagram = heartbeat(guid(7, [0, 0, 1, 3]), guid(9, [0, 0, 2, 4]), answer_to);
        let expected: Vec<u8> = [
            &b"RTPS\x02\x03\x01\x12"[..],
            &[9; 12],
            &[0x0c, 1, 20, 0, 0, 0, 0, 0, 2, 3, 7, 7],
            &[7; 12],
            &[0x0f, 1, 32, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0x34, 0x12, 0, 0],
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0],
            &[0x0e, 1, 12, 0],
            &[9; 12],
            &[0x07, 1, 28, 0, 0, 0, 2, 4, 0, 0, 1, 3],
            &[0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0],
        ]
        .concat();
        assert_eq!(datagram, expected);
    }

    #[test]
    fn a_question_is_the_readers_to_the_writer() {
        let datagram = question(guid(7, [0, 0, 1, 3]), guid(9, [0, 0, 2, 4]));
        let expected: Vec<u8> = [
            &b"RTPS\x02\x03\x01\x12"[..],
            &[9; 12],
            &[0x0e, 1, 12, 0],
            &[7; 12],
            &[0x06, 1, 24, 0, 0, 0, 2, 4, 0, 0, 1, 3],
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0],
        ]
        .concat();
        assert_eq!(datagram, expected);
    }

    #[test]
    fn a_writer_that_has_nothing_says_so_to_the_reader() {
        let datagram = nothing_yet(guid(9, [0, 0, 1, 3]), guid(7, [0, 0, 2, 4]));
        let expected: Vec<u8> = [
            &b"RTPS\x02\x03\x01\x12"[..],
            &[9; 12],
            &[0x0e, 1, 12, 0],
            &[7; 12],
            &[0x07, 3, 28, 0, 0, 0, 2, 4, 0, 0, 1, 3],
            &[0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0],
        ]
        .concat();
        assert_eq!(datagram, expected);
    }

    #[test]
    fn fragments_say_whose_reply_they_are() {
        let request = SampleIdentity {
            writer_guid: guid(3, [0, 0, 4, 4]),
            sequence_number: rustdds::SequenceNumber::from(0x1_0000_0002i64),
        };
        let sample: Vec<u8> = (0..1500u32).map(|i| i as u8).collect();
        let stamp = Timestamp::from_ticks(0x0000_0005_8000_0000);
        let writer = guid(9, [0, 0, 2, 3]);
        let datagrams = fragments(writer, guid(7, [0, 0, 1, 0xc1]), 6, stamp, request, &sample);
        let identity = [&[3; 12][..], &[0, 0, 4, 4, 1, 0, 0, 0, 2, 0, 0, 0]].concat();
        for (datagram, (first, n, piece)) in
            datagrams.iter().zip([(1u8, 4u8, &sample[..1024]), (5, 2, &sample[1024..])])
        {
            let expected: Vec<u8> = [
                &b"RTPS\x02\x03\x01\x12"[..],
                &[9; 12],
                &[0x09, 1, 8, 0, 5, 0, 0, 0, 0, 0, 0, 0x80],
                &[0x0e, 1, 12, 0],
                &[7; 12],
                &[0x16, 3],
                &(32 + 60 + piece.len() as u16).to_le_bytes(),
                &[0, 0, 28, 0, 0, 0, 0, 0, 0, 0, 2, 3, 0, 0, 0, 0, 6, 0, 0, 0],
                &[first, 0, 0, 0, n, 0, 0, 1, 0xdc, 5, 0, 0],
                &[0x83, 0, 24, 0],
                &identity,
                &[0x0f, 0x80, 24, 0],
                &identity,
                &[1, 0, 0, 0],
                piece,
            ]
            .concat();
            assert_eq!(*datagram, expected);
            assert!(datagram.len() <= 1280 - 28, "{} bytes", datagram.len());
        }
        assert_eq!(datagrams.len(), 2);
    }

    #[test]
    fn a_departure_names_the_participant_by_its_hash() {
        let datagram = departure(guid(5, [0, 0, 1, 0xc1]));
        let expected: Vec<u8> = [
            &b"RTPS\x02\x03\x01\x12"[..],
            &[5; 12],
            &[0x15, 3, 52, 0, 0, 0, 16, 0, 0, 1, 0, 0xc7, 0, 1, 0, 0xc2],
            &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f],
            &[0x70, 0, 16, 0],
            &[5; 12],
            &[0, 0, 1, 0xc1, 0x71, 0, 4, 0, 0, 0, 0, 3, 1, 0, 0, 0],
        ]
        .concat();
        assert_eq!(datagram, expected);
    }
}
