// The other end of tls_openssl_test.ts, run by Node.js 24, whose TLS is OpenSSL 3.5. It reads a list of cases on standard
// input, one JSON text, and writes one JSON object a line on standard output.
//
// A case: { role: "server" | "client", name, groups, cert, key, ca, port?, maxVersion?, noCertificate? }. A server sends back
// what it gets; a client sends "from OpenSSL" and waits for it to come back. Lines: { name, port } when a server listens,
// { name, established: { cipher, version, reused } } and { name, echoed } or { name, error } as they come.

"use strict";
const tls = require("node:tls");

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const options = ({ groups, cert, key, ca, maxVersion, noCertificate }) => ({
  ecdhCurve: groups.join(":"),
  ...(noCertificate ? {} : { cert, key }),
  ca,
  minVersion: maxVersion ?? "TLSv1.3",
  maxVersion: maxVersion ?? "TLSv1.3",
});

const established = (socket) => ({
  cipher: socket.getCipher().standardName,
  version: socket.getProtocol(),
  reused: socket.isSessionReused(),
});

function serve(each) {
  const server = tls.createServer(
    { ...options(each), requestCert: true, rejectUnauthorized: true },
    (socket) => {
      say({
        name: each.name,
        established: established(socket),
        peer: socket.getPeerCertificate().subject?.CN,
      });
      socket.on("error", (error) => say({ name: each.name, error: error.code }));
      socket.pipe(socket);
    },
  );
  server.on("tlsClientError", (error) => say({ name: each.name, error: error.code }));
  server.listen(0, "127.0.0.1", () => say({ name: each.name, port: server.address().port }));
}

function connect(each, session) {
  const socket = tls.connect({
    ...options(each),
    host: "127.0.0.1",
    port: each.port,
    servername: "localhost",
    session,
  });
  let ticket;
  let text = "";
  socket.on("session", (given) => ticket = given);
  socket.on("secureConnect", () => {
    say({ name: each.name, established: established(socket) });
    socket.write("from OpenSSL");
  });
  socket.on("data", (data) => {
    text += data;
    if (text.length < "from OpenSSL".length) return;
    say({ name: each.name, echoed: text });
    socket.end();
  });
  socket.on("error", (error) => say({ name: each.name, error: error.code ?? error.message }));
  socket.on("close", () => {
    if (each.resume && session === undefined && ticket !== undefined) connect(each, ticket);
  });
}

let input = "";
process.stdin.setEncoding("utf8").on("data", (text) => {
  input += text;
  if (!input.endsWith("\n")) return;
  for (const each of JSON.parse(input)) (each.role === "server" ? serve : connect)(each);
  input = "";
}).on("end", () => process.exit(0));
