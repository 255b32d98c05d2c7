import { assert, assertEquals } from "@std/assert";
import { parse } from "@std/yaml/parse";
import config from "../../deno.json" with { type: "json" };
import { prometheusRule } from "../../.ci/prometheus_rule.ts";
import { parseConfig } from "../../lib/config/config.ts";
import { needing } from "../support/installed.ts";
import { podSpec, render, renderMonitored, SHAPES } from "../support/manifests.ts";

const ROOT = new URL("../../", import.meta.url);
/** Where the types of an object are, by its kind; of releases that are named, since no lock holds them. */
const TYPES: Readonly<Record<string, string>> = {
  ConfigMap: "npm:kubernetes-models@5.1.0/v1/ConfigMap",
  DaemonSet: "npm:kubernetes-models@5.1.0/apps/v1/DaemonSet",
  PodMonitor: "npm:@kubernetes-models/prometheus-operator@6.0.0/monitoring.coreos.com/v1/PodMonitor",
  PrometheusRule: "npm:@kubernetes-models/prometheus-operator@6.0.0/monitoring.coreos.com/v1/PrometheusRule",
};

/** Registers a test that renders manifests. */
function kubectlTest(name: string, fn: () => Promise<void>): void {
  Deno.test({ ...needing("kubectl", name, "--help"), fn });
}

kubectlTest("deploy/: every object is one that Kubernetes takes, to the last field", async () => {
  const all = await Promise.all([...SHAPES.map(render), renderMonitored()]);
  const lines = all.flat().map((manifest, index) => {
    const type = TYPES[manifest.kind];
    assert(type !== undefined, `No types for ${manifest.kind}`);
    // An object literal is checked for fields that there are not.
    return `export const object${index}: import("${type}").I${manifest.kind} = ${JSON.stringify(manifest)};`;
  });
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(file, lines.join("\n"));
    const args = ["check", "--quiet", "--no-lock", "--no-config", file];
    const { code, stderr } = await new Deno.Command(Deno.execPath(), { args, env: { NO_COLOR: "1" } }).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
  } finally {
    await Deno.remove(file);
  }
});

for (const shape of [...SHAPES, "monitoring"] as const) {
  const manifests = () => shape === "monitoring" ? renderMonitored() : render(shape);

  kubectlTest(`deploy/${shape}: its command lines are the program's`, async () => {
    const objects = await manifests();
    const spec = podSpec(objects);
    const ours = [...spec.initContainers, ...spec.containers].filter(({ args }) => args !== undefined);
    assertEquals(ours.map(({ name }) => name), ["setup", "sidecar"]);
    for (const { args = [], env = [], image } of ours) {
      const values = new Map(env.map(({ name, valueFrom }) => {
        const { name: config, key = "" } = valueFrom?.configMapKeyRef ?? {};
        return [name, objects.find(({ metadata }) => metadata.name === config)?.data?.[key] ?? "192.0.2.7"];
      }));
      const argv = args.map((arg) => arg.replaceAll(/\$\((\w+)\)/g, (_, name) => values.get(name) ?? ""));
      assertEquals(parseConfig(argv).kind, "config", argv.join(" "));
      assertEquals(image, `registry.example.com/apiserver-proxy-sidecar:${config.version}`);
    }
  });

  kubectlTest(`deploy/${shape}: no rights but those it needs, and on every node`, async () => {
    const spec = podSpec(await manifests());
    const wanted = {
      sidecar: shape === "overlays/legacy" ? ["NET_ADMIN", "NET_RAW"] : ["NET_ADMIN"],
      haproxy: ["NET_BIND_SERVICE"],
    };
    for (const { name, securityContext } of [...spec.initContainers, ...spec.containers]) {
      assertEquals(securityContext, {
        runAsUser: 0,
        readOnlyRootFilesystem: true,
        allowPrivilegeEscalation: false,
        capabilities: { drop: ["ALL"], add: wanted[name === "haproxy" ? name : "sidecar"] },
      });
    }
    const { initContainers: _, containers: __, volumes, ...rest } = spec;
    assertEquals(rest, {
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      hostNetwork: true,
      nodeSelector: { "kubernetes.io/os": "linux" },
      priorityClassName: "system-node-critical",
      securityContext: { seccompProfile: { type: "RuntimeDefault" } },
      shareProcessNamespace: true,
      terminationGracePeriodSeconds: 15,
      tolerations: [{ operator: "Exists" }],
    });
    assertEquals(volumes.filter(({ hostPath }) => hostPath !== undefined), [
      { name: "xtables-lock", hostPath: { path: "/run/xtables.lock", type: "FileOrCreate" } },
    ]);
  });
}

Deno.test("deploy/monitoring has the rules of alerts.yaml", async () => {
  const rules = await Deno.readTextFile(new URL("deploy/alerts.yaml", ROOT));
  const made = await Deno.readTextFile(new URL("deploy/monitoring/prometheusrule.yaml", ROOT));
  assertEquals(made, prometheusRule(rules), 'Run "deno task prometheus-rule"');
});

Deno.test("alerts.yaml: each alert says what it means, and where to read what to do", async () => {
  const { groups } = parse(await Deno.readTextFile(new URL("deploy/alerts.yaml", ROOT))) as {
    readonly groups: readonly {
      readonly rules: readonly { readonly annotations: Readonly<Record<string, string>> }[];
    }[];
  };
  for (const { annotations } of groups.flatMap(({ rules }) => rules)) {
    assertEquals(Object.keys(annotations), ["summary", "description", "runbook_url"]);
  }
});
