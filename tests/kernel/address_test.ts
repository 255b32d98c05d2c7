import { assertEquals } from "@std/assert";
import { type Desired, desired, itemName } from "../../lib/desired/desired.ts";
import { addressTool, type AddressToolOptions } from "../../lib/node/address.ts";
import type { CommandRunner } from "../../lib/node/process.ts";
import { SystemCommands } from "../../lib/node/system_commands.ts";
import { environmentOfCommands } from "../../lib/rights.ts";
import type { Report } from "../../lib/reconcile/pass.ts";
import { configFrom } from "../support/fake_node.ts";
import { kernelTest, type Namespace } from "../support/namespace.ts";
import { pass } from "../support/passes.ts";
import { assertSameDump, eventually, state } from "../support/program.ts";

const IP = "10.96.0.2";
const IP6 = "fd00:96::2";
const commands = new SystemCommands(environmentOfCommands());

/** Makes one pass over the addresses. */
function keep(node: Namespace, wanted: Desired, options: AddressToolOptions = {}): Promise<Report> {
  const runner: CommandRunner = { start: (argv, options) => commands.start(node.argv(argv), options) };
  const tool = addressTool(wanted, { linkType: "bridge", ...options });
  return pass({ runner, commandTimeout: 10_000 }, [tool]);
}

function wantedOf(flags: string, want: Desired["want"] = "present"): Desired {
  return desired(configFrom(flags), want);
}

/** On a link by a name that may be longer than that of a link. */
function on(link: string, want: Desired["want"] = "present", ...ips: string[]): Desired {
  const wanted = wantedOf(`--ip-address=${ips.length > 0 ? ips : IP}`, want);
  return {
    ...wanted,
    link: { kind: "link", name: link },
    addresses: wanted.addresses.map((address) => ({ ...address, link })),
  };
}

/** What was found of each item, and whether it is right now. */
function found({ items }: Report): readonly string[] {
  return items.map(({ item, before, after, error }) =>
    [itemName(item), before?.state, before?.detail, after?.ok ? "ok" : after?.detail, error?.message]
      .filter((part) => part !== undefined).join(", ")
  );
}

async function batch(node: Namespace, lines: string): Promise<void> {
  await node.ok(["ip", "-batch", "-"], { stdin: `${lines.replaceAll(/^ +/gm, "").trim()}\n` });
}

/** Whether a proxy could use an address of IPv6. */
async function isUsable(node: Namespace, link: string): Promise<boolean> {
  const addresses = await node.ok(["ip", "-6", "-oneline", "address", "show", "dev", link, "to", IP6]);
  return addresses.includes(IP6) && !/tentative|dadfailed/.test(addresses);
}

kernelTest("addressTool() replaces an IPv6 address that is tentative for ever", async (node) => {
  await batch(
    node,
    `link add br0 type bridge
     link set br0 addrgenmode none
     link set br0 up
     address add ${IP6}/128 dev br0`,
  );
  const wanted = wantedOf(`--ip-address=${IP6} --interface=br0`);
  assertEquals(await isUsable(node, "br0"), false);
  assertEquals(found(await keep(node, wanted, { full: false })), [
    "br0, present, ok",
    `${IP6}/128, wrong, tentative, ok`,
  ]);
  assertEquals(await isUsable(node, "br0"), true);
  assertEquals(found(await keep(node, wanted)), ["br0, present, ok", `${IP6}/128, present, ok`]);
});

kernelTest("addressTool() replaces an IPv6 address that is in use by another node", async (node) => {
  await batch(
    node,
    `link add va type veth peer name vb
     link set va addrgenmode none
     link set vb addrgenmode none
     link set va up
     link set vb up
     address add ${IP6}/128 dev vb nodad`,
  );
  await node.ok(["ip", "address", "add", `${IP6}/128`, "dev", "va"]);
  await eventually(async () => {
    const addresses = await node.ok(["ip", "-6", "-oneline", "address", "show", "dev", "va"]);
    assertEquals(addresses.includes("dadfailed"), true, addresses);
  });
  const wanted = wantedOf(`--ip-address=${IP6} --interface=va --deduplicate=false`);
  assertEquals(found(await keep(node, wanted)), [
    "va, present, ok",
    `${IP6}/128, wrong, tentative, duplicate address detection failed (dadfailed), ok`,
  ]);
  assertEquals(await isUsable(node, "va"), true);
});

kernelTest("addressTool() makes deprecated addresses preferred again", async (node) => {
  await batch(
    node,
    `address add ${IP}/32 dev lo scope host valid_lft forever preferred_lft 0
     address add ${IP6}/128 dev lo nodad valid_lft forever preferred_lft 0`,
  );
  const wanted = wantedOf(`--ip-address=${IP},${IP6}`);
  const deprecated = [`${IP}/32, wrong, deprecated, ok`, `${IP6}/128, wrong, deprecated, ok`];
  assertEquals(found(await keep(node, wanted)), ["lo, present, ok", ...deprecated]);
  assertEquals((await node.ok(["ip", "address", "show", "deprecated"])).trim(), "");
});

kernelTest("addressTool() never touches the node's own addresses", async (node) => {
  await batch(
    node,
    `link add eth0 type veth peer name peer0
     link set eth0 addrgenmode none
     link set peer0 addrgenmode none
     link set eth0 up
     link set peer0 up
     address add 192.0.2.10/24 broadcast 192.0.2.255 dev eth0
     address add 192.0.2.11/24 dev eth0
     address add 2001:db8::10/64 dev eth0 nodad
     address add 2001:db8::11 peer 2001:db8::1/128 dev eth0 nodad
     route add default via 192.0.2.1
     route add default via 2001:db8::1`,
  );
  const before = await node.dump();
  const flags = "--ip-address=192.0.2.10,192.0.2.11,2001:db8::10,2001:db8::11 --interface=eth0";
  const own = [
    "192.0.2.10/32, present, as /24, the node's own, ok",
    "192.0.2.11/32, present, as /24, the node's own, ok",
    "2001:db8::10/128, present, as /64, the node's own, ok",
    "2001:db8::11/128, present, as /128 peer 2001:db8::1, the node's own, ok",
  ];
  for (const deduplicate of ["auto", "true", "false"]) {
    for (const full of [true, false]) {
      const report = await keep(node, wantedOf(`${flags} --deduplicate=${deduplicate}`), { full });
      assertEquals(found(report), ["eth0, present, ok", ...own]);
    }
    assertEquals((await keep(node, wantedOf(`${flags} --deduplicate=${deduplicate}`, "absent"))).ok, true);
  }
  assertSameDump(await node.dump(), before);
});

kernelTest("addressTool() replaces an IPv6 address with another end on a link of its own", async (node) => {
  const wanted = wantedOf(`--ip-address=${IP6} --interface=d0`);
  assertEquals((await keep(node, wanted)).ok, true);
  await batch(node, `address del ${IP6}/128 dev d0\naddress add ${IP6} peer fd00:96::9/64 dev d0 nodad`);
  assertEquals(found(await keep(node, wanted)), [
    "d0, present, ok",
    `${IP6}/128, wrong, prefix length 64, peer fd00:96::9, ok`,
  ]);
  assertEquals(await state(node), [`d0 ${IP6}/128 scope global`]);
});

kernelTest("addressTool() finds a link by its alternative names, and creates none", async (node) => {
  const long = "enx0123456789abcdef0123456789abcdef";
  await batch(
    node,
    `link add veth0 type veth peer name veth1
     link set veth0 addrgenmode none
     link set veth0 up
     link property add dev veth0 altname enp3s0alt altname ${long}`,
  );
  const links = () => node.ok(["ip", "-oneline", "link"]).then((text) => text.match(/^\d+: [^:]+/gm));
  const before = await links();
  for (const name of ["enp3s0alt", long]) {
    assertEquals(found(await keep(node, on(name, "present", IP, IP6))), [
      `${name}, present, ok`,
      `${IP}/32, missing, ok`,
      `${IP6}/128, missing, ok`,
    ]);
    assertEquals(await state(node), [`veth0 ${IP}/32 scope global`, `veth0 ${IP6}/128 scope global`]);
    assertEquals((await keep(node, on(name, "absent", IP, IP6))).ok, true);
    assertEquals([await state(node), await links()], [[], before]);
  }
  const { items } = await keep(node, on("enx0123456789abc"));
  assertEquals(items.map(({ after, error }) => [after?.state, after?.repairs, error]), [
    ["missing", [], undefined],
    ["missing", [], undefined],
  ]);
  assertEquals([await state(node), await links()], [[], before]);
});

kernelTest("addressTool() knows a link as its own from the moment in which the kernel creates it", async (node) => {
  const before = await node.dump();
  const wanted = wantedOf(`--ip-address=${IP} --interface=d0`);
  assertEquals((await keep(node, wanted)).ok, true);
  const made = await node.ok(["ip", "-json", "-details", "link", "show", "dev", "d0"]);
  const [{ group, ifalias }] = JSON.parse(made);
  assertEquals([group, ifalias], ["default", "apiserver-proxy-sidecar"]);
  assertEquals((await keep(node, wantedOf(`--ip-address=${IP} --interface=d0`, "absent"))).ok, true);
  // As if it had been killed right after that.
  await batch(node, "link add name d0 group 10968 type bridge");
  assertEquals(found(await keep(node, wanted)), ["d0, wrong, without its alias, ok", `${IP}/32, missing, ok`]);
  await keep(node, wantedOf(`--ip-address=${IP} --interface=d0`, "absent"));
  assertSameDump(await node.dump(), before);
});

kernelTest("addressTool() is told nothing of what others have elsewhere", async (node) => {
  await batch(
    node,
    `link add br0 type bridge
     link set br0 addrgenmode none
     link set br0 up
     address add ${IP}/32 dev lo scope host
     address add ${IP}/32 dev br0`,
  );
  const wanted = [`--ip-address=${IP}`, `--ip-address=${IP} --interface=br0`].map((flags) => wantedOf(flags));
  const listings = async () => {
    const tools = wanted.flatMap((desired) =>
      [{ full: false }, { full: true, waitForLink: true }].map((options) => addressTool(desired, options))
    );
    const looks = tools.map(({ argv, look }) => node.ok(argv, { stdin: look }));
    const glances = tools.map(({ glance }) => glance === undefined ? "" : node.ok(glance));
    const listed = await Promise.all([...looks, ...glances]);
    return listed.map((text) => text.match(/"(?:ifname|local)":"[^"]*"/g));
  };
  const before = await listings();
  const numbers = Array.from({ length: 50 }, (_, number) => number);
  await batch(
    node,
    numbers.map((n) =>
      `link add a${n} type veth peer name b${n}\naddress add 10.1.${n}.1/24 dev a${n}\naddress add ${IP}/32 dev b${n}`
    ).join("\n"),
  );
  assertEquals(await listings(), before);
  // Of those on the link itself only in full looks.
  await batch(node, numbers.map((n) => `address add 10.2.${n}.1/24 dev lo`).join("\n"));
  const { look, argv } = addressTool(wanted[0]!, { full: false });
  const listed = await node.ok(argv, { stdin: look });
  assertEquals([listed.includes(IP), listed.includes("10.2.")], [true, false]);
});

/** All bytes but zero, some at a time, and what a reader of JSON might stumble over. */
const TEXTS: readonly (readonly number[])[] = [
  ...Array.from({ length: 20 }, (_, part) => Array.from({ length: 13 }, (_, i) => (part * 13 + i) % 255 + 1)),
  ...["]\n[", "\\'\\\"", "[{}]\n[]\n", "\u2028\u{1f600}\n"].map((text) => [...new TextEncoder().encode(text)]),
];

/** A word of a shell script; the dot keeps the line feeds at the end. */
function word(bytes: readonly number[]): string {
  return `"$(printf %b. '${bytes.map((byte) => `\\0${byte.toString(8)}`).join("")}')"`;
}

/** Without what the kernel, or `ip`, does not take in a name. */
function nameOf(bytes: readonly number[]): readonly number[] {
  return bytes.filter((byte) => ![9, 10, 11, 12, 13, 32, 37, 47, 58, 160].includes(byte));
}

kernelTest("addressTool() looks whatever texts others write", async (node) => {
  await batch(node, "link add br0 type bridge\nlink add br1 type bridge\nlink set br0 up\nlink set br1 up");
  const lookers = [
    { wanted: wantedOf(`--ip-address=${IP} --interface=br1 --deduplicate=true`), full: true },
    { wanted: wantedOf(`--ip-address=${IP},10.96.0.3,10.96.0.4 --interface=br1 --deduplicate=true`), full: true },
    { wanted: wantedOf(`--ip-address=${IP} --interface=br1`), full: false },
    { wanted: wantedOf(`--ip-address=${IP}`), full: false },
  ];
  for (const [index, text] of TEXTS.entries()) {
    const names = `name=${word([65 + index, ...nameOf(text)])} altname=${word([120, 65 + index, ...nameOf(text)])}`;
    await node.ok(["sh", "-e"], {
      stdin: `
        text=${word(text)} label=${word(text.slice(0, 11))} ${names}
        for link in br0 br1; do ip link set dev $link alias "\${text%.}"; done
        ip address add ${IP}/32 dev br0 label "br0:\${label%.}"
        ip address add 10.1.0.1/32 dev br1 label "br1:\${label%.}"
        ip link add name "\${name%.}" type bridge
        ip address add ${IP}/32 dev "\${name%.}"
        ip link property add dev br1 altname "\${altname%.}"`,
    });
    for (const { wanted, full } of lookers) {
      const report = await keep(node, wanted, { full });
      const errors = report.items.map(({ error }) => error?.message);
      assertEquals([report.ok, errors], [true, errors.map(() => undefined)], `text ${index}`);
    }
    assertEquals((await keep(node, wantedOf(`--ip-address=${IP} --deduplicate=true`, "absent"))).ok, true);
    assertEquals(await node.ok(["ip", "-oneline", "address", "show", "to", IP]), "");
    await node.ok(["sh", "-e"], {
      stdin: `
        ${names}
        ip link del dev "\${name%.}"
        ip link property del dev br1 altname "\${altname%.}"
        ip address flush dev br1`,
    });
  }
});
