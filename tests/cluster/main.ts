/**
 * `make test-cluster`: a cluster on one machine, of network namespaces, two TLS servers as kube-apiservers, nodes with a
 * firewall, pods, HAProxy and the compiled program, and Prometheus; requests from each pod and each node all the time, and
 * assertions of what may happen to them. Exits 1 at the first that does not hold, 2 if it is told what it cannot use.
 *
 *     NODES=3      number of nodes
 *     LOSSES=4     how often each thing is lost on each node
 *     POLL=10s     interval of the program without --watch that is measured for comparison (the default of both is 1m)
 *     MINUTES=0    if not 0, what the program takes is measured for so long, instead of all else that is shown
 *     SEED=random  of the order of losses
 *
 * @module
 */
import { Random } from "../support/random.ts";
import { Namespace } from "../support/namespace.ts";
import { BINARY } from "../support/program.ts";
import { Cluster } from "./cluster.ts";
import { type Options, optionsOf } from "./options.ts";
import { alerts } from "./phases/alerts.ts";
import { losses } from "./phases/losses.ts";
import type { Context, Phase } from "./phases/phase.ts";
import { reload } from "./phases/reload.ts";
import { scale } from "./phases/scale.ts";
import { quiet, replaceProxy, untracked, upgrade } from "./phases/steady.ts";
import { removed, start, without } from "./phases/without.ts";

const INSIDE = "--inside";
/** A machine of two cores has time for so many, besides all else; where resources are measured they only show that all is well. */
const REQUESTS_PER_SECOND = { busy: 45, quiet: 15 } as const;

if (import.meta.main) Deno.exit(await (Deno.args.includes(INSIDE) ? main() : enter()));

/** Runs this file in a namespace, which takes everything with it when it ends. */
async function enter(): Promise<number> {
  try {
    optionsOf(Deno.env.toObject());
    await Deno.stat(BINARY).catch(() => {
      throw new Error("Cannot find dist/apiserver-proxy-sidecar; run: make build");
    });
    await using namespace = await Namespace.create();
    const deno = [Deno.execPath(), "run", "--quiet", "-P=test", import.meta.filename!, INSIDE];
    const [program, ...args] = namespace.argv(
      ["env", `--chdir=${Deno.cwd()}`, "setpriv", "--pdeathsig=TERM", "--", ...deno],
    );
    const child = new Deno.Command(program!, { args }).spawn();
    // A signal to the group has reached the child as well, and one to this process alone is for it too.
    Deno.addSignalListener("SIGINT", () => {});
    Deno.addSignalListener("SIGTERM", () => child.kill("SIGTERM"));
    return (await child.status).code;
  } catch (error) {
    print(error instanceof Error ? error.message : String(error));
    return error instanceof RangeError ? 2 : 1;
  }
}

async function main(): Promise<number> {
  const options = optionsOf(Deno.env.toObject());
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => stop.abort(new Error(`Stopped by ${signal}`)));
  }
  const started = performance.now();
  const time = () => `${((performance.now() - started) / 1000).toFixed(1).padStart(6)} s`;
  print(`${time()}  A cluster of ${options.nodes} nodes; seed ${options.seed}`);
  await using stack = new AsyncDisposableStack();
  let cluster: Cluster;
  try {
    const requestsPerSecond = REQUESTS_PER_SECOND[options.minutes > 0 ? "quiet" : "busy"];
    cluster = stack.use(await Cluster.create({ count: options.nodes, requestsPerSecond, signal: stop.signal }));
  } catch (error) {
    print(`Cannot make a cluster: ${error instanceof Error ? error.message : error}`);
    return 1;
  }
  const context: Context = {
    cluster,
    random: new Random(options.seed),
    say: (text) => print(text.split("\n").map((line) => `          ${line}`).join("\n")),
    signal: stop.signal,
  };
  try {
    for (const { title, run } of phasesOf(options)) {
      print(`${time()}  ${title}`);
      await Promise.race([run(context), aborted(stop.signal)]);
    }
    print(`${time()}  All of it holds`);
    return 0;
  } catch (error) {
    print(`Does not hold: ${error instanceof Error ? error.message : error}`);
    if (!stop.signal.aborted) {
      for (const { place, sidecar } of cluster.nodes.slice(0, 5)) {
        print(`== The sidecar of ${place.name} logged last:\n${tail(sidecar.log)}`);
      }
    }
    return 1;
  }
}

function phasesOf({ minutes, rounds, poll }: Options): readonly Phase[] {
  if (minutes > 0) return [start, scale(minutes), untracked, removed];
  return [without, start, quiet, upgrade, replaceProxy, alerts, losses(rounds, poll), reload, untracked, removed];
}

function aborted(signal: AbortSignal): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>();
  if (signal.aborted) reject(signal.reason);
  signal.addEventListener("abort", () => reject(signal.reason));
  return promise;
}

function tail(text: string): string {
  return text.trimEnd().split("\n").slice(-30).join("\n");
}

function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}
