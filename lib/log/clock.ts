/** Where {@linkcode WallClock} reads the time, each in milliseconds. */
export interface TimeSource {
  /** The wall clock, in whole milliseconds since the Unix epoch. */
  wall(): number;
  /** A clock that only goes forward, with a fraction. */
  steady(): number;
  /** What the wall clock showed, with a fraction, when the steady one began. */
  readonly origin: number;
}

const SYSTEM: TimeSource = {
  wall: () => Date.now(),
  steady: () => performance.now(),
  origin: performance.timeOrigin,
};

/**
 * The wall clock with microseconds, which `Date` lacks. The digits below the millisecond come from the steady clock; it
 * neither sees the wall clock being set nor the time that the machine was suspended, so it never decides the millisecond.
 */
export class WallClock {
  readonly #source: TimeSource;
  /** What to add to the steady clock to get wall-clock time. */
  #offset: number;

  constructor(source: TimeSource = SYSTEM) {
    this.#source = source;
    this.#offset = source.origin;
  }

  /** Milliseconds since the Unix epoch, with a fraction. */
  now(): number {
    const wall = this.#source.wall();
    const steady = this.#source.steady();
    const guess = this.#offset + steady;
    // Shifting by no more than is needed finds the true offset within a few readings, and keeps the order of records
    // within one millisecond.
    const time = Math.min(Math.max(guess, wall), wall + 0.999);
    this.#offset += time - guess;
    return time;
  }
}
