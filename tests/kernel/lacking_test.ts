import { assert, assertEquals, assertLess, assertMatch, assertNotMatch } from "@std/assert";
import { kernelTest, type Namespace } from "../support/namespace.ts";
import {
  ADDRESS,
  assertTidy,
  BACKENDS,
  filtered,
  flags,
  runProgram,
  type StartOptions,
  state,
  toolbox,
  WANTED,
} from "../support/program.ts";
import { ONCE } from "../support/texts.ts";

/** What no time can mend is not tried for long. */
const SOON_MS = 5000;

/** Runs a one-shot that has to fail soon, and gives the errors it logs. */
async function failing(namespace: Namespace, flags: string[], options: StartOptions): Promise<string[]> {
  const started = performance.now();
  const { code, stdout, stderr } = await runProgram(namespace, [...flags, ONCE], options);
  assertEquals([code, stdout], [1, ""], stderr);
  assertLess(performance.now() - started, SOON_MS);
  assertTidy(stderr);
  return stderr.split("\n").filter((line) => /^[WEF]/.test(line));
}

/** What setpriv takes to start a program without a capability. */
function without(capability: string): string[] {
  return ["setpriv", `--bounding-set=-${capability}`, `--inh-caps=-${capability}`];
}

kernelTest("without ip it says so in one line that names the package", async (namespace) => {
  const path = await toolbox(namespace, { without: /^ip$/ });
  const errors = await failing(namespace, [`--ip-address=${ADDRESS}`], { path });
  assertEquals(errors.length, 1, errors.join("\n"));
  assertMatch(errors[0]!, /^E.*\bip\b.*not installed.*\biproute2\b/);
});

for (const backend of BACKENDS) {
  kernelTest(
    `${backend}: without iptables-restore one line names the package, and the address is there`,
    async (namespace) => {
      const path = await toolbox(namespace, { backend, without: /^ip6?tables/ });
      const errors = await failing(namespace, flags(backend), { path });
      assertEquals(errors.length, 1, errors.join("\n"));
      assertMatch(errors[0]!, /^E.*\biptables(-nft|-legacy)?-restore\b.*not installed.*package iptables\b/);
      assertEquals(await state(namespace, backend), WANTED.slice(0, 1));
    },
  );

  kernelTest(`${backend}: without CAP_NET_ADMIN each error names it`, async (namespace) => {
    const errors = await failing(namespace, flags(backend), { backend, through: without("net_admin") });
    assert(errors.length >= 1 && errors.length <= 3, errors.join("\n"));
    for (const error of errors) assertMatch(error, /^E.*CAP_NET_ADMIN/);
    assertEquals(await state(namespace, backend), []);
  });

  kernelTest(`${backend}: without the raw table it says so, and does all the rest`, async (namespace) => {
    // The real message about a table that no kernel has.
    const path = await toolbox(namespace, { backend, restore: filtered(`sed -u 's/^\\*raw/*rawx/'`) });
    const errors = await failing(namespace, flags(backend), { path });
    assert(errors.length > 0);
    for (const error of errors) assertMatch(error, backend === "nft" ? /^E.*table.*rawx/ : /^E.*table.*rawx.*kernel/);
    const filter = WANTED.filter((line) => !line.startsWith("raw"));
    assertEquals(await state(namespace, backend), filter, errors.join("\n"));
    for (const line of filter) assertNotMatch(errors.join("\n"), new RegExp(line.replace(" -A ", " ")));
  });

  kernelTest(`${backend}: without NOTRACK in iptables it says so, and does all the rest`, async (namespace) => {
    const path = await toolbox(namespace, { backend, restore: filtered("sed -u 's/-j NOTRACK/-j NOTRACKX/'") });
    const errors = await failing(namespace, flags(backend), { path });
    assert(errors.length > 0);
    for (const error of errors) assertMatch(error, /^E.*NOTRACKX/);
    assertEquals(
      await state(namespace, backend),
      WANTED.filter((line) => !line.startsWith("raw")),
      errors.join("\n"),
    );
  });
}

kernelTest("legacy: without CAP_NET_RAW the error names it", async (namespace) => {
  const errors = await failing(namespace, flags("legacy"), { backend: "legacy", through: without("net_raw") });
  assert(errors.length >= 1 && errors.length <= 2, errors.join("\n"));
  for (const error of errors) assertMatch(error, /^E.*NET_RAW/);
});

kernelTest("nft: CAP_NET_ADMIN is all it needs", async (namespace) => {
  const through = ["setpriv", "--no-new-privs", "--bounding-set=-all,+net_admin", "--inh-caps=-all"];
  const { code, stderr } = await runProgram(namespace, flags("nft", ONCE), { through });
  assertEquals(code, 0, stderr);
  assertEquals(await state(namespace), [...WANTED]);
});

kernelTest("legacy: a /run that is read-only is said with the lock file and the remedy", async (namespace) => {
  const path = await toolbox(namespace, { backend: "legacy" });
  await namespace.ok(["mount", "-o", "remount,ro", "/run"]);
  const errors = await failing(namespace, flags("legacy"), { path });
  assertEquals(errors.length, 1, errors.join("\n"));
  assertMatch(errors[0]!, /^E.*\/run\/xtables\.lock.*mount/);
  assertEquals(await state(namespace, "legacy"), WANTED.slice(0, 1));
});

kernelTest("nft: a /run that is read-only does not matter", async (namespace) => {
  const path = await toolbox(namespace);
  await namespace.ok(["mount", "-o", "remount,ro", "/run"]);
  const { code, stderr } = await runProgram(namespace, flags("nft", ONCE), { path });
  assertEquals(code, 0, stderr);
});

// What the kernel of this machine has may differ from that of another: a step that cannot be is skipped.

kernelTest("without dummy links in the kernel the error names the module", async (namespace, context) => {
  const { code } = await namespace.run(["ip", "link", "add", "d0", "type", "dummy"]);
  await context.step({
    name: code === 0 ? "skipped: this kernel has them" : "this kernel has none",
    ignore: code === 0,
    async fn() {
      const errors = await failing(namespace, [`--ip-address=${ADDRESS}`, "--interface=nodeproxy"], {});
      for (const error of errors) assertMatch(error, /^E/);
      assertMatch(errors[0]!, /\bdummy\b.*nodeproxy/);
      assertEquals(await state(namespace), []);
    },
  });
});

for (const backend of BACKENDS) {
  kernelTest(
    `${backend}: without NOTRACK in the kernel it says so, and does all the rest`,
    async (namespace, context) => {
      // The real message about a target that iptables knows, and this kernel lacks.
      const target = "LED --led-trigger-id none";
      const { code } = await namespace.run([`iptables-${backend}`, "-A", "OUTPUT", "-j", ...target.split(" ")]);
      await context.step({
        name: code === 0 ? "skipped: this kernel has LED" : "with LED instead of NOTRACK",
        ignore: code === 0,
        async fn() {
          const restore = filtered(`sed -u 's/-j NOTRACK/-j ${target}/'`);
          const path = await toolbox(namespace, { backend, restore });
          const errors = await failing(namespace, flags(backend), { path });
          assert(errors.length > 0);
          // What iptables 1.8.7 says then is understood of --notrack only.
          const said = /^E(?=.*NOTRACK).*(?:kernel|unknown option \\"--led-trigger-id)/;
          for (const error of errors) assertMatch(error, said);
          assertEquals(
            await state(namespace, backend),
            WANTED.filter((line) => !line.startsWith("raw")),
            errors.join("\n"),
          );
        },
      });
    },
  );
}
