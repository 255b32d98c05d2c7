/**
 * Test equipment: the program with a log that nobody reads.
 *
 * @module
 */
import { assertEquals, assertLess } from "@std/assert";
import type { Namespace } from "./namespace.ts";
import { assertSameDump, flags, Program, type StartOptions, WANTED } from "./program.ts";

/** A named pipe in the namespace. */
const PIPE = "/run/stuck";
/** What was read of it. */
const READ = "/run/read";

/** Makes the pipe, fills it, and runs what follows with it as standard error. It holds the pipe open for reading, too. */
const WITH_FULL_PIPE = `mkfifo ${PIPE} && exec 3<>${PIPE} &&
  { dd if=/dev/zero of=${PIPE} oflag=nonblock bs=4096 2> /dev/null || true; } && exec "$@" 2>&3 3>&-`;

/** What "at once" is at most, on a machine that has other work: the second that is for the log is part of it. */
const AT_ONCE_MS = 4000;

/** Sets up, repairs, stops and cleans up while nobody reads what the program logs, which is all that it can. */
export async function worksUnread(
  namespace: Namespace,
  where: readonly string[],
  options: StartOptions,
): Promise<void> {
  const before = await namespace.dump();
  const argv = flags("nft", "-v=6", "--sync-interval=1h", "--cleanup", ...where);
  await using program = await Program.start(namespace, argv, {
    ...options,
    through: ["sh", "-c", WITH_FULL_PIPE, "sh"],
  });
  await program.reached(namespace, WANTED);
  // Both kinds of events have to be listened to by now, or a look would have to find the losses.
  for (let repair = 0; repair < 5; repair++) {
    await namespace.ok(["iptables-nft", "-t", "raw", "-F"]);
    await namespace.ok(["ip", "address", "del", WANTED[0]!.split(" ")[1]!, "dev", "lo"]);
    await program.reached(namespace, WANTED);
  }
  const started = performance.now();
  const { code, stderr } = await program.stop();
  assertLess(performance.now() - started, AT_ONCE_MS);
  assertEquals([code, stderr], [0, ""]);
  assertSameDump(await namespace.dump(), before);
}

/** Reads what had to wait, in order and whole, once somebody reads. */
export async function isReadLater(namespace: Namespace, options: StartOptions): Promise<void> {
  await using program = await Program.start(namespace, flags("nft", "--sync-interval=1h"), {
    ...options,
    through: ["sh", "-c", WITH_FULL_PIPE, "sh"],
  });
  await program.reached(namespace, WANTED);
  const read = async () => {
    const lines = (await namespace.run(["cat", READ])).stdout.split("\n");
    return lines.map((line) => /^I.*?\] (\w+)/.exec(line)?.[1]);
  };
  const reader = namespace.run(["sh", "-c", `exec sed -u 's/\\x00*//; /Stopped/q' ${PIPE} > ${READ}`]);
  // The kernel holds what is wanted a little before the program knows: stopped in between, it would not log it.
  await program.until(async () => assertEquals((await read()).filter((it) => it === "Added").length, WANTED.length));
  const [{ code }] = await Promise.all([program.stop(), reader]);
  assertEquals(code, 0);
  const messages = await read();
  assertEquals(messages.toSorted(), [...Array(WANTED.length).fill("Added"), "Started", "Stopped", undefined]);
  assertEquals(messages.at(-2), "Stopped");
}
