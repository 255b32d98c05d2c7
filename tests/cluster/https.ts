/**
 * Test equipment: requests over connections of their own. `fetch` keeps connections, shares them, and goes on to connect for a
 * request that was given up; here each request has its own, from its first packet on, and nothing outlives it.
 *
 * @module
 */

/** What {@linkcode get} takes. */
export interface GetOptions {
  /** The certificate authority, in PEM. */
  readonly authority: string;
  /** Gives up when it aborts. */
  readonly signal: AbortSignal;
}

const PORT = 443;
const HOST = "kubernetes.default.svc";

/**
 * The body that a server gives to a GET of a path, piece by piece as it comes, without the framing of HTTP.
 *
 * @throws {Error} that says how far the request came
 */
export async function* get(address: string, path: string, options: GetOptions): AsyncGenerator<string> {
  const { authority, signal } = options;
  const raw = await Deno.connect({ hostname: address, port: PORT, signal });
  let connection: Deno.Conn = raw;
  const close = () => connection.close();
  signal.addEventListener("abort", close);
  let stage = "agree on TLS";
  try {
    const tls = await Deno.startTls(raw, { hostname: HOST, caCerts: [authority] });
    connection = tls;
    await tls.handshake();
    stage = "get an answer";
    await tls.write(new TextEncoder().encode(`GET ${path} HTTP/1.0\r\nHost: ${HOST}\r\n\r\n`));
    yield* bodyOf(tls);
  } catch (error) {
    throw new Error(`Cannot ${stage}: ${signal.aborted ? signal.reason : error}`, { cause: error });
  } finally {
    signal.removeEventListener("abort", close);
    if (!signal.aborted) connection.close();
  }
}

async function* bodyOf(connection: Deno.Conn): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(4096);
  let head = "";
  let isBody = false;
  for (let count: number | null; (count = await connection.read(buffer)) !== null;) {
    const text = decoder.decode(buffer.subarray(0, count), { stream: true });
    if (isBody) {
      yield text;
      continue;
    }
    head += text;
    const end = head.indexOf("\r\n\r\n");
    if (end < 0) continue;
    if (!/^HTTP\/1\.\d 200 /.test(head)) throw new Error(`the server says ${JSON.stringify(head)}`);
    isBody = true;
    if (head.length > end + 4) yield head.slice(end + 4);
  }
  if (!isBody) throw new Error(`the connection ended after ${JSON.stringify(head)}`);
}
