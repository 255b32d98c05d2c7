/**
 * All that a terminal does not simply print: what is no letter, mark, number, punctuation, symbol or space. Control
 * characters, line ends of every script, text direction marks and lone surrogates are among it.
 */
const UNPRINTABLE = /[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu;

/** What almost all text is. Compiling {@linkcode UNPRINTABLE} takes V8 a millisecond. */
const PLAIN = /^[ -~]*$/;

const SHORT: Readonly<Record<string, string>> = {
  "\x07": "\\a",
  "\b": "\\b",
  "\f": "\\f",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\v": "\\v",
};

/** `text` on one line, with Go's escapes for what is not printable. */
export function escape(text: string): string {
  if (PLAIN.test(text)) return text;
  return text.replaceAll(UNPRINTABLE, (char) => {
    const code = char.codePointAt(0)!;
    if (code < 0x80) return SHORT[char] ?? `\\x${hex(code, 2)}`;
    return code > 0xffff ? `\\U${hex(code, 8)}` : `\\u${hex(code, 4)}`;
  });
}

/** `text` in double quotes, as Go's `%q` writes it. */
export function quote(text: string): string {
  return `"${escape(text.replaceAll(/["\\]/g, "\\$&"))}"`;
}

/** JSON text with all that is not printable escaped; it stays the same JSON. */
export function escapeJson(json: string): string {
  if (PLAIN.test(json)) return json;
  return json.replaceAll(UNPRINTABLE, (char) => {
    let escaped = "";
    for (let i = 0; i < char.length; i++) escaped += `\\u${hex(char.charCodeAt(i), 4)}`;
    return escaped;
  });
}

function hex(code: number, width: number): string {
  return code.toString(16).padStart(width, "0");
}
