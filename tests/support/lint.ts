/**
 * The project's own lint rule: what reaches outside the program does so in one named place. Only tests and build scripts
 * are free.
 *
 * @module
 */

/** Members of `Deno`, and the files that may use them. */
const PLACES: Readonly<Record<string, readonly string[]>> = {
  args: ["main.ts"],
  exit: ["main.ts"],
  env: ["main.ts"],
  Command: ["lib/node/process.ts"],
};

const ROOT = new URL("../../", import.meta.url).pathname;

const plugin: Deno.lint.Plugin = {
  name: "edges",
  rules: {
    "only-at-the-edges": {
      create(context) {
        return {
          MemberExpression(node) {
            if (node.object.type !== "Identifier" || node.object.name !== "Deno") return;
            if (node.property.type !== "Identifier") return;
            const member = node.property.name;
            const places = Object.hasOwn(PLACES, member) ? PLACES[member] : undefined;
            const file = context.filename.slice(ROOT.length);
            if (places === undefined || places.includes(file) || /^(tests|\.ci)\//.test(file)) return;
            context.report({ node, message: `Deno.${member} is for ${places.join(" and ")} only` });
          },
        };
      },
    },
  },
};

export default plugin;
