//! One connection, without I/O of its own: ciphertext in and out, plaintext in and out, each in a bounded buffer.

use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus, WriteTraffic,
};
use rustls::{AlertDescription, CommonState, HandshakeKind, PeerMisbehaved};

use crate::aead::alert_meant;
use crate::config::{Client, NothingInCommon, Server};
use crate::failure::{Failure, Kind};
use crate::framing::{Flaw, Framing};
use crate::hello::{self, ClientHello, Peek};
use crate::key_log::{self, Log};
use crate::notes;
use crate::wire::Writer;

/// Most ciphertext that waits here: a handshake message of 64 KiB, which is as much as rustls takes, in its records.
pub const MOST_INBOUND: usize = 96 << 10;
/// Plaintext beyond this is not decrypted before some of it is read.
const MUCH_PLAINTEXT: usize = 256 << 10;
/// Plaintext is not encrypted while more ciphertext than this waits to be taken.
const MUCH_OUTBOUND: usize = 256 << 10;
/// Most plaintext that is encrypted at once.
const MOST_AT_ONCE: usize = 64 << 10;

/// Longest plaintext of a record (RFC 8446 section 5.1) and what protection adds to it: header, content type, tag.
const FRAGMENT: usize = 16 << 10;
const RECORD_OVERHEAD: usize = 5 + 1 + 16;
/// Room for a message of rustls's own that goes out between records: a key update, an alert.
const CONTROL: usize = 256;

/// A fatal alert before there are keys (RFC 8446 sections 5.1 and 6).
const fn plain_alert(description: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, description]
}

enum Engine {
    /// A server's, until the ClientHello tells which settings to use; the number of bytes to wait for.
    Undecided(Arc<Server>, usize),
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
    /// It ended before rustls came into it.
    Refused,
}

/// Bytes that are appended at the end and taken from the front.
#[derive(Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn unread_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }

    fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Forgets `length` bytes at the front.
    pub fn consume(&mut self, length: usize) {
        self.start = (self.start + length).min(self.bytes.len());
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
            // A burst does not hold its memory for the rest of a quiet connection.
            if self.bytes.capacity() > MOST_AT_ONCE {
                self.bytes = Vec::new();
            }
        }
    }

    /// Room for `length` bytes at the end, zeroed; [`Buffer::keep`] says how many of them were used.
    pub fn reserve(&mut self, length: usize) -> &mut [u8] {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        let end = self.bytes.len();
        self.bytes.resize(end + length, 0);
        &mut self.bytes[end..]
    }

    /// Gives back what of the last `reserved` bytes was not used.
    pub fn keep(&mut self, reserved: usize, used: usize) {
        let unused = reserved.saturating_sub(used);
        self.bytes.truncate(self.bytes.len().saturating_sub(unused));
    }

    /// Forgets all but the first `length` unread bytes.
    fn truncate(&mut self, length: usize) {
        self.bytes.truncate(self.start + length);
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

pub struct Connection {
    engine: Engine,
    pub inbound: Buffer,
    pub outbound: Buffer,
    pub plaintext: Buffer,
    pub failure: Option<Failure>,
    pub peer_closed: bool,
    close_sent: bool,
    framing: Framing,
    /// How much of the input the framing has followed.
    followed: usize,
    flaw: Option<Flaw>,
    session_end: Option<u64>,
    offered: Option<ClientHello>,
    peer_scheme: u16,
    own_scheme: u16,
    /// Where its secrets go, if the host asked for them.
    key_log: Option<Log>,
}

/// What one step of rustls came to.
enum Step {
    /// Call it again.
    Again,
    /// It waits for bytes.
    Idle,
    PeerClosed,
    Failed(rustls::Error),
}

impl Connection {
    pub fn server(server: Arc<Server>) -> Self {
        Self::new(Engine::Undecided(server, 0))
    }

    pub fn client(client: &Client, name: ServerName<'static>) -> Result<Self, String> {
        // A ticket is taken here already: what it stands on is noted for this connection.
        notes::set_session_end(None);
        let engine = UnbufferedClientConnection::new(client.config(), name).map_err(|error| error.to_string())?;
        let mut connection = Self::new(Engine::Client(engine));
        connection.session_end = notes::session_end();
        connection.process();
        Ok(connection)
    }

    fn new(engine: Engine) -> Self {
        Self {
            engine,
            inbound: Buffer::default(),
            outbound: Buffer::default(),
            plaintext: Buffer::default(),
            failure: None,
            peer_closed: false,
            close_sent: false,
            framing: Framing::default(),
            followed: 0,
            flaw: None,
            session_end: None,
            offered: None,
            peer_scheme: 0,
            own_scheme: 0,
            key_log: None,
        }
    }

    /// Keeps the secrets of the handshake that is to come, for [`Connection::logged_keys`].
    pub fn log_keys(&mut self) {
        self.key_log.get_or_insert_with(Log::new);
    }

    /// The secrets kept since the last call, as lines of an NSS key log. The caller overwrites them.
    pub fn logged_keys(&mut self) -> Vec<u8> {
        self.key_log.as_mut().map(Log::take).unwrap_or_default()
    }

    fn common(&self) -> Option<&CommonState> {
        match &self.engine {
            Engine::Server(engine) => Some(engine),
            Engine::Client(engine) => Some(engine),
            Engine::Undecided(..) | Engine::Refused => None,
        }
    }

    /// The handshake is complete, and application data may go both ways.
    pub fn is_established(&self) -> bool {
        self.common().is_some_and(|common| !common.is_handshaking())
    }

    /// How many more bytes of ciphertext there is room for.
    pub fn room(&self) -> usize {
        if self.failure.is_some() || self.plaintext.len() >= MUCH_PLAINTEXT {
            return 0;
        }
        MOST_INBOUND.saturating_sub(self.inbound.len())
    }

    /// Works off what has arrived.
    pub fn process(&mut self) {
        self.follow();
        self.work();
        self.session_end = notes::session_end();
        self.followed = self.inbound.len();
    }

    /// Looks for a record that is too long, or of an unknown type. rustls gets its header with the greatest length there is,
    /// which it refuses as soon as it comes to it, and nothing of what follows.
    fn follow(&mut self) {
        if self.flaw.is_some() {
            self.inbound.truncate(self.followed);
        } else if let Some(arrived) = self.inbound.unread().get(self.followed..) {
            if let Some((end, flaw)) = self.framing.follow(arrived) {
                self.flaw = Some(flaw);
                self.inbound.truncate(self.followed + end);
                if let Some(length) = self.inbound.unread_mut().last_chunk_mut::<2>() {
                    *length = [0xff; 2];
                }
            }
        }
    }

    fn work(&mut self) {
        notes::set_alert_instead(self.flaw.map(Flaw::alert));
        notes::set_session_end(self.session_end);
        if let Engine::Undecided(server, needed) = &self.engine {
            if self.inbound.len() < *needed && self.flaw.is_none() {
                return;
            }
            let server = Arc::clone(server);
            self.decide(&server);
        }
        notes::clear();
        key_log::begin(self.key_log.take());
        while self.failure.is_none() && self.plaintext.len() < MUCH_PLAINTEXT {
            match self.step() {
                Step::Again => {}
                Step::Idle => break,
                Step::PeerClosed => self.peer_closed = true,
                Step::Failed(error) => self.fail(&error),
            }
        }
        self.key_log = key_log::end();
        self.note();
        if self.failure.is_none() && self.plaintext.len() < MUCH_PLAINTEXT && self.inbound.len() >= MOST_INBOUND {
            self.refuse(
                Kind::TooLong,
                AlertDescription::InternalError,
                format!("a message longer than {MOST_INBOUND} bytes"),
            );
        }
    }

    /// Chooses the settings by what the client offers.
    fn decide(&mut self, server: &Server) {
        let config = match hello::peek(self.inbound.unread()) {
            Peek::Incomplete(_) if self.flaw.is_some() => server.first(),
            Peek::Incomplete(needed) => {
                if let Engine::Undecided(_, waiting) = &mut self.engine {
                    *waiting = needed;
                }
                return;
            }
            Peek::Unreadable => server.first(),
            Peek::Hello(offered) => {
                let chosen = server.choose(&offered);
                // Whether it speaks TLS 1.3 at all is for rustls to say.
                let modern = offered.versions.contains(&0x0304);
                self.offered = Some(offered);
                match chosen {
                    Ok(config) => config,
                    Err(_) if !modern => server.first(),
                    Err(nothing) => {
                        let (kind, text) = match nothing {
                            NothingInCommon::Group => (Kind::NoCommonGroup, "no key exchange group in common"),
                            NothingInCommon::Scheme => (Kind::NoCommonScheme, "no signature scheme in common"),
                            NothingInCommon::Profile => {
                                (Kind::NoCommonProfile, "no profile has both a group and a signature scheme in common")
                            }
                        };
                        return self.refuse(kind, AlertDescription::HandshakeFailure, text.into());
                    }
                }
            }
        };
        match UnbufferedServerConnection::new(config) {
            Ok(engine) => self.engine = Engine::Server(engine),
            Err(error) => self.refuse(Kind::Internal, AlertDescription::InternalError, error.to_string()),
        }
    }

    /// Ends the connection for a reason that rustls does not know of. Its alert goes out where that is still in the clear.
    fn refuse(&mut self, kind: Kind, alert: AlertDescription, text: String) {
        let alert = u8::from(alert);
        let in_the_clear = matches!(self.engine, Engine::Undecided(..));
        if in_the_clear {
            self.outbound.extend(&plain_alert(alert));
            self.engine = Engine::Refused;
        }
        self.failure = Some(Failure { kind, alert: in_the_clear.then_some(alert), text });
    }

    fn step(&mut self) -> Step {
        let Self { engine, inbound, outbound, plaintext, .. } = self;
        let (discard, step) = match engine {
            Engine::Server(engine) => handle(engine.process_tls_records(inbound.unread_mut()), outbound, plaintext),
            Engine::Client(engine) => handle(engine.process_tls_records(inbound.unread_mut()), outbound, plaintext),
            Engine::Undecided(..) | Engine::Refused => (0, Step::Idle),
        };
        inbound.consume(discard);
        step
    }

    /// Keeps the reason and lets the alert out that rustls has made of it.
    fn fail(&mut self, error: &rustls::Error) {
        let before = self.outbound.len();
        if matches!(error, rustls::Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedCipherSuite)) {
            // RFC 8446 section 4.1.3; rustls says handshake_failure.
            notes::set_alert_instead(Some(AlertDescription::IllegalParameter));
        }
        // What is queued comes first, the alert last; once nothing is queued rustls only repeats the error.
        while matches!(self.step(), Step::Again) {}
        self.inbound = Buffer::default();
        let notes = notes::take();
        let sent = notes
            .alert_sent
            .or_else(|| self.outbound.bytes.get_mut(self.outbound.start + before..).and_then(plain_alert_sent));
        self.failure = Some(Failure::from_rustls(error, sent, notes.fault));
    }

    /// Takes over what the provider has noted.
    fn note(&mut self) {
        let notes = notes::take();
        self.peer_scheme = notes.peer_scheme.unwrap_or(self.peer_scheme);
        self.own_scheme = notes.own_scheme.unwrap_or(self.own_scheme);
    }

    /// Encrypts as much of `data` as there is room for and returns how much that was: 0 before the handshake is complete,
    /// after close_notify, and while much ciphertext waits.
    pub fn write(&mut self, data: &[u8]) -> usize {
        if self.failure.is_some() || self.close_sent || !self.is_established() || self.outbound.len() >= MUCH_OUTBOUND {
            return 0;
        }
        let data = &data[..data.len().min(MOST_AT_ONCE)];
        let records = data.len().div_ceil(FRAGMENT);
        self.with_traffic(data.len() + records * RECORD_OVERHEAD + CONTROL, Write(data)).map_or(0, |()| data.len())
    }

    /// Says that nothing more will be written.
    pub fn close_notify(&mut self) {
        if self.failure.is_none() && !self.close_sent && self.is_established() {
            self.close_sent = self.with_traffic(CONTROL, CloseNotify).is_some();
        }
    }

    /// Changes the own traffic key, and asks the peer to change its own (RFC 8446 section 4.6.3).
    pub fn update_keys(&mut self) {
        if self.failure.is_none() && !self.close_sent && self.is_established() {
            self.with_traffic(0, UpdateKeys);
            self.process();
        }
    }

    /// Runs `action` where rustls lets application data go out; `None` where it does not, or when the action failed.
    fn with_traffic(&mut self, room: usize, action: impl Action) -> Option<()> {
        self.process();
        if self.failure.is_some() {
            return None;
        }
        notes::clear();
        let Self { engine, inbound, outbound, .. } = self;
        let out = outbound.reserve(room);
        let (discard, result) = match engine {
            Engine::Server(engine) => act(engine.process_tls_records(inbound.unread_mut()), out, action),
            Engine::Client(engine) => act(engine.process_tls_records(inbound.unread_mut()), out, action),
            Engine::Undecided(..) | Engine::Refused => (0, None),
        };
        inbound.consume(discard);
        let used = match &result {
            Some(Ok(used)) => *used,
            Some(Err(_)) | None => 0,
        };
        outbound.keep(room, used);
        if let Err(text) = result? {
            self.failure = Some(Failure { kind: Kind::Internal, alert: None, text });
            return None;
        }
        Some(())
    }

    /// The network connection has ended. Without the peer's close_notify what came may be a part only (RFC 8446
    /// section 6.1).
    pub fn end_of_input(&mut self) {
        if self.failure.is_none() && !self.peer_closed {
            let text = match self.is_established() {
                true => "the peer ended the connection without close_notify",
                false => "the peer ended the connection during the handshake",
            };
            self.failure = Some(Failure { kind: Kind::Truncated, alert: None, text: text.into() });
        }
    }

    pub fn has_sent_close(&self) -> bool {
        self.close_sent
    }

    /// What was negotiated: version, suite, group, the peer's and the own signature scheme (u16 each, 0 for none), resumed
    /// (u16, 0 or 1), application protocol (bytes), the peer's chain (list of bytes).
    pub fn facts(&self) -> Vec<u8> {
        let mut facts = Writer::default();
        let Some(common) = self.common() else { return facts.0 };
        let resumed = common.handshake_kind() == Some(HandshakeKind::Resumed);
        facts
            .u16(common.protocol_version().map_or(0, u16::from))
            .u16(common.negotiated_cipher_suite().map_or(0, |suite| suite.suite().into()))
            .u16(common.negotiated_key_exchange_group().map_or(0, |group| group.name().into()))
            .u16(self.peer_scheme)
            .u16(self.own_scheme)
            .u16(resumed.into())
            .bytes(common.alpn_protocol().unwrap_or_default())
            .list(common.peer_certificates().unwrap_or_default(), |facts, certificate| {
                facts.bytes(certificate);
            });
        facts.0
    }

    /// What the client offered: versions, suites, groups, signature schemes (lists of u16). Empty on a client's side,
    /// and where the ClientHello could not be read.
    pub fn offered(&self) -> Vec<u8> {
        let mut offered = Writer::default();
        if let Some(hello) = &self.offered {
            for list in [&hello.versions, &hello.suites, &hello.groups, &hello.schemes] {
                offered.list(list, |offered, number| {
                    offered.u16(*number);
                });
            }
        }
        offered.0
    }
}

/// Deals with what rustls wants done, and says how many bytes of the input are done with.
fn handle<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    outbound: &mut Buffer,
    plaintext: &mut Buffer,
) -> (usize, Step) {
    let mut discard = status.discard;
    let step = match status.state {
        Ok(ConnectionState::EncodeTlsData(mut encode)) => {
            // Asked with no room at first, it says how much it needs.
            match encode.encode(&mut []) {
                Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
                    let used = encode.encode(outbound.reserve(required_size)).unwrap_or(0);
                    outbound.keep(required_size, used);
                }
                Ok(_) | Err(EncodeError::AlreadyEncoded) => {}
            }
            Step::Again
        }
        Ok(ConnectionState::TransmitTlsData(transmit)) => {
            transmit.done();
            Step::Again
        }
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            while let Some(Ok(record)) = traffic.next_record() {
                discard += record.discard;
                plaintext.extend(record.payload);
            }
            Step::Again
        }
        Ok(ConnectionState::PeerClosed) => Step::PeerClosed,
        Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) | ConnectionState::Closed) => {
            Step::Idle
        }
        // Early data is off, and there are no other states.
        Ok(_) => Step::Failed(rustls::Error::General("a state that does not occur".into())),
        Err(error) => Step::Failed(error),
    };
    (discard, step)
}

/// What is done where application data may go out; returns the bytes written.
trait Action {
    fn run<Data>(self, traffic: WriteTraffic<'_, Data>, out: &mut [u8]) -> Result<usize, String>;
}

struct Write<'a>(&'a [u8]);
struct CloseNotify;
struct UpdateKeys;

fn describe(error: EncryptError) -> String {
    error.to_string()
}

impl Action for Write<'_> {
    fn run<Data>(self, mut traffic: WriteTraffic<'_, Data>, out: &mut [u8]) -> Result<usize, String> {
        traffic.encrypt(self.0, out).map_err(describe)
    }
}

impl Action for CloseNotify {
    fn run<Data>(self, mut traffic: WriteTraffic<'_, Data>, out: &mut [u8]) -> Result<usize, String> {
        traffic.queue_close_notify(out).map_err(describe)
    }
}

impl Action for UpdateKeys {
    fn run<Data>(self, traffic: WriteTraffic<'_, Data>, _: &mut [u8]) -> Result<usize, String> {
        traffic.refresh_traffic_keys().map(|()| 0).map_err(|error| error.to_string())
    }
}

/// How many bytes of the input are done with, and what the action came to, if it could run.
fn act<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    out: &mut [u8],
    action: impl Action,
) -> (usize, Option<Result<usize, String>>) {
    let result = match status.state {
        Ok(ConnectionState::WriteTraffic(traffic)) => Some(action.run(traffic, out)),
        _ => None,
    };
    (status.discard, result)
}

/// The description of the alert that ends `ciphertext`, if one does that is not encrypted.
fn plain_alert_sent(ciphertext: &mut [u8]) -> Option<u8> {
    match ciphertext.last_chunk_mut::<7>() {
        Some([21, 3, _, 0, 2, _, description]) => {
            *description = alert_meant(*description);
            Some(*description)
        }
        _ => None,
    }
}
