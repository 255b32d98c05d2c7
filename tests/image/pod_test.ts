import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { type Container, type PodSpec, podSpec, render, renderMonitored } from "../support/manifests.ts";
import { ADDRESS, assertTidy, eventually, ruleLines, state, WANTED } from "../support/program.ts";
import { folder, ok, Pod, run } from "./images.ts";

/** Of another program, with extensions that this program does not use: a listing has to get through. */
const FOREIGN = ["-d", "192.0.2.1/32", "-m", "limit", "--limit", "5/sec", "-m", "comment", "--comment", "theirs", "-j"];
const FLAGS = [`--ip-address=${ADDRESS}`, "--setup-iptables"];

for (const [shape, backend] of [["base", "nft"], ["overlays/legacy", "legacy"]] as const) {
  Deno.test(`deploy/${shape}: sets up, repairs, answers probes, stops, cleans up`, async () => {
    const manifests = await render(shape);
    const [sidecar] = podSpec(manifests).containers;
    await using pod = await Pod.play(manifests);
    await pod.reached(WANTED, backend);
    assertEquals(await pod.exitCode("setup"), 0);
    const first = await pod.logs("setup");
    assertMatch(first, /^I\d{4} [\d:.]+ +\d+ \w+\.ts:\d+\] Started /);
    assertTidy(first);
    await eventually(async () => assertEquals(await pod.probe(sidecar?.readinessProbe), "200"));
    assertEquals(await pod.probe(sidecar?.livenessProbe), "200");

    await pod.ok([`iptables-${backend}`, "-A", "INPUT", ...FOREIGN, "RETURN"]);
    await pod.ok(["ip", "address", "del", `${ADDRESS}/32`, "dev", "lo"]);
    await pod.ok([`iptables-${backend}`, "-t", "raw", "-F"]);
    const input = WANTED.findIndex((line) => line.includes("INPUT")) + 1;
    const all = WANTED.toSpliced(input, 0, `filter -A INPUT ${FOREIGN.join(" ")} RETURN`);
    await pod.reached(all, backend);
    await eventually(async () => assertEquals(await pod.probe(sidecar?.readinessProbe), "200"));
    const check = ["/apiserver-proxy-sidecar", ...FLAGS, `--iptables-mode=${backend}`, "--check"];
    const { code, stdout, stderr } = await pod.exec("sidecar", ...check);
    assertEquals([code, stderr], [0, ""], stdout);

    await pod.stop("sidecar");
    const said = await pod.logs("sidecar");
    assertEquals(await pod.exitCode("sidecar"), 0, said);
    assertMatch(said, /^[IW]\d{4} /);
    assertMatch(said, /Added address .* cause="event"/);
    assertTidy(said);
    assertEquals(await state(pod, backend), all);
  });
}

Deno.test("deploy/base: --cleanup removes all at SIGTERM", async () => {
  await using pod = await Pod.play(await render("base"), {
    change: (spec) => ({
      ...spec,
      containers: spec.containers.map((container) => ({ ...container, args: [...container.args ?? [], "--cleanup"] })),
    }),
  });
  await pod.reached(WANTED, "nft");
  await pod.stop("sidecar");
  assertEquals(await pod.exitCode("sidecar"), 0, await pod.logs("sidecar"));
  assertEquals(await state(pod, "nft"), []);
});

Deno.test("deploy/base: without NET_ADMIN it says what is missing, and fails", async () => {
  const without = (container: Container) => ({
    ...container,
    securityContext: { ...container.securityContext, capabilities: { drop: ["ALL"] } },
  });
  await using pod = await Pod.play(await render("base"), {
    change: (spec) => ({ ...spec, initContainers: spec.initContainers.map(without) }),
    fails: true,
  });
  assertEquals(await pod.exitCode("setup"), 1);
  const said = await pod.logs("setup");
  assertStringIncludes(said, "CAP_NET_ADMIN is missing");
  assertTidy(said);
});

Deno.test("deploy/base: an orphan is reaped", async () => {
  await using pod = await Pod.play(await render("base"));
  const infra = await pod.pid("infra");
  await ok(["nsenter", `--target=${infra}`, "--pid", "sh", "-c", "sleep 60 > /dev/null 2>&1 &"]);
  const orphans = async () => (await run(["pgrep", "--parent", `${infra}`, "--exact", "sleep"])).stdout.trim();
  await eventually(async () => assertMatch(await orphans(), /^\d+$/));
  const orphan = Number(await orphans());
  Deno.kill(orphan, "SIGKILL");
  await eventually(async () =>
    assertEquals(await Deno.stat(`/proc/${orphan}`).then(() => "zombie", () => "gone"), "gone")
  );
});

Deno.test("deploy/overlays/legacy: a lock that is missing is named, with the remedy", async () => {
  await using pod = await Pod.play(await render("overlays/legacy"), {
    change: (spec) => withMounts(spec, () => []),
    fails: true,
  });
  assertEquals(await pod.exitCode("setup"), 1);
  const said = await pod.logs("setup");
  assertMatch(said, /^E.*Cannot keep rules .*mount the node's \/run\/xtables\.lock/m);
  assertTidy(said);
});

Deno.test("deploy/overlays/legacy: a lock that is mounted read-only is enough", async () => {
  await using pod = await Pod.play(await render("overlays/legacy"), {
    change: (spec) => withMounts(spec, (mounts) => mounts.map((mount) => ({ ...mount, readOnly: true }))),
  });
  await pod.reached(WANTED, "legacy");
});

Deno.test("deploy/overlays/legacy: a lock that the node holds is waited for", async () => {
  const lock = await Deno.makeTempFile({ dir: folder() });
  const holder = new Deno.Command("flock", { args: [lock, "cat"], stdin: "piped" }).spawn();
  await eventually(async () => assertEquals((await run(["flock", "--nonblock", lock, "true"])).code, 1));
  await using pod = await Pod.play(await render("overlays/legacy"), {
    lock,
    change: (spec) => ({ ...spec, initContainers: [] }),
  });
  await pod.reached(WANTED.slice(0, 1), "legacy");
  await holder.stdin.close();
  await holder.status;
  await pod.reached(WANTED, "legacy");
});

Deno.test("deploy/overlays/dual-stack: both families", async () => {
  const ip = "fd00:10:96::2";
  await using pod = await Pod.play(await render("overlays/dual-stack"));
  await pod.reached([WANTED[0] ?? "", `lo ${ip}/128 scope global`, ...ruleLines(), ...ruleLines(ip)], "nft");
});

Deno.test("deploy/overlays/dummy: the address is on a link of its own", async () => {
  await using pod = await Pod.play(await render("overlays/dummy"), {
    // Not every kernel has the type dummy, which the init container would ask for: a bridge stands in for it.
    change: (spec) => ({ ...spec, initContainers: [] }),
  });
  await pod.ok(["sh", "-c", "ip link show apiserver-proxy || ip link add apiserver-proxy type bridge"]);
  await pod.reached([`apiserver-proxy ${ADDRESS}/32 scope global`, ...ruleLines()], "nft");
});

Deno.test("deploy/overlays/haproxy: a connection to the address gets to the kube-apiserver", async () => {
  await using pod = await Pod.play(await render("overlays/haproxy"));
  await pod.ok(["ip", "address", "add", "192.0.2.1/32", "dev", "lo"]);
  await using _server = pod.serve("192.0.2.1", 443, "the kube-apiserver");
  await eventually(async () => {
    const { stdout } = await pod.run(["curl", "--silent", `http://${ADDRESS}:443/`]);
    assertEquals(stdout, "the kube-apiserver", await pod.logs("haproxy"));
  });
});

Deno.test("deploy/monitoring: metrics at the port that is named for Prometheus", async () => {
  const manifests = await renderMonitored();
  const port = podSpec(manifests).containers.flatMap(({ ports }) => ports ?? []).find(({ name }) => name === "metrics");
  await using pod = await Pod.play(manifests);
  await eventually(async () => {
    const { stdout } = await pod.run(["curl", "--silent", `http://127.0.0.1:${port?.containerPort}/metrics`]);
    assertStringIncludes(stdout, 'apiserver_proxy_sidecar_present_items{kind="rule"} 5\n');
  });
});

Deno.test("the arguments of Gardener's own manifests do, within its limit", async () => {
  const address = `--ip-address=${ADDRESS}`;
  await using pod = await Pod.play(await render("base"), {
    change: (spec) => ({
      ...spec,
      initContainers: spec.initContainers.map((container) => ({
        ...container,
        args: [address, "--setup-iptables=false", "--daemon=false", "--interface=lo"],
      })),
      containers: spec.containers.map((container) => ({
        ...container,
        args: [address, "--setup-iptables=false", "--interface=lo"],
      })),
    }),
  });
  assertEquals(await pod.exitCode("setup"), 0);
  await pod.reached(WANTED.slice(0, 1), "nft");
  await pod.ok(["ip", "address", "del", `${ADDRESS}/32`, "dev", "lo"]);
  await pod.reached(WANTED.slice(0, 1), "nft");
});

/** A specification in which each container has other mounts. */
function withMounts(spec: PodSpec, change: (mounts: Container["volumeMounts"]) => Container["volumeMounts"]): PodSpec {
  const mount = (container: Container) => ({ ...container, volumeMounts: change(container.volumeMounts) });
  return { ...spec, initContainers: spec.initContainers.map(mount), containers: spec.containers.map(mount) };
}
