import { assertEquals, assertGreater } from "@std/assert";
import { kernelTest, type Namespace } from "../support/namespace.ts";
import {
  ADDRESS,
  assertSameDump,
  assertTidy,
  BACKENDS,
  eventually,
  Program,
  rouse,
  ruleLines,
  runProgram,
  SCRIPTS,
  state,
  toolbox,
} from "../support/program.ts";
import { ONCE } from "../support/texts.ts";

const ADDRESS6 = "fd00:96::2";
const DUAL = `--ip-address=${ADDRESS},${ADDRESS6}`;
const ON_LO = [`lo ${ADDRESS}/32 scope host`, `lo ${ADDRESS6}/128 scope global`];
const ON_LINK = [`apiserver-proxy ${ADDRESS}/32 scope global`, `apiserver-proxy ${ADDRESS6}/128 scope global`];
const PORT = 443;

/** What {@linkcode Traffic} saw. */
interface Seen {
  readonly exchanges: number;
  /** Segments that TCP had to send again: what went into a gap is late, but no error. */
  readonly retransmitted: number;
  /** Errors of new connections, and of those that were kept. */
  readonly errors: readonly string[];
}

/**
 * Proxies that listen on the addresses, and clients that connect to them without a pause. Each connection exchanges a byte;
 * the first one to each address, and each hundredth after it, is kept open and has to answer at the end.
 */
class Traffic implements AsyncDisposable {
  readonly #node: Namespace;
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #reader: ReadableStreamDefaultReader<string>;

  constructor(node: Namespace, ips: readonly string[]) {
    this.#node = node;
    const argv = [Deno.execPath(), "run", "--quiet", "-P=test", import.meta.filename!, ...ips];
    this.#child = node.spawn(argv, { stdin: "piped", stdout: "piped" });
    this.#writer = this.#child.stdin.getWriter();
    this.#reader = this.#child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** What happened so far, from a new connection to each address on. */
  async seen(): Promise<Seen> {
    await this.#writer.write(new TextEncoder().encode("?"));
    const { value = "" } = await this.#reader.read();
    return { ...JSON.parse(value), retransmitted: await retransmissions(this.#node) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer.close();
    await this.#reader.cancel();
    await this.#child.status;
  }
}

/** Segments that were sent again in the namespace, of both families. */
async function retransmissions(node: Namespace): Promise<number> {
  const [names = [], values = []] = (await node.ok(["cat", "/proc/net/snmp"])).split("\n")
    .filter((line) => line.startsWith("Tcp:")).map((line) => line.split(" "));
  return Number(values[names.indexOf("RetransSegs")]);
}

if (import.meta.main) await exchange(Deno.args);

/** The process of {@linkcode Traffic}: tells what it saw whenever it reads something, until the end of its input. */
async function exchange(ips: readonly string[]): Promise<void> {
  const byte = new Uint8Array(1);
  const errors: string[] = [];
  let exchanges = 0;
  let over = false;
  const ping = async (connection: Deno.Conn) => {
    await connection.write(byte);
    if (await connection.read(new Uint8Array(1)) !== 1) throw new Error("The proxy closed the connection");
    exchanges++;
  };
  const answer = async (connection: Deno.Conn) => {
    for await (const bytes of connection.readable) await connection.write(bytes);
  };
  // Connections to each address that came to their end.
  const rounds = ips.map(() => 0);
  const kept: { readonly connection: Deno.Conn; readonly ip: string }[] = [];
  const attempt = async (what: string, body: () => Promise<void>) => {
    try {
      await body();
    } catch (error) {
      if (!over) errors.push(`${what}: ${error}`);
    }
  };
  for (const [index, hostname] of ips.entries()) {
    const listener = Deno.listen({ hostname, port: PORT });
    (async () => {
      for await (const connection of listener) answer(connection).catch(() => {});
    })();
    (async () => {
      for (let number = 0; !over; number++) {
        await attempt(`connection ${number} to ${hostname}`, async () => {
          const connection = await Deno.connect({ hostname, port: PORT });
          await ping(connection);
          if (number % 100 === 0) kept.push({ connection, ip: hostname });
          else connection.close();
        });
        rounds[index]!++;
      }
    })();
  }
  for await (const _ of Deno.stdin.readable) {
    // The second one from now began after now.
    const until = rounds.map((count) => count + 2);
    while (rounds.some((count, i) => count < until[i]!)) await new Promise((resolve) => setTimeout(resolve, 1));
    for (const { connection, ip } of [...kept]) await attempt(`kept connection to ${ip}`, () => ping(connection));
    Deno.stdout.writeSync(new TextEncoder().encode(JSON.stringify({ exchanges, errors })));
  }
  over = true;
  Deno.exit();
}

/** Asserts that traffic goes on, without an error, while something is done. */
async function undisturbed(traffic: Traffic, body: () => Promise<void>): Promise<void> {
  const before = await traffic.seen();
  assertEquals(before.errors, []);
  await body();
  const after = await traffic.seen();
  assertEquals({ errors: after.errors, retransmitted: after.retransmitted - before.retransmitted }, {
    errors: [],
    retransmitted: 0,
  });
  assertGreater(after.exchanges, before.exchanges);
}

for (
  const [flags, wanted] of [
    [
      ["--ip-address=100.64.0.1", "--setup-iptables=false", "--daemon=false", "--interface=lo"],
      "lo 100.64.0.1/32 scope host",
    ],
    [["--ip-address=240.0.0.7", "--interface=apiserver-proxy"], "apiserver-proxy 240.0.0.7/32 scope global"],
    [
      ["--ip-address=64:ff9b:1::100.104.1.2", "--interface=lo"],
      "lo 64:ff9b:1::6468:102/128 scope global",
    ],
  ] as const
) {
  kernelTest(`${flags.join(" ")} does what the original did when it is started so`, async (node) => {
    // None of these nodes needs iptables.
    const path = await toolbox(node, { ip: SCRIPTS.bridgeForDummy, without: /iptables|ip6tables|nft/ });
    const daemonFlags = flags.filter((flag) => flag !== "--daemon=false");
    if (daemonFlags.length < flags.length) {
      const { code, stdout, stderr } = await runProgram(node, flags, { path });
      assertEquals({ code, stdout }, { code: 0, stdout: "" }, stderr);
      assertEquals(await state(node), [wanted]);
    }
    await using daemon = await Program.start(node, [...daemonFlags, "-v=2"], { path });
    await daemon.logged(/Made a pass cause="start" ok=true/);
    assertEquals(await state(node), [wanted]);
    const there = await node.dump();
    const { code, stderr } = await daemon.stop();
    assertEquals(code, 0, stderr);
    assertTidy(stderr);
    assertSameDump(await node.dump(), there);
  });
}

for (const backend of BACKENDS) {
  kernelTest(`${backend}: left-overs of the original are taken over when they stand in another order`, async (node) => {
    const path = await toolbox(node, { backend });
    const flags = [DUAL, "--setup-iptables", `--iptables-mode=${backend}`, ONCE];
    const ips = { iptables: [ADDRESS, "10.96.0.3"], ip6tables: [ADDRESS6, "fd00:96::3"] };
    for (const [tool, all] of Object.entries(ips)) {
      const lines = all.flatMap((ip) => [443, 8443].flatMap((port) => ruleLines(ip, port))).toReversed();
      await node.ok([`${tool}-${backend}-restore`], {
        stdin: ["raw", "filter"].flatMap((table) => [
          `*${table}`,
          ...lines.filter((line) => line.startsWith(table)).map((line) => line.slice(table.length + 1)),
          "COMMIT\n",
        ]).join("\n"),
      });
    }
    await node.ok(["ip", "-batch", "-"], {
      stdin: `address add ${ADDRESS}/32 brd ${ADDRESS} dev lo scope host
        address add 10.96.0.3/32 brd 10.96.0.3 dev lo scope host
        address add ${ADDRESS6}/128 dev lo nodad\n`,
    });
    const left = await state(node, backend);
    assertEquals(left.length, 3 + 40);

    const { code, stderr } = await runProgram(node, flags, { path });
    assertEquals(code, 0, stderr);
    assertEquals(await state(node, backend), [
      "lo 10.96.0.3/32 scope host broadcast 10.96.0.3",
      ...ON_LO,
      ...left.slice(3),
    ]);
    const routes = (await node.ok(["ip", "route", "show", "table", "local"])).split("\n").map((line) => line.trim());
    assertEquals(routes.filter((line) => line.startsWith("broadcast 10.")), [
      "broadcast 10.96.0.3 dev lo proto kernel scope link src 10.96.0.3",
    ]);

    assertEquals((await runProgram(node, [...flags, "--cleanup"], { path })).code, 0);
    const own = [...ruleLines(ADDRESS), ...ruleLines(ADDRESS6)];
    assertEquals(await state(node, backend), [
      "lo 10.96.0.3/32 scope host broadcast 10.96.0.3",
      ...left.slice(3).filter((line) => !own.includes(line)),
    ]);
  });
}

/** Other forms of our addresses; whether the kernel lets them be put right without an absence. */
const FORMS: Readonly<Record<string, { readonly add: string; readonly gapless: boolean }>> = {
  "a broadcast": { add: `${ADDRESS}/32 dev lo scope host broadcast ${ADDRESS}`, gapless: false },
  "another scope": { add: `${ADDRESS}/32 dev lo scope global`, gapless: false },
  "another prefix length": { add: `${ADDRESS}/24 dev lo scope host`, gapless: true },
  "a lifetime": { add: `${ADDRESS}/32 dev lo scope host valid_lft 1000 preferred_lft 500`, gapless: true },
  "an IPv6 prefix length": { add: `${ADDRESS6}/64 dev lo nodad`, gapless: false },
  "an IPv6 lifetime": { add: `${ADDRESS6}/128 dev lo nodad valid_lft 1000 preferred_lft 0`, gapless: true },
};

for (const [name, { add, gapless }] of Object.entries(FORMS)) {
  kernelTest(`connections live on when an address with ${name} is put right`, async (node) => {
    const ip = add.startsWith(ADDRESS) ? ADDRESS : ADDRESS6;
    await node.ok(["ip", "address", "add", ...add.split(" ")]);
    await using traffic = new Traffic(node, [ip]);
    const repair = async () => {
      const { code, stderr } = await runProgram(node, [`--ip-address=${ip}`, ONCE]);
      assertEquals(code, 0, stderr);
      assertEquals(stderr.match(/^[WE].*/gm), null, stderr);
    };
    if (gapless) {
      await undisturbed(traffic, repair);
    } else {
      await traffic.seen();
      await repair();
      // A connect in the gap may fail; what was open and what comes later may not.
      const refused = /^connection \d+ to/;
      assertEquals((await traffic.seen()).errors.filter((error) => !refused.test(error)), []);
      const later = (await traffic.seen()).errors.length;
      assertEquals((await traffic.seen()).errors.length, later);
    }
    assertEquals(await state(node), ON_LO.filter((line) => line.includes(ip)));
    const json = JSON.parse(await node.ok(["ip", "-json", "address", "show", "dev", "lo"]));
    const info = json[0].addr_info.find(({ local }: { local: string }) => local === ip);
    assertEquals([info.valid_life_time, info.preferred_life_time], [0xffff_ffff, 0xffff_ffff]);
  });
}

kernelTest("foreign addresses stay when ours has the prefix length of their subnet", async (node) => {
  const path = await toolbox(node);
  const cases: readonly (readonly [string, string, readonly string[], readonly string[]])[] = [
    // Without the primary address of a subnet its secondary ones would go.
    [
      "ours is the primary one",
      ADDRESS,
      [`${ADDRESS}/24`, "10.96.0.20/24", "10.96.0.21/24"],
      [`lo ${ADDRESS}/32 scope host`, "lo 10.96.0.20/24 scope global", "lo 10.96.0.21/24 scope global"],
    ],
    [
      "ours is a secondary one",
      ADDRESS,
      ["10.96.0.20/24", `${ADDRESS}/24`, "10.96.0.21/24"],
      [`lo ${ADDRESS}/32 scope host`, "lo 10.96.0.20/24 scope global", "lo 10.96.0.21/24 scope global"],
    ],
    [
      "IPv6 knows no secondary ones",
      ADDRESS6,
      [`${ADDRESS6}/64`, "fd00:96::20/64"],
      [`lo ${ADDRESS6}/128 scope global`, "lo fd00:96::20/64 scope global"],
    ],
  ];
  for (const [name, ip, there, wanted] of cases) {
    await node.ok(["ip", "-batch", "-"], { stdin: there.map((it) => `address add ${it} dev lo nodad\n`).join("") });
    const { code, stderr } = await runProgram(node, [`--ip-address=${ip}`, ONCE], { path });
    assertEquals(code, 0, `${name}: ${stderr}`);
    const now = await state(node);
    // The kernel makes no /24 of ours go alone while it is the primary one.
    const kept = name === "ours is the primary one" ? [`lo ${ADDRESS}/24 scope global`] : [];
    assertEquals(now.toSorted(), [...wanted, ...kept].toSorted(), name);
    await node.ok(["ip", "-batch", "-"], {
      stdin: now.map((line) => `address flush dev lo to ${line.split(" ")[1]}\n`).join(""),
    });
  }
});

kernelTest("--interface has the new local route first when the addresses move from lo to it", async (node) => {
  const path = await toolbox(node, { ip: SCRIPTS.bridgeForDummy });
  assertEquals((await runProgram(node, [DUAL, ONCE], { path })).code, 0);
  const child = node.spawn(["ip", "-o", "monitor", "route"], { stdin: "null", stdout: "piped" });
  let text = "";
  const read = (async () => {
    for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) text += chunk;
  })();
  /** Adds a route again and again until the monitor tells of it: what was before it has been told, too. */
  const mark = (ip: string) =>
    eventually(async () => {
      await node.ok(["ip", "route", "replace", "blackhole", ip]);
      await node.ok(["ip", "route", "del", "blackhole", ip]);
      assertEquals(text.includes(`Deleted blackhole ${ip}`), true);
    });
  try {
    // The kernel makes the route of an IPv6 address a little later than the address.
    await eventually(async () =>
      assertEquals((await node.ok(["ip", "-6", "route", "show", "table", "local"])).includes(ADDRESS6), true)
    );
    await mark("192.0.2.1");
    text = "";
    const { code, stderr } = await runProgram(node, [DUAL, "--interface=apiserver-proxy", ONCE], { path });
    assertEquals(code, 0, stderr);
    await eventually(async () => assertEquals(await state(node), ON_LINK));
    await mark("192.0.2.2");
  } finally {
    child.kill();
    await Promise.all([read, child.status]);
  }
  const events = text.split("\n").flatMap((line) => line.match(/(?:Deleted )?local \S+ dev \S+/) ?? []);
  for (const ip of [ADDRESS, ADDRESS6]) {
    assertEquals(events.filter((event) => event.includes(` ${ip} `)), [
      `local ${ip} dev apiserver-proxy`,
      `Deleted local ${ip} dev lo`,
    ]);
  }
});

kernelTest("connections live on when the addresses move from lo to an interface of our own", async (node) => {
  const path = await toolbox(node, { ip: SCRIPTS.bridgeForDummy });
  assertEquals((await runProgram(node, [DUAL, ONCE], { path })).code, 0);
  await using traffic = new Traffic(node, [ADDRESS, ADDRESS6]);
  await undisturbed(traffic, async () => {
    const { code, stderr } = await runProgram(node, [DUAL, "--interface=apiserver-proxy", ONCE], { path });
    assertEquals(code, 0, stderr);
    assertEquals(await state(node), ON_LINK);
  });
});

for (const signal of ["SIGTERM", "SIGKILL"] as const) {
  kernelTest(`connections live on when an upgrade ends the program with ${signal}`, async (node) => {
    const path = await toolbox(node);
    const flags = [DUAL, "--setup-iptables", "--iptables-mode=nft", "-v=2"];
    await using old = await Program.start(node, flags, { path });
    await old.logged(/Made a pass cause="start" ok=true/);
    const there = await node.dump();
    await using traffic = new Traffic(node, [ADDRESS, ADDRESS6]);
    await undisturbed(traffic, async () => {
      await old.stop(signal);
      assertSameDump(await node.dump(), there);
      await using next = await Program.start(node, flags, { path });
      await next.logged(/Made a pass cause="start" ok=true/);
      assertSameDump(await node.dump(), there);
      assertEquals((await next.stop()).stderr.match(/ (?:Added|Replaced|Removed) /g), null);
    });
    await rouse(node);
  });
}
