//! Settings of a server or a client, read from what the host wrote and checked before any connection uses them.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, KeyProvider, SupportedKxGroup};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, Error, RootCertStore, ServerConfig, SupportedCipherSuite};
use webpki::EndEntityCert;

use crate::certificates::{ClientVerifier, ServerVerifier, trust};
use crate::hello::ClientHello;
use crate::host::{HostClock, HostRandom};
use crate::key_log::CurrentLog;
use crate::sessions::{ClientSessions, ServerSessions};
use crate::signature::{PrivateKey, algorithms, verifies};
use crate::wire::Reader;
use crate::{aead, groups};

/// One certificate chain with the groups and schemes that it may be used with: what a profile comes to.
struct Offer {
    groups: Vec<u16>,
    /// Accepted from the peer, in its handshake and its certificates.
    schemes: Vec<u16>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKey,
}

/// What the host wrote.
struct Settings {
    suites: Vec<SupportedCipherSuite>,
    protocols: Vec<Vec<u8>>,
    sessions: usize,
    trust: Arc<RootCertStore>,
    offers: Vec<Offer>,
}

/// One way for a server to answer: a group of an offer.
struct Answer {
    group: u16,
    /// What the client must accept for the offer's chain.
    scheme: u16,
    config: Arc<ServerConfig>,
}

pub struct Server {
    answers: Vec<Answer>,
}

pub struct Client {
    config: Arc<ClientConfig>,
}

/// Why no answer fits a client.
#[derive(Debug, PartialEq)]
pub enum NothingInCommon {
    Group,
    Scheme,
    /// A group and a scheme, but no profile that has both.
    Profile,
}

/// Private keys come with the settings and nowhere else.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        Err(Error::General("keys come with the settings".into()))
    }
}

impl Settings {
    /// Format: suites (list of u16), application protocols (list of bytes), most sessions (u32), trusted certificates
    /// (list of bytes), offers (list of: groups, schemes (lists of u16), chain (list of bytes), PKCS#8 (bytes)).
    fn read(input: &[u8]) -> Result<Self, String> {
        let cut = || "settings: cut short".to_string();
        let mut reader = Reader(input);
        let suites = reader
            .list(Reader::u16)
            .ok_or_else(cut)?
            .into_iter()
            .map(|number| {
                aead::suite(number).ok_or_else(|| format!("cipher suite {number:#06x}: not one of this engine"))
            })
            .collect::<Result<Vec<_>, _>>()?;
        if suites.is_empty() {
            return Err("cipher suites: expected at least one, got none".into());
        }
        let protocols = reader.list(|reader| Some(reader.bytes()?.to_vec())).ok_or_else(cut)?;
        if let Some(wrong) = protocols.iter().find(|protocol| !(1..=255).contains(&protocol.len())) {
            return Err(format!("application protocol: expected 1 to 255 bytes, got {}", wrong.len()));
        }
        let sessions = reader.u32().ok_or_else(cut)? as usize;
        let certificate = |reader: &mut Reader<'_>| Some(CertificateDer::from(reader.bytes()?.to_vec()));
        let trusted = reader.list(certificate).ok_or_else(cut)?;
        if trusted.is_empty() {
            return Err("trusted certificates: expected at least one, got none".into());
        }
        let trust = trust(&trusted)?;
        let offers = reader
            .list(|reader| {
                let groups = reader.list(Reader::u16)?;
                let schemes = reader.list(Reader::u16)?;
                let chain = reader.list(certificate)?;
                Some((groups, schemes, chain, reader.bytes()?))
            })
            .ok_or_else(cut)?
            .into_iter()
            .enumerate()
            .map(|(index, (groups, schemes, chain, key))| {
                Offer::new(groups, schemes, chain, key).map_err(|error| format!("offer {index}: {error}"))
            })
            .collect::<Result<Vec<_>, _>>()?;
        if offers.is_empty() {
            return Err("offers: expected at least one, got none".into());
        }
        if !reader.is_empty() {
            return Err(format!("settings: {} bytes too many", reader.0.len()));
        }
        Ok(Self { suites, protocols, sessions, trust, offers })
    }

    /// The provider for an offer and some of its groups.
    fn provider(&self, offer: &Offer, groups: &[u16]) -> Result<Arc<CryptoProvider>, String> {
        Ok(Arc::new(CryptoProvider {
            cipher_suites: self.suites.clone(),
            kx_groups: groups.iter().map(|number| known_group(*number)).collect::<Result<_, _>>()?,
            signature_verification_algorithms: algorithms(&offer.schemes)
                .ok_or("signature schemes: expected known ones, each once")?,
            secure_random: &HostRandom,
            key_provider: &NoKeys,
        }))
    }
}

fn known_group(number: u16) -> Result<&'static dyn SupportedKxGroup, String> {
    groups::group(number).ok_or_else(|| format!("group {number:#06x}: not one of this engine"))
}

impl Offer {
    fn new(
        groups: Vec<u16>,
        schemes: Vec<u16>,
        chain: Vec<CertificateDer<'static>>,
        key: &[u8],
    ) -> Result<Self, String> {
        if groups.is_empty() {
            return Err("groups: expected at least one, got none".into());
        }
        for number in &groups {
            known_group(*number)?;
        }
        let key = PrivateKey::from_pkcs8(key)
            .ok_or("private key: expected PKCS#8 of ECDSA P-256 or P-384, Ed25519 or ML-DSA")?;
        let leaf = chain.first().ok_or("certificate chain: expected at least one certificate, got none")?;
        let spki = EndEntityCert::try_from(leaf)
            .map_err(|error| format!("certificate chain: the first cannot be read: {error}"))?
            .subject_public_key_info();
        // Asked of the key itself, for every algorithm alike: a signature of it must be good by the certificate.
        let probe = b"whether the private key belongs to the certificate";
        let signature = key.sign(probe).ok_or("private key: cannot sign")?;
        if !verifies(key.scheme(), &spki, probe, &signature) {
            return Err("private key: expected that of the first certificate, got another one".into());
        }
        Ok(Self { groups, schemes, chain, key })
    }

    fn certified_key(&self) -> Arc<SingleCertAndKey> {
        Arc::new(SingleCertAndKey::from(CertifiedKey::new(self.chain.clone(), Arc::new(self.key.clone()))))
    }
}

impl Server {
    pub fn new(input: &[u8]) -> Result<Self, String> {
        let settings = Settings::read(input)?;
        let mut answers = Vec::new();
        for offer in &settings.offers {
            // A session belongs to its offer: it may be resumed with any of the offer's groups, and with no other offer's.
            let sessions = Arc::new(ServerSessions::new(settings.sessions));
            for group in &offer.groups {
                // rustls follows the client's order of groups: with one group each it is the server's that counts.
                let provider = settings.provider(offer, &[*group])?;
                let mut config = ServerConfig::builder_with_details(provider.clone(), Arc::new(HostClock))
                    .with_protocol_versions(&[&TLS13])
                    .map_err(|error| error.to_string())?
                    .with_client_cert_verifier(ClientVerifier::new(settings.trust.clone(), provider)?)
                    .with_cert_resolver(offer.certified_key());
                config.ignore_client_order = true;
                config.alpn_protocols = settings.protocols.clone();
                config.session_storage = sessions.clone();
                // The verified client's data alone: nothing is sent before it is known who listens.
                config.send_half_rtt_data = false;
                config.max_early_data_size = 0;
                config.key_log = Arc::new(CurrentLog);
                answers.push(Answer { group: *group, scheme: offer.key.scheme().into(), config: Arc::new(config) });
            }
        }
        Ok(Self { answers })
    }

    /// The settings for a client that offers this: those of the first offer, and of its first group, that the client
    /// has too.
    pub fn choose(&self, hello: &ClientHello) -> Result<Arc<ServerConfig>, NothingInCommon> {
        let group = |answer: &&Answer| hello.groups.contains(&answer.group);
        let scheme = |answer: &&Answer| hello.schemes.contains(&answer.scheme);
        match self.answers.iter().find(|answer| group(answer) && scheme(answer)) {
            Some(answer) => Ok(answer.config.clone()),
            None if !self.answers.iter().any(|answer| group(&answer)) => Err(NothingInCommon::Group),
            None if !self.answers.iter().any(|answer| scheme(&answer)) => Err(NothingInCommon::Scheme),
            None => Err(NothingInCommon::Profile),
        }
    }

    /// The settings that what cannot be read is refused by.
    pub fn first(&self) -> Arc<ServerConfig> {
        // There is an offer with a group: Settings::read() saw to it.
        self.answers[0].config.clone()
    }
}

impl Client {
    pub fn new(input: &[u8]) -> Result<Self, String> {
        let settings = Settings::read(input)?;
        let [offer] = &settings.offers[..] else {
            return Err(format!("offers: expected one for a client, got {}", settings.offers.len()));
        };
        let provider = settings.provider(offer, &offer.groups)?;
        let mut config = ClientConfig::builder_with_details(provider.clone(), Arc::new(HostClock))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(ServerVerifier::new(settings.trust.clone(), provider)?)
            .with_client_cert_resolver(offer.certified_key());
        config.alpn_protocols = settings.protocols;
        config.enable_early_data = false;
        config.key_log = Arc::new(CurrentLog);
        config.resumption = match settings.sessions {
            0 => Resumption::disabled(),
            _ => Resumption::store(Arc::new(ClientSessions::default())),
        };
        Ok(Self { config: Arc::new(config) })
    }

    pub fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }
}

/// A name or an address that a server's certificate must carry.
pub fn server_name(text: &[u8]) -> Option<ServerName<'static>> {
    Some(ServerName::try_from(core::str::from_utf8(text).ok()?).ok()?.to_owned())
}
