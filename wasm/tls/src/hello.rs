//! Looks into a ClientHello (RFC 8446 section 4.1.2) before rustls does: a server of several profiles chooses by it, and
//! a refusal says what was offered. It judges nothing: what it cannot read is left to rustls to refuse.

/// Extensions, by their IANA numbers.
const SUPPORTED_GROUPS: u16 = 10;
const SIGNATURE_ALGORITHMS: u16 = 13;
const SUPPORTED_VERSIONS: u16 = 43;

/// Content type and message type.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;

/// Most numbers of a list that are kept: a list may hold 32,767, a log line need not.
const MOST_LISTED: usize = 64;

/// What a client offered.
#[derive(Debug, Default, PartialEq)]
pub struct ClientHello {
    pub suites: Vec<u16>,
    pub groups: Vec<u16>,
    pub schemes: Vec<u16>,
    pub versions: Vec<u16>,
}

/// Most records that a ClientHello may be spread over here: looking again after each of thousands would be work for
/// nothing.
const MOST_RECORDS: usize = 16;

/// What the first bytes of a connection are.
#[derive(Debug, PartialEq)]
pub enum Peek {
    /// There is nothing more to see before there are so many bytes.
    Incomplete(usize),
    /// Not a ClientHello that can be read here.
    Unreadable,
    Hello(ClientHello),
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    /// A vector with one octet of length.
    fn vector8(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(length.into())
    }

    /// A vector with two octets of length.
    fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(length.into())
    }
}

/// A list of two-octet numbers.
fn numbers(list: &[u8]) -> Vec<u16> {
    list.chunks_exact(2).take(MOST_LISTED).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
}

/// The message that the records at the front of `input` carry, as far as they are there.
fn message(input: &[u8]) -> Result<Vec<u8>, Peek> {
    let mut records = Reader(input);
    let mut message = Vec::new();
    for _ in 0..MOST_RECORDS {
        let start = input.len() - records.0.len();
        let Some(header) = records.take(RECORD_HEADER) else {
            return Err(Peek::Incomplete(start + RECORD_HEADER));
        };
        if header[0] != HANDSHAKE {
            return Err(Peek::Unreadable);
        }
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let Some(fragment) = records.take(length) else {
            return Err(Peek::Incomplete(start + RECORD_HEADER + length));
        };
        message.extend_from_slice(fragment);
        if let [kind, a, b, c, ..] = message[..] {
            if kind != CLIENT_HELLO {
                return Err(Peek::Unreadable);
            }
            let length = MESSAGE_HEADER + u32::from_be_bytes([0, a, b, c]) as usize;
            if message.len() >= length {
                message.truncate(length);
                return Ok(message);
            }
        }
    }
    Err(Peek::Unreadable)
}

fn parse(message: &[u8]) -> Option<ClientHello> {
    let mut reader = Reader(message.get(MESSAGE_HEADER..)?);
    reader.take(2 + 32)?; // legacy_version, random
    reader.vector8()?; // legacy_session_id
    let mut hello = ClientHello { suites: numbers(reader.vector16()?), ..ClientHello::default() };
    reader.vector8()?; // legacy_compression_methods
    let mut extensions = Reader(reader.vector16()?);
    while !extensions.0.is_empty() {
        let number = extensions.u16()?;
        let mut content = Reader(extensions.vector16()?);
        match number {
            SUPPORTED_GROUPS => hello.groups = numbers(content.vector16()?),
            SIGNATURE_ALGORITHMS => hello.schemes = numbers(content.vector16()?),
            SUPPORTED_VERSIONS => hello.versions = numbers(content.vector8()?),
            _ => {}
        }
    }
    Some(hello)
}

/// Looks at the first bytes that a client sent.
pub fn peek(input: &[u8]) -> Peek {
    match message(input) {
        Ok(message) => parse(&message).map_or(Peek::Unreadable, Peek::Hello),
        Err(peek) => peek,
    }
}
