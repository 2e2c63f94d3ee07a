//! What the provider sees while rustls drives it, and rustls itself does not tell: which signature schemes were used and
//! which alert was encrypted. The module runs on one thread and one connection at a time, so a connection clears the
//! notes before it calls rustls and takes them afterwards.

use std::cell::Cell;

use rustls::{AlertDescription, SignatureScheme};

thread_local! {
    static PEER_SCHEME: Cell<Option<u16>> = const { Cell::new(None) };
    static OWN_SCHEME: Cell<Option<u16>> = const { Cell::new(None) };
    static ALERT_SENT: Cell<Option<u8>> = const { Cell::new(None) };
    static FAULT: Cell<Option<Fault>> = const { Cell::new(None) };
    static SESSION_END: Cell<Option<u64>> = const { Cell::new(None) };
    static ALERT_INSTEAD: Cell<Option<AlertDescription>> = const { Cell::new(None) };
}

/// Why something failed, where rustls's own error leaves it open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// The signature of the handshake (CertificateVerify) is not the certificate's key's.
    HandshakeSignature,
    /// The key usage extension does not allow signing.
    KeyUsage,
}

/// Everything noted since the last [`clear`].
pub struct Notes {
    pub peer_scheme: Option<u16>,
    pub own_scheme: Option<u16>,
    pub alert_sent: Option<u8>,
    pub fault: Option<Fault>,
}

pub fn clear() {
    take();
}

pub fn take() -> Notes {
    Notes {
        peer_scheme: PEER_SCHEME.take(),
        own_scheme: OWN_SCHEME.take(),
        alert_sent: ALERT_SENT.take(),
        fault: FAULT.take(),
    }
}

/// The peer's CertificateVerify was good and used this scheme.
pub fn peer_signed(scheme: SignatureScheme) {
    PEER_SCHEME.set(Some(u16::from(scheme)));
}

/// The own CertificateVerify uses this scheme.
pub fn signed(scheme: SignatureScheme) {
    OWN_SCHEME.set(Some(u16::from(scheme)));
}

/// An alert was encrypted.
pub fn alert_sent(description: u8) {
    ALERT_SENT.set(Some(description));
}

pub fn failed(fault: Fault) {
    FAULT.set(Some(fault));
}

/// The alert that RFC 8446 asks for on the connection that is being worked on, where rustls has a more general one.
pub fn set_alert_instead(alert: Option<AlertDescription>) {
    ALERT_INSTEAD.set(alert);
}

pub fn alert_instead() -> Option<AlertDescription> {
    ALERT_INSTEAD.get()
}

/// When sessions of the connection that is being worked on end at the latest, s since 1970: with the certificates that the
/// peer has shown, in this handshake or in the one that it resumes. `None` while nothing is known.
pub fn set_session_end(end: Option<u64>) {
    SESSION_END.set(end);
}

pub fn session_end() -> Option<u64> {
    SESSION_END.get()
}
