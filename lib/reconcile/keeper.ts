import { detectBackend, hasStrayRules } from "../node/backend.ts";
import type { Clock } from "../clock.ts";
import { type CommandRunner, runCommand } from "../node/process.ts";
import type { Config } from "../config/config.ts";
import { Damping } from "./damping.ts";
import { type Desired, desired, itemName } from "../desired/desired.ts";
import { type Backend, iptablesProgram, judgeSaved } from "../node/iptables.ts";
import { getLog } from "../log/mod.ts";
import { Recurring, repeatText } from "../log/repeat.ts";
import type { Cause, Scope } from "../daemon/loop.ts";
import { merge, type Node, pass, type PassOptions, type Report, tools } from "./reconcile.ts";
import type { Rule } from "../desired/rules.ts";
import type { Tool } from "../node/tool.ts";

const log = getLog("keeper");

/**
 * So long after an IPv6 address appeared on a link it can be removed from another one. The kernel lists it before it has its
 * route, and packets that need it then are lost.
 */
const SETTLE_MS = 1000;

/** Why a pass is made, and about what. */
export interface PassRequest {
  readonly cause: Cause;
  readonly scope: Scope;
}

/** What a {@linkcode Keeper} works with. */
export interface KeeperOptions {
  readonly runner: CommandRunner;
  readonly clock: Clock;
  /** Type of a link that has to be created; `dummy` unless a test says otherwise. */
  readonly linkType?: string | undefined;
}

/** Makes passes, and remembers between them what a single one cannot know: the back end, fights, and whose link it is. */
export class Keeper {
  readonly #config: Config;
  readonly #wanted: Desired;
  readonly #node: Node;
  readonly #clock: Clock;
  readonly #damping: Damping;
  #backend: Backend;
  readonly #known = Promise.withResolvers<Backend>();
  /** Whether the back end may still turn out to be another one. */
  #uncertain: boolean;
  #started = false;
  /** The back end that the node used before, as long as rules of ours may stand there. */
  #left: { readonly backend: Backend } | undefined;
  readonly #leaving: Recurring;
  #foreignLink = false;
  /** Since when each address is on the link, as far as it was seen. */
  readonly #presentSince = new Map<string, number>();
  #pending = false;

  constructor(config: Config, { runner, clock, linkType }: KeeperOptions) {
    this.#config = config;
    this.#wanted = desired(config, "present");
    this.#node = { runner, commandTimeout: config.commandTimeout, ...linkType !== undefined && { linkType } };
    this.#clock = clock;
    this.#leaving = new Recurring({ now: clock.now });
    this.#damping = new Damping(clock.now);
    this.#backend = config.iptablesMode === "auto" ? undefined : config.iptablesMode;
    this.#uncertain = config.setupIptables && config.iptablesMode === "auto";
    if (!this.#uncertain) this.#known.resolve(this.#backend);
  }

  /** The rules that are kept. */
  get rules(): readonly Rule[] {
    return this.#wanted.rules;
  }

  /** The back end that holds them, as far as {@linkcode Keeper.known}. */
  get backend(): Backend {
    return this.#backend;
  }

  /** Resolves to the back end when the first pass has found out. */
  get known(): Promise<Backend> {
    return this.#known.promise;
  }

  /** Items that get pauses, since something else changes them again and again. */
  get damped(): number {
    return this.#damping.damped;
  }

  /** Milliseconds until the next pass is needed, since something has a pause or is on its way; undefined if none is. */
  again(scope: Scope): number | undefined {
    const again = this.#damping.again(({ kind }) => scope === "all" || (scope === "rules") === (kind === "rule"));
    return this.#pending && scope !== "rules" ? Math.min(SETTLE_MS, again ?? Infinity) : again;
  }

  /** Makes one pass. */
  async pass({ cause, scope }: PassRequest, options: PassOptions = {}): Promise<Report> {
    const isFull = cause !== "event" && cause !== "retry";
    // A kept iptables-restore looks anew each time (1.8.9 does), but a release that did not would never be found out.
    const looks = { ...options, fresh: isFull };
    // The rules first, since they take longer.
    const rules = scope === "addresses" || !this.#config.setupIptables ? [] : [this.#passRules(cause, looks)];
    const addresses = scope === "rules" ? [] : [this.#passAddresses(looks)];
    const report = merge(await Promise.all([...addresses, ...rules]));
    // What is added at the start was not lost.
    const fights = cause === "start" ? [] : this.#damping.learn(report);
    for (const { item, lost, since, over } of fights) {
      const what = { [item.kind]: itemName(item), lost: repeatText({ times: lost, since }) };
      if (over) log.info("Nothing removes it any more", what);
      else log.warning("Something else keeps removing it: repairs get pauses of up to a second", what);
    }
    return { ...report, items: report.items.map((it) => ({ ...it, damped: this.#damping.damps(it.item) })) };
  }

  async #passAddresses(options: PassOptions): Promise<Report> {
    const { addresses } = tools(this.#node, this.#wanted, {
      waitForLink: this.#foreignLink,
      settled: (address) => this.#clock.now() - (this.#presentSince.get(address.ip) ?? Infinity) >= SETTLE_MS,
    });
    const report = await this.#pass([addresses], options);
    this.#pending = false;
    for (const { item, before, after } of report.items) {
      // A link of somebody else's that goes comes back by him: one of ours in its place would be in his way.
      if (item.kind === "link" && before !== undefined && before.state !== "missing") {
        this.#foreignLink = before.ours === false;
      }
      if (item.kind !== "address") continue;
      const isThere = after?.state === "present" || after?.state === "surplus";
      if (!isThere) this.#presentSince.delete(item.ip);
      else if (!this.#presentSince.has(item.ip)) this.#presentSince.set(item.ip, this.#clock.now());
      this.#pending ||= after?.pending === true;
    }
    return report;
  }

  async #passRules(cause: Cause, options: PassOptions): Promise<Report> {
    const before = this.#backend;
    if (this.#uncertain && (options.fresh || !this.#started)) await this.#detect(options.signal);
    if (this.#started && this.#backend !== before) {
      log.info("The node uses another back end of iptables now, the rules move there", { backend: this.#backend });
      this.#left = { backend: before };
    }
    this.#started = true;
    const { rules } = tools(this.#node, this.#wanted, { backend: this.#backend });
    const report = await this.#pass(rules, options);
    if (this.#left !== undefined && cause !== "event" && report.ok) await this.#leave(this.#left.backend, options);
    return report;
  }

  /** Removes the rules from the back end that the node used before. */
  async #leave(backend: Backend, options: PassOptions): Promise<void> {
    const { rules } = tools(this.#node, desired(this.#config, "absent"), { backend });
    const { ok, items } = await pass(this.#node, rules, options);
    if (ok) {
      this.#left = undefined;
      this.#leaving.over("leave");
      return;
    }
    const failed = this.#leaving.report("leave");
    if (failed === undefined) return;
    const error = items.find(({ error }) => error !== undefined)?.error;
    log.warning("Cannot remove the rules from the back end of iptables that the node used before", {
      backend,
      failed: repeatText(failed),
      ...error && { error },
    });
  }

  /** Finds out which back end the node uses. */
  async #detect(signal?: AbortSignal): Promise<void> {
    const { commandTimeout: timeout, runner } = this.#node;
    const { backend, certain } = await detectBackend(runner, { timeout, signal });
    this.#backend = backend;
    this.#uncertain = !certain;
    this.#known.resolve(backend);
  }

  #pass(tools: Parameters<typeof pass>[1], options: PassOptions): Promise<Report> {
    return pass(this.#node, tools, { holds: this.#damping.holds, ...options });
  }

  /** Looks at everything and changes nothing. */
  async look(): Promise<Report> {
    const wanted = this.#wanted;
    const addresses = this.#pass([tools(this.#node, wanted).addresses], { apply: false });
    if (wanted.rules.length === 0) return addresses;
    if (this.#uncertain) await this.#detect();
    const { rules } = tools(this.#node, wanted, { backend: this.#backend });
    const looks = this.#backend !== "nft"
      ? rules.map((tool) => this.#lookAtSaved(tool))
      : [this.#pass(rules, { apply: false })];
    return merge(await Promise.all([addresses, ...looks]));
  }

  /** What a pass does, listing a table, would create the table in the legacy back end. */
  async #lookAtSaved(tool: Tool): Promise<Report> {
    const rules = tool.items.filter((item) => item.kind === "rule");
    const argv = [iptablesProgram("save", rules[0]?.family ?? 4, this.#backend)];
    const { stdout, error, duration } = await runCommand(this.#node.runner, argv, {
      timeout: this.#node.commandTimeout,
    });
    const findings = error === undefined ? judgeSaved(rules, stdout) : [];
    const items = rules.map((item, index) => {
      const finding = findings[index];
      return { item, before: finding, after: finding, remedies: finding?.repairs.map(tool.shell) ?? [], error };
    });
    return { items, ok: items.every(({ after }) => after?.ok), duration };
  }

  /** The back end that is not used, if rules of ours stand in it: an earlier run left them there. */
  async strays(signal?: AbortSignal): Promise<Backend> {
    const { commandTimeout: timeout, runner } = this.#node;
    if (!this.#config.setupIptables || this.#backend === undefined) return undefined;
    const other = this.#backend === "nft" ? "legacy" : "nft";
    return await hasStrayRules(runner, this.rules, other, { timeout, signal }) ? other : undefined;
  }
}
