//! Remembers signatures of certificates that were found good. The same vehicles come again and again with the same chains,
//! and whether a signature fits a key and a text does not change: only validity in time and trust do, and those are judged
//! anew each time.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};

use sha2::{Digest, Sha256};

/// Most signatures that are remembered, 32 bytes each twice.
const MOST: usize = 4096;

type Fingerprint = [u8; 32];

#[derive(Default)]
struct Known {
    good: BTreeSet<Fingerprint>,
    order: VecDeque<Fingerprint>,
}

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
}

/// A TBSCertificate is a SEQUENCE. What a handshake signs begins with 64 spaces (RFC 8446 section 4.4.3) and never comes again.
fn is_certificate(message: &[u8]) -> bool {
    message.first() == Some(&crate::der::tag::SEQUENCE)
}

/// One hash over the parts with their lengths, so that no two lists of parts look alike.
fn fingerprint(parts: &[&[u8]]) -> Fingerprint {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Whether `check` says that the signature is good; it is not asked again for a certificate's that was.
pub fn check_once(
    algorithm: &str,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
    check: impl FnOnce() -> Option<()>,
) -> Option<()> {
    if !is_certificate(message) {
        return check();
    }
    let fingerprint = fingerprint(&[algorithm.as_bytes(), key, message, signature]);
    if KNOWN.with_borrow(|known| known.good.contains(&fingerprint)) {
        return Some(());
    }
    check()?;
    KNOWN.with_borrow_mut(|known| {
        if known.order.len() >= MOST {
            if let Some(oldest) = known.order.pop_front() {
                known.good.remove(&oldest);
            }
        }
        if known.good.insert(fingerprint) {
            known.order.push_back(fingerprint);
        }
    });
    Some(())
}
