//! The three cipher suites and their record protection (RFC 8446 section 5.2).

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use chacha20poly1305::ChaCha20Poly1305;
use rustls::crypto::CipherSuiteCommon;
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter, Nonce,
    OutboundOpaqueMessage, OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm, UnsupportedOperationError,
    make_tls13_aad,
};
use rustls::crypto::tls13::HkdfUsingHmac;
use rustls::{
    AlertDescription, CipherSuite, ConnectionTrafficSecrets, ContentType, Error, InvalidMessage, ProtocolVersion,
    SupportedCipherSuite, Tls13CipherSuite,
};

use crate::digest::{HmacSha256, HmacSha384, Sha256, Sha384};
use crate::notes;

/// Length of the tag of all three.
const TAG: usize = 16;

macro_rules! record_protection {
    ($algorithm:ident, $encrypter:ident, $decrypter:ident, $cipher:ty, $key_length:literal, $secrets:ident) => {
        struct $algorithm;

        impl Tls13AeadAlgorithm for $algorithm {
            fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
                // The key has key_len() bytes: rustls derives it with that length.
                let cipher = <$cipher>::new_from_slice(key.as_ref()).expect("a key of key_len() bytes");
                Box::new($encrypter { cipher, iv })
            }

            fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
                let cipher = <$cipher>::new_from_slice(key.as_ref()).expect("a key of key_len() bytes");
                Box::new($decrypter { cipher, iv })
            }

            fn key_len(&self) -> usize {
                $key_length
            }

            fn extract_keys(
                &self,
                key: AeadKey,
                iv: Iv,
            ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
                Ok(ConnectionTrafficSecrets::$secrets { key, iv })
            }
        }

        struct $encrypter {
            cipher: $cipher,
            iv: Iv,
        }

        impl MessageEncrypter for $encrypter {
            fn encrypt(
                &mut self,
                message: OutboundPlainMessage<'_>,
                sequence: u64,
            ) -> Result<OutboundOpaqueMessage, Error> {
                let total = self.encrypted_payload_len(message.payload.len());
                let mut payload = PrefixedPayload::with_capacity(total);
                match alert(&message) {
                    Some(alert) => payload.extend_from_slice(&alert),
                    None => payload.extend_from_chunks(&message.payload),
                }
                payload.extend_from_slice(&message.typ.to_array());
                let nonce = Nonce::new(&self.iv, sequence).0.into();
                let tag = self
                    .cipher
                    .encrypt_inout_detached(&nonce, &make_tls13_aad(total), payload.as_mut().into())
                    .map_err(|_| Error::EncryptError)?;
                payload.extend_from_slice(&tag);
                // RFC 8446 section 5.2: opaque_type and legacy_record_version.
                Ok(OutboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, payload))
            }

            fn encrypted_payload_len(&self, length: usize) -> usize {
                // One byte tells the content type.
                length + 1 + TAG
            }
        }

        struct $decrypter {
            cipher: $cipher,
            iv: Iv,
        }

        impl MessageDecrypter for $decrypter {
            fn decrypt<'a>(
                &mut self,
                mut message: InboundOpaqueMessage<'a>,
                sequence: u64,
            ) -> Result<InboundPlainMessage<'a>, Error> {
                check_outer(&message)?;
                let payload = &mut message.payload;
                let aad = make_tls13_aad(payload.len());
                let Some(length) = payload.len().checked_sub(TAG) else {
                    return Err(Error::DecryptError);
                };
                let nonce = Nonce::new(&self.iv, sequence).0.into();
                let (sealed, tag) = payload.split_at_mut(length);
                let tag: [u8; TAG] = (&*tag).try_into().map_err(|_| Error::DecryptError)?;
                self.cipher
                    .decrypt_inout_detached(&nonce, &aad, sealed.into(), &tag.into())
                    .map_err(|_| Error::DecryptError)?;
                payload.truncate(length);
                check_inner(payload)?;
                message.into_tls13_unpadded_message()
            }
        }
    };
}

record_protection!(Aes128, Aes128Encrypter, Aes128Decrypter, Aes128Gcm, 16, Aes128Gcm);
record_protection!(Aes256, Aes256Encrypter, Aes256Decrypter, Aes256Gcm, 32, Aes256Gcm);
record_protection!(ChaCha, ChaChaEncrypter, ChaChaDecrypter, ChaCha20Poly1305, 32, Chacha20Poly1305);

/// Longest content of a record, with the octet of its type (RFC 8446 section 5.4).
const MOST_INNER: usize = (1 << 14) + 1;

/// Why a record is refused, with the alert that RFC 8446 asks for: rustls would say bad_record_mac or decode_error.
fn refused(alert: AlertDescription, error: Error) -> Error {
    notes::set_alert_instead(Some(alert));
    error
}

/// RFC 8446 section 5: once there are keys, a record that is not protected is unexpected.
fn check_outer(message: &InboundOpaqueMessage<'_>) -> Result<(), Error> {
    if message.typ == ContentType::ApplicationData {
        return Ok(());
    }
    Err(refused(AlertDescription::UnexpectedMessage, InvalidMessage::InvalidContentType.into()))
}

/// RFC 8446 section 5.4: the length, a content type that there is, and no empty handshake message or alert.
fn check_inner(inner: &[u8]) -> Result<(), Error> {
    if inner.len() > MOST_INNER {
        return Err(refused(AlertDescription::RecordOverflow, Error::PeerSentOversizedRecord));
    }
    let error: Error = match inner.iter().rposition(|byte| *byte != 0) {
        None => InvalidMessage::InvalidContentType.into(),
        Some(end) => match ContentType::from(inner[end]) {
            ContentType::ApplicationData => return Ok(()),
            ContentType::Handshake | ContentType::Alert if end > 0 => return Ok(()),
            ContentType::Handshake | ContentType::Alert => InvalidMessage::InvalidEmptyPayload.into(),
            _ => InvalidMessage::InvalidContentType.into(),
        },
    };
    Err(refused(AlertDescription::UnexpectedMessage, error))
}

/// An alert that goes out encrypted cannot be read off the wire: this is where its description is seen, and where the one
/// that is meant takes the place of rustls's.
fn alert(message: &OutboundPlainMessage<'_>) -> Option<[u8; 2]> {
    if message.typ != ContentType::Alert {
        return None;
    }
    // RFC 8446 section 6: level, description.
    let mut alert: [u8; 2] = message.payload.to_vec().try_into().ok()?;
    alert[1] = alert_meant(alert[1]);
    notes::alert_sent(alert[1]);
    Some(alert)
}

/// The description that is meant, for one that rustls sends.
pub fn alert_meant(description: u8) -> u8 {
    match (AlertDescription::from(description), notes::alert_instead()) {
        (AlertDescription::CloseNotify, _) | (_, None) => description,
        (_, Some(meant)) => meant.into(),
    }
}

/// Records under one key before it must be updated (RFC 8446 section 5.5).
const AES_GCM_RECORDS: u64 = 1 << 24;

static AES_128_GCM_SHA256: Tls13CipherSuite = Tls13CipherSuite {
    common: CipherSuiteCommon {
        suite: CipherSuite::TLS13_AES_128_GCM_SHA256,
        hash_provider: &Sha256,
        confidentiality_limit: AES_GCM_RECORDS,
    },
    hkdf_provider: &HkdfUsingHmac(&HmacSha256),
    aead_alg: &Aes128,
    quic: None,
};

static AES_256_GCM_SHA384: Tls13CipherSuite = Tls13CipherSuite {
    common: CipherSuiteCommon {
        suite: CipherSuite::TLS13_AES_256_GCM_SHA384,
        hash_provider: &Sha384,
        confidentiality_limit: AES_GCM_RECORDS,
    },
    hkdf_provider: &HkdfUsingHmac(&HmacSha384),
    aead_alg: &Aes256,
    quic: None,
};

static CHACHA20_POLY1305_SHA256: Tls13CipherSuite = Tls13CipherSuite {
    common: CipherSuiteCommon {
        suite: CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        hash_provider: &Sha256,
        confidentiality_limit: u64::MAX,
    },
    hkdf_provider: &HkdfUsingHmac(&HmacSha256),
    aead_alg: &ChaCha,
    quic: None,
};

/// The suite of that number in the IANA registry "TLS Cipher Suites".
pub fn suite(number: u16) -> Option<SupportedCipherSuite> {
    [&CHACHA20_POLY1305_SHA256, &AES_256_GCM_SHA384, &AES_128_GCM_SHA256]
        .into_iter()
        .find(|suite| u16::from(suite.common.suite) == number)
        .map(SupportedCipherSuite::Tls13)
}
