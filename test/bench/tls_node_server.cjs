// Node.js' own HTTPS server with mutual TLS on X25519MLKEM768, for comparison. Reads its setup as JSON from its input.

const { createServer } = require("node:https");

let text = "";
process.stdin.on("data", (part) => text += part).on("end", () => {
  const { credentials, trust } = JSON.parse(text);
  const server = createServer({
    cert: credentials.certificateChain,
    key: credentials.privateKey,
    ca: trust,
    requestCert: true,
    minVersion: "TLSv1.3",
    ecdhCurve: "X25519MLKEM768",
  }, (_request, response) => response.end());
  server.listen(0, "127.0.0.1", () => console.log(server.address().port));
});
