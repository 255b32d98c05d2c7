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
    super(`Cannot parse ${what} ${quote(text)}: ${reason}`);
    this.reason = reason;
  }
}

const SHOWN = 80;

/** Makes text of unknown origin fit to be shown: short, and without anything a terminal would act on. */
export function printable(text: string): string {
  const short = text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text;
  // JSON leaves C1 controls, bidirectional overrides and line separators as they are; terminals act on them.
  return JSON.stringify(short).slice(1, -1).replaceAll(
    /[\p{C}\p{Zl}\p{Zp}]/gu,
    (found) => `\\u{${found.codePointAt(0)?.toString(16)}}`,
  );
}

/** {@linkcode printable} text in double quotes. */
export function quote(text: string): string {
  return `"${printable(text)}"`;
}
