//! A viewer's connection: WebSocket over a socket that nobody waits for, with bounds on what is heard at once and on how long it stands still.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_send_buffer_size;
use sha1::{Digest, Sha1};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use super::Welcome;

/// From one turn to the next, at most.
const TURN: Duration = Duration::from_millis(20);
/// What is heard in a turn at most: messages, and bytes.
const HEARD_MAX: usize = 16;
const HEARD_BYTES_MAX: usize = 64 << 10;
/// How long a line may take in nothing, or a viewer say nothing, though it is asked three times whether it is there.
const PATIENCE: Duration = Duration::from_secs(15);
/// What the kernel keeps of what was said: little enough that a slow line brings a question behind it in time.
const KERNEL_BYTES: usize = 256 << 10;

pub(super) struct Line {
    socket: WebSocket<Metered>,
    /// Whether not everything that was put was taken in.
    is_busy: bool,
    /// Messages that may still be heard in this turn.
    may_hear: usize,
    patience: Duration,
    n_written: u64,
    moved: Instant,
    heard: Instant,
    greeted: Instant,
}

impl Line {
    /// Says that the viewer may stay.
    pub(super) fn begin(
        mut stream: TcpStream,
        Welcome { key, protocol, .. }: &Welcome,
    ) -> Result<Self, Error> {
        let accept = accepted(key);
        set_socket_send_buffer_size(&stream, KERNEL_BYTES).map_err(io::Error::from)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        // The kernel has room for so little.
        stream.write_all(
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n"
            )
            .as_bytes(),
        )?;
        Ok(Self::over(stream, PATIENCE))
    }

    fn over(stream: TcpStream, patience: Duration) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(8 << 10)
            .write_buffer_size(0)
            .max_message_size(Some(HEARD_BYTES_MAX))
            .max_frame_size(Some(HEARD_BYTES_MAX));
        let metered = Metered { stream, may_read: 0, n_written: 0 };
        let socket = WebSocket::from_raw_socket(metered, Role::Server, Some(config));
        let now = Instant::now();
        let (moved, heard, greeted) = (now, now, now);
        Self { socket, is_busy: false, may_hear: 0, patience, n_written: 0, moved, heard, greeted }
    }

    /// A turn begins: as much may be heard as in each.
    pub(super) fn turn(&mut self) {
        (self.may_hear, self.socket.get_mut().may_read) = (HEARD_MAX, HEARD_BYTES_MAX);
    }

    /// What the viewer says, if it has said something and may in this turn.
    pub(super) fn hear(&mut self) -> Result<Option<Message>, Error> {
        if self.may_hear == 0 {
            return Ok(None);
        }
        match self.socket.read() {
            Ok(message) => {
                (self.may_hear, self.heard) = (self.may_hear - 1, Instant::now());
                Ok(Some(message))
            }
            Err(error) if is_of_time(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether nothing can be put now.
    pub(super) fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Puts a message on the line, which may take it in later.
    pub(super) fn put(&mut self, message: Message) -> Result<(), Error> {
        let written = self.socket.write(message).and_then(|()| self.socket.flush());
        self.written(written)
    }

    /// Goes on with what was not taken in.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        let written = self.socket.flush();
        self.written(written)
    }

    fn written(&mut self, result: Result<(), Error>) -> Result<(), Error> {
        // The socket keeps what is left of it.
        self.is_busy = result.as_ref().is_err_and(is_of_time);
        if self.is_busy { Ok(()) } else { result }
    }

    /// Asks now and then whether the viewer is there.
    ///
    /// # Errors
    /// If it is not, or takes in nothing.
    pub(super) fn mind_the_time(&mut self) -> Result<(), Error> {
        let (now, n_written) = (Instant::now(), self.socket.get_ref().n_written);
        let has_moved = std::mem::replace(&mut self.n_written, n_written) != n_written;
        if !self.is_busy || has_moved {
            self.moved = now;
        }
        // Behind what waits no question comes to it, but whoever takes in is there.
        if self.is_busy && has_moved {
            self.heard = now;
        }
        if self.moved + self.patience < now || self.heard + self.patience < now {
            return Err(Error::ConnectionClosed);
        }
        if self.greeted + self.patience / 3 < now && !self.is_busy {
            self.greeted = now;
            self.put(Message::Ping(Vec::new().into()))?;
        }
        Ok(())
    }

    /// Waits until a turn is worth while; whoever is `deaf` does not wait for what the viewer says.
    pub(super) fn wait(&self, is_deaf: bool) {
        let has_said_all = 0 < self.may_hear && 0 < self.socket.get_ref().may_read;
        if !is_deaf && !has_said_all {
            // Whoever speaks without end is heard in its turn.
            std::thread::sleep(TURN);
            return;
        }
        let hears = if is_deaf { PollFlags::empty() } else { PollFlags::IN };
        let says = if self.is_busy { PollFlags::OUT } else { PollFlags::empty() };
        let patience = Timespec { tv_sec: 0, tv_nsec: TURN.subsec_nanos().into() };
        // A signal is as good as a moment.
        let _ = poll(&mut [PollFd::new(&self.socket.get_ref().stream, hears | says)], Some(&patience));
    }

    /// Says farewell, as far as it is taken in.
    pub(super) fn close(&mut self) -> Result<(), Error> {
        self.socket.close(None)?;
        self.socket.flush()
    }
}

/// The answer to a viewer's key (RFC 6455, 4.2.2).
fn accepted(key: &str) -> String {
    let salted = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64::encode(salted.finalize())
}

fn is_of_time(error: &Error) -> bool {
    let passes = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
    matches!(error, Error::Io(error) if passes.contains(&error.kind()))
}

/// A connection of which so much may be read before it seems to be silent, and of which it is known how much was written.
struct Metered {
    stream: TcpStream,
    may_read: usize,
    n_written: u64,
}

impl Read for Metered {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let room = into.len().min(self.may_read);
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let n = self.stream.read(&mut into[..room])?;
        self.may_read -= n;
        Ok(n)
    }
}

impl Write for Metered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.stream.write(bytes)?;
        self.n_written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::mpsc::{RecvTimeoutError, channel};

    use super::*;

    const SHORT: Duration = Duration::from_secs(1);

    #[test]
    fn a_key_is_answered_as_in_the_standard() {
        assert_eq!(accepted("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    /// A line on which more waits than it takes in, and its other end.
    fn laden() -> (Line, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let viewer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        set_socket_send_buffer_size(&stream, 16 << 10).unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut line = Line::over(stream, SHORT);
        line.put(Message::binary(vec![7; 64 << 20])).unwrap();
        assert!(line.is_busy());
        (line, viewer)
    }

    /// A turn of a viewer's.
    fn turn(line: &mut Line) -> Result<(), Error> {
        line.turn();
        while line.hear()?.is_some() {}
        line.flush()?;
        line.mind_the_time()?;
        line.wait(false);
        Ok(())
    }

    #[test]
    fn whoever_takes_in_slowly_stays_and_whoever_takes_in_nothing_goes() {
        let (mut line, mut viewer) = laden();
        let (enough, is_enough) = channel::<()>();
        viewer.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let reading = std::thread::spawn(move || {
            let mut piece = vec![0; 64 << 10];
            while is_enough.recv_timeout(Duration::from_millis(5)) == Err(RecvTimeoutError::Timeout) {
                // There may be nothing at this moment.
                let _ = viewer.read(&mut piece);
            }
            viewer
        });
        let began = Instant::now();
        while began.elapsed() < 3 * SHORT {
            turn(&mut line).unwrap();
            assert!(line.is_busy(), "there was more to take in than in so long");
        }
        drop(enough);
        let _viewer = reading.join().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while turn(&mut line).is_ok() {
            assert!(Instant::now() < deadline, "it is waited for without end");
        }
    }

    #[test]
    fn whoever_says_nothing_goes_though_nothing_waits() {
        let (mut line, _viewer) = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let viewer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (stream, _) = listener.accept().unwrap();
            stream.set_nonblocking(true).unwrap();
            (Line::over(stream, SHORT), viewer)
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        while turn(&mut line).is_ok() {
            assert!(Instant::now() < deadline, "it is waited for without end");
        }
    }
}
