import { assertStringIncludes } from "@std/assert";
import { type Flag, GROUPS } from "../../lib/config/flags.ts";

const DOC = new URL("../../docs/flags.md", import.meta.url);
const HEAD = ["flag", "type", "default", "meaning"];

/** The cells of a flag's row. */
function row([name, { kind, default: byDefault, help }]: readonly [string, Flag]): readonly string[] {
  const names = name === "v" || name === "help" ? `\`-${name.charAt(0)}\`, \`--${name}\`` : `\`--${name}\``;
  return [names, kind.replaceAll("|", ", "), byDefault === "" ? "" : `\`${byDefault}\``, help];
}

/** A table as `deno fmt` lays it out. */
function table(rows: readonly (readonly string[])[]): string {
  const width = (column: number) => Math.max(...rows.map((cells) => cells[column]?.length ?? 0));
  const line = (cells: readonly string[]) => `| ${cells.map((cell, i) => cell.padEnd(width(i))).join(" | ")} |`;
  const [head = [], ...body] = rows;
  return [line(head), line(head.map((_, i) => "-".repeat(width(i)))), ...body.map(line)].join("\n");
}

for (const [title, flags] of Object.entries(GROUPS)) {
  Deno.test(`docs/flags.md has the flags of ${title} as the program knows them`, async () => {
    const wanted = `## ${title}\n\n${table([HEAD, ...Object.entries<Flag>(flags).map(row)])}\n`;
    assertStringIncludes(await Deno.readTextFile(DOC), wanted, `Put into docs/flags.md:\n\n${wanted}`);
  });
}
