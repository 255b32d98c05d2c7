import { assertEquals, assertMatch, assertNotMatch, assertStringIncludes } from "@std/assert";
import config from "../../deno.json" with { type: "json" };
import { Namespace } from "../support/namespace.ts";
import { ADDRESS, assertTidy } from "../support/program.ts";
import { IMAGE, ok, run, TAG } from "./images.ts";

// Emulated, if this machine is of another architecture: the emulator has no netfilter netlink, so that rules cannot be tried.
Deno.test("arm64: the program and its ip work; nft, which the emulator lacks, is not taken for a missing module", async () => {
  const root = (await ok(["podman", "image", "mount", `${IMAGE}:${TAG}-arm64`])).trim();
  const emulated = (path: string) => ["qemu-aarch64-static", "-L", root, `${root}${path}`];
  const version = await run([...emulated("/apiserver-proxy-sidecar"), "--version"]);
  assertEquals(version, { code: 0, stdout: `apiserver-proxy-sidecar ${config.version} (0123456789ab)\n`, stderr: "" });

  await using namespace = await Namespace.create();
  // The kernel does not start programs of arm64 by itself.
  const tools = [
    ["ip", "/usr/bin/ip"],
    ...config.permissions.default.run.slice(1).map((name) => [name, `/usr/sbin/${name}`]),
  ];
  await namespace.ok(["sh", "-e"], {
    stdin: tools.map(([name, path = ""]) => `
      printf '#!/bin/sh\\nexec qemu-aarch64-static -0 ${name} -L ${root} ${root}${path} "$@"\\n' > /run/${name}
      chmod +x /run/${name}`).join(""),
  });
  const program = [
    ...emulated("/apiserver-proxy-sidecar"),
    `--ip-address=${ADDRESS}`,
    "--setup-iptables",
    "--daemon=false",
  ];
  const { code, stderr } = await namespace.run(program, { env: { PATH: `/run:${Deno.env.get("PATH")}` } });
  assertEquals(code, 1);
  assertMatch(stderr, /Added address address="10\.96\.0\.2\/32"/);
  assertMatch(stderr, /Cannot keep rules .*Protocol not supported/);
  assertNotMatch(stderr, /xt_CT/);
  assertStringIncludes(await namespace.ok(["ip", "-oneline", "address"]), ` ${ADDRESS}/32 `);
  assertTidy(stderr);
});
