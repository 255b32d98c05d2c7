/**
 * What a pass costs as the node grows: foreign rules, links, foreign addresses; and as more addresses are asked for.
 *
 * @module
 */
import { type Bench, repeat, type Result, type Series } from "./bench.ts";
import { ADDRESS, Daemon, FLAGS } from "./daemon.ts";
import { addKubelet, addLinks, addRules } from "./foreign.ts";
import { loseByTurns, Victim } from "./losses.ts";
import { Node } from "./node.ts";
import { succeed } from "./pass.ts";
import { median, ratios, type Row, row, type Wanted } from "./rows.ts";

const ONCE = [...FLAGS, "--daemon=false"];

/** Something that a node has more or less of. */
interface Dimension {
  readonly name: string;
  readonly sizes: readonly number[];
  readonly quick: readonly number[];
  readonly fill: (node: Node, size: number) => Promise<void>;
  /** What a pass on the largest may cost, in passes on an empty node. */
  readonly wanted: number;
}

const DIMENSIONS: readonly Dimension[] = [
  {
    name: "foreign rules",
    sizes: [0, 1000, 10_000, 100_000],
    quick: [0, 10_000],
    fill: (node, size) => size === 0 ? Promise.resolve() : addRules(node, size),
    wanted: 1.2,
  },
  {
    name: "links",
    sizes: [1, 10, 100, 1000],
    quick: [1, 1000],
    fill: (node, size) => addLinks(node, size - 1, 0),
    wanted: 1.3,
  },
  {
    name: "foreign addresses",
    sizes: [0, 100, 1000, 10_000],
    quick: [0, 10_000],
    fill: (node, size) => addLinks(node, Math.sign(size), size),
    wanted: 1.3,
  },
];

/** Measures the rows of growing nodes. */
export async function measureGrowth(bench: Bench): Promise<Result> {
  const rows: Row[] = [];
  const series: Series[] = [];
  for (const dimension of DIMENSIONS) {
    const found = await measureDimension(bench, dimension);
    rows.push(...found.rows);
    series.push(...found.series);
  }
  return { rows: [...rows, ...await measureLinks(bench), ...await measureAddresses(bench)], series };
}

/** The nodes of all sizes take turns. */
async function measureDimension({ programs, quick }: Bench, { name, fill, wanted, ...dimension }: Dimension) {
  const sizes = quick ? dimension.quick : dimension.sizes;
  await using stack = new AsyncDisposableStack();
  const nodes = await repeat(sizes.length, async (i) => {
    const node = stack.use(await Node.create());
    await addKubelet(node, "nft").then(() => fill(node, sizes[i]!));
    await succeed(node, [...programs.ours, ...ONCE]);
    return { node, daemon: stack.use(Daemon.start(node, programs.ours)), passes: [] as number[], once: [] as number[] };
  });
  for (let round = -1; round < (quick ? 3 : 20); round++) {
    for (const { node, daemon, passes, once } of nodes) {
      const [pass, { ms }] = [await daemon.pass(), await succeed(node, [...programs.ours, ...ONCE])];
      if (round >= 0) [passes.push(pass), once.push(ms)];
    }
  }
  const reference = await repeat(sizes.length, async (i) => {
    const text = await nodes[i]!.node.run([...programs.reference, "--passes=3", "--interval=10", ADDRESS]);
    return median(text.trim().split("\n").map((line): number => JSON.parse(line).ms));
  });
  const plot = (title: string, values: readonly number[]) => ({
    name: `${name}: ${title}`,
    points: sizes.map((size, i) => [size, values[i]!] as const),
  });
  const size = sizes.at(-1)!.toLocaleString("en");
  const rows = [
    row(`one pass, back end auto, ${size} ${name}: whole process`, "ms", nodes.at(-1)!.once),
    row(`one pass, ${size} ${name}: in those of ${sizes[0]}`, "x", ratios(nodes.at(-1)!.once, nodes[0]!.once), {
      p50: wanted,
    }),
    row(
      `pass of the daemon, ${size} ${name}: in those of ${sizes[0]}`,
      "x",
      ratios(nodes.at(-1)!.passes, nodes[0]!.passes),
      {
        p50: wanted,
      },
    ),
    row(`reference: one pass, ${size} ${name}: in those of ${sizes[0]}`, "x", [reference.at(-1)! / reference[0]!]),
  ];
  const series = [
    plot("one process", nodes.map(({ once }) => median(once))),
    plot("daemon", nodes.map(({ passes }) => median(passes))),
    plot("reference", reference),
  ];
  return { rows, series };
}

/** How soon an address is back where there are many links and addresses. */
async function measureLinks({ programs, random, quick }: Bench): Promise<Row[]> {
  await using node = await Node.create();
  await addLinks(node, 1000, 5000);
  await using victim = Victim.start(node, programs.ours);
  await victim.ready();
  const times = await loseByTurns([victim], "address", { count: quick ? 4 : 40, random, pause: 200 });
  return [row("repair: address, 1,000 links, 5,000 foreign addresses", "ms", times, { p50: 5 })];
}

/** One process, when more addresses are asked for; at first nothing is there. */
async function measureAddresses({ programs, quick }: Bench): Promise<Row[]> {
  const wanted: Wanted = { p50: 3 };
  const flags = (count: number) => {
    const ips = Array.from({ length: count }, (_, i) => `10.97.0.${i}`);
    return [`--ip-address=${ips.join(",")}`, "--setup-iptables", "--daemon=false", "--iptables-mode=nft"];
  };
  const measure = async (count: number) => {
    await using node = await Node.create();
    const argv = [...programs.ours, ...flags(count)];
    const first = (await succeed(node, argv)).ms;
    return { first, later: (await succeed(node, argv)).ms };
  };
  const rounds = await repeat(quick ? 2 : 20, async () => [await measure(1), await measure(16), await measure(256)]);
  const times = (i: number, what: "first" | "later") => rounds.map((round) => round[i]![what]);
  return [
    row("256 addresses, nothing there: whole process", "ms", times(2, "first")),
    row("16 addresses, nothing there: in those of one", "x", ratios(times(1, "first"), times(0, "first"))),
    row("256 addresses, nothing there: in those of one", "x", ratios(times(2, "first"), times(0, "first")), wanted),
    row("256 addresses, all there: in those of one", "x", ratios(times(2, "later"), times(0, "later")), wanted),
  ];
}
