//! Certificate verification: webpki checks chain, validity, name and extended key usage (RFC 5280 section 6); the key
//! usage extension, which it leaves aside, is checked here, and what rustls does not tell is noted.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use crate::der::{Reader, tag};
use crate::notes::{self, Fault};

/// Bits of the key usage extension (RFC 5280 section 4.2.1.3), as the first octet of the BIT STRING holds them.
const DIGITAL_SIGNATURE: u8 = 0x80;
const KEY_CERT_SIGN: u8 = 0x04;

/// id-ce-keyUsage, 2.5.29.15.
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];

/// The first octet of a certificate's key usage; `Some(None)` when it has no such extension, `None` when the certificate
/// cannot be read.
fn key_usage(certificate: &[u8]) -> Option<Option<u8>> {
    let mut outer = Reader(Reader::only(certificate, tag::SEQUENCE)?);
    let mut fields = Reader(outer.expect(tag::SEQUENCE)?);
    while !fields.is_empty() {
        let (found, content, _) = fields.next()?;
        if found != tag::CONTEXT_3_CONSTRUCTED {
            continue;
        }
        let mut extensions = Reader(Reader::only(content, tag::SEQUENCE)?);
        while !extensions.is_empty() {
            let mut extension = Reader(extensions.expect(tag::SEQUENCE)?);
            let is_key_usage = extension.expect(tag::OBJECT_IDENTIFIER)? == KEY_USAGE;
            extension.expect(tag::BOOLEAN);
            let value = extension.expect(tag::OCTET_STRING)?;
            if is_key_usage {
                // Number of unused bits, then the bits.
                let [_, bits, ..] = *Reader::only(value, tag::BIT_STRING)? else { return Some(Some(0)) };
                return Some(Some(bits));
            }
        }
    }
    Some(None)
}

/// Whether the key may be used so: it has no key usage extension, or one that says so.
fn may(certificate: &[u8], usage: u8) -> bool {
    match key_usage(certificate) {
        Some(Some(bits)) => bits & usage != 0,
        Some(None) => true,
        None => false,
    }
}

/// RFC 8446 section 4.4.2.2: the end entity's key must be allowed to sign.
fn check_leaf(leaf: &CertificateDer<'_>) -> Result<(), Error> {
    if may(leaf, DIGITAL_SIGNATURE) {
        return Ok(());
    }
    notes::failed(Fault::KeyUsage);
    Err(Error::InvalidCertificate(CertificateError::InvalidPurpose))
}

/// Those that may issue: the others are left out of the path that is looked for.
fn issuers<'a>(intermediates: &[CertificateDer<'a>]) -> Vec<CertificateDer<'a>> {
    intermediates.iter().filter(|certificate| may(certificate, KEY_CERT_SIGN)).cloned().collect()
}

/// When a certificate's validity ends, s since 1970; `None` when it cannot be read.
fn ends(certificate: &[u8]) -> Option<u64> {
    let mut outer = Reader(Reader::only(certificate, tag::SEQUENCE)?);
    let mut fields = Reader(outer.expect(tag::SEQUENCE)?);
    fields.expect(tag::CONTEXT_0_CONSTRUCTED); // version
    fields.expect(tag::INTEGER)?; // serialNumber
    fields.expect(tag::SEQUENCE)?; // signature
    fields.expect(tag::SEQUENCE)?; // issuer
    let mut validity = Reader(fields.expect(tag::SEQUENCE)?);
    validity.next()?; // notBefore
    let (kind, text, _) = validity.next()?;
    seconds(kind, text)
}

/// RFC 5280 section 4.1.2.5: UTCTime stands for 1950 to 2049, GeneralizedTime has all four digits of the year.
fn seconds(kind: u8, text: &[u8]) -> Option<u64> {
    let digits = text.strip_suffix(b"Z")?;
    let number = |digits: &[u8]| core::str::from_utf8(digits).ok()?.parse::<u64>().ok();
    let (year, rest) = match kind {
        tag::UTC_TIME => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year = number(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        tag::GENERALIZED_TIME => {
            let (year, rest) = digits.split_at_checked(4)?;
            (number(year)?, rest)
        }
        _ => return None,
    };
    let [month, day, hour, minute, second] =
        *rest.chunks(2).map(number).collect::<Option<Vec<_>>>()?.first_chunk::<5>()?;
    if year < 1970 || !(1..=12).contains(&month) {
        return None;
    }
    // Days of the Gregorian calendar, counted in years that begin with March.
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = years * 365 + years / 4 - years / 100 + years / 400 + (months * 153 + 2) / 5 + day;
    let days = days.checked_sub(719_469)?; // 1 January 1970 in this count
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// A session that stands on this chain ends with the first of its certificates.
fn note_end(leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) {
    notes::set_session_end(
        core::iter::once(leaf).chain(intermediates).map(|certificate| ends(certificate)).min().flatten(),
    );
}

fn check_signature(
    result: Result<HandshakeSignatureValid, Error>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    match &result {
        Ok(_) => notes::peer_signed(signed.scheme),
        Err(_) => notes::failed(Fault::HandshakeSignature),
    }
    result
}

/// What TLS 1.3 alone never asks for.
fn tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("TLS 1.2 is not spoken here".into()))
}

/// The trusted certificates; an error says which one cannot be trusted and why.
pub fn trust(certificates: &[CertificateDer<'static>]) -> Result<Arc<RootCertStore>, String> {
    let mut store = RootCertStore::empty();
    for (index, certificate) in certificates.iter().enumerate() {
        if !may(certificate, KEY_CERT_SIGN) {
            return Err(format!("trusted certificate {index}: its key usage does not allow it to sign certificates"));
        }
        store
            .add(certificate.clone())
            .map_err(|error| format!("trusted certificate {index}: expected an X.509 certificate: {error}"))?;
    }
    Ok(Arc::new(store))
}

#[derive(Debug)]
pub struct ServerVerifier(Arc<WebPkiServerVerifier>);

impl ServerVerifier {
    pub fn new(trust: Arc<RootCertStore>, provider: Arc<CryptoProvider>) -> Result<Arc<Self>, String> {
        let verifier = WebPkiServerVerifier::builder_with_provider(trust, provider)
            .build()
            .map_err(|error| format!("trusted certificates: {error}"))?;
        Ok(Arc::new(Self(verifier)))
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.0.verify_server_cert(leaf, &issuers(intermediates), name, ocsp, now)?;
        check_leaf(leaf)?;
        note_end(leaf, intermediates);
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(self.0.verify_tls13_signature(message, leaf, signed), signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[derive(Debug)]
pub struct ClientVerifier(Arc<dyn ClientCertVerifier>);

impl ClientVerifier {
    /// A client must show a certificate: there is no way around it.
    pub fn new(trust: Arc<RootCertStore>, provider: Arc<CryptoProvider>) -> Result<Arc<Self>, String> {
        let verifier = WebPkiClientVerifier::builder_with_provider(trust, provider)
            .build()
            .map_err(|error| format!("trusted certificates: {error}"))?;
        Ok(Arc::new(Self(verifier)))
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.0.verify_client_cert(leaf, &issuers(intermediates), now)?;
        check_leaf(leaf)?;
        note_end(leaf, intermediates);
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(self.0.verify_tls13_signature(message, leaf, signed), signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
