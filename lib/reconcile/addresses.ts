import type { Clock } from "../clock.ts";
import type { Desired } from "../desired/desired.ts";
import { type AddressTool, addressTool } from "../node/address.ts";
import { runCommand } from "../node/process.ts";
import { Sessions } from "../node/session.ts";
import type { Finding } from "../node/tool.ts";
import { Damping } from "./damping.ts";
import { isFull, type Keeper, type KeeperOptions } from "./keeper.ts";
import type { Cause } from "./observer.ts";
import { pass, type Report } from "./pass.ts";

/**
 * So long after an IPv6 address appeared on a link it can be removed from another one. The kernel lists it before it has its
 * route, and packets that need it then are lost.
 */
const SETTLE_MS = 1000;

/** Options for {@linkcode AddressKeeper}. */
export interface AddressKeeperOptions extends KeeperOptions {
  /** Type of a link that has to be created. @default {"dummy"} */
  readonly linkType?: string | undefined;
}

/** Keeps the addresses and their link. */
export class AddressKeeper implements Keeper {
  readonly about = "addresses";
  readonly #desired: Desired;
  readonly #options: AddressKeeperOptions;
  readonly #clock: Clock;
  readonly #sessions: Sessions;
  readonly #damping: Damping;
  /** The link was somebody else's when it was last there. */
  #isForeign = false;
  /** The last look found an address once more than it is to be there. */
  #hasSurplus = false;
  /** Since when each address is on the link, as far as it was seen. */
  #presentSince: ReadonlyMap<string, number> = new Map();

  constructor(desired: Desired, options: AddressKeeperOptions) {
    this.#desired = desired;
    this.#options = options;
    this.#clock = options.clock;
    this.#sessions = new Sessions(options.runner, options.clock);
    this.#damping = new Damping(options.clock.now);
  }

  async pass(cause: Cause, signal?: AbortSignal): Promise<Report> {
    // What is surplus is looked for until it is gone: a look at less would take it for gone.
    const full = isFull(cause) || this.#hasSurplus;
    const tool = this.#tool(full);
    const first = await this.#glance(tool, cause, signal) ?? await this.#pass(tool, cause, signal);
    // A look at less does not tell whether something else hangs on it.
    const found = !full && hasSurplus(first) ? await this.#pass(this.#tool(true), cause, signal) : first;
    const report = this.#damping.learn(found, cause);
    this.#remember(report);
    const isPending = report.items.some(({ after }) => after?.pending);
    return isPending ? { ...report, again: Math.min(SETTLE_MS, report.again ?? Infinity) } : report;
  }

  #tool(full: boolean): AddressTool {
    const now = this.#clock.now();
    return addressTool(this.#desired, {
      full,
      linkType: this.#options.linkType,
      // A link of somebody else's that goes comes back by him: one of ours in its place would be in his way.
      waitForLink: this.#isForeign,
      settled: ({ ip }) => now - (this.#presentSince.get(ip) ?? Infinity) >= SETTLE_MS,
    });
  }

  #pass(tool: AddressTool, cause: Cause, signal: AbortSignal | undefined): Promise<Report> {
    if (isFull(cause)) this.#sessions.renew();
    const { commandTimeout } = this.#options;
    return pass([tool], { sessions: this.#sessions, commandTimeout, holds: this.#damping.holds, signal });
  }

  /**
   * Looks by a command.
   *
   * @returns Undefined unless all is as desired: the tool tells what is not, and puts it right.
   */
  async #glance(
    { glance, items, judge }: AddressTool,
    cause: Cause,
    signal: AbortSignal | undefined,
  ): Promise<Report | undefined> {
    // At the start there is always something to do.
    if (glance === undefined || !isFull(cause) || cause === "start") return undefined;
    const { runner, commandTimeout: timeout } = this.#options;
    const result = await runCommand(runner, glance, { timeout, signal });
    const { error, stdout, duration } = result;
    // Waiting for the tool, too, would make the pass longer than one command may take.
    const isLate = error?.kind === "timed-out";
    const findings = error === undefined ? findingsIn(stdout, judge) : [];
    if (!isLate && (findings.length === 0 || !findings.every(({ ok }) => ok))) return undefined;
    const reports = items.map((item, index) => ({ item, before: findings[index], after: findings[index], error }));
    return { items: reports, ok: !isLate, duration, commands: [result] };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#sessions[Symbol.asyncDispose]();
  }

  #remember(report: Report): void {
    const now = this.#clock.now();
    const since = new Map<string, number>();
    for (const { item, before, after } of report.items) {
      if (item.kind === "link" && before !== undefined && before.state !== "missing") {
        this.#isForeign = before.ours === false;
      }
      const isThere = after?.state === "present" || after?.state === "surplus";
      if (item.kind === "address" && isThere) since.set(item.ip, this.#presentSince.get(item.ip) ?? now);
    }
    this.#presentSince = since;
    this.#hasSurplus = hasSurplus(report);
  }
}

function hasSurplus({ items }: Report): boolean {
  return items.some(({ after }) => after?.state === "surplus");
}

/** Empty if the listing cannot be read. */
function findingsIn(listing: string, judge: AddressTool["judge"]): readonly Finding[] {
  try {
    return judge(listing);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return [];
  }
}
