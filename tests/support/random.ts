/** Numbers that look random and are the same for the same seed (a xorshift generator). */
export class Random {
  #state: number;

  /** @param seed Any whole number; two numbers near each other give unlike sequences. */
  constructor(seed: number) {
    this.#state = (Math.imul(seed, 0x9e37_79b1) ^ 0x2545_f491) | 1;
    for (let i = 0; i < 8; i++) this.below(2);
  }

  /** A whole number from 0 to `limit` - 1. */
  below(limit: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return (x >>> 0) % limit;
  }

  /** A whole number between two, both included. */
  between(least: number, most: number): number {
    return least + this.below(most - least + 1);
  }

  /** One of several. */
  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!;
  }
}
