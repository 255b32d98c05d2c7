import { assertEquals, assertMatch } from "@std/assert";
import { parseConfig } from "../../lib/config/config.ts";
import { needing } from "../support/installed.ts";

const FOLDER = new URL("../../deploy/systemd/", import.meta.url);
const UNIT = "apiserver-proxy-sidecar.service";
/** How much of the machine the unit may touch, in tenths, as systemd-analyze counts: 19 of 100. */
const THRESHOLD = 20;

/** The unit with its drop-in, and a program that is there, in a folder of its own. */
async function withUnit(analyze: (path: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    for (const name of [UNIT, `${UNIT}.d/cleanup.conf`]) {
      await Deno.mkdir(`${folder}/${UNIT}.d`, { recursive: true });
      const text = await Deno.readTextFile(new URL(name.replace(/.*\//, ""), FOLDER));
      await Deno.writeTextFile(
        `${folder}/${name}`,
        text.replaceAll("/usr/local/bin/apiserver-proxy-sidecar", "/bin/true"),
      );
    }
    await analyze(`${folder}/${UNIT}`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function analyze(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await new Deno.Command("systemd-analyze", { args, env: { LC_ALL: "C" } }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

Deno.test({
  ...needing("systemd-analyze", "systemd understands every line of the unit and its drop-in"),
  fn: () =>
    withUnit(async (path) => {
      // An unknown key is a warning, and exit code 0.
      assertEquals(await analyze("verify", "--man=no", path), { code: 0, stdout: "", stderr: "" });
    }),
});

Deno.test({
  ...needing("systemd-analyze", "the unit is confined"),
  fn: () =>
    withUnit(async (path) => {
      const { code, stdout } = await analyze(
        "security",
        "--offline=yes",
        `--threshold=${THRESHOLD}`,
        "--no-pager",
        path,
      );
      assertEquals(code, 0, stdout);
      assertMatch(stdout, /Overall exposure level .*: 1\.\d OK/);
    }),
});

Deno.test("the environment file has a command line of the program", async () => {
  const text = await Deno.readTextFile(new URL("apiserver-proxy-sidecar.env", FOLDER));
  const [, args = ""] = /^ARGS="(.*)"$/m.exec(text) ?? [];
  assertEquals(parseConfig(args.split(" ")).kind, "config");
});
