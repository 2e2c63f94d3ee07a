//! Follows the record headers of what arrives. rustls allows longer records than RFC 8446 sections 5.1 and 5.2, and answers
//! those that are too long for it with decode_error instead of record_overflow: here they are found.

/// Longest fragment of TLSPlaintext and of TLSCiphertext.
const MOST_PLAIN: usize = 1 << 14;
const MOST_CIPHER: usize = (1 << 14) + 256;

/// Content type of records that are encrypted (RFC 8446 section 5.2).
const APPLICATION_DATA: u8 = 23;

const HEADER: usize = 5;

#[derive(Default)]
pub struct Framing {
    header: [u8; HEADER],
    /// Bytes of the header that have come.
    have: usize,
    /// Bytes of the record's body that are still to come.
    body: usize,
}

impl Framing {
    /// Follows `arrived`, which comes after all before. Where the header of a record that is too long ends in it, that place.
    pub fn follow(&mut self, arrived: &[u8]) -> Option<usize> {
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
                if self.body > most {
                    return Some(arrived.len() - bytes.len());
                }
            }
        }
        None
    }
}
