import { assertEquals } from "@std/assert";
import { parseCommandLine } from "../../lib/config/command_line.ts";

const DEFAULTS = parseCommandLine(["--ip-address=10.96.0.2"]).values;

/** The values that are not the default, and what is wrong. */
function given(...argv: string[]): { readonly values: unknown; readonly errors: readonly string[] } {
  const { values, errors } = parseCommandLine(["--ip-address=10.96.0.2", ...argv]);
  const changed = Object.entries(values).filter(([name, value]) =>
    JSON.stringify(value) !== JSON.stringify(DEFAULTS[name as keyof typeof DEFAULTS])
  );
  return { values: Object.fromEntries(changed), errors };
}

Deno.test("parseCommandLine() takes a value after = or from the next word, whatever that looks like", () => {
  assertEquals(
    given("--port=1", "--port", "2", "--log_dir", "--daemon", "--log_file", "--", "--log_file_max_size==a=\n="),
    {
      values: { port: [1, 2], log_dir: "--daemon", log_file: "--" },
      errors: ['--log_file_max_size: cannot use "=a=\\n=": a size is a whole number of MiB from 0 to 8589934591'],
    },
  );
  assertEquals(given("--port", "").errors, ['--port: cannot use "": a port is a whole number from 1 to 65535']);
});

Deno.test("parseCommandLine() reads -v in all its forms", () => {
  for (const form of [["-v4"], ["-v=4"], ["-v", "4"], ["--v=4"], ["--v", "4"], ["-v", "-1", "-v4"]]) {
    assertEquals(given(...form), { values: { v: 4 }, errors: [] }, form.join(" "));
  }
  assertEquals(given("-v-2"), { values: { v: -2 }, errors: [] });
  assertEquals(given("-v=").errors.length, 1);
});

Deno.test("parseCommandLine() takes a bool without = for true", () => {
  assertEquals(given("--cleanup", "--daemon=0"), { values: { cleanup: true, daemon: false }, errors: [] });
});

Deno.test("parseCommandLine() takes every word that begins with -h for help", () => {
  for (const word of ["-h", "-help", "-h=false", "-hv", "--help"]) {
    assertEquals(given(word), { values: { help: true }, errors: [] }, word);
  }
});

Deno.test("parseCommandLine() names the closest flag when it does not know one", () => {
  const cases: readonly [string, string][] = [
    ["--ip-adress=1.2.3.4", "--ip-adress: unknown flag: the closest is --ip-address"],
    ["--sync_interval=1s", "--sync_interval: unknown flag: the closest is --sync-interval"],
    ["--log-dir=/tmp", "--log-dir: unknown flag: the closest is --log_dir"],
    ["--Daemon", "--Daemon: unknown flag: the closest is --daemon"],
    ["-daemon=false", "-daemon: unknown flag: the closest is --daemon"],
    ["-version", "-version: unknown flag: the closest is --version"],
    ["-vmodule=a=1", "-vmodule: unknown flag: the closest is --vmodule"],
    ["--no-daemon", "--no-daemon: unknown flag: the closest is --daemon"],
    ["--no-cleanup=true", "--no-cleanup: unknown flag: the closest is --cleanup"],
    ["---port=1", "---port: unknown flag: the closest is --port"],
    ["--port.x=1", "--port.x: unknown flag: the closest is --port"],
    ["--__proto__=1", "--__proto__: unknown flag: the closest is --port"],
    ["--constructor.prototype.x=1", "--constructor.prototype.x: unknown flag: the closest is --one_output"],
    ["-x", "-x: unknown flag: the closest is --v"],
    ["--=x", "--: unknown flag: the closest is --v"],
    ["--\x1b[2J", "--\\x1b[2J: unknown flag: the closest is --port"],
    [
      `--${"port".repeat(10_000)}`,
      `--${"port".repeat(20).slice(0, 78)}…: unknown flag: the closest is --alsologtostderrthreshold`,
    ],
  ];
  assertEquals<unknown>(cases.map(([word]) => [word, ...given(word).errors]), cases);
});

Deno.test("parseCommandLine() does not report the value of an unknown flag", () => {
  assertEquals(given("--Port", "443", "-x", "--check"), {
    values: { check: true },
    errors: ["--Port: unknown flag: the closest is --port", "-x: unknown flag: the closest is --v"],
  });
});

Deno.test("parseCommandLine() reports a value that is missing", () => {
  assertEquals(given("--port").errors, ["--port: its value is missing: ports"]);
  assertEquals(given("-v").errors, ["--v: its value is missing: level"]);
});

Deno.test("parseCommandLine() rejects arguments that are not flags", () => {
  assertEquals(given("--daemon", "false", "false", "-", "", "--cleanup=true", "x", "--", "--check", "--"), {
    values: { cleanup: true },
    errors: [
      '--daemon: cannot use "false": a bool takes its value after "=": use --daemon=false',
      '"false": cannot use an argument that is not the value of a flag',
      '"-": cannot use an argument that is not the value of a flag',
      '"": cannot use an argument that is not the value of a flag',
      '"x": cannot use an argument that is not the value of a flag',
      '"--check": cannot use an argument that is not the value of a flag',
      '"--": cannot use an argument that is not the value of a flag',
    ],
  });
});

Deno.test("parseCommandLine() leaves Object.prototype alone", () => {
  const before = Object.getOwnPropertyNames(Object.prototype);
  parseCommandLine(["--__proto__.x=1", "--constructor.prototype.y=1", "--toString.z=1", "--port=__proto__"]);
  assertEquals(Object.getOwnPropertyNames(Object.prototype), before);
});
