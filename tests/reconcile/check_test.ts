import { assertEquals } from "@std/assert";
import { desired } from "../../lib/desired/desired.ts";
import { check } from "../../lib/reconcile/check.ts";
import { backendOf } from "../../lib/reconcile/rules.ts";
import { FakeNode } from "../support/fake_node.ts";
import { configOf } from "../support/reports.ts";
import { dumpedRules } from "../support/texts.ts";

const ADDRESS = "ip address add 10.96.0.2/32 dev lo scope host";
const HINT = "iptables-legacy -t mangle -N KUBE-IPTABLES-HINT\n";
const NAMES = "ip -force -batch /proc/net/";
const LIST = "*raw\n-S PREROUTING\n-S OUTPUT\nCOMMIT\n*filter\n-S INPUT\n-S OUTPUT\nCOMMIT\n# end of listing\n";

for (const backend of ["nft", "legacy"] as const) {
  Deno.test(`check() changes nothing, and tells no command to, when the back end is ${backend}`, async () => {
    for (const state of ["", `${ADDRESS}\n${dumpedRules(`iptables-${backend}`).slice(1).join("\n")}`]) {
      const node = new FakeNode(`${state}\n${backend === "legacy" ? HINT : ""}`);
      const config = configOf("--setup-iptables");
      const before = node.dump();
      const options = { runner: node, clock: node.clock, commandTimeout: 10_000 };
      const result = await check(desired(config, "present"), backendOf(config), options);
      assertEquals(node.dump(), before);
      const found = state === "" ? "missing missing" : "present present";
      const names = result.items.map(({ item }) =>
        item.kind === "link" ? item.name : item.kind === "address" ? item.ip : item.chain
      );
      assertEquals(result.items.map(({ before, after }, index) => `${names[index]} ${before?.state} ${after?.state}`), [
        "lo present present",
        `10.96.0.2 ${found}`,
        `PREROUTING ${found}`,
        "OUTPUT missing missing",
        `OUTPUT ${found}`,
        `INPUT ${found}`,
        `OUTPUT ${found}`,
      ]);
      assertEquals(result.items.flatMap(({ remedies }) => remedies).length, state === "" ? 6 : 1);
      assertEquals(node.processes.map(({ argv, stdin }) => `${argv.join(" ")}\n${stdin}`), [
        "ip -json -details -force -batch -\naddress show dev lo\n",
        ...["iptables", "ip6tables"].flatMap((family) =>
          ["KUBE-KUBELET-CANARY", "KUBE-IPTABLES-HINT"].map((hint) =>
            `${family}-nft-restore --noflush --verbose --wait=1\n*mangle\n-S ${hint}\nCOMMIT\n# end of listing\n`
          )
        ),
        `${NAMES}ip_tables_names\n`,
        `${NAMES}ip6_tables_names\n`,
        ...backend === "nft"
          ? [`iptables-nft-restore --noflush --verbose --wait=5\n${LIST}`, `${NAMES}ip_tables_names\n`]
          : [
            "iptables-legacy-save -t mangle\n",
            `${NAMES}ip_tables_names\n`,
            ...state === "" ? [] : ["iptables-legacy-save -t raw\n", "iptables-legacy-save -t filter\n"],
            "iptables-nft-save -t raw\n",
            "iptables-nft-save -t filter\n",
          ],
      ]);
    }
  });
}
