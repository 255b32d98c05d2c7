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

/** A program that prints the same whatever it is told. */
export class Print implements Program {
  stdout = "";
  stderr = "";
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  line(): void {}

  end(): number {
    this.stdout = this.#text;
    return 0;
  }
}

/** `ip monitor` and its like: print events until they are killed. */
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

/** `nft --stateless list chain ip filter INPUT` and its like: reads nothing. */
export class NftList implements Program {
  stderr = "";
  constructor(readonly stdout: string) {}
  line(): void {}
  end(): number {
    return 0;
  }
}

/** `nft --interactive`. */
export class NftInteractive implements Program {
  stdout = "";
  stderr = "";
  readonly #node: FakeNode;

  constructor(node: FakeNode) {
    this.#node = node;
  }

  line(text: string): void {
    const [, verb, what = "", chain = ""] =
      /^(describe|list chain|create table|add chain) (\S+ \S+) ?(\S*)/.exec(text) ?? [];
    const { nftTables } = this.#node;
    if (verb === "describe") this.stdout += `payload expression, datatype of ${what}, 16 bits\n`;
    else if (verb === "create table" && !nftTables.has(what)) nftTables.set(what, new Set());
    else if (verb === "create table") this.#complain("Could not process rule: File exists", text);
    else if (verb === "add chain" && nftTables.has(what)) {
      for (const [, chain = ""] of text.matchAll(/add chain \S+ \S+ (\S+) /g)) nftTables.get(what)?.add(chain);
    } else if (verb === "list chain" && nftTables.get(what)?.has(chain)) {
      this.stdout += `table ${what} {\n\tchain ${chain} {\n\t}\n}\n`;
    } else if (verb === undefined) throw new Error(`FakeNode does not know "${text}" of nft`);
    else this.#complain("No such file or directory", text);
  }

  end(): number {
    return 0;
  }

  #complain(error: string, text: string): void {
    this.stderr += `Error: ${error}\n${text}\n`;
  }
}

/** `ip -force -batch /proc/net/ip_tables_names`: complains of the name of each table of the legacy back end. */
export class TableNames implements Program {
  stdout = "";
  stderr = "";
  readonly #tables: readonly string[];
  readonly #file: string;

  constructor(tables: readonly string[], file: string) {
    this.#tables = tables;
    this.#file = file;
  }

  line(): void {}

  end(): number {
    this.stderr = this.#tables.map((table, index) =>
      `Object "${table}" is unknown, try "ip help".\nCommand failed ${this.#file}:${index + 1}\n`
    ).join("");
    return this.stderr === "" ? 0 : 1;
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

/** `ip -json -details address show …`. */
export class Show implements Program {
  stdout = "";
  stderr = "";
  readonly #links: FakeLinks;
  readonly #command: string;

  constructor(links: FakeLinks, command: string) {
    this.#links = links;
    this.#command = command;
  }

  line(): void {}

  end(): number {
    try {
      this.stdout = this.#links.run(this.#command);
      return 0;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.stderr = `${error.message}\n`;
      return 1;
    }
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
  #open: { readonly name: string; table: FakeTable; refused: string[] } | undefined;

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
    else if (/^-[SIDCN] /.test(text) && this.#open !== undefined) this.#command(text);
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
      if (notPermitted || (noRawTable && name === "raw") || !["raw", "filter", "mangle"].includes(name)) {
        throw this.#usage(`${this.#shown}: unable to initialize table '${name}'`);
      }
    } else if (notPermitted) {
      const said = "Could not fetch rule set generation id: Permission denied (you must be root)";
      throw new Exit(4, `${this.#version}: ${said}\n`);
    } else if (!["raw", "filter", "mangle"].includes(name)) {
      throw this.#usage(`${this.#shown}: line ${this.#number} table name '${name}' invalid`);
    }
    this.#open = { name, table: this.#node.table(this.#tables, name), refused: [] };
  }

  #command(text: string): void {
    const open = this.#open;
    if (open === undefined) return;
    const [, verb, name = ""] = /^(\S+) (\S+)/.exec(text) ?? [];
    const refused = this.#node.refuse.find(([pattern]) => pattern.test(text));
    if (refused !== undefined) throw this.#failure(refused[1]);
    const chain = open.table.get(name);
    if (verb === "-S" && chain === undefined) throw this.#unlisted(name, open.name);
    try {
      if (verb === "-S" && chain !== undefined) this.stdout += list(name, chain);
      else open.table = change(open.table, text, this.#node);
    } catch (error) {
      if (!(error instanceof RuleError)) throw error;
      if (error.reason === "incompatible") throw this.#unlisted(name, open.name);
      if (error.reason === "unreadable") throw this.#unreadable(error.said);
      throw this.#failure(
        {
          "no chain": "No chain/target/match by that name.",
          "no rule": "Bad rule (does a matching rule exist in that chain?).",
          "no index": "Index of insertion too big.",
          "is there": "Chain already exists.",
        }[error.reason],
      );
    }
    if (verb === "-I" && chain?.foreign) {
      open.refused.push(`line ${this.#number}: CHAIN_ADD failed (Operation not supported): chain ${name}\n`);
    }
    if (this.#node.noNotrack && verb === "-I" && /NOTRACK|--notrack/.test(text)) {
      if (open.refused.length === 0) {
        this.stderr += "Warning: Extension CT revision 0 not supported, missing kernel module?\n";
      }
      open.refused.push(
        `line ${this.#number}: RULE_INSERT failed (No such file or directory): rule in chain ${name}\n`,
      );
    }
  }

  #commit(): void {
    if (this.#open === undefined) return;
    const { name, table, refused } = this.#open;
    if (refused.length > 0) {
      throw this.#options.legacy ? this.#failure("") : new Exit(4, `${this.#version}: \n${refused.join("")}`);
    }
    this.#node.changeTable(this.#tables, name, table);
    this.#open = undefined;
    this.#node.fight();
  }

  #unlisted(chain: string, table: string): Exit {
    const said = `chain \`${chain}' in table \`${table}' is incompatible, use 'nft' tool.`;
    return this.#options.legacy ? this.#failure("") : new Exit(1, `${this.#version}: ${said}\n`);
  }

  #unreadable(said: string): Exit {
    const error = said.replace("ipv4", this.#options.family === "ip6tables" ? "ipv6" : "ipv4");
    return new Exit(
      3,
      `Error: ${error}\n${this.#version}: Parsing nftables rule failed\n` +
        `Perhaps ${this.#options.name} or your kernel needs to be upgraded.\n`,
    );
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
