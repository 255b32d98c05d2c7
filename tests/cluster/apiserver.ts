/**
 * Test equipment: a TLS server in the place of a kube-apiserver, as a program.
 *
 *     apiserver.ts NAME CERTIFICATE KEY PORT ADDRESS…
 *
 * It answers with its name and the path that was asked for. `/watch` is answered by a line now and then, without an end. It
 * prints a line when it listens, and ends when nobody feeds it any more.
 *
 * @module
 */
const [name, certificate = "", key = "", port, ...addresses] = Deno.args;
const HEARTBEAT_MS = 5000;

const tls = { cert: Deno.readTextFileSync(certificate), key: Deno.readTextFileSync(key) };
for (const hostname of addresses) {
  Deno.serve({ hostname, port: Number(port), ...tls, onListen() {} }, (request) => {
    const { pathname } = new URL(request.url);
    return pathname === "/watch" ? new Response(heartbeats()) : Response.json({ server: name, path: pathname });
  });
}
Deno.stdout.writeSync(new TextEncoder().encode("listening\n"));
for await (const _ of Deno.stdin.readable);
Deno.exit();

function heartbeats(): ReadableStream<Uint8Array> {
  let timer: ReturnType<typeof setInterval>;
  return new ReadableStream({
    start(controller) {
      const beat = () => controller.enqueue(new TextEncoder().encode(`${name}\n`));
      beat();
      timer = setInterval(beat, HEARTBEAT_MS);
    },
    cancel() {
      clearInterval(timer);
    },
  });
}
