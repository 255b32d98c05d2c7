/** A value that cannot be used: {@linkcode ValueError.reason} goes to the user, the message to everybody else. */
export class ValueError extends SyntaxError {
  override readonly name = "ValueError";
  /** What is wrong with the value, or what is accepted. */
  readonly reason: string;

  /**
   * @param what The kind of the value, such as `duration`.
   * @param text The value as it was given.
   */
  constructor(what: string, text: string, reason: string) {
    super(`Cannot parse ${what} ${quote(shorten(text))}: ${reason}`);
    this.reason = reason;
  }
}

/** What almost all text is. */
const PLAIN = /^[ -~]*$/;

/**
 * `text` with everything replaced that a terminal does not simply print: what is no letter, mark, number, punctuation, symbol
 * or space. Control characters, line ends of every script, text direction marks and lone surrogates are among it.
 */
export function replaceUnprintable(text: string, replace: (character: string) => string): string {
  if (PLAIN.test(text)) return text;
  // Not a constant of the module: reading such classes takes V8 a millisecond, at each start then.
  return text.replaceAll(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, replace);
}

const SHORT: Readonly<Record<string, string>> = {
  "\x07": "\\a",
  "\b": "\\b",
  "\f": "\\f",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\v": "\\v",
};

/** `text` of unknown origin on one line, with Go's escapes for what is not printable. */
export function escape(text: string): string {
  return replaceUnprintable(text, (character) => {
    const code = character.codePointAt(0) ?? 0;
    if (code < 0x80) return SHORT[character] ?? `\\x${hex(code, 2)}`;
    return code > 0xffff ? `\\U${hex(code, 8)}` : `\\u${hex(code, 4)}`;
  });
}

/** `text` in double quotes, as Go's `%q` writes it. */
export function quote(text: string): string {
  return `"${escape(text.replaceAll(/["\\]/g, "\\$&"))}"`;
}

/** `code` as so many hexadecimal digits. */
export function hex(code: number, digits: number): string {
  return code.toString(16).padStart(digits, "0");
}

/** The beginning of a text that may be very long. */
export function shorten(text: string): string {
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
