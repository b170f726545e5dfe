// HTTP/2 for the gateway, as hosted APIs speak it. Over HTTP/1.1 a browser has six connections to a server at most, so that
// what is sent at once waits in the browser, and neither the import nor the server sees for how long.
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createSecureServer } from "node:http2";
import { tmpdir } from "node:os";
import path from "node:path";
import { run } from "../../../js/steps.mjs";

/** A server on loopback that speaks HTTP/2, with a certificate that nobody trusts. Resolves with `{ origin, close() }`. */
export async function listenSecurely(handler) {
  const server = createSecureServer(await certificate(), (request, response) => {
    Promise.resolve(handler(request, response)).catch((error) => {
      response.writeHead(500).end(String(error));
    });
  });
  const sessions = new Set();
  server.on("session", (session) => {
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    origin: `https://127.0.0.1:${server.address().port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(resolve);
        for (const session of sessions) session.destroy();
      }),
  };
}

let made = null;

function certificate() {
  made ??= makeCertificate();
  return made;
}

/** By OpenSSL, which only the long versions need. */
async function makeCertificate() {
  const folder = await mkdtemp(path.join(tmpdir(), "tidegate-tls-"));
  const [key, cert] = ["key.pem", "cert.pem"].map((name) => path.join(folder, name));
  try {
    const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    const names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"];
    await run("openssl", "openssl", ["req", "-x509", ...kind, ...names, "-keyout", key, "-out", cert]);
    return { key: await readFile(key), cert: await readFile(cert) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
