/**
 * A small HTTP/1 server that nobody can make large. `Deno.serve` (2.9.6) takes every connection, waits for ever for a request,
 * and ends the program when file descriptors run out; before that, no `ip` can be started any more. Here the connections,
 * the bytes and the time that strangers can have are few, and each answer ends its connection.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import type { BindAddress } from "../config/config.ts";
import { getLog } from "../log/mod.ts";
import { Recurring, repeatText } from "../log/repeat.ts";

const log = getLog("http");

/** One more connection ends the oldest, so that a new one is answered however many hang. */
const MAX_CONNECTIONS = 32;
/** Prometheus and the kubelet send less than 500 bytes. */
const MAX_HEAD_BYTES = 8192;
/** So much of a body nobody asked for is read, in order that the one who sends it gets to read the answer. */
const MAX_BODY_BYTES = 1 << 20;
/** Longest life of a connection, in milliseconds. */
const MAX_LIFE_MS = 5000;
/** Pause after a connection could not be accepted, in milliseconds. */
const PAUSE_MS = 1000;

const REASONS = {
  200: "OK",
  400: "Bad Request",
  404: "Not Found",
  405: "Method Not Allowed",
  431: "Request Header Fields Too Large",
  503: "Service Unavailable",
} as const;

/** What is answered. */
export interface Answer {
  readonly status: keyof typeof REASONS;
  /** @default {"text/plain; charset=utf-8"} */
  readonly contentType?: string;
  readonly body: string | Uint8Array;
}

/** What makes the answer at each path. */
export type Routes = Readonly<Record<string, () => Answer | Promise<Answer>>>;

/** Answers GET and HEAD from construction to disposal. */
export class HttpServer implements AsyncDisposable {
  readonly #routes: Routes;
  readonly #clock: Clock;
  readonly #listener: Deno.TcpListener;
  readonly #over = new AbortController();
  readonly #accepting: Promise<void>;
  /** The oldest first. */
  readonly #open = new Map<Deno.TcpConn, Promise<void>>();

  /** @throws {Error} whatever `Deno.listen` throws, when it cannot listen there. */
  constructor(address: BindAddress, routes: Routes, clock: Clock) {
    this.#routes = routes;
    this.#clock = clock;
    this.#listener = Deno.listen({ transport: "tcp", hostname: address.hostname, port: address.port });
    this.#accepting = this.#accept();
  }

  /** Where it listens. */
  get address(): Deno.NetAddr {
    return this.#listener.addr;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort();
    this.#listener.close();
    const serving = [...this.#open.values()];
    for (const connection of this.#open.keys()) close(connection);
    await Promise.all([this.#accepting, ...serving]);
  }

  async #accept(): Promise<void> {
    const failures = new Recurring({ now: this.#clock.now });
    while (!this.#over.signal.aborted) {
      try {
        const connection = await this.#listener.accept();
        const [oldest] = this.#open.size < MAX_CONNECTIONS ? [] : this.#open.keys();
        if (oldest !== undefined) {
          this.#open.delete(oldest);
          close(oldest);
        }
        this.#open.set(connection, this.#serve(connection).finally(() => this.#open.delete(connection)));
      } catch (error) {
        if (this.#over.signal.aborted) return;
        const failed = failures.report("accept");
        if (failed !== undefined) log.warning("Cannot accept a connection", { failed: repeatText(failed), error });
        await this.#clock.delay(PAUSE_MS, this.#over.signal);
      }
    }
  }

  /** Answers one request. Never rejects. */
  async #serve(connection: Deno.TcpConn): Promise<void> {
    const over = new AbortController();
    const limit = this.#clock.delay(MAX_LIFE_MS, over.signal).then(() => close(connection));
    const buffer = new Uint8Array(MAX_HEAD_BYTES);
    try {
      const head = await readHead(connection, buffer);
      if (head === undefined) return;
      for (const part of await this.#answer(head)) await write(connection, part);
      await connection.closeWrite();
      await drain(connection, buffer);
    } catch (error) {
      // The other side has gone, or was made to.
      if (!isDisconnect(error)) log.error("Cannot answer a request", { error });
    } finally {
      over.abort();
      await limit;
    }
  }

  /** Nothing of the request gets into the answer. */
  async #answer(head: string): Promise<readonly Uint8Array[]> {
    const [, method = "", target = ""] = /^([!-~]+) ([!-~]+) HTTP\/1\.[01]\r?\n/.exec(head) ?? [];
    if (head.length >= MAX_HEAD_BYTES) return message({ status: 431, body: "The request is too large\n" });
    if (method === "") return message({ status: 400, body: "Not a request of HTTP/1\n" });
    if (method !== "GET" && method !== "HEAD") {
      return message({ status: 405, body: "Only GET and HEAD are answered\n" }, ["Allow: GET, HEAD"]);
    }
    // Proxies may ask with the whole URL.
    const path = target.replace(/^https?:\/\/[^/?]*/i, "").replace(/\?.*$/, "");
    const route = Object.hasOwn(this.#routes, path) ? this.#routes[path] : undefined;
    const answer = message(await route?.() ?? { status: 404, body: "Nothing is here\n" });
    return method === "HEAD" ? answer.slice(0, 1) : answer;
  }
}

/** The head of an answer, and its body. */
function message({ status, contentType, body }: Answer, more: readonly string[] = []): readonly Uint8Array[] {
  const encoder = new TextEncoder();
  const bytes = typeof body === "string" ? encoder.encode(body) : body;
  const head = [
    `HTTP/1.1 ${status} ${REASONS[status]}`,
    `Date: ${new Date().toUTCString()}`,
    `Content-Type: ${contentType ?? "text/plain; charset=utf-8"}`,
    `Content-Length: ${bytes.length}`,
    "Cache-Control: no-store",
    "X-Content-Type-Options: nosniff",
    "Connection: close",
    ...more,
    "\r\n",
  ].join("\r\n");
  return [encoder.encode(head), bytes];
}

/** The request up to its first empty line, or as much of it as fills the buffer; undefined if it ends before. */
async function readHead(connection: Deno.TcpConn, buffer: Uint8Array): Promise<string | undefined> {
  for (let length = 0; length < buffer.length;) {
    const read = await connection.read(buffer.subarray(length));
    if (read === null) return undefined;
    const end = endOfHead(buffer.subarray(0, length + read), length);
    length += read;
    if (end !== undefined) return new TextDecoder("latin1").decode(buffer.subarray(0, end));
  }
  return new TextDecoder("latin1").decode(buffer);
}

/** Where the head ends; only from `start` on is new, since whoever sends byte by byte must not cost more than others. */
function endOfHead(bytes: Uint8Array, start: number): number | undefined {
  const NEWLINE = 10;
  const RETURN = 13;
  for (let i = start; i < bytes.length; i++) {
    if (bytes[i] !== NEWLINE) continue;
    if (bytes[i - 1] === NEWLINE || (bytes[i - 1] === RETURN && bytes[i - 2] === NEWLINE)) return i + 1;
  }
  return undefined;
}

async function write(connection: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let written = 0; written < bytes.length;) written += await connection.write(bytes.subarray(written));
}

/** Reads what is still sent: closing a connection with unread bytes would take the answer away from the other side. */
async function drain(connection: Deno.TcpConn, buffer: Uint8Array): Promise<void> {
  for (let left = MAX_BODY_BYTES; left > 0;) {
    const read = await connection.read(buffer);
    if (read === null) return;
    left -= read;
  }
}

function close(connection: Deno.TcpConn): void {
  try {
    connection.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error; // it is closed
  }
}

function isDisconnect(error: unknown): boolean {
  const { BadResource, BrokenPipe, ConnectionAborted, ConnectionReset, Interrupted, NotConnected, TimedOut } =
    Deno.errors;
  return [BadResource, BrokenPipe, ConnectionAborted, ConnectionReset, Interrupted, NotConnected, TimedOut]
    .some((disconnect) => error instanceof disconnect);
}
