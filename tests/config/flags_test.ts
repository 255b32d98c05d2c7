import { assertEquals } from "@std/assert";
import { FLAGS, parseFlags, usage } from "../../lib/config/flags.ts";

/** What was given, without the flags that were not. */
function given(...argv: string[]): unknown {
  const { values, spelling, errors } = parseFlags(argv);
  return {
    values: Object.fromEntries(Object.entries(values).filter(([, texts]) => texts.length > 0)),
    spelling: Object.fromEntries(spelling),
    errors,
  };
}

Deno.test("parseFlags() takes a value after = or from the next word, whatever that looks like", () => {
  assertEquals(
    given("--port=1", "--port", "2", "--port", "", "--log_dir", "--daemon", "--log_file", "--", "--interface==a=\n="),
    {
      values: { port: ["1", "2", ""], log_dir: ["--daemon"], log_file: ["--"], interface: ["=a=\n="] },
      spelling: { port: "--port", log_dir: "--log_dir", log_file: "--log_file", interface: "--interface" },
      errors: [],
    },
  );
});

Deno.test("parseFlags() reads -v in all its forms", () => {
  const forms = [["-v4"], ["-v=4"], ["-v", "4"], ["--v=4"], ["--v", "4"]];
  assertEquals(
    forms.map((form) => given(...form)),
    forms.map(([word = ""]) => {
      const spelling = word.startsWith("--") ? "--v" : "-v";
      return { values: { v: ["4"] }, spelling: { v: spelling }, errors: [] };
    }),
  );
  assertEquals(given("-v", "-1", "-v-2", "-v="), {
    values: { v: ["-1", "-2", ""] },
    spelling: { v: "-v" },
    errors: [],
  });
});

Deno.test("parseFlags() takes a bool without = for true", () => {
  assertEquals(given("--cleanup", "--daemon=0", "--watch="), {
    values: { cleanup: ["true"], daemon: ["0"], watch: [""] },
    spelling: { cleanup: "--cleanup", daemon: "--daemon", watch: "--watch" },
    errors: [],
  });
});

Deno.test("parseFlags() reads help and version", () => {
  for (const word of ["-h", "-help", "-h=false", "-hv"]) {
    assertEquals(given(word), { values: { help: ["true"] }, spelling: { help: "-h" }, errors: [] });
  }
  assertEquals(given("--help", "--version"), {
    values: { help: ["true"], version: ["true"] },
    spelling: { help: "--help", version: "--version" },
    errors: [],
  });
});

Deno.test("parseFlags() names the closest flag when it does not know one", () => {
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
    ["--\x1b[2J", "--\\u001b[2J: unknown flag: the closest is --port"],
    [
      `--${"port".repeat(10_000)}`,
      `--${"port".repeat(20).slice(0, 78)}…: unknown flag: the closest is --alsologtostderr`,
    ],
  ];
  assertEquals<unknown>(cases.map(([word]) => [word, ...parseFlags([word]).errors]), cases);
});

Deno.test("parseFlags() does not report the value of an unknown flag", () => {
  assertEquals(given("--Port", "443", "-x", "--check"), {
    values: { check: ["true"] },
    spelling: { check: "--check" },
    errors: ["--Port: unknown flag: the closest is --port", "-x: unknown flag: the closest is --v"],
  });
});

Deno.test("parseFlags() reports a value that is missing", () => {
  assertEquals(parseFlags(["--port"]).errors, ["--port: its value is missing: ports"]);
  assertEquals(parseFlags(["-v"]).errors, ["-v: its value is missing: level"]);
});

Deno.test("parseFlags() rejects arguments that are not flags", () => {
  assertEquals(given("--daemon", "false", "false", "-", "", "--cleanup=true", "x", "--", "--check", "--"), {
    values: { daemon: ["true"], cleanup: ["true"] },
    spelling: { daemon: "--daemon", cleanup: "--cleanup" },
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

Deno.test("parseFlags() leaves Object.prototype alone", () => {
  const before = Object.getOwnPropertyNames(Object.prototype);
  parseFlags(["--__proto__.x=1", "--constructor.prototype.y=1", "--toString.z=1", "--port=__proto__"]);
  assertEquals(Object.getOwnPropertyNames(Object.prototype), before);
});

Deno.test("usage() shows every flag in its group with its default", () => {
  assertEquals(
    usage(),
    `Usage: apiserver-proxy-sidecar --ip-address=IP[,IP...] [flags]

Keeps the address of an API server proxy, and the firewall rules for it, on this node.
Lists are separated by commas, or the flag is repeated. A bool takes its value only after "="
and is false unless it says otherwise.

Address:
      --ip-address IPs                       address(es) the proxy listens on; required
      --interface name                       interface to put the address on (default lo)
      --port ports                           port(s) the proxy listens on (default 443)
      --address-scope auto|host|link|global  auto: host on loopback, else global (default auto)
      --deduplicate auto|true|false          remove the address from other interfaces (default auto)

Firewall:
      --setup-iptables                       set up the iptables rules
      --iptables-mode auto|nft|legacy        iptables back end to drive (default auto)

Running:
      --daemon                               keep running; false: one pass, then exit (default true)
      --sync-interval duration               how often everything is checked (default 1m0s)
      --watch                                repair at once on kernel events (default true)
      --cleanup                              remove addresses and rules on exit
      --command-timeout duration             longest time for one ip or iptables (default 10s)
  -h, --help                                 print this and exit
      --version                              print the version and exit

Logging:
  -v, --v level                              log verbosity (default 0)
      --vmodule glob=N,...                   log verbosity per source module
      --logging-format text|json             klog text or JSON lines (default text)
      --logtostderr                          log to standard error, not to files (default true)
      --alsologtostderr                      log to standard error and to files
      --stderrthreshold severity             severity that goes to stderr too, 0 to 3 (default 2)
      --log_dir directory                    write log files in this directory
      --log_file file                        write this log file
      --log_file_max_size MiB                size to rotate a log file at; 0: never (default 1800)
      --skip_headers                         no header prefix on log lines
      --skip_log_headers                     no header block in log files
      --add_dir_header                       add the file's directory to the header
      --one_output                           log only to the severity's own file
      --log_backtrace_at file:N              add a stack trace when that line logs

Observing:
      --check                                change nothing, print what is there and what is wrong
      --output text|json                     format of --check (default text)
      --metrics-bind-address host:port       serve Prometheus metrics at /metrics
      --health-probe-bind-address host:port  serve /healthz and /readyz; may be the metrics address
`,
  );
});

Deno.test("usage() names every flag once, within 100 columns", () => {
  const lines = usage().split("\n");
  assertEquals(lines.filter((line) => line.length > 100), []);
  assertEquals(lines.flatMap((line) => /^ .{5}--(\S+)/.exec(line)?.[1] ?? []), FLAGS.map((flag) => flag.name));
});
