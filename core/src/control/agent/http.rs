//! One HTTP/1.1 exchange over any stream of bytes: write a request with a known length, read the answer. On the walk of
//! a hit going out; before it `input.rs` and `diagnostics.rs` say what to send, after it `retry.rs` decides.
//!
//! `httparse` reads the answer's head. A whole client library would read the proxy variables of the process we are a
//! guest of, start threads to look up names, and weigh fifteen times as much, for one POST a second to a local Agent.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::time::Duration;

/// The longest head of an answer that is read.
const MAX_HEAD: usize = 16 * 1024;
/// The most header lines of an answer.
const MAX_HEADERS: usize = 64;

/// What to send.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `GET` or `POST`.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// The `Host` header.
    pub host: &'a str,
    /// `Content-Type`, if there is a body.
    pub content_type: Option<&'a str>,
    /// Header lines that every request carries, each ending in CR LF.
    pub identity: &'a str,
    /// The body in pieces, written one after the other so that a large batch is never copied.
    pub body: &'a [&'a [u8]],
}

impl Request<'_> {
    fn head(&self) -> String {
        let mut head = String::with_capacity(256 + self.target.len() + self.identity.len());
        // Writing into a String cannot fail.
        let _ = write!(head, "{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.target, self.host);
        if let Some(content_type) = self.content_type {
            let length: usize = self.body.iter().map(|piece| piece.len()).sum();
            let _ = write!(head, "Content-Type: {content_type}\r\nContent-Length: {length}\r\n");
        }
        head.push_str(self.identity);
        // One connection a request: a kept one may be closed by the Agent at the moment it is used, and then nobody
        // knows whether the batch arrived.
        head.push_str("Connection: close\r\n\r\n");
        head
    }
}

/// The head of an answer and what was read behind it.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// `Retry-After`: seconds, or a date, which is read against the answer's own `Date` since clocks differ.
    pub retry_after: Option<Duration>,
    framing: Framing,
    rest: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    Close,
}

fn garbage(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Sends a request and reads the head of its answer.
///
/// # Errors
///
/// The stream's errors, and `InvalidData` if the answer is not HTTP.
pub fn exchange<S: Read + Write>(stream: &mut S, request: &Request<'_>) -> io::Result<Answer> {
    let sent = send(stream, request);
    match (sent, read_head(stream)) {
        (_, Ok(answer)) => Ok(answer),
        // An Agent may refuse a batch before it has read all of it: then the writing fails and the answer counts. If
        // there is none either, the first error is the one that says what happened.
        (Err(error), Err(_)) | (Ok(()), Err(error)) => Err(error),
    }
}

fn send<S: Write>(stream: &mut S, request: &Request<'_>) -> io::Result<()> {
    stream.write_all(request.head().as_bytes())?;
    for piece in request.body {
        stream.write_all(piece)?;
    }
    stream.flush()
}

/// Reads once; an interruption is not an error. `Ok(0)` is the end.
fn read_some<S: Read>(stream: &mut S, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let mut chunk = [0u8; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(count) => {
                buffer.extend_from_slice(chunk.get(..count).unwrap_or_default());
                return Ok(count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn read_head<S: Read>(stream: &mut S) -> io::Result<Answer> {
    let mut buffer = Vec::new();
    loop {
        if let Some((answer, used)) = parse_head(&buffer)? {
            buffer.drain(..used);
            // 1xx is not the answer yet.
            if answer.status >= 200 {
                return Ok(Answer { rest: buffer, ..answer });
            }
            continue;
        }
        if buffer.len() > MAX_HEAD {
            return Err(garbage("the head of the answer is too long"));
        }
        if read_some(stream, &mut buffer)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended before the answer"));
        }
    }
}

fn parse_head(bytes: &[u8]) -> io::Result<Option<(Answer, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(bytes).map_err(|error| garbage(&format!("the answer is not HTTP: {error}")))?;
    let httparse::Status::Complete(used) = parsed else { return Ok(None) };
    let status = response.code.ok_or_else(|| garbage("the answer has no status"))?;
    if !(100..600).contains(&status) {
        return Err(garbage("the answer's status is out of range"));
    }
    let mut answer = Answer { status, retry_after: None, framing: Framing::Close, rest: Vec::new() };
    let (mut date, mut again) = (None, None);
    for header in response.headers.iter() {
        let Ok(value) = std::str::from_utf8(header.value) else { continue };
        let value = value.trim();
        if header.name.eq_ignore_ascii_case("retry-after") {
            answer.retry_after = value.parse().ok().map(Duration::from_secs);
            again = httpdate::parse_http_date(value).ok();
        } else if header.name.eq_ignore_ascii_case("date") {
            date = httpdate::parse_http_date(value).ok();
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            if value.eq_ignore_ascii_case("chunked") {
                answer.framing = Framing::Chunked;
            }
        } else if header.name.eq_ignore_ascii_case("content-length") && answer.framing != Framing::Chunked {
            // A length that is not a number: read to the end of the connection.
            answer.framing = value.parse().map_or(Framing::Close, Framing::Length);
        }
    }
    if let (Some(again), Some(date)) = (again, date) {
        answer.retry_after = Some(again.duration_since(date).unwrap_or(Duration::ZERO));
    }
    Ok(Some((answer, used)))
}

impl Answer {
    /// Reads the body, at most so many bytes of it.
    ///
    /// # Errors
    ///
    /// The stream's errors, `UnexpectedEof` if the body is cut, and `InvalidData` for broken chunks.
    pub fn body<S: Read>(mut self, stream: &mut S, most: usize) -> io::Result<Vec<u8>> {
        match self.framing {
            Framing::Length(length) => {
                let wanted = length.min(most);
                fill(stream, &mut self.rest, wanted)?;
                self.rest.truncate(wanted);
                Ok(self.rest)
            }
            Framing::Close => {
                while self.rest.len() < most && read_some(stream, &mut self.rest)? > 0 {}
                self.rest.truncate(most);
                Ok(self.rest)
            }
            Framing::Chunked => chunks(stream, self.rest, most),
        }
    }
}

fn fill<S: Read>(stream: &mut S, buffer: &mut Vec<u8>, wanted: usize) -> io::Result<()> {
    while buffer.len() < wanted {
        if read_some(stream, buffer)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer's body is cut"));
        }
    }
    Ok(())
}

fn chunks<S: Read>(stream: &mut S, mut raw: Vec<u8>, most: usize) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    while body.len() < most {
        match httparse::parse_chunk_size(&raw) {
            Err(_) => return Err(garbage("the answer's chunks are broken")),
            Ok(httparse::Status::Partial) => {
                let wanted = raw.len() + 1;
                if wanted > MAX_HEAD {
                    return Err(garbage("the answer's chunks are broken"));
                }
                fill(stream, &mut raw, wanted)?;
            }
            Ok(httparse::Status::Complete((_, 0))) => break,
            Ok(httparse::Status::Complete((start, size))) => {
                // A chunk may claim any size: only what fits is waited for.
                let room = most - body.len();
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                let wanted = size.min(room);
                fill(stream, &mut raw, start + wanted)?;
                body.extend_from_slice(raw.get(start..start + wanted).unwrap_or_default());
                if size > room {
                    break;
                }
                fill(stream, &mut raw, start + size + 2)?;
                raw.drain(..start + size + 2);
            }
        }
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    const MAX_BODY: usize = 64 * 1024;

    /// A stream that gives its answer in pieces of `step` bytes and keeps what is written until it breaks.
    struct Script {
        answer: VecDeque<u8>,
        step: usize,
        written: Vec<u8>,
        accepts: usize,
    }

    impl Read for Script {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.step.min(buffer.len()).min(self.answer.len());
            for slot in &mut buffer[..count] {
                *slot = self.answer.pop_front().unwrap();
            }
            Ok(count)
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.written.len() + bytes.len() > self.accepts {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.written.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn script(answer: &[u8], step: usize) -> Script {
        Script { answer: answer.iter().copied().collect(), step, written: Vec::new(), accepts: usize::MAX }
    }

    const REQUEST: Request<'static> = Request {
        method: "POST",
        target: "/debugger/v2/input?ddtags=env%3Ax",
        host: "localhost",
        content_type: Some("application/json"),
        identity: "User-Agent: t/1\r\n",
        body: &[b"[", b"{}", b"]"],
    };

    fn body_of(answer: &[u8]) -> io::Result<Vec<u8>> {
        for step in [1, 7, 4096] {
            let mut stream = script(answer, step);
            let body = exchange(&mut stream, &REQUEST)?.body(&mut stream, MAX_BODY)?;
            if step == 4096 {
                return Ok(body);
            }
        }
        unreachable!()
    }

    #[test]
    fn a_request_says_its_length_and_is_not_chunked() {
        let mut stream = script(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", 4096);
        assert_eq!(exchange(&mut stream, &REQUEST).unwrap().status, 202);
        assert_eq!(
            String::from_utf8(stream.written).unwrap(),
            "POST /debugger/v2/input?ddtags=env%3Ax HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: 4\r\nUser-Agent: t/1\r\nConnection: close\r\n\r\n[{}]"
        );
    }

    #[test]
    fn a_body_is_read_by_length_by_chunks_and_to_the_end() {
        assert_eq!(body_of(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef").unwrap(), b"abc");
        assert_eq!(body_of(b"HTTP/1.0 200\r\n\r\nabc").unwrap(), b"abc");
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(body_of(chunked).unwrap(), b"abcde");
        assert_eq!(body_of(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nx").unwrap(), b"x");
    }

    #[test]
    fn a_body_is_cut_at_its_limit_whatever_it_claims() {
        let mut endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n".to_vec();
        endless.extend(vec![b'x'; MAX_BODY * 2]);
        assert_eq!(body_of(&endless).unwrap().len(), MAX_BODY);
        let mut long = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_vec();
        long.extend(vec![b'x'; MAX_BODY * 2]);
        assert_eq!(body_of(&long).unwrap().len(), MAX_BODY);
    }

    #[test]
    fn garbage_and_cut_answers_are_errors_not_panics() {
        for answer in [
            &b""[..],
            b"\x00\xff\xfe garbage",
            b"HTTP/1.1 999 No\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            b"HTTP/1.1 20",
        ] {
            assert!(body_of(answer).is_err(), "{}", String::from_utf8_lossy(answer));
        }
        let endless_head = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &vec![b'a'; 1 << 20]].concat();
        assert!(body_of(&endless_head).is_err());
    }

    #[test]
    fn an_answer_counts_even_if_the_batch_was_not_read() {
        let mut stream = script(b"HTTP/1.1 413 Too Large\r\n\r\n", 4096);
        stream.accepts = 180;
        assert_eq!(exchange(&mut stream, &REQUEST).unwrap().status, 413);
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let head = |value: &str| format!("HTTP/1.1 429 Slow\r\nRetry-After: {value}\r\n\r\n").into_bytes();
        let retry_after = |value: &str| exchange(&mut script(&head(value), 4096), &REQUEST).unwrap().retry_after;
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), None, "there is no date to read it against");
        let dated = |date: &str| retry_after(&format!("Wed, 21 Oct 2015 07:28:00 GMT\r\nDate: {date}"));
        assert_eq!(dated("Wed, 21 Oct 2015 07:27:48 GMT"), Some(Duration::from_secs(12)));
        assert_eq!(dated("Wed, 21 Oct 2015 07:28:48 GMT"), Some(Duration::ZERO), "it is over");
        assert_eq!(dated("today"), None);
        assert_eq!(retry_after("-1"), None);
        assert_eq!(retry_after("99999999999999999999999"), None);
    }
}
