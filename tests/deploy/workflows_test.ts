import { assertEquals, assertMatch } from "@std/assert";
import { isInstalled } from "../support/installed.ts";

const FOLDER = new URL("../../.github/workflows/", import.meta.url);
const files = [...Deno.readDirSync(FOLDER)].map(({ name }) => new URL(name, FOLDER).pathname);

// No package of Debian has it: go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.7
const isThere = isInstalled("actionlint", "-version");
Deno.test({
  name: `actionlint finds nothing in the workflows${isThere ? "" : " (skipped: actionlint is not installed)"}`,
  ignore: !isThere,
  async fn() {
    const { code, stdout } = await new Deno.Command("actionlint", { args: files }).output();
    assertEquals([code, new TextDecoder().decode(stdout)], [0, ""]);
  },
});

Deno.test("workflows name each action by the digest of its commit, and its version", () => {
  const uses = files.flatMap((file) => Deno.readTextFileSync(file).match(/uses: .*/g) ?? []);
  assertEquals(uses.length, 5);
  for (const use of uses) assertMatch(use, /^uses: [\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
});
