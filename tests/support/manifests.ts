/**
 * Test equipment: the manifests of deploy/, as kustomize renders them.
 *
 * @module
 */
import { parseAll } from "@std/yaml/parse";

const DEPLOY = new URL("../../deploy/", import.meta.url).pathname;

/** The folders of deploy/ that are rendered. */
export const SHAPES = ["base", "overlays/dual-stack", "overlays/dummy", "overlays/haproxy", "overlays/legacy"] as const;

/** A Kubernetes object. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly data?: Readonly<Record<string, string>>;
  readonly spec?: { readonly template?: { readonly spec: PodSpec } };
}

/** The part of the specification of a pod that tests look into. */
export interface PodSpec {
  readonly initContainers: readonly Container[];
  readonly containers: readonly Container[];
  readonly volumes: readonly { readonly name: string; readonly hostPath?: unknown; readonly configMap?: unknown }[];
  readonly [key: string]: unknown;
}

/** The part of a container that tests look into. */
export interface Container {
  readonly name: string;
  readonly image: string;
  readonly args?: readonly string[];
  readonly env?: readonly {
    readonly name: string;
    readonly value?: string;
    readonly valueFrom?: { readonly configMapKeyRef?: { readonly name: string; readonly key: string } };
  }[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly readinessProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string; readonly readOnly?: boolean }[];
  readonly resources: { readonly limits: { readonly memory: string } };
  readonly securityContext: Readonly<Record<string, unknown>> & {
    readonly capabilities: { readonly drop: string[]; readonly add?: string[] };
  };
  readonly [key: string]: unknown;
}

/** What the kubelet asks for. */
export interface Probe {
  readonly httpGet: { readonly host: string; readonly port: number; readonly path: string };
}

/** Renders a folder of deploy/, or the one that is there. */
export async function render(folder: string): Promise<Manifest[]> {
  const args = ["kustomize", folder.startsWith("/") ? folder : `${DEPLOY}${folder}`];
  const { code, stdout, stderr } = await new Deno.Command("kubectl", { args }).output();
  const decoder = new TextDecoder();
  if (code !== 0) throw new Error(`Cannot render ${folder}: ${decoder.decode(stderr).trimEnd()}`);
  return parseAll(decoder.decode(stdout)) as Manifest[];
}

/** The pod that a rendered DaemonSet makes. */
export function podSpec(manifests: readonly Manifest[]): PodSpec {
  const spec = manifests.find(({ kind }) => kind === "DaemonSet")?.spec?.template?.spec;
  if (spec === undefined) throw new Error("Cannot find the pod: there is no DaemonSet");
  return spec;
}

/** Renders the overlay with HAProxy and the component for the Prometheus Operator, as a user would put them together. */
export async function renderMonitored(): Promise<Manifest[]> {
  const folder = await Deno.makeTempDir({ dir: `${DEPLOY}overlays` });
  try {
    await Deno.writeTextFile(
      `${folder}/kustomization.yaml`,
      "resources: [../haproxy]\ncomponents: [../../monitoring]\n",
    );
    return await render(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
