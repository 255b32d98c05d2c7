/** How many nodes have something done to them at the same time: more would only wait for the machine. */
const AT_ONCE = 3;

/** Does something for each node, for some at the same time, and gives what came of it in their order. */
export async function each<Node, Result>(
  nodes: readonly Node[],
  what: (node: Node) => Promise<Result>,
): Promise<readonly Result[]> {
  const results: Result[] = [];
  const left = [...nodes.entries()];
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      const [index, node] = next;
      results[index] = await what(node);
    }
  }));
  return results;
}
