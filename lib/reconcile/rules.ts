import type { Clock } from "../clock.ts";
import type { Config } from "../config/config.ts";
import type { Desired } from "../desired/desired.ts";
import { getLog } from "../log/mod.ts";
import { Recurring, repeatText } from "../log/repeat.ts";
import { type BackendState, detectBackend, findStrays } from "../node/backend.ts";
import { type Backend, rulesTools } from "../node/iptables.ts";
import { Sessions } from "../node/session.ts";
import { Damping } from "./damping.ts";
import { isFull, type Keeper, type KeeperOptions } from "./keeper.ts";
import type { Cause } from "./observer.ts";
import { merge, pass, type PassOptions, type Report } from "./pass.ts";
import { lookAtSaved } from "./saved.ts";

const log = getLog("rules");

/** What is known of the back end before anybody has looked. */
export function backendOf({ iptablesMode }: Config): BackendState {
  return iptablesMode === "auto" ? { certainty: "unknown" } : { certainty: "certain", backend: iptablesMode };
}

/** Options for {@linkcode RulesKeeper}. */
export interface RulesKeeperOptions extends KeeperOptions {
  /** Whether to warn once of rules of ours in the other back end. @default {false} */
  readonly looksForStrays?: boolean;
}

/** Keeps the rules in the back end of iptables that the node uses. */
export class RulesKeeper implements Keeper {
  readonly about = "rules";
  readonly #desired: Desired;
  readonly #options: RulesKeeperOptions;
  readonly #clock: Clock;
  readonly #sessions: Sessions;
  readonly #damping: Damping;
  #backend: BackendState;
  /** The back end that the node used before, as long as rules of ours may stand there. */
  #left: { readonly backend: Backend } | undefined;
  readonly #leaving: Recurring;
  #lookingForStrays: Promise<void> | undefined;

  constructor(desired: Desired, backend: BackendState, options: RulesKeeperOptions) {
    this.#desired = desired;
    this.#backend = backend;
    this.#options = options;
    this.#clock = options.clock;
    this.#sessions = new Sessions(options.runner, options.clock);
    this.#damping = new Damping(options.clock.now);
    this.#leaving = new Recurring({ now: options.clock.now });
  }

  async pass(cause: Cause, signal?: AbortSignal): Promise<Report> {
    const full = isFull(cause);
    if (full) this.#sessions.renew();
    const { certainty } = this.#backend;
    if (certainty === "unknown" || (certainty === "guessed" && full)) await this.#detect(signal);
    if (this.#backend.certainty === "unknown") throw new Error("The back end is known after a look");
    const { backend } = this.#backend;
    // A look that stands in for events must not take the lock from others again and again.
    const found = cause === "poll" && backend === "legacy" ? await this.#lookWithoutLock(signal) : undefined;
    const tools = rulesTools(this.#desired, backend, this.#options);
    const options = { ...this.#passOptions(signal), holds: this.#damping.holds };
    const report = this.#damping.learn(found?.ok ? found : await pass(tools, options), cause);
    if (this.#left !== undefined && cause !== "event" && report.ok) await this.#leave(this.#left.backend, signal);
    if (this.#options.looksForStrays) this.#lookingForStrays ??= this.#warnOfStrays(backend, signal);
    return { ...report, backend: this.#backend };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#sessions[Symbol.asyncDispose](), this.#lookingForStrays]);
  }

  async #warnOfStrays(used: Backend, signal?: AbortSignal): Promise<void> {
    const backend = await findStrays(this.#desired, used, { ...this.#options, signal });
    if (backend === undefined || signal?.aborted) return;
    const told =
      "Rules of an earlier run stand in the back end of iptables that the node does not use; cleanup removes them";
    log.warning(told, { backend });
  }

  async #lookWithoutLock(signal?: AbortSignal): Promise<Report> {
    const { runner, commandTimeout: timeout } = this.#options;
    const families = Map.groupBy(this.#desired.rules, ({ family }) => family).values();
    const options = { backend: "legacy", mayCreate: true, timeout, signal } as const;
    return merge(await Promise.all([...families].map((rules) => lookAtSaved(runner, rules, options))));
  }

  /** Finds out which back end the node uses. */
  async #detect(signal?: AbortSignal): Promise<void> {
    const { runner, commandTimeout: timeout } = this.#options;
    const before = this.#backend;
    const found = await detectBackend(runner, { timeout, signal });
    this.#backend = found;
    if (before.certainty === "unknown" || before.backend === found.backend) return;
    log.info("The node uses another back end of iptables now, the rules move there", { backend: found.backend });
    this.#left = { backend: before.backend };
  }

  /** Removes the rules from the back end that the node used before. */
  async #leave(backend: Backend, signal?: AbortSignal): Promise<void> {
    const tools = rulesTools({ ...this.#desired, want: "absent" }, backend, this.#options);
    const { ok, items } = await pass(tools, this.#passOptions(signal));
    if (ok) {
      this.#left = undefined;
      this.#leaving.over("leave");
      return;
    }
    // Stopped: what is left is for cleanup, and nothing to warn of.
    if (signal?.aborted) return;
    const failed = this.#leaving.report("leave");
    if (failed === undefined) return;
    const error = items.find(({ error }) => error !== undefined)?.error;
    log.warning("Cannot remove the rules from the back end of iptables that the node used before", {
      backend,
      failed: repeatText(failed),
      ...error && { error },
    });
  }

  #passOptions(signal?: AbortSignal): PassOptions {
    return { sessions: this.#sessions, commandTimeout: this.#options.commandTimeout, signal };
  }
}
