/**
 * Test equipment: drops the rights that some flags do not need, and tells which of many things it can do then; see
 * rights_test.ts.
 *
 * @module
 */
import { parseConfig } from "../../lib/config/config.ts";
import { dropNetwork, dropRights } from "../../lib/rights.ts";

const [directory = "", mode = "", ...flags] = Deno.args;
const parsed = parseConfig(flags);
if (parsed.kind !== "config") throw new Error(JSON.stringify(parsed));

const run = (program: string, env: Record<string, string> = {}) => () => new Deno.Command(program, { env }).output();
const programs = Array.from(Deno.readDirSync(directory), ({ name }) => name).sort();

const attempts: Record<string, () => unknown> = {
  "write a file": () => Deno.writeTextFileSync(`${directory}/written`, ""),
  "remove a file": () => Deno.removeSync(`${directory}/none`),
  "read a file": () => Deno.readTextFileSync("/etc/hostname"),
  "read a directory": () => Array.from(Deno.readDirSync("/")),
  "read a process": () => Deno.readTextFileSync("/proc/self/environ"),
  "import a file": () => import(`file://${directory}/module.js`),
  "import from the network": () => import(`https://localhost:3/${"module"}.js`),
  // Deno allows to import from there unless it is told otherwise.
  "import from jsr.io": () => import(`https://jsr.io/${"none"}.js`),
  "listen": () => Deno.listen({ hostname: "127.0.0.1", port: 0 }).close(),
  "connect": async () => (await Deno.connect({ hostname: "127.0.0.1", port: 3 })).close(),
  "fetch": () => fetch("http://127.0.0.1:3/"),
  "resolve a host": () => Deno.resolveDns("localhost", "A", { nameServer: { ipAddr: "127.0.0.1", port: 1 } }),
  "read the environment": () => Deno.env.get("PATH"),
  "list the environment": () => Deno.env.toObject(),
  "change the environment": () => Deno.env.set("PATH", "/tmp"),
  "know the host's name": () => Deno.hostname(),
  "know the user": () => Deno.uid(),
  "know the network": () => Deno.networkInterfaces(),
  "know the load": () => Deno.loadavg(),
  "load a library": () => Deno.dlopen("/nowhere.so", {}),
  "signal a process": () => Deno.kill(Deno.ppid, "SIGCONT"),
  "run sh": run("sh"),
  "run /bin/sh": run("/bin/sh"),
  "run deno": run(Deno.execPath()),
  "run ip by its path": run(`${directory}/ip`),
  "run ip from elsewhere": run("/nowhere/ip"),
  "run ip with a library": run("ip", { LD_PRELOAD: "/nowhere.so" }),
  "get a right back": () => {
    const names = ["write", "read", "net", "env", "sys", "ffi", "run"] as const;
    const regained = names.filter((name) =>
      Deno.permissions.querySync({ name }).state !== Deno.permissions.requestSync({ name }).state
    );
    if (regained.length === 0) throw new Deno.errors.NotCapable();
  },
  ...Object.fromEntries(programs.filter((name) => !/^(?:module\.js|sh)$/.test(name)).map((name) => [name, run(name)])),
};

dropRights(parsed.config);
if (mode === "listening") dropNetwork();
const allowed: string[] = [];
for (const [name, attempt] of Object.entries(attempts)) {
  try {
    await attempt();
    allowed.push(name);
  } catch (error) {
    // Every other failure is one of what was allowed to be tried.
    if (!(error instanceof Deno.errors.NotCapable) && !/Requires \w+ access/.test(String(error))) allowed.push(name);
  }
}
// deno-lint-ignore no-console
console.log(JSON.stringify(allowed));
