//! One keep-alive connection that speaks as much HTTP/1.1 as our own servers answer.

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection and the bytes that came in on it.
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// A whole response at the start of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// The status code's three digits.
    pub status: &'a [u8],
    /// The body.
    pub body: &'a [u8],
    /// How many bytes it takes.
    len: usize,
}

impl Connection {
    /// Connects to the loopback interface.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn open(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(64 * 1024) })
    }

    /// Sends a request as it is, and reads the response; `read` says what it was.
    ///
    /// # Errors
    /// When the connection ends or the response is not as expected.
    pub async fn exchange<T>(
        &mut self,
        request: &[u8],
        read: impl FnOnce(&Response<'_>) -> T,
    ) -> anyhow::Result<T> {
        self.stream.write_all(request).await.context("cannot send")?;
        self.received.clear();
        loop {
            if self.stream.read_buf(&mut self.received).await.context("cannot read")? == 0 {
                bail!("the server closed a connection");
            }
            if let Some(response) = parse(&self.received)? {
                if response.len != self.received.len() {
                    bail!("the server sent more than one response");
                }
                return Ok(read(&response));
            }
        }
    }
}

/// Reads a response with `Content-Length`; `None` while it is not all there.
fn parse(bytes: &[u8]) -> anyhow::Result<Option<Response<'_>>> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(head_len) = bytes.windows(END.len()).position(|window| window == END) else {
        return Ok(None);
    };
    let (head, rest) = bytes.split_at(head_len + END.len());
    let status = head.get(9..12).context("no status")?;
    let Some(body_len) = content_length(head) else { bail!("a response without Content-Length") };
    Ok(rest.get(..body_len).map(|body| Response { status, body, len: head.len() + body_len }))
}

fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(NAME.len())?;
        if !name.eq_ignore_ascii_case(NAME) {
            return None;
        }
        std::str::from_utf8(value).ok()?.trim().parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &[u8] = b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\ndate: x\r\n\r\nbody";

    #[test]
    fn a_whole_response_is_read() {
        let response = parse(WHOLE).unwrap().unwrap();
        assert_eq!(response, Response { status: b"201", body: b"body", len: WHOLE.len() },);
    }

    #[test]
    fn a_part_of_a_response_is_waited_for() {
        for cut in 1..WHOLE.len() {
            assert_eq!(parse(&WHOLE[..cut]).unwrap(), None, "{cut} bytes");
        }
    }

    #[test]
    fn a_response_of_unknown_length_is_refused() {
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
