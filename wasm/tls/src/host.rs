//! What the engine asks of its host: random bytes and the time. These two are the module's only imports.

use core::time::Duration;

use rustls::crypto::{GetRandomFailed, SecureRandom};
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

#[cfg(target_family = "wasm")]
mod import {
    #[link(wasm_import_module = "host")]
    unsafe extern "C" {
        /// Fills `length` bytes at `pointer` from a cryptographic generator.
        pub fn random(pointer: *mut u8, length: usize);
        /// Milliseconds since 1970-01-01T00:00:00Z.
        pub fn now() -> f64;
    }
}

/// Fills `bytes` from the host's cryptographic generator.
#[cfg(target_family = "wasm")]
pub fn fill_random(bytes: &mut [u8]) {
    // SAFETY: the host writes exactly `len` bytes into memory that is borrowed mutably here.
    unsafe { import::random(bytes.as_mut_ptr(), bytes.len()) }
}

/// Whole seconds since 1970. A clock before that reads as 1970, where no certificate is valid.
#[cfg(target_family = "wasm")]
pub fn unix_seconds() -> u64 {
    // SAFETY: takes and touches no memory. A float cast saturates, so a negative or odd value does no harm.
    (unsafe { import::now() } / 1000.0) as u64
}

// Off WebAssembly the crate is only checked, never run.
#[cfg(not(target_family = "wasm"))]
pub fn fill_random(_bytes: &mut [u8]) {
    unimplemented!("the engine runs in WebAssembly")
}

#[cfg(not(target_family = "wasm"))]
pub fn unix_seconds() -> u64 {
    unimplemented!("the engine runs in WebAssembly")
}

/// `N` random bytes.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill_random(&mut bytes);
    bytes
}

/// The current time, as rustls and webpki take it.
pub fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(unix_seconds()))
}

#[derive(Debug)]
pub struct HostRandom;

impl SecureRandom for HostRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        fill_random(bytes);
        Ok(())
    }
}

#[derive(Debug)]
pub struct HostClock;

impl TimeProvider for HostClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(now())
    }
}
