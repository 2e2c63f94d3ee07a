//! ML-KEM (FIPS 203) at its three strengths, by libcrux's portable, formally verified implementation.

use libcrux_ml_kem::{mlkem512, mlkem768, mlkem1024};
use zeroize::{Zeroize, Zeroizing};

use crate::host;

/// Octets of a shared secret (FIPS 203, table 3).
pub const SHARED_SECRET: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kem {
    MlKem512,
    MlKem768,
    MlKem1024,
}

/// A private key until it has been used once.
pub enum DecapsulationKey {
    MlKem512(Box<mlkem512::MlKem512PrivateKey>),
    MlKem768(Box<mlkem768::MlKem768PrivateKey>),
    MlKem1024(Box<mlkem1024::MlKem1024PrivateKey>),
}

impl Drop for DecapsulationKey {
    fn drop(&mut self) {
        match self {
            Self::MlKem512(key) => key[0..].zeroize(),
            Self::MlKem768(key) => key[0..].zeroize(),
            Self::MlKem1024(key) => key[0..].zeroize(),
        }
    }
}

macro_rules! key_pair {
    ($module:ident, $variant:ident, $seed:expr) => {{
        let (private, public) = $module::portable::generate_key_pair(*$seed).into_parts();
        (DecapsulationKey::$variant(Box::new(private)), public.as_slice().to_vec())
    }};
}

macro_rules! encapsulation {
    ($module:ident, $key:expr, $randomness:expr) => {{
        let key = $key.try_into().ok()?;
        if !$module::portable::validate_public_key(&key) {
            return None;
        }
        let (ciphertext, secret) = $module::portable::encapsulate(&key, *$randomness);
        Some((ciphertext.as_slice().to_vec(), Zeroizing::new(secret)))
    }};
}

impl Kem {
    /// Octets of an encapsulation key (FIPS 203, table 3).
    pub const fn encapsulation_key_length(self) -> usize {
        match self {
            Self::MlKem512 => 800,
            Self::MlKem768 => 1184,
            Self::MlKem1024 => 1568,
        }
    }

    /// Octets of a ciphertext (FIPS 203, table 3).
    pub const fn ciphertext_length(self) -> usize {
        match self {
            Self::MlKem512 => 768,
            Self::MlKem768 => 1088,
            Self::MlKem1024 => 1568,
        }
    }

    /// A key pair: the private key, and the public one encoded.
    pub fn generate(self) -> (DecapsulationKey, Vec<u8>) {
        self.generate_from(&Zeroizing::new(host::random()))
    }

    /// ML-KEM.KeyGen_internal (FIPS 203, algorithm 16): `seed` is d, then z.
    pub fn generate_from(self, seed: &[u8; 64]) -> (DecapsulationKey, Vec<u8>) {
        match self {
            Self::MlKem512 => key_pair!(mlkem512, MlKem512, seed),
            Self::MlKem768 => key_pair!(mlkem768, MlKem768, seed),
            Self::MlKem1024 => key_pair!(mlkem1024, MlKem1024, seed),
        }
    }

    /// Ciphertext and shared secret for a peer's public key; `None` when the key fails the checks of FIPS 203
    /// section 7.2 (its length, and that every coefficient is reduced).
    pub fn encapsulate(self, key: &[u8]) -> Option<(Vec<u8>, Zeroizing<[u8; SHARED_SECRET]>)> {
        self.encapsulate_with(key, &Zeroizing::new(host::random()))
    }

    /// ML-KEM.Encaps_internal (FIPS 203, algorithm 17) after the checks of section 7.2.
    pub fn encapsulate_with(
        self,
        key: &[u8],
        randomness: &[u8; 32],
    ) -> Option<(Vec<u8>, Zeroizing<[u8; SHARED_SECRET]>)> {
        match self {
            Self::MlKem512 => encapsulation!(mlkem512, key, randomness),
            Self::MlKem768 => encapsulation!(mlkem768, key, randomness),
            Self::MlKem1024 => encapsulation!(mlkem1024, key, randomness),
        }
    }
}

impl DecapsulationKey {
    /// The shared secret; `None` when the ciphertext has the wrong length. A ciphertext that was tampered with gives
    /// another secret and no error (implicit rejection): the handshake fails at Finished.
    pub fn decapsulate(&self, ciphertext: &[u8]) -> Option<Zeroizing<[u8; SHARED_SECRET]>> {
        Some(Zeroizing::new(match self {
            Self::MlKem512(key) => mlkem512::portable::decapsulate(key, &ciphertext.try_into().ok()?),
            Self::MlKem768(key) => mlkem768::portable::decapsulate(key, &ciphertext.try_into().ok()?),
            Self::MlKem1024(key) => mlkem1024::portable::decapsulate(key, &ciphertext.try_into().ok()?),
        }))
    }

    /// The private key as FIPS 203 encodes it.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::MlKem512(key) => key.as_slice(),
            Self::MlKem768(key) => key.as_slice(),
            Self::MlKem1024(key) => key.as_slice(),
        }
    }
}
