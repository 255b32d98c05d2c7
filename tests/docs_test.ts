import { assertEquals, assertGreater, AssertionError, assertRejects } from "@std/assert";
import { runDocument } from "./support/docs.ts";
import { kernelTest } from "./support/namespace.ts";

const ROOT = new URL("../", import.meta.url);
/** Documents whose commands are run, and whose links are followed. */
const DOCUMENTS = ["README.md", "docs/operating.md"];
/** Other files with links into them. */
const LINKING = ["deploy/alerts.yaml", "deploy/monitoring/prometheusrule.yaml", "docs/install.md"];
const SITE = "https://github.com/gardener-community/apiserver-proxy-sidecar/blob/main/";

const read = (path: string) => Deno.readTextFile(new URL(path, ROOT));

for (const document of DOCUMENTS) {
  kernelTest(`${document}: every command does what it says`, async (namespace) => {
    assertGreater(await runDocument(namespace, await read(document)), 0);
  });
}

kernelTest("runDocument() notices what is not as documented", async (namespace) => {
  const says = (text: string, info = "") =>
    `\`\`\`sh${info}\necho one; echo two >&2\n\`\`\`\n\n\`\`\`text\n${text}\n\`\`\`\n`;
  for (const right of ["one\ntwo", "…", "o…e\n…", "one\n…\ntwo"]) await runDocument(namespace, says(right));
  for (const wrong of ["one", "two", "one\ntwo\nthree", "…e", ""]) {
    await assertRejects(() => runDocument(namespace, says(wrong)), AssertionError, "says");
  }
  await assertRejects(() => runDocument(namespace, says("…", " exit=1")), AssertionError, "exit=0");
  assertEquals(await runDocument(namespace, "```console\n$ false\n```\n"), 0);
});

Deno.test("documents link to files and headings that there are", async () => {
  const broken: string[] = [];
  for (const document of [...DOCUMENTS, ...LINKING]) {
    for (const link of linksOf(await read(document))) {
      const { pathname, hash } = new URL(link, new URL(document, ROOT));
      const text = await Deno.readTextFile(pathname).catch(() => undefined);
      if (text === undefined || (hash !== "" && !anchorsOf(text).includes(hash))) broken.push(`${document}: ${link}`);
    }
  }
  assertEquals(broken, []);
});

/** The links to files of this project: those of Markdown, and whole addresses of its own. */
function linksOf(text: string): readonly string[] {
  const own = [...text.matchAll(/https:[^\s)"'>]+/g)].map(([link]) => link).filter((link) => link.startsWith(SITE));
  const relative = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = ""]) => link).filter((link) =>
    !/^\w+:/.test(link)
  );
  return [...relative, ...own.map((link) => new URL(link.slice(SITE.length), ROOT).href)];
}

/** What GitHub makes of the headings. */
function anchorsOf(markdown: string): readonly string[] {
  return [...markdown.matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) =>
    `#${heading.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-")}`
  );
}
