/**
 * Test equipment: documents whose commands are run. In Markdown,
 *
 * - a block of language `sh` is typed by a person, as root on a node: it has to exit with 0 (`sh exit=1`: with 1);
 * - `sh until` is typed again and again until it prints what the document says;
 * - `sh daemon` starts the program, which goes on until the next one, a block that is typed `alone`, or the end of the
 *   document, and then exits with 0;
 * - a block of language `text` right after is all that was printed, standard error too; `…` stands for anything in a line,
 *   and a line of its own for any lines. `text log` is what the daemon comes to log, among other lines.
 *
 * Times, process ids and line numbers of log lines differ each time, and are not compared. All blocks of a document are run
 * in their order, in one namespace. Blocks of other languages, such as `console` and `yaml`, are examples, and not run.
 *
 * @module
 */
import { assertEquals, AssertionError } from "@std/assert";
import type { Namespace } from "./namespace.ts";
import { eventually, Program, SOURCE } from "./program.ts";

/** A fenced block. */
interface Block {
  readonly language: string;
  /** The words after the language. */
  readonly info: readonly string[];
  readonly text: string;
  /** The block right after it, with nothing but empty lines between. */
  readonly next: Block | undefined;
}

/** Runs the commands of a document; gives how many blocks of them there were. */
export async function runDocument(
  namespace: Namespace,
  markdown: string,
  program: readonly string[] = SOURCE,
): Promise<number> {
  const path = await install(namespace, program);
  let daemon: Program | undefined;
  const end = async () => {
    await using ending = daemon;
    daemon = undefined;
    if (ending !== undefined) assertEquals((await ending.stop()).code, 0, ending.stderr);
  };
  const commands = blocksOf(markdown).filter(({ language }) => language === "sh");
  try {
    for (const { text, info, next } of commands) {
      const says = next?.language === "text" ? next : undefined;
      if (info.includes("daemon") || info.includes("alone")) await end();
      if (info.includes("daemon")) {
        // The process that gets the signals is to be the program's.
        const script = `exec ${text.replaceAll(/^#.*\n/gm, "")}`;
        daemon = await Program.start(namespace, [script], { path, program: ["sh", "-euc"] });
        await daemon.logged(/\] Started /);
      } else {
        await (info.includes("until") ? eventually : once)(async () => {
          const { code, stdout } = await namespace.run(["env", `PATH=${path}`, "sh", "-euc", `exec 2>&1\n${text}`]);
          const wanted = info.find((word) => word.startsWith("exit="))?.slice(5) ?? "0";
          assertEquals(`exit=${code}`, `exit=${wanted}`, `${text}${stdout}`);
          if (says !== undefined && !says.info.includes("log")) assertSays(stdout, says.text, text);
        });
      }
      if (says?.info.includes("log")) await daemon?.until(() => assertLogs(daemon?.stderr ?? "", says.text, text));
    }
    await end();
  } finally {
    await daemon?.[Symbol.asyncDispose]();
  }
  return commands.length;
}

function once(work: () => Promise<void>): Promise<void> {
  return work();
}

/** Puts the program where a shell finds it; gives the PATH. */
async function install(namespace: Namespace, program: readonly string[]): Promise<string> {
  const directory = (await namespace.ok(["mktemp", "--directory", "/run/docs.XXXX"])).trim();
  const script = `#!/bin/sh\nexec ${program.map((word) => `'${word}'`).join(" ")} "$@"\n`;
  await namespace.ok(["sh", "-euc", 'cat > "$0"; chmod +x "$0"', `${directory}/apiserver-proxy-sidecar`], {
    stdin: script,
  });
  return `${directory}:${(await namespace.ok(["printenv", "PATH"])).trim()}`;
}

/** The fenced blocks of a document. */
export function blocksOf(markdown: string): readonly Block[] {
  const found = [...markdown.matchAll(/^```(\S+)(.*)\n([^]*?)^```\n/gm)];
  return found.reduceRight<readonly Block[]>(
    (after, { 0: whole, 1: language = "", 2: info = "", 3: text = "", index }) => {
      const [next] = after;
      const isRightAfter = /^\s*```\S/.test(markdown.slice(index + whole.length));
      return [{ language, info: info.split(" "), text, next: isRightAfter ? next : undefined }, ...after];
    },
    [],
  );
}

function assertSays(said: string, documented: string, command: string): void {
  const pattern = new RegExp(`^${linesOf(documented).join("")}$`);
  if (!pattern.test(comparable(said))) throw new AssertionError(`${command}\nsays\n${said}\nand not\n${documented}`);
}

function assertLogs(log: string, documented: string, command: string): void {
  const pattern = new RegExp(linesOf(documented).map((line) => `^${line}`).join("(?:.*\n)*?"), "m");
  if (!pattern.test(comparable(log))) throw new AssertionError(`After\n${command}\nit does not log\n${documented}`);
}

/** A pattern for each line. */
function linesOf(documented: string): readonly string[] {
  return comparable(documented).trimEnd().split("\n").map((line) =>
    line === "…" ? "(?:.*\n)*?" : `${line.replaceAll(/[^\w\s…]/g, "\\$&").replaceAll("…", ".*")}\n`
  );
}

/** Log lines without what differs each time. */
function comparable(text: string): string {
  return text.replaceAll(/^([IWEF])\d{4} [\d:.]+ +\d+ (\w+\.ts):\d+\] /gm, "$1 $2] ");
}
