/**
 * Test equipment: what the phases of the test have in common.
 *
 * @module
 */
import { assertEquals, AssertionError } from "@std/assert";
import type { Random } from "../../support/random.ts";
import type { Cluster, ClusterNode } from "../cluster.ts";
import type { Host } from "../host.ts";
import type { Tally, Trouble } from "../load.ts";
import { FAMILIES } from "../firewall.ts";
import { ADDRESSES, PORT } from "../topology.ts";
import { until } from "../until.ts";

/** What a phase works with. */
export interface Context {
  readonly cluster: Cluster;
  readonly random: Random;
  readonly say: (text: string) => void;
  /** Aborts when the test is to end. */
  readonly signal: AbortSignal;
}

/** One part of the test. */
export interface Phase {
  readonly title: string;
  run(context: Context): Promise<void>;
}

/** What may happen to requests; nothing, if nothing is given. */
export interface Allowed {
  readonly failed?: boolean;
  /** Packets were lost, so that requests were slow. */
  readonly lost?: boolean;
  readonly waited?: boolean;
  readonly broken?: boolean;
}

/** Asserts that all were answered, and nothing happened to them that is not allowed. */
export function assertAnswered(tally: Tally, allowed: Allowed = {}): void {
  if (tally.asked === 0) throw new AssertionError("No client asked anything");
  for (const key of ["failed", "waited", "broken"] as const) {
    if (!allowed[key]) assertEquals(tally[key].slice(0, 10).map(troubleText), [], `Requests ${key}`);
  }
  // That a request was slow alone says nothing: the machine may have had no time for it.
  if (!allowed.lost) assertEquals(tally.lost, 0, "First packets of connections that were lost");
}

/** A tally in a line. */
export function tallyText({ asked, failed, slow, waited, broken, lost, worst }: Tally): string {
  const some = { failed, slow, "waited for a listener": waited, "watches broken": broken };
  const parts = Object.entries(some).map(([what, troubles]) => `${troubles.length} ${what}`);
  return `${asked} requests: ${parts.join(", ")}; packets lost: ${lost}; the longest of the others: ${worst} ms`;
}

/** A trouble in a line. */
export function troubleText({ who, address, at, ms, what }: Trouble): string {
  return `${new Date(at).toISOString().slice(11, 23)} ${who} at ${address}: ${what} after ${ms} ms`;
}

/**
 * Waits until a node holds all that the program keeps, exactly once.
 *
 * @param every Milliseconds between two looks.
 */
export function whole({ host, sidecar }: ClusterNode, every = 50): Promise<void> {
  const wanted = FAMILIES.flatMap(({ key, nft }) => {
    const requests = `${nft} daddr ${ADDRESSES[key]} tcp dport ${PORT} counter`;
    const answers = `${nft} saddr ${ADDRESSES[key]} tcp sport ${PORT} counter`;
    return [
      `lo ${ADDRESSES[key]}`,
      `${nft} raw PREROUTING ${requests} notrack`,
      `${nft} raw OUTPUT ${requests} notrack`,
      `${nft} raw OUTPUT ${answers} notrack`,
      `${nft} filter INPUT ${requests} accept`,
      `${nft} filter OUTPUT ${answers} accept`,
    ];
  });
  return until(async () => {
    sidecar.service.assertRuns();
    const found = await dump(host);
    assertEquals(wanted.filter((line) => found.filter((it) => it === line).length !== 1), [], "Not there exactly once");
  }, { every, patience: 90_000 });
}

/**
 * The addresses of a machine and its rules, one a line with its table and chain: as nft sees them, which can list what
 * iptables cannot, without empty chains and what changes by itself.
 */
export async function dump(host: Host): Promise<readonly string[]> {
  const [addresses, ruleset] = await Promise.all([
    host.ok(["ip", "-oneline", "address"]),
    host.ok(["nft", "--stateless", "list", "ruleset"]),
  ]);
  const lines = addresses.trimEnd().split("\n")
    .map((line) => line.replace(/^\d+: (\S+) +inet6? (\S+) .*/, "$1 $2").replace(/\/(32|128)$/, ""));
  let [table, chain] = ["", ""];
  for (const line of ruleset.split("\n").map((line) => line.trim())) {
    if (line.startsWith("table ")) table = line.slice(6, -2);
    else if (line.startsWith("chain ")) chain = line.slice(6, -2);
    else if (/policy drop/.test(line)) lines.push(`${table} ${chain} policy drop`);
    else if (!/^(#.*|type .*|\}|)$/.test(line)) lines.push(`${table} ${chain} ${line.replace(...STATES)}`);
  }
  return lines;
}

/** The same match, as iptables and as nft make it. */
const STATES = ["established,related", "related,established"] as const;

/** Columns side by side. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  return rows.map((row) =>
    row.map((cell, i) => i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)).join("  ").trimEnd()
  ).join("\n");
}
