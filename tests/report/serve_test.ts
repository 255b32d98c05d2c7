import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { type Clock, monotonicClock } from "../../lib/clock.ts";
import type { Config } from "../../lib/config/config.ts";
import { ListenError, openServers, type Servers } from "../../lib/report/serve.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { eventually } from "../support/program.ts";
import { configOf, itemsOf, reportOf } from "../support/reports.ts";

/** Any free port. */
const FREE = { hostname: "127.0.0.1", port: 0 };
const ALL = { link: {}, address: {}, rule: {} };

/** A configuration that asks for both at one free port; the command line itself takes none of number 0. */
function configFor(places: Partial<Config> = { metricsBindAddress: FREE, healthProbeBindAddress: FREE }): Config {
  return { ...configOf("--setup-iptables"), ...places };
}

/** A client that says what it is told to. */
class Client implements Disposable {
  readonly #connection: Deno.TcpConn;

  private constructor(connection: Deno.TcpConn) {
    this.#connection = connection;
  }

  static async connect({ addresses: [address] }: Servers, text = ""): Promise<Client> {
    if (address === undefined) throw new Error("Nothing listens");
    const client = new Client(await Deno.connect({ hostname: address.hostname, port: address.port }));
    await client.say(text);
    return client;
  }

  async say(text: string): Promise<void> {
    const bytes = new TextEncoder().encode(text);
    for (let written = 0; written < bytes.length;) written += await this.#connection.write(bytes.subarray(written));
  }

  /** All that is answered; what the other side has cut off ends there. */
  async hear(): Promise<string> {
    const decoder = new TextDecoder();
    const buffer = new Uint8Array(65536);
    let heard = "";
    try {
      for (let read = await this.#connection.read(buffer); read !== null; read = await this.#connection.read(buffer)) {
        heard += decoder.decode(buffer.subarray(0, read), { stream: true });
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionReset)) throw error;
    }
    return heard;
  }

  [Symbol.dispose](): void {
    this.#connection.close();
  }
}

async function ask(servers: Servers, request: string): Promise<string> {
  using client = await Client.connect(servers, request);
  return await client.hear();
}

function get(servers: Servers, path: string, method = "GET"): Promise<string> {
  return ask(servers, `${method} ${path} HTTP/1.1\r\nHost: node\r\n\r\n`);
}

/** The whole answer, but for its date. */
function answer(first: string, body: string, more = "", type = "text/plain; charset=utf-8"): string {
  return [
    `HTTP/1.1 ${first}`,
    "Date: now",
    `Content-Type: ${type}`,
    `Content-Length: ${body.length}`,
    "Cache-Control: no-store",
    "X-Content-Type-Options: nosniff",
    "Connection: close",
    ...more === "" ? [] : [more],
    "",
    body,
  ].join("\r\n");
}

function undated(answer: string): string {
  return answer.replace(/^Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT/m, "Date: now");
}

function open(places?: Partial<Config>, clock: Clock = monotonicClock): Promise<Servers> {
  const config = configFor(places);
  return openServers(config, itemsOf(config), clock);
}

Deno.test("openServers() answers at each path what the observers were told", async () => {
  await using servers = await open();
  assertEquals(servers.addresses.length, 1);
  assertMatch(
    await get(servers, "/readyz"),
    /^HTTP\/1.1 503 Service Unavailable\r\n[^]*\nfailed: look: not done yet\n/,
  );
  for (const about of ["addresses", "rules"] as const) {
    for (const observer of servers.observers) {
      observer.onPass?.(reportOf(configFor(), ALL), { cause: "start", about, at: 0 });
    }
  }
  assertEquals(
    undated(await get(servers, "/readyz")),
    answer(
      "200 OK",
      "ok: stop: not asked for\nok: look: done\nok: link: 1 of 1 present\nok: address: 1 of 1 present\n" +
        "ok: rule: 5 of 5 present\n",
    ),
  );
  assertMatch(await get(servers, "/healthz"), /^HTTP\/1.1 200 OK\r\n[^]*\r\n\r\nok: addresses: .*\nok: rules: .*\n$/);
  const page = await get(servers, "/metrics");
  const body = page.slice(page.indexOf("\r\n\r\n") + 4);
  assertEquals(undated(page), answer("200 OK", body, "", "text/plain; version=0.0.4; charset=utf-8"));
  assertMatch(body, /^apiserver_proxy_sidecar_passes_total\{result="ok",cause="start"\} 2$/m);
  for (const observer of servers.observers) observer.onStop?.();
  assertMatch(await get(servers, "/readyz"), /^HTTP\/1.1 503 [^]*\nfailed: stop: asked for\n/);
});

Deno.test("openServers() answers HEAD as GET, without the body", async () => {
  await using servers = await open();
  for (const path of ["/metrics", "/readyz", "/nothing"]) {
    const whole = undated(await get(servers, path));
    assertEquals(undated(await get(servers, path, "HEAD")), whole.slice(0, whole.indexOf("\r\n\r\n") + 4));
  }
});

Deno.test("openServers() refuses all other methods", async () => {
  await using servers = await open();
  for (const method of ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "get", "PROPFIND"]) {
    const expected = answer("405 Method Not Allowed", "Only GET and HEAD are answered\n", "Allow: GET, HEAD");
    assertEquals(undated(await get(servers, "/metrics", method)), expected);
  }
});

Deno.test("openServers() takes a query and a whole URL, and knows no other paths", async () => {
  await using servers = await open();
  for (const path of ["/healthz?verbose", "http://node:9100/healthz", "HTTPS://node/healthz?x=/y"]) {
    assertMatch(await get(servers, path), /^HTTP\/1.1 200 OK\r\n/);
  }
  for (
    const path of ["/", "*", "/healthz/", "//healthz", "/Healthz", "/%68ealthz", "/../metrics", "__proto__", "/x#/"]
  ) {
    assertEquals(undated(await get(servers, path)), answer("404 Not Found", "Nothing is here\n"));
  }
});

Deno.test("openServers() reflects nothing of a request", async () => {
  await using servers = await open();
  for (
    const request of [
      "GET /MARK?MARK HTTP/1.1",
      "MARK /MARK HTTP/1.1",
      "GET /healthz?MARK HTTP/1.1",
      "MARK",
      "MARK / MARK/1.1",
    ]
  ) {
    const text = await ask(servers, `${request}\r\nHost: MARK\r\nX-MARK: MARK\r\nCookie: MARK\r\n\r\n`);
    assertMatch(text, /^HTTP\/1.1 \d+ [^]*\r\n\r\n./);
    assertEquals(text.includes("MARK"), false, text);
  }
});

Deno.test("openServers() refuses what is not HTTP/1", async () => {
  await using servers = await open();
  const requests = [
    "\r\n\r\n",
    "GET /healthz\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\n",
    "\x16\x03\x01\x00\n\n",
    "GET  / HTTP/1.1\n\n",
  ];
  for (const request of requests) {
    assertEquals(undated(await ask(servers, request)), answer("400 Bad Request", "Not a request of HTTP/1\n"));
  }
  assertMatch(await ask(servers, "GET /healthz HTTP/1.0\n\n"), /^HTTP\/1.1 200 OK\r\n/);
});

Deno.test("openServers() answers a request that comes in pieces", async () => {
  await using servers = await open();
  using client = await Client.connect(servers);
  for (const piece of ["GET /hea", "lthz HTTP/1.1\r", "\nHost: x\r\n", "\r", "\n"]) await client.say(piece);
  assertMatch(await client.hear(), /^HTTP\/1.1 200 OK\r\n/);
});

Deno.test("openServers() refuses a head that is too large, and answers in spite of a body", async () => {
  await using servers = await open();
  assertMatch(
    await ask(servers, `GET /healthz HTTP/1.1\r\nX: ${"x".repeat(100_000)}\r\n\r\n`),
    /^HTTP\/1.1 431 Request Header Fields Too Large\r\n/,
  );
  const body = "x".repeat(500_000);
  assertMatch(
    await ask(servers, `POST / HTTP/1.1\r\nContent-Length: ${body.length}\r\n\r\n${body}`),
    /^HTTP\/1.1 405 /,
  );
});

Deno.test("openServers() gives a connection five seconds", async () => {
  const clock = new FakeClock();
  await using servers = await open(undefined, clock);
  for (const request of ["", "GET /healthz HTTP/1.1\r\n"]) {
    using client = await Client.connect(servers, request);
    await eventually(() => assertEquals(clock.waiting, 1));
    await clock.advance(4999);
    assertEquals(clock.waiting, 1);
    await clock.advance(1);
    assertEquals(await client.hear(), "");
  }
  assertEquals(clock.waiting, 0);
});

Deno.test("openServers() ends the oldest connection rather than refuse a new one", async () => {
  const clock = new FakeClock();
  await using servers = await open(undefined, clock);
  const clients: Client[] = [];
  try {
    for (let i = 0; i < 32; i++) clients.push(await Client.connect(servers));
    await eventually(() => assertEquals(clock.waiting, 32));
    for (let i = 0; i < 3; i++) assertMatch(await get(servers, "/healthz"), /^HTTP\/1.1 200 OK\r\n/);
    assertEquals(await clients[0]?.hear(), "");
    // The others still get their answers.
    await clients[31]?.say("GET /healthz HTTP/1.1\r\n\r\n");
    assertMatch(await clients[31]?.hear() ?? "", /^HTTP\/1.1 200 OK\r\n/);
  } finally {
    clients.forEach((client) => client[Symbol.dispose]());
  }
});

Deno.test("openServers() ends all connections when it is disposed of", async () => {
  const servers = await open();
  using idle = await Client.connect(servers);
  using asking = await Client.connect(servers, "GET /healthz HTTP/1.1\r\n");
  await servers[Symbol.asyncDispose]();
  assertEquals([await idle.hear(), await asking.hear()], ["", ""]);
  await assertRejects(() => Client.connect(servers), Deno.errors.ConnectionRefused);
});

Deno.test("openServers() opens nothing that is not asked for, and nothing at all for one pass", async () => {
  for (const config of [configOf(), { ...configFor(), daemon: false }]) {
    await using servers = await openServers(config, itemsOf(config), monotonicClock);
    assertEquals([servers.addresses, servers.observers], [[], []]);
  }
});

Deno.test("openServers() keeps what has two addresses apart", async () => {
  const [metrics, health] = [FREE, { hostname: "127.0.0.2", port: 0 }];
  await using servers = await open({ metricsBindAddress: metrics, healthProbeBindAddress: health });
  assertEquals(servers.addresses.map(({ hostname }) => hostname), ["127.0.0.1", "127.0.0.2"]);
  assertMatch(await get(servers, "/metrics"), /^HTTP\/1.1 200 /);
  assertMatch(await get(servers, "/healthz"), /^HTTP\/1.1 404 /);
  const other = { ...servers, addresses: servers.addresses.slice(1) };
  assertMatch(await get(other, "/metrics"), /^HTTP\/1.1 404 /);
  assertMatch(await get(other, "/healthz"), /^HTTP\/1.1 200 /);
});

Deno.test("openServers() says which flag asks for a port that is taken, and lets go of the others", async () => {
  await using first = await open({ metricsBindAddress: FREE });
  const { port = 0 } = first.addresses[0] ?? {};
  const error = await assertRejects(
    () => open({ metricsBindAddress: FREE, healthProbeBindAddress: { ...FREE, port } }),
    ListenError,
  );
  assertEquals(
    error.message,
    `Cannot listen on --health-probe-bind-address=127.0.0.1:${port}: another program listens there: ` +
      "choose another port, or end that program (ss -ltnp names it)",
  );
});

Deno.test("openServers() says that the node does not have an address", async () => {
  const error = await assertRejects(
    () => open({ metricsBindAddress: { hostname: "192.0.2.1", port: 9100 } }),
    ListenError,
  );
  assertEquals(
    error.message,
    "Cannot listen on --metrics-bind-address=192.0.2.1:9100: no interface has this address: " +
      "choose one that the node has when this program starts, such as 127.0.0.1",
  );
});
