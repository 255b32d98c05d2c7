/**
 * Test equipment: single passes, with sessions of their own.
 *
 * @module
 */
import { monotonicClock } from "../../lib/clock.ts";
import type { Desired } from "../../lib/desired/desired.ts";
import { addressTool, type AddressToolOptions } from "../../lib/node/address.ts";
import { type Backend, rulesTools } from "../../lib/node/iptables.ts";
import type { CommandRunner } from "../../lib/node/process.ts";
import { Sessions } from "../../lib/node/session.ts";
import type { Tool } from "../../lib/node/tool.ts";
import { pass as passWith, type PassOptions, type Report } from "../../lib/reconcile/pass.ts";
import { FakeNode } from "./fake_node.ts";

/** Where a pass looks and acts. */
export interface Place {
  readonly runner: CommandRunner;
  readonly commandTimeout: number;
  /** Type of a link that has to be created. */
  readonly linkType?: string;
}

/** The tools for what is desired. */
export function tools(
  { commandTimeout, linkType }: Place,
  desired: Desired,
  { backend, ...options }: AddressToolOptions & { readonly backend?: Backend } = {},
): { readonly addresses: Tool; readonly rules: readonly Tool[] } {
  return {
    addresses: addressTool(desired, { linkType, ...options }),
    rules: rulesTools(desired, backend, { commandTimeout }),
  };
}

/** One pass through processes that are ended with it. */
export async function pass(
  { runner, commandTimeout }: Place,
  tools: readonly Tool[],
  options: Partial<PassOptions> = {},
): Promise<Report> {
  await using sessions = new Sessions(runner, runner instanceof FakeNode ? runner.clock : monotonicClock);
  return await passWith(tools, { sessions, commandTimeout, ...options });
}
