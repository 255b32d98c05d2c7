/**
 * A small HTTP/1 server that nobody can make large. `Deno.serve` (2.9.6) takes every connection, waits for ever for a request,
 * and ends the program when file descriptors run out; before that, no `ip` can be started any more. Here the connections,
 * the bytes and the time that strangers can have are few, and each answer ends its connection.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import type { BindAddress } from "../config/values.ts";
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

const { BadResource, BrokenPipe, ConnectionAborted, ConnectionReset, Interrupted, NotConnected, TimedOut } =
  Deno.errors;
/** What an end that the other side, or this one, gave to a connection looks like. */
const DISCONNECTS = [BadResource, BrokenPipe, ConnectionAborted, ConnectionReset, Interrupted, NotConnected, TimedOut];

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
  readonly body: string;
}

/** What makes the answer at each path. */
export type Routes = Readonly<Record<string, () => Answer>>;

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
    this.#listener = Deno.listen({ ...address, transport: "tcp" });
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
    for (const connection of this.#open.keys()) connection[Symbol.dispose]();
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
          // Unlike close(), this takes one that is closed already.
          oldest[Symbol.dispose]();
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
    const limit = this.#clock.delay(MAX_LIFE_MS, over.signal).then(() => connection[Symbol.dispose]());
    const buffer = new Uint8Array(MAX_HEAD_BYTES);
    try {
      const head = await readHead(connection, buffer);
      if (head === undefined) return;
      const answer = new TextEncoder().encode(answerTo(head, this.#routes));
      for (let written = 0; written < answer.length;) written += await connection.write(answer.subarray(written));
      await connection.closeWrite();
      // Closing a connection with unread bytes would take the answer away from the other side.
      for (let left = MAX_BODY_BYTES; left > 0;) left -= await connection.read(buffer) ?? left;
    } catch (error) {
      if (!DISCONNECTS.some((disconnect) => error instanceof disconnect)) {
        log.error("Cannot answer a request", { error });
      }
    } finally {
      over.abort();
      await limit;
    }
  }
}

/** The request up to its first empty line, or as much of it as fills the buffer; undefined if it ends before. */
async function readHead(connection: Deno.TcpConn, buffer: Uint8Array): Promise<string | undefined> {
  const latin1 = new TextDecoder("latin1");
  for (let length = 0; length < buffer.length;) {
    const read = await connection.read(buffer.subarray(length));
    if (read === null) return undefined;
    // Only what is new is searched, since whoever sends byte by byte must not cost more than others.
    const from = Math.max(0, length - 2);
    length += read;
    const end = /\n\r?\n/.exec(latin1.decode(buffer.subarray(from, length)));
    if (end !== null) return latin1.decode(buffer.subarray(0, from + end.index + 1));
  }
  return latin1.decode(buffer);
}

/** Nothing of the request gets into the answer. */
function answerTo(head: string, routes: Routes): string {
  const [, method = "", target = ""] = /^([!-~]+) ([!-~]+) HTTP\/1\.[01]\r?\n/.exec(head) ?? [];
  if (head.length >= MAX_HEAD_BYTES) return message({ status: 431, body: "The request is too large\n" });
  if (method === "") return message({ status: 400, body: "Not a request of HTTP/1\n" });
  if (method !== "GET" && method !== "HEAD") {
    return message({ status: 405, body: "Only GET and HEAD are answered\n" }, ["Allow: GET, HEAD"]);
  }
  // Proxies may ask with the whole URL.
  const path = target.replace(/^https?:\/\/[^/?]*/i, "").replace(/\?.*$/, "");
  const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
  const answer = message(route?.() ?? { status: 404, body: "Nothing is here\n" });
  return method === "HEAD" ? answer.slice(0, answer.indexOf("\r\n\r\n") + 4) : answer;
}

function message({ status, contentType, body }: Answer, more: readonly string[] = []): string {
  return [
    `HTTP/1.1 ${status} ${REASONS[status]}`,
    `Date: ${new Date().toUTCString()}`,
    `Content-Type: ${contentType ?? "text/plain; charset=utf-8"}`,
    `Content-Length: ${new TextEncoder().encode(body).length}`,
    "Cache-Control: no-store",
    "X-Content-Type-Options: nosniff",
    "Connection: close",
    ...more,
    "",
    body,
  ].join("\r\n");
}
