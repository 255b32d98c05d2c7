import { assertEquals } from "@std/assert";
import { kernelTest } from "../support/namespace.ts";
import { assertSameDump, runProgram, toolbox } from "../support/program.ts";

kernelTest("a bad command line is told whole, with exit code 2, and nothing is touched", async (namespace) => {
  const before = await namespace.dump();
  const path = await toolbox(namespace, { before: "touch /run/started" });
  const words = [
    "--ip-address=127.0.0.1,10.96.0.2,10.96.0.2,fe80::1%lo,10.0.0.0/8",
    "--interface=not/a-name",
    "--port=0,https",
    "--setup-iptables=yes",
    "--sync-interval=5",
    "--command-timeout=0s",
    "--iptables-mode=ebtables",
    "--address-scope=site",
    "--deduplicate=maybe",
    "-v=high",
    "--log_file_max_size=-1",
    "--setup_iptables",
    "--daemon",
    "false",
  ];
  const { code, stdout, stderr } = await runProgram(namespace, words, { path });
  assertEquals([code, stdout], [2, ""]);
  const lines = stderr.trimEnd().split("\n");
  assertEquals(lines.pop(), 'Run "apiserver-proxy-sidecar --help" for all flags');
  // A line for each, which begins with the flag and quotes the value.
  assertEquals(
    lines.map((line) => /^(\S+): (?:[^"]*"([^"]*)")?/.exec(line)?.slice(1).map((part = "") => part))
      .toSorted(),
    [
      ["--address-scope", "site"],
      ["--command-timeout", "0s"],
      ["--daemon", "false"],
      ["--deduplicate", "maybe"],
      ["--interface", "not/a-name"],
      ["--ip-address", "10.0.0.0/8"],
      ["--ip-address", "10.96.0.2"],
      ["--ip-address", "127.0.0.1"],
      ["--ip-address", "fe80::1%lo"],
      ["--iptables-mode", "ebtables"],
      ["--log_file_max_size", "-1"],
      ["--port", "0"],
      ["--port", "https"],
      ["--setup-iptables", "yes"],
      ["--setup_iptables", ""],
      ["--sync-interval", "5"],
      ["--v", "high"],
    ],
    stderr,
  );
  assertEquals((await namespace.run(["ls", "/run/started"])).code, 2);
  assertSameDump(await namespace.dump(), before);
});

kernelTest("one bad value, word for word", async (namespace) => {
  const path = await toolbox(namespace);
  const rest = 'Run "apiserver-proxy-sidecar --help" for all flags\n';
  const cases: [string[], string][] = [
    [[], "--ip-address: required: the address that the proxy listens on, such as --ip-address=10.96.0.2"],
    [
      ["--ip-address=10.96.0.2", "--sync_interval=1m"],
      "--sync_interval: unknown flag: the closest is --sync-interval",
    ],
    [
      ["--ip-address=10.96.0.2", "--daemon", "false"],
      '--daemon: cannot use "false": a bool takes its value after "=": use --daemon=false',
    ],
  ];
  for (const [words, line] of cases) {
    assertEquals(await runProgram(namespace, words, { path }), { code: 2, stdout: "", stderr: `${line}\n${rest}` });
  }
});
