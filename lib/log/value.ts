/** Anything that `JSON.stringify` writes without fail. */
export type Plain = string | number | boolean | null | readonly Plain[] | { readonly [key: string]: Plain };

/** Deeper than this, a value is only hinted at. */
const MAX_DEPTH = 8;

/** Stands for a value whose own code throws when it is looked at. */
const UNREADABLE = "[unreadable]";

/**
 * `value` with everything that JSON cannot hold replaced by the nearest that it can. A value that a log line shows must
 * never be the reason why the line is missing, so nothing here throws: not cycles, not getters that do.
 */
export function plain(value: unknown): Plain {
  return convert(value, []);
}

/**
 * The text of an error, its causes included, as Go's wrapped errors read: `cannot list: exit status 4: lock is held`.
 * Anything else that was thrown is shown as it is.
 */
export function errorText(error: unknown): string {
  return errorTextAbove(error, []);
}

function errorTextAbove(error: unknown, above: readonly unknown[]): string {
  if (!(error instanceof Error)) {
    const shown = convert(error, above);
    return typeof shown === "string" ? shown : JSON.stringify(shown);
  }
  if (above.includes(error) || above.length >= MAX_DEPTH) return "…";
  const inside = [...above, error];
  try {
    const parts = [String(error.message) || String(error.name)];
    if (error instanceof AggregateError) parts.push(error.errors.map((e) => errorTextAbove(e, inside)).join("; "));
    if (error.cause !== undefined) parts.push(errorTextAbove(error.cause, inside));
    return parts.filter((part) => part !== "").join(": ");
  } catch {
    return UNREADABLE;
  }
}

function convert(value: unknown, above: readonly unknown[]): Plain {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value;
    case "number":
      return Number.isFinite(value) ? value : String(value);
    case "bigint":
      return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
    case "undefined":
      return null;
    case "symbol":
      return String(value);
    case "function":
      return "[function]";
    case "object":
      if (value === null) return null;
      if (above.includes(value)) return "[cycle]";
      if (above.length >= MAX_DEPTH) return "[…]";
      try {
        return convertObject(value, [...above, value]);
      } catch {
        return UNREADABLE;
      }
  }
}

function convertObject(value: object, above: readonly unknown[]): Plain {
  if (value instanceof Error) return errorTextAbove(value, above.slice(0, -1));
  if (value instanceof Uint8Array) return new TextDecoder().decode(value);
  if (value instanceof Map) return convertEntries(value, above);
  if (Array.isArray(value) || value instanceof Set) return Array.from(value, (item) => convert(item, above));
  if ("toJSON" in value && typeof value.toJSON === "function") return convert(value.toJSON(), above);
  return convertEntries(Object.entries(value), above);
}

function convertEntries(entries: Iterable<readonly [unknown, unknown]>, above: readonly unknown[]): Plain {
  return Object.fromEntries(Array.from(entries, ([key, item]) => [String(key), convert(item, above)]));
}
