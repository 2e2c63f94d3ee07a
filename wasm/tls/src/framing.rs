//! Follows the record headers of what arrives. rustls allows longer records than RFC 8446 sections 5.1 and 5.2, and answers
//! those that are too long for it, and those of a type that it does not know, with decode_error: here they are found.

use rustls::AlertDescription;

/// Longest fragment of TLSPlaintext and of TLSCiphertext.
const MOST_PLAIN: usize = 1 << 14;
const MOST_CIPHER: usize = (1 << 14) + 256;

/// Content type of records that are encrypted (RFC 8446 section 5.2).
const APPLICATION_DATA: u8 = 23;

/// Content types of TLS 1.3, from change_cipher_spec to application_data (RFC 8446 section 5.1).
const KNOWN_TYPES: core::ops::RangeInclusive<u8> = 20..=APPLICATION_DATA;

const HEADER: usize = 5;

/// What is wrong with a record's header.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Flaw {
    TooLong,
    UnknownType,
}

impl Flaw {
    /// The alert that RFC 8446 section 5.1 asks for.
    pub fn alert(self) -> AlertDescription {
        match self {
            Self::TooLong => AlertDescription::RecordOverflow,
            Self::UnknownType => AlertDescription::UnexpectedMessage,
        }
    }
}

#[derive(Default)]
pub struct Framing {
    header: [u8; HEADER],
    /// Bytes of the header that have come.
    have: usize,
    /// Bytes of the record's body that are still to come.
    body: usize,
}

impl Framing {
    /// Follows `arrived`, which comes after all before. Where a header with a flaw ends in it, that place and the flaw.
    pub fn follow(&mut self, arrived: &[u8]) -> Option<(usize, Flaw)> {
        let mut bytes = arrived;
        while !bytes.is_empty() {
            let skipped = self.body.min(bytes.len());
            self.body -= skipped;
            bytes = &bytes[skipped..];
            let Some((first, rest)) = bytes.split_first() else { break };
            self.header[self.have] = *first;
            self.have += 1;
            bytes = rest;
            if self.have == HEADER {
                self.have = 0;
                self.body = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
                let most = if self.header[0] == APPLICATION_DATA { MOST_CIPHER } else { MOST_PLAIN };
                let flaw = match self.header[0] {
                    kind if !KNOWN_TYPES.contains(&kind) => Some(Flaw::UnknownType),
                    _ if self.body > most => Some(Flaw::TooLong),
                    _ => None,
                };
                if let Some(flaw) = flaw {
                    return Some((arrived.len() - bytes.len(), flaw));
                }
            }
        }
        None
    }
}
