//! The functions that the host calls. Handles are numbers; a handle that names nothing does nothing.
//!
//! The host writes into `scratch` (settings, names, plaintext) or a connection's own input, and reads what it is told
//! the place of. Memory may move with every call: the host looks at it anew each time.

use std::cell::RefCell;
use std::sync::Arc;

use zeroize::Zeroize;

use crate::config::{Client, Server, server_name};
use crate::connection::Connection;

/// Things by number. Numbers begin at 1 and come back into use.
struct Slab<T> {
    items: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Slab<T> {
    const fn new() -> Self {
        Self { items: Vec::new(), free: Vec::new() }
    }

    fn insert(&mut self, item: T) -> usize {
        match self.free.pop() {
            Some(index) => {
                self.items[index] = Some(item);
                index + 1
            }
            None => {
                self.items.push(Some(item));
                self.items.len()
            }
        }
    }

    fn get(&self, handle: usize) -> Option<&T> {
        self.items.get(handle.checked_sub(1)?)?.as_ref()
    }

    fn get_mut(&mut self, handle: usize) -> Option<&mut T> {
        self.items.get_mut(handle.checked_sub(1)?)?.as_mut()
    }

    fn remove(&mut self, handle: usize) {
        let Some(index) = handle.checked_sub(1) else { return };
        if self.items.get_mut(index).and_then(Option::take).is_some() {
            self.free.push(index);
        }
    }
}

/// What `connection_status` shows, as the host reads it: 32-bit numbers in this order.
#[repr(C)]
struct Status {
    flags: u32,
    room: u32,
    plaintext: *const u8,
    plaintext_length: usize,
    outbound: *const u8,
    outbound_length: usize,
    failure_kind: u32,
    /// 256 for none: 0 is close_notify.
    failure_alert: u32,
}

const NO_ALERT: u32 = 256;

const NOTHING: Status = Status {
    flags: 0,
    room: 0,
    plaintext: core::ptr::null(),
    plaintext_length: 0,
    outbound: core::ptr::null(),
    outbound_length: 0,
    failure_kind: 0,
    failure_alert: NO_ALERT,
};

/// Bits of `flags`.
const ESTABLISHED: u32 = 1;
const PEER_CLOSED: u32 = 2;
const CLOSE_SENT: u32 = 4;

struct Module {
    servers: Slab<Arc<Server>>,
    clients: Slab<Client>,
    connections: Slab<Connection>,
    scratch: Vec<u8>,
    reply: Vec<u8>,
    status: Status,
}

thread_local! {
    static MODULE: RefCell<Module> = const {
        RefCell::new(Module {
            servers: Slab::new(),
            clients: Slab::new(),
            connections: Slab::new(),
            scratch: Vec::new(),
            reply: Vec::new(),
            status: NOTHING,
        })
    };
    /// Apart from the rest, which may be borrowed when a panic comes.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

fn with<T>(action: impl FnOnce(&mut Module) -> T) -> T {
    MODULE.with_borrow_mut(action)
}

fn with_connection(handle: usize, action: impl FnOnce(&mut Connection)) {
    with(|module| {
        if let Some(connection) = module.connections.get_mut(handle) {
            action(connection);
        }
    });
}

impl Module {
    /// The first `length` bytes of the scratch.
    fn given(&self, length: usize) -> &[u8] {
        &self.scratch[..length.min(self.scratch.len())]
    }

    /// Overwrites the scratch, which held a private key.
    fn forget(&mut self) {
        self.scratch.zeroize();
    }

    fn answer(&mut self, reply: Vec<u8>) -> usize {
        // Secrets of a key log may have been in there.
        self.reply.zeroize();
        self.reply = reply;
        self.reply.len()
    }

    fn made(&mut self, result: Result<usize, String>) -> usize {
        result.unwrap_or_else(|text| {
            self.reply = text.into_bytes();
            0
        })
    }
}

/// To be called once, before anything else: keeps what a panic says for `panic_text`.
#[unsafe(no_mangle)]
pub extern "C" fn start() {
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.to_string();
        PANIC.with(|kept| {
            if let Ok(mut kept) = kept.try_borrow_mut() {
                *kept = text;
            }
        });
    }));
}

/// Where the text of the panic that ended this instance is. It may be asked for after the trap.
#[unsafe(no_mangle)]
pub extern "C" fn panic_text() -> *const u8 {
    PANIC.with(|kept| kept.try_borrow().map_or(core::ptr::null(), |text| text.as_ptr()))
}

#[unsafe(no_mangle)]
pub extern "C" fn panic_length() -> usize {
    PANIC.with(|kept| kept.try_borrow().map_or(0, |text| text.len()))
}

/// A place for `length` bytes from the host.
#[unsafe(no_mangle)]
pub extern "C" fn scratch(length: usize) -> *mut u8 {
    with(|module| {
        if module.scratch.len() < length {
            module.scratch.resize(length, 0);
        }
        module.scratch.as_mut_ptr()
    })
}

/// Where the last reply is; its length was returned by the call that made it.
#[unsafe(no_mangle)]
pub extern "C" fn reply() -> *const u8 {
    with(|module| module.reply.as_ptr())
}

/// Length of the text that says why the last call that should have returned a handle returned 0.
#[unsafe(no_mangle)]
pub extern "C" fn reply_length() -> usize {
    with(|module| module.reply.len())
}

/// A server by the settings in the scratch, or 0.
#[unsafe(no_mangle)]
pub extern "C" fn server_new(length: usize) -> usize {
    with(|module| {
        let server = Server::new(module.given(length)).map(Arc::new);
        module.forget();
        let handle = server.map(|server| module.servers.insert(server));
        module.made(handle)
    })
}

/// Connections that were accepted with it live on.
#[unsafe(no_mangle)]
pub extern "C" fn server_free(handle: usize) {
    with(|module| module.servers.remove(handle));
}

/// A client by the settings in the scratch, or 0.
#[unsafe(no_mangle)]
pub extern "C" fn client_new(length: usize) -> usize {
    with(|module| {
        let client = Client::new(module.given(length));
        module.forget();
        let handle = client.map(|client| module.clients.insert(client));
        module.made(handle)
    })
}

/// Connections that were made with it live on.
#[unsafe(no_mangle)]
pub extern "C" fn client_free(handle: usize) {
    with(|module| module.clients.remove(handle));
}

/// The server's end of a new connection, or 0.
#[unsafe(no_mangle)]
pub extern "C" fn connection_accept(server: usize) -> usize {
    with(|module| {
        let connection = module
            .servers
            .get(server)
            .map(|server| Connection::server(server.clone()))
            .ok_or_else(|| "there is no such server".to_string());
        let handle = connection.map(|connection| module.connections.insert(connection));
        module.made(handle)
    })
}

/// The client's end of a new connection to the server whose name is in the scratch, or 0.
#[unsafe(no_mangle)]
pub extern "C" fn connection_connect(client: usize, length: usize) -> usize {
    with(|module| {
        let connection = server_name(module.given(length))
            .ok_or_else(|| "server name: expected a DNS name or an address".to_string())
            .and_then(|name| {
                let client = module.clients.get(client).ok_or("there is no such client")?;
                Connection::client(client, name)
            });
        let handle = connection.map(|connection| module.connections.insert(connection));
        module.made(handle)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn connection_free(handle: usize) {
    with(|module| module.connections.remove(handle));
}

/// A place for `length` more bytes of ciphertext; null when that is more than `room` in the status. The host fills all of
/// it and calls `connection_process`.
#[unsafe(no_mangle)]
pub extern "C" fn connection_input(handle: usize, length: usize) -> *mut u8 {
    with(|module| match module.connections.get_mut(handle) {
        Some(connection) if length <= connection.room() => connection.inbound.reserve(length).as_mut_ptr(),
        _ => core::ptr::null_mut(),
    })
}

/// Works off what has arrived, and what waited for plaintext to be read.
#[unsafe(no_mangle)]
pub extern "C" fn connection_process(handle: usize) {
    with_connection(handle, Connection::process);
}

/// Where a connection stands, and where its plaintext and its ciphertext are.
#[unsafe(no_mangle)]
pub extern "C" fn connection_status(handle: usize) -> *const u32 {
    with(|module| {
        module.status = module.connections.get(handle).map_or(NOTHING, |connection| Status {
            flags: u32::from(connection.is_established()) * ESTABLISHED
                + u32::from(connection.peer_closed) * PEER_CLOSED
                + u32::from(connection.has_sent_close()) * CLOSE_SENT,
            room: connection.room() as u32,
            plaintext: connection.plaintext.unread().as_ptr(),
            plaintext_length: connection.plaintext.unread().len(),
            outbound: connection.outbound.unread().as_ptr(),
            outbound_length: connection.outbound.unread().len(),
            failure_kind: connection.failure.as_ref().map_or(0, |failure| failure.kind as u32),
            failure_alert: connection.failure.as_ref().and_then(|failure| failure.alert).map_or(NO_ALERT, u32::from),
        });
        (&raw const module.status).cast()
    })
}

/// The host has read `length` bytes of plaintext.
#[unsafe(no_mangle)]
pub extern "C" fn connection_read(handle: usize, length: usize) {
    with_connection(handle, |connection| connection.plaintext.consume(length));
}

/// The host has taken `length` bytes of ciphertext.
#[unsafe(no_mangle)]
pub extern "C" fn connection_taken(handle: usize, length: usize) {
    with_connection(handle, |connection| connection.outbound.consume(length));
}

/// Encrypts plaintext from the scratch and returns how much of it.
#[unsafe(no_mangle)]
pub extern "C" fn connection_write(handle: usize, length: usize) -> usize {
    with(|module| {
        let data = &module.scratch[..length.min(module.scratch.len())];
        module.connections.get_mut(handle).map_or(0, |connection| connection.write(data))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn connection_close_notify(handle: usize) {
    with_connection(handle, Connection::close_notify);
}

#[unsafe(no_mangle)]
pub extern "C" fn connection_update_keys(handle: usize) {
    with_connection(handle, Connection::update_keys);
}

/// The network connection has ended.
#[unsafe(no_mangle)]
pub extern "C" fn connection_end_of_input(handle: usize) {
    with_connection(handle, Connection::end_of_input);
}

/// What was negotiated, as [`Connection::facts`] writes it; returns the reply's length.
#[unsafe(no_mangle)]
pub extern "C" fn connection_facts(handle: usize) -> usize {
    with(|module| {
        let facts = module.connections.get(handle).map(Connection::facts).unwrap_or_default();
        module.answer(facts)
    })
}

/// What the client offered, as [`Connection::offered`] writes it; returns the reply's length.
#[unsafe(no_mangle)]
pub extern "C" fn connection_offered(handle: usize) -> usize {
    with(|module| {
        let offered = module.connections.get(handle).map(Connection::offered).unwrap_or_default();
        module.answer(offered)
    })
}

/// From here on the connection keeps the traffic secrets of its handshake. To be called before that begins.
#[unsafe(no_mangle)]
pub extern "C" fn connection_log_keys(handle: usize) {
    with_connection(handle, Connection::log_keys);
}

/// The secrets kept since the last call, as lines of an NSS key log; returns the reply's length.
#[unsafe(no_mangle)]
pub extern "C" fn connection_logged_keys(handle: usize) -> usize {
    with(|module| {
        let keys = module.connections.get_mut(handle).map(Connection::logged_keys).unwrap_or_default();
        module.answer(keys)
    })
}

/// Why the connection failed, as text; returns the reply's length.
#[unsafe(no_mangle)]
pub extern "C" fn connection_failure(handle: usize) -> usize {
    with(|module| {
        let failure = module.connections.get(handle).and_then(|connection| connection.failure.as_ref());
        let text = failure.map(|failure| failure.text.clone().into_bytes()).unwrap_or_default();
        module.answer(text)
    })
}

/// Runs a primitive on what is in the scratch: see [`crate::primitives`]. Returns the reply's length, 0 for a refusal.
#[unsafe(no_mangle)]
pub extern "C" fn primitive(operation: u32, length: usize) -> usize {
    with(|module| {
        let result = crate::primitives::run(operation, module.given(length));
        module.forget();
        module.answer(result.unwrap_or_default())
    })
}
