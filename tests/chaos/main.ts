/**
 * `make chaos`: the compiled program in private network namespaces, and random harm to all it keeps, to its tools and to its
 * children. After each harm everything has to be back within its bound, exactly once, and all that is foreign has to be
 * byte for byte as before; at the end nothing that it started may be left.
 *
 *     deno run -P=test tests/chaos/main.ts [--seconds=60] [--seed=N] [--lanes=2] [--harm=TEXT]
 *
 * CHAOS_SECONDS and CHAOS_SEED do the same. The same seed makes the same harm in the same order. Worlds follow each other in
 * each of several lanes: either back end; the interface `lo`, a foreign one by its name or by its alternative name, or one of
 * the program's; and either a check each second, or none but at events.
 *
 * The bounds: 1 s for the pauses of a fight, which chaos is, and 2 s for a machine that does a lot else; with events only and
 * the legacy back end 5 s more, the pause between its polls; with checks each second 3 s more, for the check and for a command
 * that has to time out. A harm that goes on for a while has its own time on top ({@linkcode Harm.slack}).
 *
 * @module
 */
import { delay } from "@std/async/delay";
import { parseArgs } from "@std/cli/parse-args";
import type { Harm } from "./deeds.ts";
import { BUSTLE } from "./bustle.ts";
import { HARMS } from "./harms.ts";
import { HINDRANCES } from "./hindrances.ts";
import { STRANGE } from "./strange.ts";
import { Random } from "../support/random.ts";
import { FILLER } from "./scripts.ts";
import { type LinkKind, World, type WorldOptions } from "./world.ts";
import { type Backend, BACKENDS } from "../support/program.ts";

/** How many harms are done to one world. */
const STEPS = 30;
/** After this time a log is read that was not before. */
const LATE_LOG_MS = 300;
const LINKS: readonly LinkKind[] = ["lo", "foreign", "own", "alternative"];

/** What happened to one kind of harm. */
interface Tally {
  readonly count: number;
  /** The longest repair, in milliseconds. */
  readonly worst: number;
}

interface Memory {
  readonly world: string;
  readonly before: { readonly rss: number; readonly anonymous: number };
  readonly after: { readonly rss: number; readonly anonymous: number };
}

/** A violation, with all that is needed to see it again. */
class Violation extends Error {}

/** All that is the same for all lanes. */
class Chaos {
  readonly #deadline: number;
  readonly #seed: number;
  readonly #harms: readonly Harm[];
  readonly tallies = new Map<string, Tally>();
  readonly memories: Memory[] = [];
  #over = false;

  constructor(seed: number, seconds: number, harms: readonly Harm[]) {
    this.#seed = seed;
    this.#deadline = performance.now() + 1000 * seconds;
    this.#harms = harms;
  }

  /** One world after another. */
  async lane(lane: number): Promise<void> {
    for (let life = 0; !this.#isOver(); life++) {
      const random = new Random(this.#seed + 1000 * lane + life);
      const options: WorldOptions = {
        backend: BACKENDS[(lane + life) % BACKENDS.length] as Backend,
        link: LINKS[life % LINKS.length]!,
        eventsOnly: random.below(3) === 0,
      };
      const name = `${options.backend}, ${options.link}, ${options.eventsOnly ? "events only" : "checks each second"}`;
      const step = { text: "the start" };
      try {
        await this.#live(options, name, random, step);
      } catch (error) {
        this.#over = true;
        const what = error instanceof Error ? error.message : error;
        throw new Violation(`Seed ${this.#seed}, lane ${lane}, world ${life} (${name}), ${step.text}: ${what}`, {
          cause: error,
        });
      }
    }
  }

  async #live(options: WorldOptions, name: string, random: Random, step: { text: string }): Promise<void> {
    const harms = this.#harms.filter(({ suits }) => suits?.(options) ?? true);
    if (harms.length === 0) return await delay(0); // those that --harm leaves
    await using world = await World.create(options);
    try {
      const before = await world.memory();
      for (let i = 0; i < STEPS && !this.#isOver(); i++) {
        const harm = random.pick(harms);
        step.text = `step ${i}, ${harm.name}`;
        const said = await harm.strike(world, random);
        step.text = `step ${i}, ${harm.name} (${said})`;
        this.#count(harm.name, await world.recover(world.bound + (harm.slack ?? 0)));
      }
      this.memories.push({ world: name, before, after: await world.memory() });
      const signal = random.pick(["SIGTERM", "SIGKILL"] as const);
      const unheard = signal === "SIGTERM" && random.below(2) === 0;
      const end = `ended by ${signal}${unheard ? ", unheard" : ""}, with all its children`;
      step.text = end;
      const started = performance.now();
      await world.end(signal, { unheard });
      this.#count(end, performance.now() - started);
    } catch (error) {
      await delay(LATE_LOG_MS);
      const log = world.program.stderr.trimEnd().split("\n").filter((line) => line !== FILLER).slice(-40).join("\n");
      const message = error instanceof Error ? error.message : String(error);
      throw new Error(`${message}\nThe program said last:\n${log}`, { cause: error });
    }
  }

  #isOver(): boolean {
    return this.#over || performance.now() > this.#deadline;
  }

  #count(name: string, time: number): void {
    const { count, worst } = this.tallies.get(name) ?? { count: 0, worst: 0 };
    this.tallies.set(name, { count: count + 1, worst: Math.max(worst, time) });
  }
}

async function main(): Promise<number> {
  const { seconds, seed, lanes, harm } = parseArgs(Deno.args, {
    string: ["seconds", "seed", "lanes", "harm"],
    default: {
      seconds: Deno.env.get("CHAOS_SECONDS") ?? "60",
      seed: Deno.env.get("CHAOS_SEED") ?? String(Math.floor(Math.random() * 1e6)),
      lanes: "2",
      harm: "",
    },
  });
  print(`Chaos for ${seconds} s, seed ${seed}`);
  const harms = [...HINDRANCES, ...HARMS, ...STRANGE, ...BUSTLE].filter(({ name }) => name.includes(String(harm)));
  const chaos = new Chaos(Number(seed), Number(seconds), harms);
  const results = await Promise.allSettled(Array.from({ length: Number(lanes) }, (_, lane) => chaos.lane(lane)));
  let total = 0;
  for (const [name, { count, worst }] of [...chaos.tallies].toSorted(([a], [b]) => a < b ? -1 : 1)) {
    total += count;
    print(`${name.padEnd(44)}${String(count).padStart(6)} times, worst ${Math.round(worst).toString().padStart(6)} ms`);
  }
  for (const { world, before, after } of chaos.memories) {
    const pair = (key: "rss" | "anonymous") => `${before[key].toFixed(1)} -> ${after[key].toFixed(1)}`;
    print(`memory in MiB: ${pair("rss")} (anonymous ${pair("anonymous")}) in the world ${world}`);
  }
  const violations = results.flatMap((result) => result.status === "rejected" ? [result.reason] : []);
  const texts = violations.map((violation) => violation instanceof Violation ? violation.message : String(violation));
  for (const text of texts) print(text);
  // Once more at the end, where somebody looks first.
  for (const text of texts) print(text.split("\n", 1)[0]!);
  print(`${total} harms, ${violations.length} violations, seed ${seed}`);
  return violations.length === 0 && total > 0 ? 0 : 1;
}

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

if (import.meta.main) Deno.exitCode = await main();
