/**
 * How long a loss lasts on nodes where nothing else happens: from the moment before it until the kernel has it again.
 *
 * @module
 */
import { delay } from "@std/async/delay";
import { type Bench, repeat, type Result } from "./bench.ts";
import { ADDRESS } from "./daemon.ts";
import { type Kind, loseByTurns, Victim } from "./losses.ts";
import { lineStream, Node } from "./node.ts";
import { type Row, row, type Wanted } from "./rows.ts";

const KINDS: readonly { readonly kind: Kind; readonly what: string; readonly idle: Wanted; readonly busy: Wanted }[] = [
  { kind: "address", what: "address", idle: { p50: 1, p99: 6 }, busy: { p50: 1, p99: 15 } },
  { kind: "rule", what: "rule", idle: { p50: 2, p99: 4 }, busy: { p99: 40 } },
  { kind: "filter", what: "rules of the table filter", idle: { p99: 6 }, busy: { p99: 40 } },
  { kind: "all", what: "ruleset and address", idle: { p50: 4, p99: 6 }, busy: { p50: 5, p99: 15 } },
];
const LEGACY: Wanted = { p50: 500 };
/** What a monitor needs to subscribe on a quiet node, and the pass after that. */
const SETTLED_MS = 2000;

/** Measures the rows of quiet nodes. */
export async function measureRepair({ programs, random, quick }: Bench): Promise<Result> {
  const daemons = 12;
  const count = quick ? 12 : 96;
  const rows: Row[] = [];
  await fleet(daemons, programs.ours, "nft", async (victims) => {
    for (const cores of ["idle", "busy"] as const) {
      await using _ = new Load(cores === "busy" ? navigator.hardwareConcurrency : 0);
      for (const { kind, what, [cores]: wanted } of KINDS) {
        const times = await loseByTurns(victims, kind, { count, random });
        rows.push(row(`repair: ${what}, quiet node, ${cores} cores`, "ms", times, wanted));
      }
    }
  });
  await fleet(4, programs.ours, "legacy", async (victims) => {
    const each = quick ? 1 : 12;
    const losses = victims.map((victim) =>
      repeat(each, async (turn) => {
        await delay(random.between(0, 5000)); // it may happen at any moment between two looks
        return await victim.lose("rule", { turn });
      })
    );
    rows.push(row("repair: rule, quiet node, legacy", "ms", (await Promise.all(losses)).flat(), LEGACY));
  });
  return { rows };
}

async function fleet(
  size: number,
  program: readonly string[],
  backend: "nft" | "legacy",
  body: (victims: readonly Victim[]) => Promise<void>,
): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const victims = await repeat(size, async () => {
    const node = stack.use(await Node.create());
    return stack.use(Victim.start(node, program, backend, flags(backend)));
  });
  for (const victim of victims) if (!await victim.ready()) throw new Error("The daemon does not set up what it should");
  await delay(SETTLED_MS);
  await body(victims);
}

function flags(backend: "nft" | "legacy"): readonly string[] {
  return [`--ip-address=${ADDRESS}`, "--setup-iptables", `--iptables-mode=${backend}`];
}

/** How long losses last when a poll each minute notices them: each of some addresses is lost at a random moment of a minute. */
export async function measurePoll({ programs, random, quick }: Bench): Promise<number[]> {
  const minute = 60_000;
  const addresses = Array.from({ length: 20 }, (_, i) => `10.96.1.${i}`);
  const rounds = quick ? 1 : 5;
  await using node = await Node.create();
  const args = [`--passes=${rounds + 1}`, `--interval=${minute}`, ...addresses];
  const child = node.spawn([...programs.reference, ...args], { stdout: "piped" });
  const times: number[] = [];
  let lost = new Map<string, Promise<number>>();
  for await (const line of child.stdout.pipeThrough(new TextDecoderStream()).pipeThrough(lineStream())) {
    const { repairs }: { readonly repairs: readonly { readonly ip: string; readonly at: number }[] } = JSON.parse(line);
    for (const { ip, at } of lost.size === 0 ? [] : repairs) times.push(at - await lost.get(ip)!);
    if (times.length === rounds * addresses.length) break;
    lost = new Map(addresses.map((ip) => [ip, lose(ip, random.between(0, minute - 1000))]));
  }
  await child.status;
  return times;

  async function lose(ip: string, later: number): Promise<number> {
    await delay(later);
    await node.run(["ip", "address", "delete", `${ip}/32`, "dev", "lo"]);
    return Date.now();
  }
}

/** Processes that never sleep. */
class Load implements AsyncDisposable {
  readonly #children: readonly Deno.ChildProcess[];

  constructor(size: number) {
    const burn = { args: ["-c", "while :; do :; done"] };
    this.#children = Array.from({ length: size }, () => new Deno.Command("sh", burn).spawn());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) child.kill();
    await Promise.all(this.#children.map(({ status }) => status));
  }
}
