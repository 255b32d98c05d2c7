/**
 * Test equipment of the demonstration: programs of peer.ts, on the node and in the pod.
 *
 * @module
 */
import type { Namespace } from "../support/namespace.ts";
import type { Load } from "./peer.ts";

/** The answer of a server to a pod; undefined if there is none. */
export async function ask(pod: Namespace, address: string): Promise<string | undefined> {
  const { code, stdout } = await pod.run(peer("ask", address));
  return code === 0 ? stdout.trimEnd() : undefined;
}

/** A pod that asks all the time. */
export class Asking implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;

  constructor(pod: Namespace, address: string) {
    this.#child = pod.spawn(peer("load", address), { stdin: "piped", stdout: "piped" });
  }

  /** Ends it, and tells how it went. */
  async end(): Promise<Load> {
    await this.#child.stdin.close();
    return JSON.parse(new TextDecoder().decode((await this.#child.output()).stdout));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await kill(this.#child);
  }
}

/** A server on a node that greets who connects. */
export async function serve(node: Namespace, listen: readonly string[]): Promise<AsyncDisposable> {
  const server = node.spawn(peer("serve", ...listen), { stdin: "null", stdout: "piped" });
  const reader = server.stdout.getReader();
  const { done } = await reader.read(); // it speaks when it listens
  if (done) throw new Error(`Cannot listen on ${listen.join(" and ")}`);
  return {
    async [Symbol.asyncDispose]() {
      await kill(server);
      await reader.cancel();
    },
  };
}

/** Ends a process that may have ended. */
export async function kill(child: Deno.ChildProcess): Promise<void> {
  try {
    child.kill("SIGKILL");
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // it has ended
  }
  await child.status;
}

function peer(...args: readonly string[]): string[] {
  return [Deno.execPath(), "run", "--quiet", "--allow-all", new URL("peer.ts", import.meta.url).pathname, ...args];
}
