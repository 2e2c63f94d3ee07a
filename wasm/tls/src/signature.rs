//! Signature schemes: checking signatures of certificates and handshakes, and signing the own handshakes.

use ed25519_dalek::Signer as _;
use ed25519_dalek::ed25519::signature::hazmat::{PrehashSigner, PrehashVerifier};
use libcrux_ml_dsa::{ml_dsa_44, ml_dsa_65, ml_dsa_87};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use sha2::{Digest, Sha256, Sha384};
use std::sync::Arc;
use zeroize::{Zeroize, Zeroizing};

use crate::der::{Reader, tag};
use crate::{host, memory, notes};

type Algorithm = &'static dyn SignatureVerificationAlgorithm;

/// TLS 1.3 uses ML-DSA with an empty context (draft-ietf-tls-mldsa section 3), as X.509 does (RFC 9881 section 3).
const NO_CONTEXT: &[u8] = &[];

macro_rules! verification {
    ($name:ident, $key:expr, $signature:expr, $check:expr) => {
        #[derive(Debug)]
        struct $name;

        impl SignatureVerificationAlgorithm for $name {
            fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
                let check: fn(&[u8], &[u8], &[u8]) -> Option<()> = $check;
                memory::check_once(stringify!($name), key, message, signature, || check(key, message, signature))
                    .ok_or(InvalidSignature)
            }

            fn public_key_alg_id(&self) -> AlgorithmIdentifier {
                $key
            }

            fn signature_alg_id(&self) -> AlgorithmIdentifier {
                $signature
            }
        }
    };
}

macro_rules! ecdsa_verification {
    ($name:ident, $curve:ident, $hash:ident, $key:expr, $signature:expr) => {
        verification!($name, $key, $signature, |key, message, signature| {
            let key = $curve::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
            let signature = $curve::ecdsa::Signature::from_der(signature).ok()?;
            key.verify_prehash(&$hash::digest(message), &signature).ok()
        });
    };
}

macro_rules! ml_dsa_verification {
    ($name:ident, $module:ident, $key:ident, $signature:ident, $id:expr) => {
        verification!($name, $id, $id, |key, message, signature| {
            let key = $module::$key::new(key.try_into().ok()?);
            let signature = $module::$signature::new(signature.try_into().ok()?);
            $module::portable::verify(&key, message, NO_CONTEXT, &signature).ok()
        });
    };
}

ecdsa_verification!(P256Sha256, p256, Sha256, alg_id::ECDSA_P256, alg_id::ECDSA_SHA256);
ecdsa_verification!(P256Sha384, p256, Sha384, alg_id::ECDSA_P256, alg_id::ECDSA_SHA384);
ecdsa_verification!(P384Sha256, p384, Sha256, alg_id::ECDSA_P384, alg_id::ECDSA_SHA256);
ecdsa_verification!(P384Sha384, p384, Sha384, alg_id::ECDSA_P384, alg_id::ECDSA_SHA384);
verification!(Ed25519, alg_id::ED25519, alg_id::ED25519, |key, message, signature| {
    let key = ed25519_dalek::VerifyingKey::from_bytes(key.try_into().ok()?).ok()?;
    let signature = ed25519_dalek::Signature::from_bytes(signature.try_into().ok()?);
    // Strict: neither a key of low order nor a signature that another one could be made from.
    key.verify_strict(message, &signature).ok()
});
ml_dsa_verification!(MlDsa44, ml_dsa_44, MLDSA44VerificationKey, MLDSA44Signature, alg_id::ML_DSA_44);
ml_dsa_verification!(MlDsa65, ml_dsa_65, MLDSA65VerificationKey, MLDSA65Signature, alg_id::ML_DSA_65);
ml_dsa_verification!(MlDsa87, ml_dsa_87, MLDSA87VerificationKey, MLDSA87Signature, alg_id::ML_DSA_87);

/// A scheme with what it verifies by: the handshake by the first algorithm, certificates by all of them. A chain may mix
/// the two curves' hash functions, as OpenSSL's default does; a handshake may not (RFC 8446 section 4.2.3).
struct Scheme {
    scheme: SignatureScheme,
    handshake: &'static [Algorithm],
    certificates: &'static [Algorithm],
}

static SCHEMES: [Scheme; 6] = [
    Scheme {
        scheme: SignatureScheme::ECDSA_NISTP256_SHA256,
        handshake: &[&P256Sha256],
        certificates: &[&P256Sha256, &P384Sha256],
    },
    Scheme {
        scheme: SignatureScheme::ECDSA_NISTP384_SHA384,
        handshake: &[&P384Sha384],
        certificates: &[&P384Sha384, &P256Sha384],
    },
    Scheme { scheme: SignatureScheme::ED25519, handshake: &[&Ed25519], certificates: &[&Ed25519] },
    Scheme { scheme: SignatureScheme::ML_DSA_44, handshake: &[&MlDsa44], certificates: &[&MlDsa44] },
    Scheme { scheme: SignatureScheme::ML_DSA_65, handshake: &[&MlDsa65], certificates: &[&MlDsa65] },
    Scheme { scheme: SignatureScheme::ML_DSA_87, handshake: &[&MlDsa87], certificates: &[&MlDsa87] },
];

/// The algorithms for these schemes, in their order; `None` when one is unknown. rustls wants them to live for ever:
/// each distinct list is kept once, however often it is asked for.
pub fn algorithms(schemes: &[u16]) -> Option<WebPkiSupportedAlgorithms> {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    thread_local! {
        static KNOWN: RefCell<BTreeMap<Vec<u16>, WebPkiSupportedAlgorithms>> = const { RefCell::new(BTreeMap::new()) };
    }
    // No scheme twice, so that there is an end to the lists that can be asked for.
    let distinct = schemes.iter().enumerate().all(|(index, scheme)| !schemes[..index].contains(scheme));
    let rows = schemes
        .iter()
        .map(|number| SCHEMES.iter().find(|row| u16::from(row.scheme) == *number))
        .collect::<Option<Vec<_>>>()
        .filter(|rows| distinct && !rows.is_empty())?;
    KNOWN.with_borrow_mut(|known| {
        Some(*known.entry(schemes.to_vec()).or_insert_with(|| WebPkiSupportedAlgorithms {
            all: rows.iter().flat_map(|row| row.certificates).copied().collect::<Vec<_>>().leak(),
            mapping: rows.iter().map(|row| (row.scheme, row.handshake)).collect::<Vec<_>>().leak(),
        }))
    })
}

/// Whether `signature` is the key's over `message`; `spki` is the certificate's SubjectPublicKeyInfo, DER.
pub fn verifies(scheme: SignatureScheme, spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let check = || {
        let row = SCHEMES.iter().find(|row| row.scheme == scheme)?;
        let [algorithm] = row.handshake else { return None };
        let mut fields = Reader(Reader::only(spki, tag::SEQUENCE)?);
        if fields.expect(tag::SEQUENCE)? != algorithm.public_key_alg_id().as_ref() {
            return None;
        }
        // A BIT STRING of whole octets: none of the last one's bits is unused.
        let (0, key) = fields.expect(tag::BIT_STRING)?.split_first()? else { return None };
        algorithm.verify_signature(key, message, signature).ok()
    };
    check().is_some()
}

/// An own private key.
pub struct PrivateKey(Arc<Secret>);

enum Secret {
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    Ed25519(Box<ed25519_dalek::SigningKey>),
    MlDsa44(Box<ml_dsa_44::MLDSA44SigningKey>),
    MlDsa65(Box<ml_dsa_65::MLDSA65SigningKey>),
    MlDsa87(Box<ml_dsa_87::MLDSA87SigningKey>),
}

impl Drop for Secret {
    fn drop(&mut self) {
        match self {
            // These overwrite themselves.
            Self::P256(_) | Self::P384(_) | Self::Ed25519(_) => {}
            Self::MlDsa44(key) => key.as_mut_slice().zeroize(),
            Self::MlDsa65(key) => key.as_mut_slice().zeroize(),
            Self::MlDsa87(key) => key.as_mut_slice().zeroize(),
        }
    }
}

/// An ML-DSA key from RFC 9881 section 6's three forms: seed, expanded key, or both (which must agree).
macro_rules! ml_dsa_key {
    ($module:ident, $key:ident, $content:expr) => {{
        let (seed, expanded) = ml_dsa_forms($content)?;
        let generated = match seed {
            Some(seed) => {
                Some(Box::new($module::portable::generate_key_pair(*Zeroizing::new(seed.try_into().ok()?)).signing_key))
            }
            None => None,
        };
        match (generated, expanded) {
            (Some(key), None) => key,
            (Some(key), Some(expanded)) => (key.as_slice() == expanded).then_some(key)?,
            (None, Some(expanded)) => Box::new($module::$key::new(expanded.try_into().ok()?)),
            (None, None) => return None,
        }
    }};
}

fn ml_dsa_forms(content: &[u8]) -> Option<(Option<&[u8]>, Option<&[u8]>)> {
    let mut reader = Reader(content);
    let (found, value, _) = reader.next()?;
    if !reader.is_empty() {
        return None;
    }
    match found {
        tag::CONTEXT_0 => Some((Some(value), None)),
        tag::OCTET_STRING => Some((None, Some(value))),
        tag::SEQUENCE => {
            let mut both = Reader(value);
            let forms = (Some(both.expect(tag::OCTET_STRING)?), Some(both.expect(tag::OCTET_STRING)?));
            both.is_empty().then_some(forms)
        }
        _ => None,
    }
}

/// The public and the private key that ML-DSA makes of a seed (FIPS 204, algorithm 6), encoded.
pub fn ml_dsa_keys(strength: u16, seed: [u8; 32]) -> Option<(Vec<u8>, Vec<u8>)> {
    macro_rules! keys {
        ($module:ident) => {{
            let pair = $module::portable::generate_key_pair(seed);
            (pair.verification_key.as_slice().to_vec(), pair.signing_key.as_slice().to_vec())
        }};
    }
    match strength {
        44 => Some(keys!(ml_dsa_44)),
        65 => Some(keys!(ml_dsa_65)),
        87 => Some(keys!(ml_dsa_87)),
        _ => None,
    }
}

/// The private scalar of an ECPrivateKey (RFC 5915).
fn ec_scalar(content: &[u8]) -> Option<&[u8]> {
    let mut fields = Reader(Reader::only(content, tag::SEQUENCE)?);
    if fields.expect(tag::INTEGER)? != [1] {
        return None;
    }
    fields.expect(tag::OCTET_STRING)
}

impl PrivateKey {
    /// Reads PKCS#8 (RFC 5958): ECDSA over P-256 or P-384, Ed25519, or ML-DSA. `None` for anything else.
    pub fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let mut fields = Reader(Reader::only(der, tag::SEQUENCE)?);
        // Version 1, or 2 which may carry the public key as well.
        let ([0] | [1]) = fields.expect(tag::INTEGER)? else { return None };
        let algorithm = fields.expect(tag::SEQUENCE)?;
        let content = fields.expect(tag::OCTET_STRING)?;
        let is = |id: AlgorithmIdentifier| algorithm == id.as_ref();
        let secret = if is(alg_id::ECDSA_P256) {
            Secret::P256(p256::ecdsa::SigningKey::from_slice(ec_scalar(content)?).ok()?)
        } else if is(alg_id::ECDSA_P384) {
            Secret::P384(p384::ecdsa::SigningKey::from_slice(ec_scalar(content)?).ok()?)
        } else if is(alg_id::ED25519) {
            let seed = Reader::only(content, tag::OCTET_STRING)?;
            Secret::Ed25519(Box::new(ed25519_dalek::SigningKey::from_bytes(seed.try_into().ok()?)))
        } else if is(alg_id::ML_DSA_44) {
            Secret::MlDsa44(ml_dsa_key!(ml_dsa_44, MLDSA44SigningKey, content))
        } else if is(alg_id::ML_DSA_65) {
            Secret::MlDsa65(ml_dsa_key!(ml_dsa_65, MLDSA65SigningKey, content))
        } else if is(alg_id::ML_DSA_87) {
            Secret::MlDsa87(ml_dsa_key!(ml_dsa_87, MLDSA87SigningKey, content))
        } else {
            return None;
        };
        Some(Self(Arc::new(secret)))
    }

    /// The one scheme that the key signs handshakes with.
    pub fn scheme(&self) -> SignatureScheme {
        match &*self.0 {
            Secret::P256(_) => SignatureScheme::ECDSA_NISTP256_SHA256,
            Secret::P384(_) => SignatureScheme::ECDSA_NISTP384_SHA384,
            Secret::Ed25519(_) => SignatureScheme::ED25519,
            Secret::MlDsa44(_) => SignatureScheme::ML_DSA_44,
            Secret::MlDsa65(_) => SignatureScheme::ML_DSA_65,
            Secret::MlDsa87(_) => SignatureScheme::ML_DSA_87,
        }
    }

    /// Signs; `None` if ML-DSA's rejection sampling found no signature within its bound, which does not happen in practice.
    pub fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match &*self.0 {
            Secret::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign_prehash(&Sha256::digest(message)).ok()?;
                Some(signature.to_der().as_bytes().to_vec())
            }
            Secret::P384(key) => {
                let signature: p384::ecdsa::Signature = key.sign_prehash(&Sha384::digest(message)).ok()?;
                Some(signature.to_der().as_bytes().to_vec())
            }
            Secret::Ed25519(key) => Some(key.sign(message).to_bytes().to_vec()),
            // Hedged (FIPS 204 section 3.4): the randomness protects against faults, no secret hangs on it.
            Secret::MlDsa44(key) => {
                Some(ml_dsa_44::portable::sign(key, message, NO_CONTEXT, host::random()).ok()?.as_slice().to_vec())
            }
            Secret::MlDsa65(key) => {
                Some(ml_dsa_65::portable::sign(key, message, NO_CONTEXT, host::random()).ok()?.as_slice().to_vec())
            }
            Secret::MlDsa87(key) => {
                Some(ml_dsa_87::portable::sign(key, message, NO_CONTEXT, host::random()).ok()?.as_slice().to_vec())
            }
        }
    }
}

impl core::fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "PrivateKey({:?})", self.scheme())
    }
}

impl Clone for PrivateKey {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl SigningKey for PrivateKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&self.scheme()).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match &*self.0 {
            Secret::P256(_) | Secret::P384(_) => SignatureAlgorithm::ECDSA,
            Secret::Ed25519(_) => SignatureAlgorithm::ED25519,
            // TLS 1.2's registry of algorithms, which this type is, has no ML-DSA; TLS 1.3 does not look at it.
            Secret::MlDsa44(_) | Secret::MlDsa65(_) | Secret::MlDsa87(_) => SignatureAlgorithm::Unknown(0),
        }
    }
}

impl Signer for PrivateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        notes::signed(PrivateKey::scheme(self));
        PrivateKey::sign(self, message).ok_or_else(|| Error::General("no ML-DSA signature found".into()))
    }

    fn scheme(&self) -> SignatureScheme {
        PrivateKey::scheme(self)
    }
}
