import type { Clock } from "../clock.ts";
import type { Config } from "../config/config.ts";
import type { BindAddress } from "../config/values.ts";
import type { Item } from "../desired/desired.ts";
import { CONTENT_TYPE } from "./exposition.ts";
import { type Check, Health } from "./health.ts";
import { type Answer, HttpServer, type Routes } from "./http.ts";
import { ItemStates } from "./item_states.ts";
import { getLog } from "../log/mod.ts";
import { Metrics } from "./metrics.ts";
import type { Observer } from "../reconcile/observer.ts";

const log = getLog("serve");

/** Nothing can listen where a flag asks for it. */
export class ListenError extends Error {
  override readonly name = "ListenError";
}

/** What tells the world outside of the daemon, from {@linkcode openServers} to disposal. */
export interface Servers extends AsyncDisposable {
  /** To be told what the daemon does, in this order. */
  readonly observers: readonly Observer[];
  /** Where it listens. */
  readonly addresses: readonly Deno.NetAddr[];
}

/** An address to listen on, and what is answered there. */
interface Place {
  /** The first flag that asks for it. */
  readonly flag: string;
  readonly address: BindAddress;
  readonly routes: Routes;
}

/**
 * Serves `/metrics`, and `/healthz` and `/readyz`, where the command line asks for them; at one address if they are equal.
 * Only a daemon serves: one pass is over before anybody asks.
 *
 * @param items Everything that is wanted.
 * @param clock The clock of the loop.
 * @throws {ListenError} if it cannot listen at one of the addresses; it listens at none then.
 */
export async function openServers(config: Config, items: readonly Item[], clock: Clock): Promise<Servers> {
  const { daemon, metricsBindAddress, healthProbeBindAddress } = config;
  const states = new ItemStates(items);
  const observers: Observer[] = [];
  const places: Place[] = [];
  if (daemon && metricsBindAddress !== undefined) {
    const metrics = new Metrics(config, { states, clock });
    observers.push(metrics);
    const routes: Routes = {
      "/metrics": () => ({ status: 200, contentType: CONTENT_TYPE, body: metrics.text() }),
    };
    places.push({ flag: "--metrics-bind-address", address: metricsBindAddress, routes });
  }
  if (daemon && healthProbeBindAddress !== undefined) {
    const health = new Health(config, states, clock);
    observers.push(health);
    const routes: Routes = { "/healthz": () => answer(health.live), "/readyz": () => answer(health.ready) };
    places.push({ flag: "--health-probe-bind-address", address: healthProbeBindAddress, routes });
  }
  await using opening = new AsyncDisposableStack();
  const servers = together(places).map((place) => opening.use(listen(place, clock)));
  const open = opening.move();
  return {
    observers: observers.length === 0 ? [] : [states, ...observers],
    addresses: servers.map(({ address }) => address),
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  };
}

/** Those with equal addresses as one. */
function together(places: readonly Place[]): readonly Place[] {
  return Map.groupBy(places, ({ address }) => addressText(address)).values().map((group) =>
    group.reduce((one, other) => ({ ...one, routes: { ...one.routes, ...other.routes } }))
  ).toArray();
}

function listen({ flag, address, routes }: Place, clock: Clock): HttpServer {
  try {
    const server = new HttpServer(address, routes, clock);
    const { hostname, port } = server.address;
    log.info("Listening", { address: addressText({ hostname, port }), paths: Object.keys(routes).join(",") });
    return server;
  } catch (cause) {
    throw new ListenError(`Cannot listen on ${flag}=${addressText(address)}: ${why(cause)}`, { cause });
  }
}

function why(error: unknown): string {
  if (error instanceof Deno.errors.AddrInUse) {
    return "another program listens there: choose another port, or end that program (ss -ltnp names it)";
  }
  if (error instanceof Deno.errors.AddrNotAvailable) {
    return "no interface has this address: choose one that the node has when this program starts, such as 127.0.0.1";
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return "not permitted: choose a port from 1024 on, or give the capability NET_BIND_SERVICE";
  }
  return error instanceof Error ? error.message : String(error);
}

function addressText({ hostname, port }: BindAddress): string {
  return hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
}

/** One line for each check. */
function answer(checks: readonly Check[]): Answer {
  return {
    status: checks.every(({ ok }) => ok) ? 200 : 503,
    body: checks.map(({ ok, said }) => `${ok ? "ok" : "failed"}: ${said}\n`).join(""),
  };
}
