import { assertEquals, assertMatch } from "@std/assert";
import { kernelTest } from "../support/namespace.ts";
import { ADDRESS, BINARY, runProgram, toolbox } from "../support/program.ts";

const COMPILED = { program: [BINARY] } as const;
const ONCE = [`--ip-address=${ADDRESS}`, "--daemon=false", "--logtostderr=false"];

kernelTest("--log_dir makes a file and a link for each severity that logs", async (namespace) => {
  await namespace.ok(["mkdir", "-m", "755", "/run/logs"]);
  const path = await toolbox(namespace);
  const { code, stderr } = await runProgram(namespace, [...ONCE, "--log_dir=/run/logs"], { ...COMPILED, path });
  assertEquals([code, stderr], [0, ""]);
  const names = (await namespace.ok(["ls", "/run/logs"])).trim().split("\n");
  assertEquals(names.length, 2, names.join());
  assertMatch(names[0]!, /^apiserver-proxy-sidecar\.INFO$/);
  assertMatch(names[1]!, /^apiserver-proxy-sidecar\.[\w-]+\.root\.log\.INFO\.\d{8}-\d{6}\.\d+$/);
  const text = await namespace.ok(["cat", "/run/logs/apiserver-proxy-sidecar.INFO"]);
  assertMatch(text, /^Log file created at: .*\nRunning on machine: .*\nBinary: .*\nLog line format: .*\n/);
  assertMatch(text, /^I\d{4} [\d:.]{15} +\d+ \w+\.ts:\d+\] Added address address="10\.96\.0\.2\/32"/m);
});

kernelTest("--log_file is appended to, and goes on to stderr where it cannot be written", async (namespace) => {
  const path = await toolbox(namespace);
  for (const _ of [1, 2]) {
    const { code, stderr } = await runProgram(namespace, [...ONCE, "--log_file=/run/log"], { ...COMPILED, path });
    assertEquals([code, stderr], [0, ""]);
  }
  const text = await namespace.ok(["cat", "/run/log"]);
  assertEquals(text.match(/\] Started /g)?.length, 2, text);
  assertEquals(text.match(/\] Added address /g)?.length, 1, text);
  const missing = await runProgram(namespace, [...ONCE, "--log_file=/run/none/log"], { ...COMPILED, path });
  assertEquals(missing.code, 0);
  assertMatch(missing.stderr, /^E.*\/run\/none\/log.*\n(?:.*\n)*I.* Started .*\n/);
});
