import type { CommandError } from "./command_error.ts";
import type { Item } from "../desired/desired.ts";
import type { Answer } from "./process.ts";

/** How an item stands in the kernel. */
export type State = "present" | "missing" | "surplus" | "wrong";

/** One line that a tool is told to put an item right. */
export interface Repair {
  /** In the language of the tool: a line of `ip -batch`, or of iptables-restore in {@linkcode Repair.table}. */
  readonly command: string;
  readonly table?: string;
  /** The command for a person who types the repairs of all items one after the other, where it is another one. */
  readonly typed?: string;
}

/** What an observation says of one item. */
export interface Finding {
  readonly item: Item;
  readonly state: State;
  /** As desired. */
  readonly ok: boolean;
  /** What is there instead, if the state alone does not tell. */
  readonly detail?: string;
  /** Of a rule: in the chains of its table that were listed nobody has a rule, so that the table may not be there. */
  readonly isBare?: boolean;
  /** Of a link that is there: this program created it. */
  readonly ours?: boolean;
  /** Not as desired, but on its way: the kernel needs another moment before the rest can be done. */
  readonly pending?: boolean;
  /** What is right, and yet to be known: the address is the node's own, for example. */
  readonly warning?: string;
  /** What else the repairs remove, such as `10.96.0.2/24 on eth0`. */
  readonly removes?: readonly string[];
  /** What the repairs do to the item, for the log: "added", "replaced", "removed" … */
  readonly verb?: string;
  /** Empty when all is well, or when it is not for this program to put right. */
  readonly repairs: readonly Repair[];
}

/** A conversation with another program, before repairs. It may fail: the repairs follow all the same. */
export interface Preparation {
  readonly argv: readonly string[];
  /** The request for a listing, as lines. */
  readonly look: string;
  /** Whether an answer is whole: to the request, and to the script. */
  answered(answer: Answer): boolean;
  /** What the listing asks for, as lines; empty: nothing. */
  script(listing: string): string;
}

/**
 * A program that lists what is in the kernel and changes it, both in one process: it is told {@linkcode Tool.look} on stdin,
 * then the repairs and {@linkcode Tool.look} once more.
 */
export interface Tool {
  readonly argv: readonly string[];
  /** What it is asked about, in the order of the findings. */
  readonly items: readonly Item[];
  /** The request for a listing, as lines. */
  readonly look: string;
  /** What only one process at a time may hold: tools with the same one take turns. */
  readonly lock?: string;
  /** Whether a process that has looked and repaired is as good as a new one for the next pass. */
  readonly keepable: boolean;
  /**
   * Whether the listing is whole.
   *
   * @param lines How many lines were told, {@linkcode Tool.look} included.
   */
  answered(stdout: string, stderr: string, lines: number): boolean;
  /** Compares a listing with what is desired. @throws {SyntaxError} if it cannot be read. */
  judge(listing: string): readonly Finding[];
  /** What comes before the repairs of some findings, if anything does. */
  preparation?(findings: readonly Finding[]): Preparation | undefined;
  /** The repairs of some findings as input. */
  script(findings: readonly Finding[]): string;
  /** A repair as a person would type it. */
  shell(repair: Repair): string;
  /**
   * Which items the errors of a process are about, when some repairs failed and others did not.
   *
   * @param itemAt What a line was about, counted from 1 as the process does; undefined: a look.
   */
  blame(error: CommandError, itemAt: (line: number) => Item | undefined): ReadonlyMap<Item, CommandError>;
  /** What to try by itself after the whole could not be listed, or not repaired. Empty: it cannot be divided. */
  parts(failed: "look" | "repair", error: CommandError): readonly Tool[];
  /** Who goes on after the look, if this tool can only look. */
  next?(findings: readonly Finding[]): readonly Tool[];
}
