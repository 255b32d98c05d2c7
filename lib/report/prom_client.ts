/**
 * The parts of prom-client that are in use. The package as a whole loads half of Node (cluster, https, perf_hooks, v8) for
 * metrics of Node itself, which takes 40 to 120 ms and up to 20 MiB; these parts take 3 ms and 2 MiB.
 *
 * @module
 */
import type { Counter, Gauge, Histogram, Registry } from "prom-client";

/** The classes of prom-client. */
export interface PromClient {
  readonly Counter: typeof Counter;
  readonly Gauge: typeof Gauge;
  readonly Histogram: typeof Histogram;
  readonly Registry: typeof Registry;
}

/** Loads prom-client, which only programs that serve metrics have to pay for. */
export async function loadPromClient(): Promise<PromClient> {
  // The parts ask for node:util, to word the errors of their misuse. A bundle for browsers has no `require`, and the real
  // module would cost 25 ms and 6 MiB.
  const isBundled = !("require" in globalThis);
  if (isBundled) Reflect.set(globalThis, "require", () => ({ format: String, inspect: String }));
  try {
    const [registry, counter, gauge, histogram] = await Promise.all([
      import("prom-client/lib/registry.js"),
      import("prom-client/lib/counter.js"),
      import("prom-client/lib/gauge.js"),
      import("prom-client/lib/histogram.js"),
    ]);
    return {
      Registry: registry.default,
      Counter: counter.default,
      Gauge: gauge.default,
      Histogram: histogram.default,
    };
  } finally {
    if (isBundled) Reflect.deleteProperty(globalThis, "require");
  }
}
