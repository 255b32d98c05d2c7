/**
 * The original's way of working (v0.13.0): it polls; one `ip` for each address, one `iptables -C` for each rule, one `-I` for
 * each that is missing, one after the other. Prints a line of JSON for each pass: how long it took, the CPU of its commands,
 * and what it put back when.
 *
 *     deno run -P=test reference.ts --interval=MS --passes=N --backend=nft ADDRESS…
 *
 * @module
 */
import { delay } from "@std/async/delay";
import { parseArgs } from "@std/cli/parse-args";

const { interval, passes, backend, _: addresses } = parseArgs(Deno.args, {
  string: ["interval", "passes", "backend", "_"],
  default: { interval: "60000", passes: "1", backend: "nft" },
});

async function succeeds(program: string, ...args: string[]): Promise<boolean> {
  const { success } = await new Deno.Command(program, { args, stdin: "null", stdout: "null", stderr: "null" }).output();
  return success;
}

function rulesOf(ip: string): (readonly [table: string, chain: string, ...spec: string[]])[] {
  const to = ["-d", `${ip}/32`, "-p", "tcp", "-m", "tcp", "--dport", "443", "-j"];
  const from = ["-s", `${ip}/32`, "-p", "tcp", "-m", "tcp", "--sport", "443", "-j"];
  return [
    ["raw", "PREROUTING", ...to, "NOTRACK"],
    ["raw", "OUTPUT", ...to, "NOTRACK"],
    ["filter", "INPUT", ...to, "ACCEPT"],
    ["filter", "OUTPUT", ...from, "ACCEPT"],
    ["raw", "OUTPUT", ...from, "NOTRACK"],
  ];
}

/** Milliseconds of CPU of all commands so far. */
function cpu(): number {
  const fields = Deno.readTextFileSync("/proc/self/stat").replace(/^.*\) /s, "").split(" ");
  return 10 * (Number(fields[13]) + Number(fields[14]));
}

for (let pass = 0; pass < Number(passes); pass++) {
  if (pass > 0) await delay(Number(interval));
  const started = performance.now();
  const repairs: { ip: string; at: number }[] = [];
  for (const ip of addresses.map(String)) {
    if (await succeeds("ip", "address", "add", `${ip}/32`, "dev", "lo")) repairs.push({ ip, at: Date.now() });
    for (const [table, chain, ...spec] of rulesOf(ip)) {
      const run = (what: string) => succeeds(`iptables-${backend}`, "-w", "-t", table, what, chain, ...spec);
      if (!await run("-C")) await run("-I");
    }
  }
  const line = JSON.stringify({ ms: performance.now() - started, cpu: cpu(), repairs });
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}
