//! Why a connection failed: a kind whose number never changes, the alert, and a text.

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

use crate::notes::Fault;

/// What went wrong. The numbers are the host's to rely on: one is added, never changed.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u32)]
pub enum Kind {
    /// No key exchange group in common.
    NoCommonGroup = 1,
    /// No signature scheme in common.
    NoCommonScheme = 2,
    /// No cipher suite in common.
    NoCommonSuite = 3,
    /// Groups and schemes in common, but none together in one profile.
    NoCommonProfile = 4,
    /// The peer does not speak TLS 1.3.
    ProtocolVersion = 5,
    /// The client showed no certificate.
    CertificateRequired = 6,
    /// The chain does not end in a trusted certificate.
    UnknownIssuer = 7,
    /// The certificate's validity has ended.
    CertificateExpired = 8,
    /// The certificate's validity has not begun.
    CertificateNotYetValid = 9,
    /// The certificate does not carry the name that was asked for.
    NameMismatch = 10,
    /// Key usage or extended key usage forbids the role.
    WrongKeyUsage = 11,
    /// A certificate's signature is not its issuer's.
    BadCertificateSignature = 12,
    /// The certificate was refused for another reason, or cannot be read.
    BadCertificate = 13,
    /// The handshake's signature is not the certificate's key's.
    BadHandshakeSignature = 14,
    /// The handshake's Finished is wrong: the two ends have not seen the same handshake.
    BadFinished = 15,
    /// A record does not decrypt.
    BadRecord = 16,
    /// A record is longer than TLS allows.
    RecordOverflow = 17,
    /// A message came where another was expected.
    UnexpectedMessage = 18,
    /// A message that cannot be read, or holds what it must not.
    IllegalMessage = 19,
    /// No application protocol in common.
    NoApplicationProtocol = 20,
    /// The peer ended the connection with an alert.
    AlertReceived = 21,
    /// The network connection ended without the peer's close_notify.
    Truncated = 22,
    /// A message is longer than is kept.
    TooLong = 23,
    /// Something that should not happen.
    Internal = 24,
}

#[derive(Debug)]
pub struct Failure {
    pub kind: Kind,
    /// Number of the alert (RFC 8446 section 6): the one received, or the one sent.
    pub alert: Option<u8>,
    pub text: String,
}

impl Failure {
    /// @param sent The alert that went out, where it was seen.
    pub fn from_rustls(error: &Error, sent: Option<u8>, fault: Option<Fault>) -> Self {
        let alert = match error {
            Error::AlertReceived(description) => Some(u8::from(*description)),
            _ => sent,
        };
        Self { kind: kind(error, sent, fault), alert, text: error.to_string() }
    }
}

fn kind(error: &Error, sent: Option<u8>, fault: Option<Fault>) -> Kind {
    use PeerIncompatible as Incompatible;
    match error {
        Error::PeerIncompatible(why) => match why {
            Incompatible::NoKxGroupsInCommon | Incompatible::NamedGroupsExtensionRequired => Kind::NoCommonGroup,
            Incompatible::NoSignatureSchemesInCommon
            | Incompatible::NoCertificateRequestSignatureSchemesInCommon
            | Incompatible::SignatureAlgorithmsExtensionRequired => Kind::NoCommonScheme,
            Incompatible::NoCipherSuitesInCommon => Kind::NoCommonSuite,
            Incompatible::SupportedVersionsExtensionRequired
            | Incompatible::Tls12NotOffered
            | Incompatible::Tls12NotOfferedOrEnabled
            | Incompatible::ServerDoesNotSupportTls12Or13
            | Incompatible::ServerTlsVersionIsDisabledByOurConfig => Kind::ProtocolVersion,
            _ => Kind::IllegalMessage,
        },
        Error::NoCertificatesPresented => Kind::CertificateRequired,
        Error::InvalidCertificate(why) => certificate_kind(why, fault),
        Error::InvalidMessage(_) if is(sent, AlertDescription::RecordOverflow) => Kind::RecordOverflow,
        Error::DecryptError if is(sent, AlertDescription::DecryptError) => Kind::BadFinished,
        Error::DecryptError => Kind::BadRecord,
        Error::PeerSentOversizedRecord | Error::InvalidMessage(InvalidMessage::MessageTooLarge) => Kind::RecordOverflow,
        Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge) => Kind::TooLong,
        Error::InvalidMessage(InvalidMessage::UnknownProtocolVersion) => Kind::ProtocolVersion,
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => Kind::UnexpectedMessage,
        Error::InvalidMessage(_) | Error::PeerMisbehaved(_) => Kind::IllegalMessage,
        Error::NoApplicationProtocol => Kind::NoApplicationProtocol,
        Error::AlertReceived(_) => Kind::AlertReceived,
        _ => Kind::Internal,
    }
}

fn certificate_kind(why: &CertificateError, fault: Option<Fault>) -> Kind {
    use CertificateError as Certificate;
    if fault == Some(Fault::HandshakeSignature) {
        return Kind::BadHandshakeSignature;
    }
    match why {
        Certificate::Expired | Certificate::ExpiredContext { .. } => Kind::CertificateExpired,
        Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => Kind::CertificateNotYetValid,
        Certificate::UnknownIssuer => Kind::UnknownIssuer,
        Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => Kind::NameMismatch,
        Certificate::InvalidPurpose | Certificate::InvalidPurposeContext { .. } => Kind::WrongKeyUsage,
        Certificate::BadSignature => Kind::BadCertificateSignature,
        _ => Kind::BadCertificate,
    }
}

fn is(sent: Option<u8>, alert: AlertDescription) -> bool {
    sent == Some(alert.into())
}
