/**
 * Dumps that can be compared.
 *
 * @module
 */

/** Name of the interface that the program creates. */
export const OWN_LINK = "aps0";

/** A dump without what may differ though nothing has changed: the order of chains, and the marks of a link made anew. */
export function canonical(text: string): string {
  // The kernel gives each link an address of its own, some time after its start.
  const isLate = (line: string) => line.includes(OWN_LINK) && /\bfe80::|\bmulticast ff00::/.test(line);
  const lines = text.split("\n").filter((line) => !isLate(line)).map((line) => {
    // `ip` ends a line with a space, or without.
    const named = line.trimEnd().replace(/^\d+: (?=\S+ +inet)/, "").replace(
      / +(valid_lft|preferred_lft) \d+sec/g,
      " $1 limited",
    )
      .replace(/CT --notrack$/, "NOTRACK");
    if (!named.includes(OWN_LINK)) return named;
    return named.replace(/^\d+: /, "").replaceAll(
      /\b(\d{4}\.)?([\da-f]{1,2}:){5}[\da-f]{1,2}\b/g,
      "…",
    );
  });
  // Chains stand in the order in which they were made.
  const sorted: string[] = [];
  for (let i = 0; i < lines.length;) {
    let end = i;
    while (/^(-A|:)/.test(lines[end] ?? "")) end++;
    if (end === i) {
      sorted.push(lines[i++]!);
      continue;
    }
    const chainOf = (line: string) => line.startsWith(":") ? `0${line}` : `1${line.split(" ")[1]}`;
    sorted.push(
      ...lines.slice(i, end).toSorted((a, b) => chainOf(a) < chainOf(b) ? -1 : chainOf(a) > chainOf(b) ? 1 : 0),
    );
    i = end;
  }
  return sorted.join("\n");
}
