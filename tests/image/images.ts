/**
 * Test equipment: the image that prepare.ts has built, in containers and in the pods of deploy/.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import type { Output } from "../support/namespace.ts";
import { type Container, type Manifest, type PodSpec, podSpec, type Probe } from "../support/manifests.ts";
import { type Backend, eventually, state } from "../support/program.ts";

/** Name of the image. */
export const IMAGE = "localhost/apiserver-proxy-sidecar";
/** Tag of the image for this machine's architecture; each has its architecture behind that. */
export const TAG = "test";
/** What the program and the commands it starts may take. */
const MEMORY = "90Mi";

/** Runs a program to its end. */
export async function run(argv: readonly string[], stdin = ""): Promise<Output> {
  const [program = "", ...args] = argv;
  const child = new Deno.Command(program, { args, stdin: "piped", stdout: "piped", stderr: "piped" }).spawn();
  const [{ code, stdout, stderr }] = await Promise.all([
    child.output(),
    new Blob([stdin]).stream().pipeTo(child.stdin).catch((error) => {
      if (!(error instanceof Deno.errors.BrokenPipe)) throw error; // its exit code tells more
    }),
  ]);
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** Runs a program that has to succeed, and gives its standard output. */
export async function ok(argv: readonly string[], stdin?: string): Promise<string> {
  const { code, stdout, stderr } = await run(argv, stdin);
  if (code !== 0) throw new Error(`Cannot run "${argv.join(" ")}": exit code ${code}: ${stderr.trimEnd()}`);
  return stdout;
}

/** The folder that is for these tests, and goes with them. */
export function folder(): string {
  const folder = Deno.env.get("IMAGE_FOLDER");
  if (folder === undefined) throw new Error('Cannot find the image: run "make test-image"');
  return folder;
}

/** Options for {@linkcode Pod.play}. */
export interface PodOptions {
  /** Changes the specification before it is run. */
  change?: (spec: PodSpec) => PodSpec;
  /** What the node's lock of xtables is. @default a file of its own */
  lock?: string;
  /** Whether it is expected to fail in its init container. @default {false} */
  fails?: boolean;
}

/** A pod that runs: without a network but its own, without restarts, within {@linkcode MEMORY}. */
export class Pod implements AsyncDisposable {
  readonly #name: string;
  readonly #lock: string;
  /** Keeps the network when all containers have ended. */
  #holder: Deno.ChildProcess | undefined;

  private constructor(name: string, lock: string) {
    this.#name = name;
    this.#lock = lock;
  }

  /** Makes the pod of a rendered DaemonSet, and waits until its init containers are done. */
  static async play(manifests: readonly Manifest[], options: PodOptions = {}): Promise<Pod> {
    const name = `pod-${crypto.randomUUID().slice(0, 8)}`;
    const lock = options.lock ?? `${folder()}/${name}.lock`;
    const configs = manifests.filter(({ kind }) => kind === "ConfigMap");
    const spec = localSpec(podSpec(manifests), configs, lock);
    const pod = {
      apiVersion: "v1",
      kind: "Pod",
      // Else podman removes init containers when they are done, with what they said.
      metadata: { name, annotations: { "io.podman.annotations.init.container.type": "always" } },
      spec: options.change?.(spec) ?? spec,
    };
    const documents = [...configs, pod].map((document) => JSON.stringify(document)).join("\n---\n");
    const { code, stderr } = await run(["podman", "kube", "play", "--network=none", "-"], documents);
    const made = new Pod(name, lock);
    if (code !== 0 && !options.fails) {
      const said = await made.logs("setup").catch(() => "");
      await made[Symbol.asyncDispose]();
      throw new Error(`Cannot play the pod: ${stderr}${said}`);
    }
    if (code === 0) await made.#hold();
    return made;
  }

  /** Runs a program of this machine in the pod's network. */
  run(argv: readonly string[]): Promise<Output> {
    return run([...this.#enter(), ...argv]);
  }

  /** As {@linkcode run}, but it has to succeed; gives its standard output. */
  ok(argv: readonly string[]): Promise<string> {
    return ok([...this.#enter(), ...argv]);
  }

  /** Answers all requests to an address of the pod, until it is disposed of. */
  serve(hostname: string, port: number, text: string): AsyncDisposable {
    const code = `Deno.serve(${JSON.stringify({ hostname, port })}, () => new Response(${JSON.stringify(text)}))`;
    const [program = "", ...args] = [...this.#enter(), Deno.execPath(), "eval", "--quiet", code];
    const server = new Deno.Command(program, { args, stdin: "null", stdout: "null" }).spawn();
    return {
      async [Symbol.asyncDispose]() {
        server.kill();
        await server.status;
      },
    };
  }

  /** Process id of a container's first process; "infra" is the one that holds the pod together. */
  async pid(container: string): Promise<number> {
    const id = container === "infra" ? await this.#infra() : `${this.#name}-${container}`;
    return Number(await ok(["podman", "inspect", "--format={{.State.Pid}}", id]));
  }

  /** What a container has said so far. */
  async logs(container: string): Promise<string> {
    const { stdout, stderr } = await run(["podman", "logs", `${this.#name}-${container}`]);
    return stdout + stderr;
  }

  /** Exit code of a container that has ended. */
  async exitCode(container: string): Promise<number> {
    return Number(await ok(["podman", "inspect", "--format={{.State.ExitCode}}", `${this.#name}-${container}`]));
  }

  /** Runs a program of the image in a container. */
  exec(container: string, ...argv: string[]): Promise<Output> {
    return run(["podman", "exec", `${this.#name}-${container}`, ...argv]);
  }

  /** Runs the image once more, with the same rights, in the pod's network. */
  async once(...flags: string[]): Promise<Output> {
    const network = `--network=ns:/proc/${this.#holder?.pid}/ns/net`;
    return await run(["podman", "run", "--rm", network, ...CONFINED, `${IMAGE}:${TAG}`, ...flags]);
  }

  /** Sends SIGTERM to a container, and waits until it has ended. */
  async stop(container: string): Promise<void> {
    await ok(["podman", "stop", "--time=15", `${this.#name}-${container}`]);
  }

  /** Waits until the kernel holds exactly some lines. */
  reached(lines: readonly string[], backend: Backend): Promise<void> {
    return eventually(async () => assertEquals(await state(this, backend), [...lines]));
  }

  /** Asks what the kubelet would ask. */
  async probe(probe: Probe | undefined): Promise<string> {
    const { host, port, path } = probe?.httpGet ?? { host: "", port: 0, path: "" };
    const url = `http://${host}:${port}${path}`;
    return (await this.run(["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", url])).stdout;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#holder?.stdin.close();
    await this.#holder?.status;
    await ok(["podman", "pod", "rm", "--force", "--time=0", this.#name]);
  }

  async #hold(): Promise<void> {
    const infra = await this.pid("infra");
    const [program = "", ...args] = ["nsenter", `--net=/proc/${infra}/ns/net`, "cat"];
    const holder = new Deno.Command(program, { args, stdin: "piped" }).spawn();
    this.#holder = holder;
    // Until it has entered it is in this machine's own network, which no test may touch.
    await eventually(async () =>
      assertEquals(await Deno.readLink(`/proc/${holder.pid}/ns/net`), await Deno.readLink(`/proc/${infra}/ns/net`))
    );
  }

  #enter(): string[] {
    if (this.#holder === undefined) throw new Error("Cannot enter the network of a pod that did not start");
    const enter = ["nsenter", `--net=/proc/${this.#holder.pid}/ns/net`, "--"];
    return [...enter, "env", "LC_ALL=C", `XTABLES_LOCKFILE=${this.#lock}`];
  }

  async #infra(): Promise<string> {
    return (await ok(["podman", "pod", "inspect", "--format={{.InfraContainerID}}", this.#name])).trim();
  }
}

/** The rights that deploy/base gives to a container. */
export const CONFINED: readonly string[] = [
  "--cap-drop=ALL",
  "--cap-add=NET_ADMIN",
  "--read-only",
  "--read-only-tmpfs=false",
  "--security-opt=no-new-privileges",
];

/** What a kubelet would make of it and podman does not; but no network of this machine, and no file of it. */
function localSpec(spec: PodSpec, configs: readonly Manifest[], lock: string): PodSpec {
  const { hostNetwork: _, ...rest } = spec;
  return {
    ...rest,
    restartPolicy: "Never",
    initContainers: spec.initContainers.map((container) => localContainer(container, configs)),
    containers: spec.containers.map((container) => localContainer(container, configs)),
    volumes: spec.volumes.map((volume) =>
      volume.hostPath === undefined ? volume : { ...volume, hostPath: { path: lock, type: "FileOrCreate" } }
    ),
  };
}

function localContainer(container: Container, configs: readonly Manifest[]): Container {
  // podman would need systemd to ask, and a bridge for ports.
  const { readinessProbe: _, livenessProbe: __, ports: ___, ...rest } = container;
  const values = new Map((container.env ?? []).map(({ name, value, valueFrom }) => {
    const { name: config, key = "" } = valueFrom?.configMapKeyRef ?? {};
    return [name, value ?? configs.find(({ metadata }) => metadata.name === config)?.data?.[key] ?? "127.0.0.1"];
  }));
  const isOurs = container.image.includes("apiserver-proxy-sidecar");
  return {
    ...rest,
    image: isOurs ? `${IMAGE}:${TAG}` : container.image,
    imagePullPolicy: "Never",
    args: (container.args ?? []).map((arg) =>
      arg.replaceAll(/\$\((\w+)\)/g, (whole, name) => values.get(name) ?? whole)
    ),
    env: [...values].map(([name, value]) => ({ name, value })),
    ...isOurs && { resources: { ...container.resources, limits: { memory: MEMORY } } },
  };
}
