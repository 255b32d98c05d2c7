import { assertEquals } from "@std/assert";
import { kernelTest } from "../support/namespace.ts";
import {
  addedLines,
  ADDRESS,
  assertSameDump,
  assertTidy,
  BACKENDS,
  flags,
  Program,
  ruleLines,
  toolbox,
} from "../support/program.ts";

const SERVICES = 2500;
const PIECE = 250;

/**
 * What kube-proxy and others have put in: four rules for each service, and some that are nearly ours. In pieces, since a
 * transaction of nft is one message, whose size is limited where one is not root.
 */
function* foreignRules(): Generator<string> {
  yield `*raw
:FOREIGN-RAW - [0:0]
-A PREROUTING -j FOREIGN-RAW
-A PREROUTING -d ${ADDRESS}/32 -p udp -m udp --dport 443 -j NOTRACK
-A OUTPUT -d ${ADDRESS}/32 -p tcp -m tcp --dport 6443 -j NOTRACK
-A OUTPUT -d 10.96.0.3/32 -p tcp -m tcp --dport 443 -j NOTRACK
-A FOREIGN-RAW -d ${ADDRESS}/32 -p tcp -m tcp --dport 443 -j NOTRACK
COMMIT
*mangle
:KUBE-KUBELET-CANARY - [0:0]
:FOREIGN-MARK - [0:0]
-A PREROUTING -j FOREIGN-MARK
COMMIT
*nat
:KUBE-SERVICES - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A OUTPUT -d ${ADDRESS}/32 -p tcp -m tcp --dport 443 -j ACCEPT
COMMIT
*filter
:INPUT DROP [0:0]
:KUBE-FIREWALL - [0:0]
-A INPUT -j KUBE-FIREWALL
-A INPUT -d ${ADDRESS}/32 -p tcp -m tcp --dport 443 -m comment --comment "not this one" -j ACCEPT
-A INPUT -s 192.0.2.0/24 -d ${ADDRESS}/32 -p tcp -m tcp --dport 443 -j DROP
-A OUTPUT -s ${ADDRESS}/32 -p tcp -m tcp --sport 443 -j DROP
COMMIT
`;
  for (let from = 0; from < SERVICES; from += PIECE) {
    const services = Array.from({ length: PIECE }, (_, i) => {
      const id = (from + i).toString(36).toUpperCase().padStart(16, "0");
      return {
        svc: `KUBE-SVC-${id}`,
        sep: `KUBE-SEP-${id}`,
        ip: `10.${100 + ((from + i) >> 8)}.${(from + i) & 255}.1`,
      };
    });
    const all = (line: (service: typeof services[number]) => string) => services.map(line).join("\n");
    yield `*mangle
${all(({ ip }) => `-A FOREIGN-MARK -d ${ip}/32 -j MARK --set-xmark 0x1/0x1`)}
COMMIT
*nat
${all(({ svc, sep }) => `:${svc} - [0:0]\n:${sep} - [0:0]`)}
${all(({ ip, svc }) => `-A KUBE-SERVICES -d ${ip}/32 -p tcp -m tcp --dport 80 -j ${svc}`)}
${all(({ svc, sep }) => `-A ${svc} -j ${sep}`)}
COMMIT
*filter
${all(({ ip }) => `-A KUBE-FIREWALL -d ${ip}/32 -p tcp -m tcp --dport 81 -j DROP`)}
COMMIT
`;
  }
}

function foreignLinks(): string {
  return [
    "link add br0 type bridge",
    "link set br0 addrgenmode none",
    "link set br0 up",
    "link add br1 type bridge",
    "link set br1 addrgenmode none",
    "address add 10.96.0.3/32 dev lo",
    `address add ${ADDRESS}/32 dev br0`,
    "address add fd00:96::2/128 dev br0 nodad",
    "address add 192.0.2.1/24 dev br0 broadcast 192.0.2.255",
    "route add 198.51.100.0/24 via 192.0.2.2",
    "route add 10.96.0.0/12 dev br0 table 7",
    "rule add from 192.0.2.0/24 table 7",
    ...Array.from({ length: 300 }, (_, i) => `address add 10.97.${i >> 8}.${i & 255}/32 dev br1`),
    "",
  ].join("\n");
}

for (const backend of BACKENDS) {
  kernelTest(`${backend}: on a busy node nothing of anybody else is changed, ever`, async (namespace) => {
    await namespace.ok(["ip", "-batch", "-"], { stdin: foreignLinks() });
    for (const rules of foreignRules()) {
      await namespace.ok([`iptables-${backend}-restore`, "--noflush"], { stdin: rules });
    }
    await namespace.ok(["nft", "-f", "-"], {
      stdin: "table inet foreign { chain output { type filter hook output priority -300; tcp dport 443 notrack; }; }\n",
    });
    const before = await namespace.dump();

    const path = await toolbox(namespace, { backend });
    await using program = await Program.start(
      namespace,
      flags(backend, "--watch=false", "--sync-interval=1h", "--cleanup", "-v=2"),
      { path },
    );
    await program.logged(/Made a pass/);
    const there = await namespace.dump();
    const added = addedLines(before, there).map((line) => line.trimEnd().replace("CT --notrack", "NOTRACK"));
    const ours = [
      `lo    inet ${ADDRESS}/32 scope host lo\\       valid_lft forever preferred_lft forever`,
      // The same address on br0 has its own.
      `local ${ADDRESS} dev lo table local proto kernel scope host src ${ADDRESS}`,
      ...ruleLines().map((line) => line.replace(/^\w+ /, "")),
    ];
    assertEquals(added.toSorted(), ours.toSorted());

    // Repairs: all that can be wrong at once.
    await namespace.ok(["ip", "address", "del", `${ADDRESS}/32`, "dev", "lo"]);
    await namespace.ok([`iptables-${backend}-restore`, "--noflush"], {
      stdin: ruleLines().flatMap((line, i) => {
        const [table, , ...spec] = line.split(" ");
        return [`*${table}`, `${i % 2 === 0 ? "-D" : "-A"} ${spec.join(" ")}`, "COMMIT", ""];
      }).join("\n"),
    });
    program.kill("SIGHUP");
    await program.logged(/Made a pass cause="signal"/);
    const repaired = addedLines(before, await namespace.dump())
      .map((line) => line.trimEnd().replace("CT --notrack", "NOTRACK"));
    assertEquals(repaired.toSorted(), ours.toSorted());

    const { code, stderr } = await program.stop();
    assertEquals(code, 0, stderr);
    assertTidy(stderr);
    assertSameDump(await namespace.dump(), before);
  });
}
