//! Diffie-Hellman over X25519 (RFC 7748), P-256 and P-384 (SP 800-56A), with the encodings of RFC 8446 section 4.2.8.2.

use p256::elliptic_curve::sec1::ToSec1Point;
use zeroize::Zeroizing;

use crate::host;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Curve {
    X25519,
    P256,
    P384,
}

/// A private key until it has been used once. Each of the three overwrites itself when it is dropped.
pub enum PrivateKey {
    X25519(x25519_dalek::StaticSecret),
    P256(p256::SecretKey),
    P384(p384::SecretKey),
}

impl Curve {
    /// Octets of a public key: X25519's u-coordinate, or 4 and the two coordinates.
    pub const fn public_key_length(self) -> usize {
        match self {
            Self::X25519 => 32,
            Self::P256 => 1 + 2 * 32,
            Self::P384 => 1 + 2 * 48,
        }
    }

    /// A key pair: the private key, and the public one encoded.
    pub fn generate(self) -> (PrivateKey, Vec<u8>) {
        match self {
            Self::X25519 => {
                let private = x25519_dalek::StaticSecret::from(*Zeroizing::new(host::random()));
                let public = x25519_dalek::PublicKey::from(&private);
                (PrivateKey::X25519(private), public.as_bytes().to_vec())
            }
            // A random string is almost always a scalar below the order: the loop is rejection sampling.
            Self::P256 => loop {
                if let Ok(private) = p256::SecretKey::from_slice(&Zeroizing::new(host::random::<32>())[..]) {
                    let public = private.public_key().to_sec1_point(false).as_bytes().to_vec();
                    return (PrivateKey::P256(private), public);
                }
            },
            Self::P384 => loop {
                if let Ok(private) = p384::SecretKey::from_slice(&Zeroizing::new(host::random::<48>())[..]) {
                    let public = private.public_key().to_sec1_point(false).as_bytes().to_vec();
                    return (PrivateKey::P384(private), public);
                }
            },
        }
    }
}

impl PrivateKey {
    /// The shared secret; `None` when the peer's key is no point of the curve, is compressed, or (X25519) is of low
    /// order, so that the secret would be all zeros (RFC 8446 section 7.4.2).
    pub fn agree(&self, peer: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        Some(Zeroizing::new(match self {
            Self::X25519(private) => {
                let peer: [u8; 32] = peer.try_into().ok()?;
                let secret = private.diffie_hellman(&peer.into());
                if !secret.was_contributory() {
                    return None;
                }
                secret.as_bytes().to_vec()
            }
            Self::P256(private) => {
                let peer = p256::PublicKey::from_sec1_bytes(uncompressed(peer, Curve::P256)?).ok()?;
                let secret = p256::ecdh::diffie_hellman(private.to_nonzero_scalar(), peer.as_affine());
                secret.raw_secret_bytes().to_vec()
            }
            Self::P384(private) => {
                let peer = p384::PublicKey::from_sec1_bytes(uncompressed(peer, Curve::P384)?).ok()?;
                let secret = p384::ecdh::diffie_hellman(private.to_nonzero_scalar(), peer.as_affine());
                secret.raw_secret_bytes().to_vec()
            }
        }))
    }
}

/// TLS 1.3 has no other point format than the uncompressed one (RFC 8446 section 4.2.8.2).
fn uncompressed(point: &[u8], curve: Curve) -> Option<&[u8]> {
    (point.len() == curve.public_key_length() && point.first() == Some(&4)).then_some(point)
}
