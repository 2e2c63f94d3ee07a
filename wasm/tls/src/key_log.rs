//! Traffic secrets in the NSS key log format, for a connection whose host asked for them: who records what crosses the
//! network can then read it. As with the notes, the module runs on one thread and one connection at a time: a connection
//! hands its log in before it calls rustls and takes it back afterwards, and without one nothing is kept.

use std::cell::RefCell;

use rustls::KeyLog;
use zeroize::Zeroize;

thread_local! {
    static CURRENT: RefCell<Option<Log>> = const { RefCell::new(None) };
}

/// Room for the four lines of a connection, so that no copy of them is left behind when it grows.
const ROOM: usize = 2048;

/// Lines of text, overwritten when they are dropped.
pub struct Log(Vec<u8>);

impl Log {
    pub fn new() -> Self {
        Self(Vec::with_capacity(ROOM))
    }

    /// Gives the lines away.
    pub fn take(&mut self) -> Vec<u8> {
        core::mem::replace(&mut self.0, Vec::with_capacity(ROOM))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// What follows belongs to this log, or to none.
pub fn begin(log: Option<Log>) {
    CURRENT.set(log);
}

/// Takes back what [`begin`] was given.
pub fn end() -> Option<Log> {
    CURRENT.take()
}

/// Keeps the secrets of the connection that is being worked on, if it has a log.
#[derive(Debug)]
pub struct CurrentLog;

impl KeyLog for CurrentLog {
    fn will_log(&self, label: &str) -> bool {
        label.contains("TRAFFIC_SECRET") && CURRENT.with_borrow(Option::is_some)
    }

    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        CURRENT.with_borrow_mut(|log| {
            let Some(Log(lines)) = log else { return };
            lines.extend_from_slice(label.as_bytes());
            for part in [client_random, secret] {
                lines.push(b' ');
                for byte in part {
                    lines.extend([byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
                }
            }
            lines.push(b'\n');
        });
    }
}
