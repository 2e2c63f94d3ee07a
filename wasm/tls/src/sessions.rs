//! Bounded memories of sessions that can be resumed: the server's, looked up by ticket, and the client's, by name.
//!
//! The server's tickets are names of entries here and nothing else: an entry is handed out once, so that a ticket that was
//! overheard or replayed is worth nothing, and a restart forgets all.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use rustls::server::StoresServerSessions;
use zeroize::Zeroizing;

use crate::{host, notes};

/// Longest life of a session, s: after this the peers prove their identities anew.
const LIFETIME: u64 = 12 * 60 * 60;

/// Most bytes that the server's sessions may take; a client's ML-DSA chain is the bulk of each.
const MOST_BYTES: usize = 16 << 20;

/// When a session that begins now ends, s since 1970, and when the certificates behind it do.
#[derive(Clone, Copy)]
struct Ends {
    session: u64,
    certificates: u64,
}

impl Ends {
    /// `None` when nothing is known of certificates: without them there is no session.
    fn of_connection() -> Option<Self> {
        let session = host::unix_seconds().saturating_add(LIFETIME);
        Some(Self { session, certificates: notes::session_end()? })
    }

    /// Whether the session may go on. If so, sessions that come of it end with the same certificates.
    fn allow(self) -> bool {
        let now = host::unix_seconds();
        let allowed = now < self.session && now < self.certificates;
        if allowed {
            notes::set_session_end(Some(self.certificates));
        }
        allowed
    }
}

struct Session {
    value: Zeroizing<Vec<u8>>,
    ends: Ends,
}

#[derive(Default)]
struct Entries {
    by_ticket: BTreeMap<Vec<u8>, Session>,
    /// Tickets in the order they were made; some may be gone already.
    order: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Entries {
    fn remove(&mut self, ticket: &[u8]) -> Option<Session> {
        let session = self.by_ticket.remove(ticket)?;
        self.bytes -= session.value.len();
        Some(session)
    }

    /// Forgets the oldest until there is room for one more.
    fn make_room(&mut self, most: usize, bytes: usize) {
        while self.order.len() >= most || self.bytes + bytes > MOST_BYTES {
            let Some(ticket) = self.order.pop_front() else { break };
            self.remove(&ticket);
        }
    }
}

/// The server's sessions.
pub struct ServerSessions {
    most: usize,
    entries: Mutex<Entries>,
}

impl ServerSessions {
    /// @param most Most sessions; 0 turns resumption off.
    pub fn new(most: usize) -> Self {
        Self { most, entries: Mutex::default() }
    }
}

impl core::fmt::Debug for ServerSessions {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "ServerSessions({})", self.most)
    }
}

impl StoresServerSessions for ServerSessions {
    fn put(&self, ticket: Vec<u8>, value: Vec<u8>) -> bool {
        if self.most == 0 || value.len() > MOST_BYTES {
            return false;
        }
        let Some(ends) = Ends::of_connection() else { return false };
        let Ok(mut entries) = self.entries.lock() else { return false };
        entries.remove(&ticket);
        entries.make_room(self.most, value.len());
        entries.bytes += value.len();
        entries.order.push_back(ticket.clone());
        entries.by_ticket.insert(ticket, Session { value: Zeroizing::new(value), ends });
        true
    }

    fn get(&self, _ticket: &[u8]) -> Option<Vec<u8>> {
        // TLS 1.2's session ids look up without taking; nothing here does.
        None
    }

    fn take(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let session = self.entries.lock().ok()?.remove(ticket)?;
        session.ends.allow().then(|| session.value.to_vec())
    }

    fn can_cache(&self) -> bool {
        self.most > 0
    }
}

/// Most servers that a client remembers, and most tickets of each.
const MOST_SERVERS: usize = 32;
const MOST_TICKETS: usize = 4;

struct Tickets {
    server: ServerName<'static>,
    tickets: VecDeque<(Tls13ClientSessionValue, Ends)>,
}

/// The client's sessions, the servers in the order they were met.
#[derive(Default)]
pub struct ClientSessions(Mutex<VecDeque<Tickets>>);

impl core::fmt::Debug for ClientSessions {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("ClientSessions")
    }
}

impl ClientSessionStore for ClientSessions {
    // A client's groups are its profile's, the preferred one first: a server's taste does not change that.
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, server: ServerName<'static>, value: Tls13ClientSessionValue) {
        let Some(ends) = Ends::of_connection() else { return };
        let Ok(mut servers) = self.0.lock() else { return };
        if let Some(known) = servers.iter_mut().find(|known| known.server == server) {
            if known.tickets.len() >= MOST_TICKETS {
                known.tickets.pop_front();
            }
            known.tickets.push_back((value, ends));
            return;
        }
        if servers.len() >= MOST_SERVERS {
            servers.pop_front();
        }
        servers.push_back(Tickets { server, tickets: VecDeque::from([(value, ends)]) });
    }

    fn take_tls13_ticket(&self, server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let mut servers = self.0.lock().ok()?;
        let (value, ends) = servers.iter_mut().find(|known| known.server == *server)?.tickets.pop_back()?;
        ends.allow().then_some(value)
    }
}
