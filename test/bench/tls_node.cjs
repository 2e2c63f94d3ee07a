// Node.js 24, whose TLS is OpenSSL 3.5, for comparison, and as the client of both servers.
//
// Questions as in tls_server.ts, and: { do: "handshakes", setup, resumed, warm, timed } → { milliseconds }, the middle of the
// times; { do: "records", suite } → { sealed, opened }, MiB a second; { do: "connect", setup, port, count, atOnce } →
// { seconds }, each connection closed after the greeting; { do: "hold", setup, port, count } → {}, held from then on.

"use strict";
const { createCipheriv, createDecipheriv, randomBytes } = require("node:crypto");
const tls = require("node:tls");
const { runInNewContext } = require("node:vm");
const { setFlagsFromString } = require("node:v8");

setFlagsFromString("--expose-gc");
const gc = runInNewContext("gc");

const options = ({ profile, trust }, { certificateChain, privateKey }) => ({
  cert: certificateChain,
  key: privateKey,
  ca: trust,
  minVersion: "TLSv1.3",
  ecdhCurve: profile.groups.join(":"),
});

const makeServer = (setup) =>
  tls.createServer({ ...options(setup, setup.server), requestCert: true, rejectUnauthorized: true });

const clientOptions = (setup) => ({
  servername: "localhost",
  ecdhCurve: setup.profile.groups.join(":"),
  secureContext: tls.createSecureContext(options(setup, setup.client)),
});

const held = [];

const commands = {
  serve({ setup }) {
    const server = makeServer(setup);
    server.on("secureConnection", (socket) => {
      socket.on("error", (error) => console.error(error.message));
      socket.resume().write(Uint8Array.of(1));
    });
    return new Promise((resolve) =>
      server.listen(0, "127.0.0.1", () => resolve({ port: server.address().port }))
    );
  },

  memory() {
    gc();
    return { resident: process.memoryUsage().rss };
  },

  time() {
    const { user, system } = process.cpuUsage();
    return { milliseconds: (user + system) / 1000 };
  },

  async handshakes({ setup, resumed, warm, timed }) {
    const server = makeServer(setup);
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const client = { ...clientOptions(setup), host: "127.0.0.1", port: server.address().port };
    const handshake = (session, wantsSession) =>
      new Promise((resolve, reject) => {
        const ends = [];
        let given;
        const began = performance.now();
        const up = (end) => {
          ends.push(end);
          if (ends.length < 2) return;
          const time = performance.now() - began;
          if (wantsSession && given === undefined) return void nearEnd.once("session", () => done(time));
          done(time);
        };
        const done = (time) => {
          const reused = nearEnd.isSessionReused();
          for (const end of ends) end.destroy();
          resolve({ time, given, reused });
        };
        server.once("secureConnection", up);
        const nearEnd = tls.connect({ ...client, session }, () => up(nearEnd));
        // Tickets come to who reads.
        nearEnd.resume().on("session", (session) => given ??= session).on("error", reject);
      });
    const { given } = resumed ? await handshake(undefined, true) : {};
    const times = [];
    for (let round = 0; round < warm + timed; round++) {
      const { time, reused } = await handshake(given, false);
      if (reused !== resumed) throw new Error(`expected resumed ${resumed}, got ${reused}`);
      times.push(time);
    }
    server.close();
    return { milliseconds: times.slice(warm).sort((a, b) => a - b)[timed >> 1] };
  },

  records({ suite }) {
    const [name, keyLength] = {
      TLS_CHACHA20_POLY1305_SHA256: ["chacha20-poly1305", 32],
      TLS_AES_256_GCM_SHA384: ["aes-256-gcm", 32],
      TLS_AES_128_GCM_SHA256: ["aes-128-gcm", 16],
    }[suite];
    const key = randomBytes(keyLength);
    const nonce = randomBytes(12);
    const length = { authTagLength: 16 };
    const pieces = new Array(64).fill(Buffer.alloc(16_384));
    let sealed = 0;
    let opened = 0;
    // Messages of 1 MiB in pieces of a record's size: to set a cipher up takes Node.js longer than to encrypt a record.
    for (let round = 0; round < 256; round++) {
      if (round === 64) sealed = opened = 0;
      const began = performance.now();
      const sealing = createCipheriv(name, key, nonce, length);
      const cipher = pieces.map((piece) => sealing.update(piece));
      sealing.final();
      const tag = sealing.getAuthTag();
      const between = performance.now();
      const opening = createDecipheriv(name, key, nonce, length).setAuthTag(tag);
      for (const piece of cipher) opening.update(piece);
      opening.final();
      sealed += between - began;
      opened += performance.now() - between;
    }
    const speed = (ms) => 192 / (ms / 1000);
    return { sealed: speed(sealed), opened: speed(opened) };
  },

  async connect({ setup, port, count, atOnce }) {
    const client = clientOptions(setup);
    const one = () =>
      new Promise((resolve, reject) => {
        const socket = tls.connect({ ...client, host: "127.0.0.1", port });
        socket.once("data", () => socket.end()).on("close", resolve).on("error", reject);
      });
    const began = performance.now();
    await Promise.all(Array.from({ length: atOnce }, async () => {
      while (count-- > 0) await one();
    }));
    return { seconds: (performance.now() - began) / 1000 };
  },

  async hold({ setup, port, count }) {
    const client = clientOptions(setup);
    const one = () =>
      new Promise((resolve, reject) => {
        const socket = tls.connect({ ...client, host: "127.0.0.1", port });
        socket.once("data", resolve).on("error", reject);
        held.push(socket);
      });
    await Promise.all(Array.from({ length: 16 }, async () => {
      while (count-- > 0) await one();
    }));
    return {};
  },
};

async function answer(line) {
  const question = JSON.parse(line);
  console.log(JSON.stringify(await commands[question.do](question)));
}

let text = "";
process.stdin.setEncoding("utf8").on("data", (more) => {
  text += more;
  for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
    void answer(text.slice(0, end));
    text = text.slice(end + 1);
  }
}).on("end", () => process.exit(0));
