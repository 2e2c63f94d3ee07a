//! The key exchange groups: ML-KEM alone, a curve alone, and both together as the hybrids of draft-ietf-tls-ecdhe-mlkem.

use rustls::crypto::{ActiveKeyExchange, CompletedKeyExchange, SharedSecret, SupportedKxGroup};
use rustls::{Error, NamedGroup, PeerMisbehaved, ProtocolVersion};
use zeroize::Zeroizing;

use crate::curve::{self, Curve};
use crate::kem::{DecapsulationKey, Kem};

/// A group is made of one part or two; with two, shares and secrets are both parts' in the order of `parts`.
#[derive(Debug)]
struct Group {
    /// Number in the IANA registry "TLS Supported Groups".
    number: u16,
    parts: &'static [Part],
}

#[derive(Clone, Copy, Debug)]
enum Part {
    Curve(Curve),
    Kem(Kem),
}

use Part::{Curve as C, Kem as K};

static GROUPS: [Group; 7] = [
    Group { number: 0x001d, parts: &[C(Curve::X25519)] },
    // ML-KEM first here, the curve first in the other two: draft-ietf-tls-ecdhe-mlkem section 4.1.
    Group { number: 0x11ec, parts: &[K(Kem::MlKem768), C(Curve::X25519)] },
    Group { number: 0x11eb, parts: &[C(Curve::P256), K(Kem::MlKem768)] },
    Group { number: 0x11ed, parts: &[C(Curve::P384), K(Kem::MlKem1024)] },
    // draft-ietf-tls-mlkem section 4.
    Group { number: 0x0200, parts: &[K(Kem::MlKem512)] },
    Group { number: 0x0201, parts: &[K(Kem::MlKem768)] },
    Group { number: 0x0202, parts: &[K(Kem::MlKem1024)] },
];

/// The group of that number.
pub fn group(number: u16) -> Option<&'static dyn SupportedKxGroup> {
    GROUPS.iter().find(|group| group.number == number).map(|group| group as &dyn SupportedKxGroup)
}

fn invalid_key_share() -> Error {
    PeerMisbehaved::InvalidKeyShare.into()
}

/// What the client keeps of a part until the server's share arrives.
enum Secret {
    Curve(Curve, curve::PrivateKey),
    Kem(Kem, DecapsulationKey),
}

impl Part {
    /// Octets of the client's share.
    const fn client_share_length(self) -> usize {
        match self {
            Self::Curve(curve) => curve.public_key_length(),
            Self::Kem(kem) => kem.encapsulation_key_length(),
        }
    }

    /// The client's secret and its share.
    fn start(self) -> (Secret, Vec<u8>) {
        match self {
            Self::Curve(curve) => {
                let (private, public) = curve.generate();
                (Secret::Curve(curve, private), public)
            }
            Self::Kem(kem) => {
                let (private, public) = kem.generate();
                (Secret::Kem(kem, private), public)
            }
        }
    }

    /// The server's share and the shared secret, from the client's share.
    fn answer(self, client_share: &[u8]) -> Result<(Vec<u8>, Zeroizing<Vec<u8>>), Error> {
        match self {
            Self::Curve(curve) => {
                let (private, public) = curve.generate();
                Ok((public, private.agree(client_share).ok_or_else(invalid_key_share)?))
            }
            Self::Kem(kem) => {
                let (ciphertext, secret) = kem.encapsulate(client_share).ok_or_else(invalid_key_share)?;
                Ok((ciphertext, Zeroizing::new(secret.to_vec())))
            }
        }
    }
}

impl Secret {
    /// Octets of the server's share.
    const fn server_share_length(&self) -> usize {
        match self {
            Self::Curve(curve, _) => curve.public_key_length(),
            Self::Kem(kem, _) => kem.ciphertext_length(),
        }
    }

    /// The shared secret, from the server's share.
    fn complete(&self, server_share: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        match self {
            Self::Curve(_, private) => private.agree(server_share),
            Self::Kem(_, private) => private.decapsulate(server_share).map(|secret| Zeroizing::new(secret.to_vec())),
        }
        .ok_or_else(invalid_key_share)
    }
}

/// Takes the next `length` octets off `share`.
fn split_off<'a>(share: &mut &'a [u8], length: usize) -> Result<&'a [u8], Error> {
    let (part, rest) = share.split_at_checked(length).ok_or_else(invalid_key_share)?;
    *share = rest;
    Ok(part)
}

impl SupportedKxGroup for Group {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let (secrets, shares): (Vec<_>, Vec<_>) = self.parts.iter().map(|part| part.start()).unzip();
        Ok(Box::new(Exchange { group: self.name(), secrets, share: shares.concat() }))
    }

    fn start_and_complete(&self, client_share: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let expected = self.parts.iter().map(|part| part.client_share_length()).sum::<usize>();
        if client_share.len() != expected {
            return Err(invalid_key_share());
        }
        let mut rest = client_share;
        let mut share = Vec::new();
        let mut secret = Zeroizing::new(Vec::with_capacity(self.parts.len() * 48));
        for part in self.parts {
            let (own, agreed) = part.answer(split_off(&mut rest, part.client_share_length())?)?;
            share.extend(own);
            secret.extend_from_slice(&agreed);
        }
        Ok(CompletedKeyExchange { group: self.name(), pub_key: share, secret: SharedSecret::from(&secret[..]) })
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::from(self.number)
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == ProtocolVersion::TLSv1_3
    }
}

/// The client's half of an exchange.
struct Exchange {
    group: NamedGroup,
    secrets: Vec<Secret>,
    share: Vec<u8>,
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, server_share: &[u8]) -> Result<SharedSecret, Error> {
        let expected = self.secrets.iter().map(Secret::server_share_length).sum::<usize>();
        if server_share.len() != expected {
            return Err(invalid_key_share());
        }
        let mut rest = server_share;
        let mut secret = Zeroizing::new(Vec::with_capacity(self.secrets.len() * 48));
        for part in &self.secrets {
            secret.extend_from_slice(&part.complete(split_off(&mut rest, part.server_share_length())?)?);
        }
        Ok(SharedSecret::from(&secret[..]))
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn group(&self) -> NamedGroup {
        self.group
    }
}
