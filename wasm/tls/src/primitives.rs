//! The post-quantum and signature primitives by themselves: known answers are checked and times are taken through here.

use crate::kem::Kem;
use crate::signature::{PrivateKey, ml_dsa_keys, verifies};
use crate::wire::{Reader, Writer};

/// Strengths by number.
fn kem(number: u16) -> Option<Kem> {
    match number {
        512 => Some(Kem::MlKem512),
        768 => Some(Kem::MlKem768),
        1024 => Some(Kem::MlKem1024),
        _ => None,
    }
}

/// Operations, each with its input and its answer; `None` for an input that is refused.
///
/// 1. ML-KEM key generation, encapsulation and decapsulation in one: strength (u16), d ‖ z (bytes), m (bytes); encapsulation
///    key, decapsulation key, ciphertext, secret of encapsulation, secret of decapsulation (bytes each).
/// 2. Encapsulation: strength, encapsulation key, m; ciphertext, secret.
/// 3. Decapsulation: strength, d ‖ z, ciphertext; secret.
/// 4. Signing: PKCS#8, message; signature.
/// 5. Verification: scheme (u16), SubjectPublicKeyInfo, message, signature (bytes each); one byte.
/// 6. ML-DSA key generation (FIPS 204, algorithm 6): 44, 65 or 87 (u16), seed (bytes); public key, private key.
pub fn run(operation: u32, input: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader(input);
    let mut reply = Writer::default();
    match operation {
        1 => {
            let kem = kem(reader.u16()?)?;
            let (private, public) = kem.generate_from(reader.bytes()?.try_into().ok()?);
            let (ciphertext, secret) = kem.encapsulate_with(&public, reader.bytes()?.try_into().ok()?)?;
            let agreed = private.decapsulate(&ciphertext)?;
            reply.bytes(&public).bytes(private.as_bytes()).bytes(&ciphertext).bytes(&secret[..]).bytes(&agreed[..]);
        }
        2 => {
            let kem = kem(reader.u16()?)?;
            let (ciphertext, secret) = kem.encapsulate_with(reader.bytes()?, reader.bytes()?.try_into().ok()?)?;
            reply.bytes(&ciphertext).bytes(&secret[..]);
        }
        3 => {
            let kem = kem(reader.u16()?)?;
            let (private, _) = kem.generate_from(reader.bytes()?.try_into().ok()?);
            reply.bytes(&private.decapsulate(reader.bytes()?)?[..]);
        }
        4 => {
            let key = PrivateKey::from_pkcs8(reader.bytes()?)?;
            reply.bytes(&key.sign(reader.bytes()?)?);
        }
        5 => {
            let scheme = reader.u16()?.into();
            let good = verifies(scheme, reader.bytes()?, reader.bytes()?, reader.bytes()?);
            reply.0.push(good.into());
        }
        6 => {
            let strength = reader.u16()?;
            let (public, private) = ml_dsa_keys(strength, reader.bytes()?.try_into().ok()?)?;
            reply.bytes(&public).bytes(&private);
        }
        _ => return None,
    }
    reader.is_empty().then_some(reply.0)
}
