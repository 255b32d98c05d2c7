/**
 * Test equipment: a pod that asks its kube-apiserver all the time, as a program.
 *
 *     client.ts NAME APISERVER AUTHORITY EVERY ADDRESS…
 *
 * Each EVERY milliseconds it asks, at one ADDRESS after the other, by a new TLS connection, and checks that APISERVER answers;
 * besides, it holds a watch at each ADDRESS. It takes lines from its standard input, and answers each by a line of JSON:
 * `report` by a {@linkcode Tally} of all that began since the last one, when it is over and no watch waits for its first
 * answer; `patience MS` says how long requests may take from now on; `get URL` gives a status and a body. It ends when nobody
 * feeds it any more.
 *
 * @module
 */
import type { Tally, Trouble } from "./load.ts";
import { get } from "./https.ts";
import { lines } from "./lines.ts";

/** The kernel sends a lost SYN again after a second: what takes less has met no outage, what takes more may have. */
const SLOW_MS = 900;
/** Between two tries when nobody listens, as clients of kube-apiservers do it, if not as often. */
const RETRY_MS = 10;
/** A watch that has no answer by then is tried again. */
const WATCH_START_MS = 2000;
const WATCH_RETRY_MS = 200;
/** A client does not pile up more than this, so that a machine that is late can catch up. */
const MAX_PENDING = 16;
/** A bound for all, should nobody end it. */
const MAX_REQUESTS = 1_000_000;

const [who = "", apiserver, authority = "", every, ...addresses] = Deno.args;
const pem = Deno.readTextFileSync(authority);

/** A request that takes longer has failed. */
let patience = 2000;
let tally = empty();
let retransmits = await synRetransmits();
const pending = new Set<Promise<void>>();
/** Watches that have no answer yet. */
const beginning = new Set<Promise<void>>();
let count = 0;

setInterval(() => {
  if (count >= MAX_REQUESTS || pending.size >= MAX_PENDING) return;
  const path = `/${who}/${count}`;
  const request = ask(addresses[count++ % addresses.length]!, path, tally);
  pending.add(request);
  request.finally(() => pending.delete(request));
}, Number(every));
for (const address of addresses) watch(address);

const commands: Record<string, (value: string) => unknown> = {
  report,
  get: visit,
  patience: (ms) => patience = Number(ms),
};
for await (const line of lines(Deno.stdin.readable)) {
  const [command = "", value = ""] = line.split(" ");
  const answer = await commands[command]!(value);
  Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(answer)}\n`));
}
Deno.exit();

async function ask(address: string, path: string, tally: Tally): Promise<void> {
  const at = Date.now();
  const started = performance.now();
  const signal = AbortSignal.timeout(patience);
  tally.asked++;
  let refused = false;
  let problem: string | undefined;
  while (true) {
    try {
      let answer = "";
      for await (const text of get(address, path, { authority: pem, signal })) answer += text;
      problem = answer === JSON.stringify({ server: apiserver, path }) ? undefined : `answered by ${answer}`;
      break;
    } catch (error) {
      problem = String(error);
      if (signal.aborted || !(error instanceof Deno.errors.ConnectionRefused)) break;
      refused = true;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
  const ms = performance.now() - started;
  const trouble: Trouble = { who, address, at, ms: Math.round(ms), what: problem ?? "" };
  if (problem !== undefined) tally.failed.push(trouble);
  else if (refused) tally.waited.push(trouble);
  else if (ms > SLOW_MS) tally.slow.push(trouble);
  else tally.worst = Math.max(tally.worst, Math.round(ms));
}

async function watch(address: string): Promise<never> {
  while (true) {
    const at = Date.now();
    let held = false;
    let what = "ended";
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
    beginning.add(begun);
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), WATCH_START_MS);
    try {
      for await (const _ of get(address, "/watch", { authority: pem, signal: late.signal })) {
        clearTimeout(timer);
        held = true;
        begin();
        beginning.delete(begun);
      }
    } catch (error) {
      what = String(error);
    }
    clearTimeout(timer);
    begin();
    beginning.delete(begun);
    if (held) tally.broken.push({ who, address, at, ms: Date.now() - at, what });
    await new Promise((resolve) => setTimeout(resolve, WATCH_RETRY_MS));
  }
}

async function report(): Promise<Tally> {
  const over = tally;
  tally = empty();
  // Their packets may be lost like those of requests, and are sent again a second later.
  await Promise.all([...pending, ...beginning]);
  const before = retransmits;
  retransmits = await synRetransmits();
  return { ...over, lost: retransmits - before };
}

/** How often the kernel had to send a SYN again on this machine. */
async function synRetransmits(): Promise<number> {
  const [names, values] = (await Deno.readTextFile("/proc/net/netstat")).split("\n").map((line) => line.split(" "));
  return Number(values![names!.indexOf("TCPSynRetrans")]);
}

async function visit(url: string): Promise<{ status: number; body: string }> {
  try {
    const response = await fetch(url);
    return { status: response.status, body: await response.text() };
  } catch (error) {
    return { status: 0, body: String(error) };
  }
}

function empty(): Tally {
  return { asked: 0, failed: [], slow: [], waited: [], broken: [], lost: 0, worst: 0 };
}
