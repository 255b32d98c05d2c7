/**
 * Test equipment: the programs that drive a {@linkcode FakeNode}, with the error texts of iproute2 6.1 and iptables 1.8.9.
 *
 * @module
 */
import { type FakeLinks, Refusal } from "./fake_links.ts";
import type { FakeNode } from "./fake_node.ts";
import { change, type FakeTable, list, RuleError, save } from "./fake_rules.ts";

/** The end of a process, thrown by a program that does not reach the end of its input. */
export class Exit {
  constructor(readonly code: number, readonly stderr: string) {}
}

/** A program that reads lines; its methods may throw an {@linkcode Exit}. */
export interface Program {
  stdout: string;
  stderr: string;
  line(text: string): void | Promise<void>;
  /** The end of the input; gives the exit code, or undefined if the program goes on. */
  end(): number | undefined;
}

/** `ip -o monitor address link` and `nft monitor destroy`: print events until they are killed. */
export class Monitor implements Program {
  stdout = "";
  stderr = "";
  line(): void {}
  end(): undefined {}
}

/** `iptables-save` and its like. */
export class Save implements Program {
  stdout = "";
  stderr = "";
  readonly #listing: string;

  constructor(tables: ReadonlyMap<string, FakeTable>, only: string | undefined) {
    this.#listing = [...tables].filter(([name]) => only === undefined || name === only)
      .map(([name, table]) => save(name, table)).join("");
  }

  line(): void {}

  end(): number {
    this.stdout = this.#listing;
    return 0;
  }
}

/** `ip -json -details -force -batch -`. */
export class Ip implements Program {
  stdout = "";
  stderr = "";
  readonly #node: FakeNode;
  readonly #links: FakeLinks;
  #number = 0;
  #failed = false;

  constructor(node: FakeNode, links: FakeLinks) {
    this.#node = node;
    this.#links = links;
  }

  line(text: string): void {
    this.#number++;
    if (text === "") return;
    const looks = text.startsWith("address show");
    const refused = this.#node.refuse.find(([pattern]) => pattern.test(text));
    try {
      if (refused !== undefined) throw new Refusal(refused[1]);
      if (this.#node.notPermitted && !looks) {
        const [, device] = / dev (\S+)/.exec(text) ?? [];
        if (device !== undefined) this.#links.get(device);
        throw new Refusal("RTNETLINK answers: Operation not permitted");
      }
      this.stdout += this.#links.run(text);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.stderr += `${error.message}\nCommand failed -:${this.#number}\n`;
      this.#failed = true;
    }
    if (!looks) this.#node.fight();
  }

  end(): number {
    return this.#failed ? 1 : 0;
  }
}

/** How {@linkcode Restore} was started. */
export interface RestoreOptions {
  /** As it was called: `iptables-nft-restore` and the like. */
  readonly name: string;
  /** `iptables` or `ip6tables`. */
  readonly family: string;
  readonly legacy: boolean;
  /** Seconds. */
  readonly wait: number;
}

/** `iptables-restore --noflush --verbose --wait=N` and its like. */
export class Restore implements Program {
  stdout = "";
  stderr = "";
  readonly #node: FakeNode;
  readonly #options: RestoreOptions;
  /** `iptables-nft` and the like. */
  readonly #tables: string;
  readonly #shown: string;
  readonly #version: string;
  #number = 0;
  /** What COMMIT makes of the table that is open. */
  #open: { readonly name: string; table: FakeTable; unsupported: string[] } | undefined;

  constructor(node: FakeNode, options: RestoreOptions) {
    const { name, family, legacy } = options;
    this.#node = node;
    this.#options = options;
    this.#tables = `${family}-${legacy ? "legacy" : "nft"}`;
    this.#shown = legacy ? `${family}-restore` : name;
    this.#version = `${name.includes("-legacy-") ? `${family}-restore` : name} v1.8.9 (${
      legacy ? "legacy" : "nf_tables"
    })`;
  }

  async line(text: string): Promise<void> {
    this.#number++;
    if (text.startsWith("#")) this.stdout += `${text}\n`;
    else if (text.startsWith("*") && this.#open === undefined) await this.#begin(text.slice(1));
    else if (text === "COMMIT" && this.#open !== undefined) this.#commit();
    else if (/^-[SID] /.test(text) && this.#open !== undefined) this.#command(text);
    else if (text !== "") throw new Error(`FakeNode does not know "${text}" as line ${this.#number} of a restore`);
  }

  end(): number {
    if (this.#open === undefined) return 0;
    this.stderr += `${this.#shown}: COMMIT expected at line ${this.#number + 1}\n`;
    return 1;
  }

  async #begin(name: string): Promise<void> {
    const { legacy, wait } = this.#options;
    const { notPermitted, noRawTable, readOnlyRun, lockedUntil, clock } = this.#node;
    if (legacy) {
      if (readOnlyRun) throw new Exit(4, "Fatal: can't open lock file /run/xtables.lock: Read-only file system\n");
      if (clock.now() < lockedUntil) {
        await clock.delay(Math.min(lockedUntil - clock.now(), wait * 1000));
        if (clock.now() < lockedUntil) {
          throw new Exit(
            4,
            "Can't lock /run/xtables.lock: Resource temporarily unavailable\n" +
              `Another app is currently holding the xtables lock. Stopped waiting after ${wait}s.\n`,
          );
        }
      }
      if (notPermitted || (noRawTable && name === "raw") || !["raw", "filter"].includes(name)) {
        throw this.#usage(`${this.#shown}: unable to initialize table '${name}'`);
      }
    } else if (notPermitted) {
      const said = "Could not fetch rule set generation id: Permission denied (you must be root)";
      throw new Exit(4, `${this.#version}: ${said}\n`);
    } else if (!["raw", "filter"].includes(name)) {
      throw this.#usage(`${this.#shown}: line ${this.#number} table name '${name}' invalid`);
    }
    this.#open = { name, table: this.#node.table(this.#tables, name), unsupported: [] };
  }

  #command(text: string): void {
    const open = this.#open;
    if (open === undefined) return;
    const [, verb, name = ""] = /^(\S+) (\S+)/.exec(text) ?? [];
    const refused = this.#node.refuse.find(([pattern]) => pattern.test(text));
    if (refused !== undefined) throw this.#failure(refused[1]);
    if (verb === "-S") {
      const chain = open.table.get(name);
      if (chain === undefined) throw this.#unlisted(name, open.name);
      this.stdout += list(name, chain);
      return;
    }
    try {
      open.table = change(open.table, text, this.#node);
    } catch (error) {
      if (!(error instanceof RuleError)) throw error;
      throw this.#failure(
        {
          "no chain": "No chain/target/match by that name.",
          "no rule": "Bad rule (does a matching rule exist in that chain?).",
          "no index": "Index of insertion too big.",
        }[error.reason],
      );
    }
    if (this.#node.noNotrack && verb === "-I" && /NOTRACK|--notrack/.test(text)) {
      if (open.unsupported.length === 0) {
        this.stderr += "Warning: Extension CT revision 0 not supported, missing kernel module?\n";
      }
      open.unsupported.push(
        `line ${this.#number}: RULE_INSERT failed (No such file or directory): rule in chain ${name}\n`,
      );
    }
  }

  #commit(): void {
    if (this.#open === undefined) return;
    const { name, table, unsupported } = this.#open;
    if (unsupported.length > 0) {
      throw this.#options.legacy ? this.#failure("") : new Exit(4, `${this.#version}: \n${unsupported.join("")}`);
    }
    this.#node.changeTable(this.#tables, name, table);
    this.#open = undefined;
    this.#node.fight();
  }

  #unlisted(chain: string, table: string): Exit {
    const said = `chain \`${chain}' in table \`${table}' is incompatible, use 'nft' tool.`;
    return this.#options.legacy ? this.#failure("") : new Exit(1, `${this.#version}: ${said}\n`);
  }

  /** Legacy never says why. */
  #failure(said: string): Exit {
    const why = this.#options.legacy ? "" : `: ${said}`;
    return new Exit(1, `${this.#shown}: line ${this.#number} failed${why}\n`);
  }

  #usage(said: string): Exit {
    const help = `Try \`${this.#shown} -h' or '${this.#shown} --help' for more information.`;
    return new Exit(2, `${this.#version}: ${said}\nError occurred at line: ${this.#number}\n${help}\n`);
  }
}
