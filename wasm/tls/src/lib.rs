//! A TLS 1.3 engine for WebAssembly: rustls, with the cryptography that post-quantum profiles need, behind a few
//! functions that move bytes. It does no I/O: random numbers and the time are all that it asks of its host.
//!
//! A panic aborts, which traps the whole instance: the host then gives up that instance with its connections, and makes
//! another. So nothing here that a peer's bytes reach may panic.

mod abi;
mod aead;
mod certificates;
mod config;
mod connection;
mod curve;
mod der;
mod digest;
mod failure;
mod framing;
mod groups;
mod hello;
mod host;
mod kem;
mod key_log;
mod memory;
mod notes;
mod primitives;
mod sessions;
mod signature;
mod wire;
