/** `YYYY-MM-DDTHH:MM:SS.sss`, local time. */
export function localTime(time: number): string {
  const offset = new Date(time).getTimezoneOffset() * 60_000;
  return new Date(Math.floor(time) - offset).toISOString().slice(0, -1);
}

/**
 * Makes a wall clock with microseconds, which `Date` lacks: milliseconds since the Unix epoch, with a fraction. The digits
 * below the millisecond come from the steady clock; it neither sees the wall clock being set nor the time that the machine
 * was suspended, so it never decides the millisecond.
 *
 * @param origin What the wall clock showed, with a fraction, when the steady one began.
 */
export function wallClock(
  wall: () => number = Date.now,
  steady: () => number = () => performance.now(),
  origin: number = performance.timeOrigin,
): () => number {
  /** What to add to the steady clock to get wall-clock time. */
  let offset = origin;
  return () => {
    const [now, guess] = [wall(), offset + steady()];
    // Shifting by no more than is needed finds the true offset within a few readings, and keeps the order of records
    // within one millisecond.
    const time = Math.min(Math.max(guess, now), now + 0.999);
    offset += time - guess;
    return time;
  };
}
