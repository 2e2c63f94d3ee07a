//! SHA-256 and SHA-384, plain and as HMAC, in the shape that rustls asks for.

use hmac::{Hmac, KeyInit, Mac};
use rustls::crypto::hash::{Context, Hash, HashAlgorithm, Output};
use rustls::crypto::hmac as tls_hmac;
use sha2::Digest;

macro_rules! digest {
    ($hash:ident, $context:ident, $mac:ident, $key:ident, $implementation:ty, $algorithm:expr, $length:literal) => {
        pub struct $hash;
        struct $context($implementation);

        impl Hash for $hash {
            fn start(&self) -> Box<dyn Context> {
                Box::new($context(<$implementation>::new()))
            }

            fn hash(&self, data: &[u8]) -> Output {
                Output::new(&<$implementation>::digest(data))
            }

            fn output_len(&self) -> usize {
                $length
            }

            fn algorithm(&self) -> HashAlgorithm {
                $algorithm
            }
        }

        impl Context for $context {
            fn fork_finish(&self) -> Output {
                Output::new(&self.0.clone().finalize())
            }

            fn fork(&self) -> Box<dyn Context> {
                Box::new($context(self.0.clone()))
            }

            fn finish(self: Box<Self>) -> Output {
                Output::new(&self.0.finalize())
            }

            fn update(&mut self, data: &[u8]) {
                self.0.update(data);
            }
        }

        pub struct $mac;
        struct $key(Hmac<$implementation>);

        impl tls_hmac::Hmac for $mac {
            fn with_key(&self, key: &[u8]) -> Box<dyn tls_hmac::Key> {
                // HMAC takes keys of every length (RFC 2104 section 2): this cannot fail.
                Box::new($key(Hmac::new_from_slice(key).expect("HMAC takes any key")))
            }

            fn hash_output_len(&self) -> usize {
                $length
            }
        }

        impl tls_hmac::Key for $key {
            fn sign_concat(&self, first: &[u8], middle: &[&[u8]], last: &[u8]) -> tls_hmac::Tag {
                let mut mac = self.0.clone();
                mac.update(first);
                for part in middle {
                    mac.update(part);
                }
                mac.update(last);
                tls_hmac::Tag::new(&mac.finalize().into_bytes())
            }

            fn tag_len(&self) -> usize {
                $length
            }
        }
    };
}

digest!(Sha256, Sha256Context, HmacSha256, HmacSha256Key, sha2::Sha256, HashAlgorithm::SHA256, 32);
digest!(Sha384, Sha384Context, HmacSha384, HmacSha384Key, sha2::Sha384, HashAlgorithm::SHA384, 48);
