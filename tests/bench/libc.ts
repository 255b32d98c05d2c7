/**
 * Test equipment: the system calls that Deno has no names for. Linux on a little-endian machine only.
 *
 * @module
 */

const CLONE_NEWNET = 0x4000_0000;
const O_CLOEXEC = 0o2000000;
const PRIO_PROCESS = 0;

const { symbols } = Deno.dlopen("libc.so.6", {
  open: { parameters: ["buffer", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  setns: { parameters: ["i32", "i32"], result: "i32" },
  getpriority: { parameters: ["i32", "u32"], result: "i32" },
  setpriority: { parameters: ["i32", "u32", "i32"], result: "i32" },
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  send: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
  recv: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
  __errno_location: { parameters: [], result: "pointer" },
  poll: { parameters: ["buffer", "u64", "i32"], result: "i32" },
});

/** The C library, unchecked. */
export const libc = symbols;

/** Throws if a call of the C library failed. */
export function check(call: string, result: number | bigint): number {
  if (result < 0) {
    const errno = new Deno.UnsafePointerView(symbols.__errno_location()!).getInt32();
    throw new Error(`Cannot call ${call}: errno ${errno}`);
  }
  return Number(result);
}

/** Bytes that end in a zero. */
export function text(value: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${value}\0`);
}

/** A number as the machine writes it. */
export function int16(value: number): number[] {
  return [value & 255, value >> 8];
}

/** A number as the machine writes it. */
export function int32(value: number): number[] {
  return [...int16(value & 0xffff), ...int16(value >>> 16)];
}

/** Calls something in the network namespace of another process. Sockets stay in the one they were opened in. */
export function inNetwork<T>(pid: number, body: () => T): T {
  const enter = (path: string) => check(`open ${path}`, libc.open(text(path), O_CLOEXEC));
  const [own, other] = [enter("/proc/thread-self/ns/net"), enter(`/proc/${pid}/ns/net`)];
  try {
    check("setns", libc.setns(other, CLONE_NEWNET));
    return body();
  } finally {
    check("setns", libc.setns(own, CLONE_NEWNET));
    libc.close(own);
    libc.close(other);
  }
}

/** The niceness of this thread, which the processes it starts have too. */
export function niceness(): number {
  return libc.getpriority(PRIO_PROCESS, 0);
}

/**
 * Calls something that starts no process at the highest priority that this thread can get: what wakes it up is not to wait for
 * a core. Where that is not allowed, it waits.
 */
export function favoured<T>(body: () => T): T {
  const before = niceness();
  libc.setpriority(PRIO_PROCESS, 0, -20);
  try {
    return body();
  } finally {
    libc.setpriority(PRIO_PROCESS, 0, before);
  }
}
