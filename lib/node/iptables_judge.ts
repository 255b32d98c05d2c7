/**
 * What differs between the rules that are to stand in the kernel and those that do.
 *
 * @module
 */
import type { Desired } from "../desired/desired.ts";
import type { Rule } from "../desired/rules.ts";
import { canonicalIp } from "../ip.ts";
import type { Listed } from "./iptables_language.ts";
import type { Finding, Repair } from "./tool.ts";

/** Compares chains with the rules that are to stand in them, or to be gone. */
export function judge(rules: readonly Rule[], want: Desired["want"], chains: readonly Listed[]): readonly Finding[] {
  const findings = new Map(
    chains.flatMap((listed) => {
      const own = rules.filter(({ table, chain }) => table === listed.table && chain === listed.chain);
      const isBare = chains.every(({ table, specs }) => table !== listed.table || specs.length === 0);
      return judgeChain(own, want, listed).map((finding) => isBare ? { ...finding, isBare } : finding);
    }).map((finding) => [finding.item, finding]),
  );
  return rules.flatMap((rule) => findings.get(rule) ?? []);
}

/** A rule as some release of iptables printed it, in the form of {@linkcode Rule.spec}. */
export function normaliseSpec(spec: string): string {
  // The same target under its newer name; from 1.8.10 on it is printed so.
  const renamed = spec.endsWith(" -j CT --notrack") ? spec.replace(/CT --notrack$/, "NOTRACK") : spec;
  // inet_ntop(3) and RFC 5952 differ on addresses with an embedded IPv4 address.
  return renamed.includes("::")
    ? renamed.replace(/^(-[ds]) ([\da-f:.]+)(?=\/128 )/, (_, match, ip) => `${match} ${canonicalIp(ip)}`)
    : renamed;
}

function judgeChain(own: readonly Rule[], want: Desired["want"], { table, chain, specs }: Listed): readonly Finding[] {
  const printed = specs.map(normaliseSpec);
  const copies = Map.groupBy(specs, normaliseSpec);
  /** The chain after the repairs of the rules before, done as a transaction does them: missing rules last. */
  let inScript = printed;
  /** The same, when a person types one after the other. */
  let asTyped = printed;
  let inserted = 0;
  const repair = (command: string, typed = command): Repair => ({
    table,
    command,
    ...typed !== command && { typed },
  });
  return own.map((item) => {
    const { spec } = item;
    const found = copies.get(spec) ?? [];
    const deletions = found.map((spec) => repair(`-D ${chain} ${spec}`));
    const isThere = found.length > 0;
    const detail = found.length > 1 && { detail: `${found.length} copies` };
    if (want === "absent") {
      const state = isThere ? "present" : "missing";
      return { item, state, ok: !isThere, ...detail, verb: "removed", repairs: deletions };
    }
    if (found.length === 1) return { item, state: "present", ok: true, verb: "added", repairs: [] };
    if (!isThere) {
      inserted++;
      asTyped = asTyped.toSpliced(inserted - 1, 0, spec);
      const top = `-I ${chain}`;
      const put = repair(`${top} ${spec}`, inserted === 1 ? undefined : `${top} ${inserted} ${spec}`);
      return { item, state: "missing", ok: false, verb: "added", repairs: [put] };
    }
    // By spec, never by number: a number may be another rule's by the time it is read. `-D` takes the topmost copy,
    // which is the one to keep, so all go and one comes back in its place, in one transaction.
    const [position, typed] = [inScript.indexOf(spec) + 1, asTyped.indexOf(spec) + 1];
    inScript = onlyFirst(inScript, spec);
    asTyped = onlyFirst(asTyped, spec);
    const put = repair(`-I ${chain} ${position} ${spec}`, `-I ${chain} ${typed} ${spec}`);
    return { item, state: "surplus", ok: false, ...detail, verb: "brought back to one", repairs: [...deletions, put] };
  });
}

function onlyFirst(specs: readonly string[], own: string): string[] {
  const first = specs.indexOf(own);
  return specs.filter((spec, index) => spec !== own || index === first);
}
