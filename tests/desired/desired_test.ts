import { assertEquals } from "@std/assert";
import { desired, fullPrefix, itemName } from "../../lib/desired/desired.ts";
import { rules } from "../../lib/desired/rules.ts";
import { configFrom } from "../support/fake_node.ts";

Deno.test("desired() gives the link and an address on it, and no rules unless asked for", () => {
  assertEquals(desired(configFrom("--ip-address=10.96.0.2"), "present"), {
    want: "present",
    link: { kind: "link", name: "lo" },
    addresses: [{ kind: "address", family: 4, ip: "10.96.0.2", link: "lo", scope: "auto" }],
    rules: [],
    deduplicate: "auto",
  });
});

Deno.test("desired() gives every address, and the rules of each address and port in their order", () => {
  const flags = "--ip-address=10.96.0.2,FD00:96:0::2 --port=443,6443 --setup-iptables --interface=dummy0 " +
    "--address-scope=link --deduplicate=false";
  const [v4, v6] = [{ family: 4, ip: "10.96.0.2" }, { family: 6, ip: "fd00:96::2" }] as const;
  assertEquals(desired(configFrom(flags), "absent"), {
    want: "absent",
    link: { kind: "link", name: "dummy0" },
    addresses: [
      { kind: "address", family: 4, ip: "10.96.0.2", link: "dummy0", scope: "link" },
      { kind: "address", family: 6, ip: "fd00:96::2", link: "dummy0", scope: "link" },
    ],
    rules: [...rules(v4, 443), ...rules(v4, 6443), ...rules(v6, 443), ...rules(v6, 6443)],
    deduplicate: false,
  });
});

Deno.test("fullPrefix() is the length of a single address", () => {
  assertEquals([fullPrefix(4), fullPrefix(6)], [32, 128]);
});

Deno.test("itemName() names items as the tools write them", () => {
  const { link, addresses, rules } = desired(
    configFrom("--ip-address=10.96.0.2,fd00:96::2 --setup-iptables"),
    "present",
  );
  assertEquals([link, ...addresses, ...rules.slice(0, 1)].map(itemName), [
    "lo",
    "10.96.0.2/32",
    "fd00:96::2/128",
    "raw PREROUTING -d 10.96.0.2/32 -p tcp -m tcp --dport 443 -j NOTRACK",
  ]);
});
