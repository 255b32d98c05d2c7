import { assert, assertEquals } from "@std/assert";
import { type Config, parseConfig } from "../../lib/config/config.ts";
import { FLAGS } from "../../lib/config/flags.ts";
import { isInterfaceName } from "../../lib/config/values.ts";
import { globRegExp } from "../../lib/log/verbosity.ts";

const DEFAULTS: Config = {
  addresses: [{ family: 4, ip: "10.96.0.2" }],
  interface: "lo",
  ports: [443],
  setupIptables: false,
  syncInterval: 60_000,
  daemon: true,
  cleanup: false,
  watch: true,
  iptablesMode: "auto",
  addressScope: "auto",
  deduplicate: "auto",
  check: false,
  output: "text",
  metricsBindAddress: undefined,
  healthProbeBindAddress: undefined,
  commandTimeout: 10_000,
  log: {
    verbosity: 0,
    vmodule: [],
    format: "text",
    toStderr: true,
    alsoToStderr: false,
    stderrThreshold: "ERROR",
    alsoToStderrThreshold: "INFO",
    legacyThreshold: true,
    dir: undefined,
    file: undefined,
    fileMaxSize: 1800 * 1024 * 1024,
    skipHeaders: false,
    skipLogHeaders: false,
    addDirHeader: false,
    oneOutput: false,
    backtraceAt: undefined,
  },
};

/** The Config of a command line that has an address already, or its errors. */
function parse(...argv: string[]): unknown {
  const result = parseConfig(["--ip-address=10.96.0.2", ...argv]);
  return result.kind === "config" ? result.config : result.kind === "errors" ? result.errors : result.kind;
}

function parseIps(...argv: string[]): unknown {
  const result = parseConfig(argv);
  return result.kind === "config" ? result.config.addresses : result.kind === "errors" ? result.errors : result.kind;
}

Deno.test("parseConfig() fills in the defaults", () => {
  assertEquals(parse(), DEFAULTS);
});

Deno.test("parseConfig() reads every flag", () => {
  assertEquals<unknown>(
    parseConfig([
      ..."--ip-address=10.96.0.2,10.96.0.3 --ip-address 2001:DB8::0:2 --interface=dummy0 --port=443,444 --port 445"
        .split(" "),
      ..."--setup-iptables --sync-interval=1m30s --daemon=F --cleanup=t --watch=0 --iptables-mode=nft".split(" "),
      ..."--address-scope=link --deduplicate=true --output=json --metrics-bind-address=:8080".split(" "),
      ..."--health-probe-bind-address=[0:0::1]:8081 --command-timeout=.5s --version=false --help=0 -v=4".split(" "),
      ..."--vmodule=iptables=4,,log*=0, --logging-format=json --logtostderr=False --alsologtostderr=TRUE".split(" "),
      ..."--alsologtostderrthreshold=error --legacy_stderr_threshold_behavior=false".split(" "),
      ..."--stderrthreshold=Warning --log_dir=/var/log --log_file=/a --log_file_max_size=0 --skip_headers=T".split(" "),
      ..."--skip_log_headers=True --add_dir_header=1 --one_output=true --log_backtrace_at=loop.ts:17 --".split(" "),
    ]),
    {
      kind: "config",
      config: {
        addresses: [
          { family: 4, ip: "10.96.0.2" },
          { family: 4, ip: "10.96.0.3" },
          { family: 6, ip: "2001:db8::2" },
        ],
        interface: "dummy0",
        ports: [443, 444, 445],
        setupIptables: true,
        syncInterval: 90_000,
        daemon: false,
        cleanup: true,
        watch: false,
        iptablesMode: "nft",
        addressScope: "link",
        deduplicate: true,
        check: false,
        output: "json",
        metricsBindAddress: { hostname: "127.0.0.1", port: 8080 },
        healthProbeBindAddress: { hostname: "::1", port: 8081 },
        commandTimeout: 500,
        log: {
          verbosity: 4,
          vmodule: [{ module: globRegExp("iptables"), level: 4 }, { module: globRegExp("log*"), level: 0 }],
          format: "json",
          toStderr: false,
          alsoToStderr: true,
          stderrThreshold: "WARNING",
          alsoToStderrThreshold: "ERROR",
          legacyThreshold: false,
          dir: "/var/log",
          file: "/a",
          fileMaxSize: 0,
          skipHeaders: true,
          skipLogHeaders: true,
          addDirHeader: true,
          oneOutput: true,
          backtraceAt: { file: "loop.ts", line: 17 },
        },
      },
    },
  );
});

Deno.test("parseConfig() freezes the Config throughout", () => {
  function unfrozen(value: unknown, path: string): string[] {
    if (typeof value !== "object" || value === null) return [];
    return [
      ...(Object.isFrozen(value) ? [] : [path]),
      ...Object.entries(value).flatMap(([key, inner]) => unfrozen(inner, `${path}.${key}`)),
    ];
  }
  const config = parse("--metrics-bind-address=1", "--vmodule=a=1", "--log_backtrace_at=a.ts:1");
  assertEquals(unfrozen(config, "config"), []);
});

Deno.test("parseConfig() takes the last of a single value, and empty for none", () => {
  assertEquals(parse("--log_dir=/a", "--log_dir=", "-v=1", "--v=2", "--daemon=false", "--daemon"), {
    ...DEFAULTS,
    log: { ...DEFAULTS.log, verbosity: 2 },
  });
});

Deno.test("parseConfig() reports everything that is wrong at once", () => {
  assertEquals<unknown>(
    parseConfig([
      ..."--port=70000,,443 --port 443 --port 0 --interface=a/b --setup-iptables=yes --sync-interval=5d".split(" "),
      ..."--daemon false --cleanup=maybe --watch= --iptables-mode=NFT --address-scope=site --deduplicate=1".split(" "),
      ..."--check=2 --output=yaml --metrics-bind-address=::1:80 --health-probe-bind-address=a:0".split(" "),
      ..."--command-timeout=0s -v=x -v=4 --vmodule=a --logging-format=xml --logtostderr=no --stderrthreshold=4".split(
        " ",
      ),
      ..."--log_file_max_size=010 --log_backtrace_at=a:1 --version=2 --ouput=text --log_dir".split(" "),
    ]),
    {
      kind: "errors",
      errors: [
        '--daemon: cannot use "false": a bool takes its value after "=": use --daemon=false',
        "--ouput: unknown flag: the closest is --output",
        "--log_dir: its value is missing: directory",
        "--ip-address: required: the address that the proxy listens on, such as --ip-address=10.96.0.2",
        '--interface: cannot use "a/b": an interface name has 1 to 15 bytes, an alternative name up to 127, no white space ' +
        "and none of / : % \" ' # \\, and is not . or ..",
        '--port: cannot use "70000": a port is a whole number from 1 to 65535',
        '--port: cannot use "": a port is a whole number from 1 to 65535',
        '--port: cannot use "443": it is in the list twice',
        '--port: cannot use "0": a port is a whole number from 1 to 65535',
        '--address-scope: cannot use "site": it is one of auto, host, link, global',
        '--deduplicate: cannot use "1": it is one of auto, true, false',
        '--setup-iptables: cannot use "yes": a bool is true or false',
        '--iptables-mode: cannot use "NFT": it is one of auto, nft, legacy',
        '--sync-interval: cannot use "5d": unit "d" is unknown: a duration is numbers with units ' +
        "(ns, us, ms, s, m, h), such as 1m30s",
        '--watch: cannot use "": a bool is true or false',
        '--cleanup: cannot use "maybe": a bool is true or false',
        '--command-timeout: cannot use "0s": it has to be longer than 0',
        '--version: cannot use "2": a bool is true or false',
        '--v: cannot use "x": a level is a whole number from -2147483648 to 2147483647',
        '--vmodule: cannot use "a": "a" is not glob=N, such as process=4 or log*=2',
        '--logging-format: cannot use "xml": it is one of text, json',
        '--logtostderr: cannot use "no": a bool is true or false',
        '--stderrthreshold: cannot use "4": a severity is one of INFO, WARNING, ERROR, FATAL, or its number, 0 to 3',
        '--log_file_max_size: cannot use "010": a size is a whole number of MiB from 0 to 8589934591',
        '--log_backtrace_at: cannot use "a:1": a source line is file.ts:N, with N from 1',
        '--check: cannot use "2": a bool is true or false',
        '--output: cannot use "yaml": it is one of text, json',
        '--metrics-bind-address: cannot use "::1:80": an IPv6 address is written in brackets',
        '--health-probe-bind-address: cannot use "a:0": a port is a whole number from 1 to 65535',
      ],
    },
  );
});

Deno.test("parseConfig() lets help win over version, and both over errors", () => {
  assertEquals(parseConfig(["--port=x", "--version", "-h"]), { kind: "help" });
  assertEquals(parseConfig(["--port=x", "--version", "--help=false", "y"]), { kind: "version" });
});

Deno.test("parseConfig() reports flags that contradict each other", () => {
  const taken = (flag: string, host: string) =>
    `--${flag}: cannot use port 443 of ${host}: it is the proxy's (see --port)`;
  const cases: readonly [string, unknown][] = [
    ["--check --cleanup", ["--check: cannot use it with --cleanup: a check changes nothing"]],
    ["--metrics-bind-address=0.0.0.0:443", [taken("metrics-bind-address", "0.0.0.0")]],
    ["--health-probe-bind-address=[0::0]:443", [taken("health-probe-bind-address", "::")]],
    ["--health-probe-bind-address=10.96.0.2:443", [taken("health-probe-bind-address", "10.96.0.2")]],
    ["--health-probe-bind-address=:443", {
      ...DEFAULTS,
      healthProbeBindAddress: { hostname: "127.0.0.1", port: 443 },
    }],
  ];
  assertEquals<unknown>(cases.map(([line]) => [line, parse(...line.split(" "))]), cases);
});

Deno.test("parseConfig() gives addresses in their RFC 5952 form", () => {
  const cases: readonly [string, string][] = [
    ["10.96.0.2", "10.96.0.2"],
    ["0.0.0.1", "0.0.0.1"],
    ["100.104.1.2", "100.104.1.2"],
    ["169.254.20.10", "169.254.20.10"],
    ["240.0.0.1", "240.0.0.1"],
    ["255.255.255.254", "255.255.255.254"],
    ["2001:DB8:0:0:0:0:0:2", "2001:db8::2"],
    ["2001:db8:0000:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["1:0:0:2:0:0:0:3", "1:0:0:2::3"],
    ["1:0:0:2:3:0:0:4", "1::2:3:0:0:4"],
    ["::1:2:3:4:5:6:7", "0:1:2:3:4:5:6:7"],
    ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
    ["fd00::", "fd00::"],
    ["fe80::a", "fe80::a"],
    ["64:ff9b:1::100.104.1.2", "64:ff9b:1::6468:102"],
    ["1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"],
    ["::1.2.3.4", "::102:304"],
  ];
  assertEquals<unknown>(
    cases.map(([text]) => [text, parseIps(`--ip-address=${text}`)]),
    cases.map(([text, ip]) => [text, [{ family: ip.includes(":") ? 6 : 4, ip }]]),
  );
});

Deno.test("parseConfig() takes spaces and quotes around addresses, as pflag does", () => {
  assertEquals(parseIps("--ip-address=\" 10.96.0.2 , '10.96.0.3'\",`fd00::2`"), [
    { family: 4, ip: "10.96.0.2" },
    { family: 4, ip: "10.96.0.3" },
    { family: 6, ip: "fd00::2" },
  ]);
  assertEquals(parse("--port= 1 , 2"), { ...DEFAULTS, ports: [1, 2] });
});

Deno.test("parseConfig() rejects addresses that a proxy cannot have", () => {
  const form = "an address is IPv4 in four decimal parts, such as 10.96.0.2, or IPv6, such as 2001:db8::2";
  const cases: readonly [string, string][] = [
    ...["", "10.1", "1.2.3", "0x7f.1", "010.0.0.1", "1.2.3.04", "1.2.3.256", "1.2.3.4.5", "4294967295", "١.2.3.4"]
      .map((text) => [text, form] as [string, string]),
    ...["localhost", ":", ":::", "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2:3:4:5:6:7:8", "12345::", "g::"]
      .map((text) => [text, form] as [string, string]),
    ...["::1.2.3", "::01.2.3.4", "::0x1.2.3.4", "1.2.3.4::", "[fd00::2]", "1:2:3:4:5:6:7:1.2.3.4", "fd00::2:"]
      .map((text) => [text, form] as [string, string]),
    ["10.96.0.2/32", "an address is given without a prefix length"],
    ["fe80::1%eth0", "an address is given without a zone"],
    ["::ffff:1.2.3.4", "an IPv4-mapped address is not accepted: use 1.2.3.4"],
    ["::FFFF:102:304", "an IPv4-mapped address is not accepted: use 1.2.3.4"],
    ["0.0.0.0", "a proxy cannot have an address that is unspecified"],
    ["0::0", "a proxy cannot have an address that is unspecified"],
    ["127.8.0.1", "a proxy cannot have an address that is loopback"],
    ["0:0::1", "a proxy cannot have an address that is loopback"],
    ["224.0.0.1", "a proxy cannot have an address that is multicast"],
    ["ff02::1", "a proxy cannot have an address that is multicast"],
    ["255.255.255.255", "a proxy cannot have an address that is broadcast"],
  ];
  assertEquals<unknown>(
    cases.map(([text]) => [text, parseIps(`--ip-address=${text}`)]),
    cases.map(([text, reason]) => [text, [`--ip-address: cannot use "${text}": ${reason}`]]),
  );
  assertEquals(parseIps("--ip-address=fd00::2,FD00::0:2"), [
    '--ip-address: cannot use "FD00::0:2": it is in the list twice',
  ]);
});

/** Which of some values a flag takes. */
function accepted(flag: string, values: readonly string[]): readonly string[] {
  return values.filter((value) => !Array.isArray(parse(`--${flag}=${value}`)));
}

Deno.test("parseConfig() takes the values that are in range, and no others", () => {
  const cases: readonly [string, readonly string[], readonly string[]][] = [
    ["port", ["1", "65535"], ["0", "65536", "-1", "+1", "01", "1.0", "1e3", "0x1bb", "443 444", "http", "४४३"]],
    [
      "interface",
      ["lo", "a", "eth0.100", "123456789012345", "...", "éééééééa", "-x", "a@b", "1234567890123456", "é".repeat(63)],
      ["", ".", "..", "x".repeat(128), "é".repeat(64), "a b", "a\tb", "a/b", "a:b", "a%d", "a\u00a0", "à"]
        .concat(["a\x01", "a\ud800", 'a"', "a'", "a#b", "a\\"]),
    ],
    ["sync-interval", ["1ms", "1h2m3.5s", "2562047h", "+1s", "1000us"], [
      "0",
      "0s",
      "999us",
      "-1s",
      "5",
      "1d",
      "2562048h",
    ]],
    ["command-timeout", ["1ns", "10s"], ["0", "0.1ns", "-1s", ""]],
    ["v", ["-2147483648", "2147483647", "+4", "-0", "007"], [
      "2147483648",
      "-2147483649",
      "1.5",
      "0x1",
      "1e1",
      "",
      " 1",
    ]],
    ["log_file_max_size", ["0", "1", "8589934591"], ["8589934592", "-1", "+1", "01", "1.5", "1_000", "", "1Mi"]],
    ["stderrthreshold", ["0", "3", "info", "WARNING", "Error", "fatal"], ["4", "-1", "00", "", "warn"]],
    ["daemon", "1 t T TRUE true True 0 f F FALSE false False".split(" "), ["tRUE", "", "yes", "2", " true"]],
    ["deduplicate", ["auto", "true", "false"], ["1", "True", "AUTO", ""]],
    ["iptables-mode", ["auto", "nft", "legacy"], ["", "nft ", "Auto", "constructor"]],
    [
      "vmodule",
      ["", ",", "a=0", "a=1,b=2,", "l*=2147483647", "?[a-z]=1", "\\[=1"],
      ["a", "a=", "=1", "a=-1", "a=1.5", "a=2147483648", "a=1=2", "[a=1", "a\\=1", "[]=1", "[^]=1", "a=1;b=2"],
    ],
    ["log_backtrace_at", ["", "loop.ts:1", "main.go:2147483647"], [
      "loop:1",
      "loop.ts",
      "loop.ts:0",
      "a.ts:-1",
      "a.ts:1:2",
      ":",
    ]],
    [
      "metrics-bind-address",
      ["", "8080", ":8080", "localhost:1", "0.0.0.0:65535", "[::]:1", "[fd00::2]:9", "my-node.example.org:80", "1a:1"]
        .concat(["[192.0.2.7]:9103", "LOCALHOST:1"]),
      [
        "0",
        ":0",
        ":",
        "localhost",
        "localhost:",
        "a:65536",
        "::1:9",
        "[::1]",
        "[]:1",
        "[1.2.3]:1",
        "[::1:1",
        "10.1:1",
        "0x7f.1:1",
      ]
        .concat(["0x7f:1", "127:1", "a..b:1", "-a:1", "a_b:1", "a b:1", "[fe80::1%lo]:1", "1.2.3.4.5:1", "http://a:1"]),
    ],
  ];
  for (const [flag, good, bad] of cases) assertEquals(accepted(flag, [...good, ...bad]), good, `--${flag}`);
});

Deno.test("parseConfig() takes localhost for 127.0.0.1, and no brackets into a host name", () => {
  const hosts = ["localhost", "Localhost", "", "[192.0.2.7]", "[FD00::0:2]", "my-node"];
  assertEquals(
    hosts.map((host) => parseConfig(["--ip-address=10.96.0.2", `--metrics-bind-address=${host}:9103`]))
      .map((result) => result.kind === "config" && result.config.metricsBindAddress?.hostname),
    ["127.0.0.1", "127.0.0.1", "127.0.0.1", "192.0.2.7", "fd00::2", "my-node"],
  );
});

Deno.test("isInterfaceName() is false for what can only be an alternative name", () => {
  assertEquals(["lo", "123456789012345", "1234567890123456", "éééééééa", "éééééééé"].map(isInterfaceName), [
    true,
    true,
    false,
    true,
    false,
  ]);
});

Deno.test("parseConfig() escapes and shortens what it repeats", () => {
  assertEquals(parse("--interface=\x1b]0;x\x07\x9b\u202e\u2028\ud800\n", `--output=${"é".repeat(1000)}`, "\x1b[2J"), [
    '"\\x1b[2J": cannot use an argument that is not the value of a flag',
    '--interface: cannot use "\\x1b]0;x\\a\\u009b\\u202e\\u2028\\ud800\\n": an interface name has 1 to 15 bytes, an ' +
    "alternative name up to 127, no white space and none of / : % \" ' # \\, and is not . or ..",
    `--output: cannot use "${"é".repeat(80)}…": it is one of text, json`,
  ]);
});

Deno.test("parseConfig() copes with very long words", () => {
  for (const piece of ["9", "a", ":", ",", "=", "[", "\\", "-", ".", "1:", "::", "a=1,", "9h", "\ud800"]) {
    const long = piece.repeat(20_000);
    const argv = [long, `--${long}`, `-${long}`, ...Object.keys(FLAGS).map((name) => `--${name}=${long}`)];
    const result = parseConfig(argv.filter((word) => !word.startsWith("-h")));
    assert(result.kind === "errors" && result.errors.every((error) => error.length < 1500), JSON.stringify(piece));
  }
});

Deno.test("parseConfig() copes with very many words", () => {
  assertEquals(parseConfig(["--ip-address=10.96.0.2", "--", ...Array<string>(300_000).fill("a")]), {
    kind: "errors",
    errors: ['"a": cannot use an argument that is not the value of a flag'],
  });
});

/** Mulberry32: small, seeded, and good enough to choose words. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let hash = Math.imul(state ^ (state >>> 15), 1 | state);
    hash = (hash + Math.imul(hash ^ (hash >>> 7), 61 | hash)) ^ hash;
    return ((hash ^ (hash >>> 14)) >>> 0) % below;
  };
}

Deno.test("parseConfig() throws for no command line", () => {
  const VALUES = [
    "10.96.0.2",
    "fd00::2",
    "443",
    "1m0s",
    "true",
    "false",
    "auto",
    "json",
    "4",
    "a.ts:1",
    "a=1",
    "[::1]:9",
    "",
  ];
  const ODD = [
    "__proto__",
    "constructor",
    "toString",
    "--a.b",
    "\ud800",
    "\0",
    "-",
    "--",
    "=",
    ",",
    "é",
    "\x1b[2J",
    "-1",
    "1e9",
  ];
  const started = Date.now();
  const seen = new Set<string>();
  for (let seed = 0; seed < 20_000; seed++) {
    const below = randomFrom(seed);
    const oneOf = (words: readonly string[]) => words[below(words.length)] ?? "";
    const mutated = (word: string) => {
      const at = below(word.length + 1);
      return word.slice(0, at) + oneOf([...ODD, ...VALUES]) + word.slice(at + below(3));
    };
    const word = () => {
      const name = oneOf(Object.keys(FLAGS));
      const valid = oneOf([`--${name}`, `--${name}=${oneOf(VALUES)}`, oneOf(VALUES), oneOf(["-v4", "-h", "-v"])]);
      return below(4) === 0 ? mutated(valid) : below(20) === 0 ? oneOf(ODD) : valid;
    };
    const argv = [...(below(2) === 0 ? ["--ip-address=10.96.0.2"] : []), ...Array.from({ length: below(6) }, word)];
    try {
      const result = parseConfig(argv);
      seen.add(result.kind);
      if (result.kind === "errors") assert(result.errors.length > 0, "no errors");
    } catch (cause) {
      throw new Error(`Cannot parse the command line of seed ${seed}: ${JSON.stringify(argv)}`, { cause });
    }
  }
  assertEquals([...seen].sort(), ["config", "errors", "help", "version"]);
  assert(Date.now() - started < 30_000, `20,000 command lines took ${Date.now() - started} ms`);
});
