import { assertEquals } from "@std/assert";

const ROOT = new URL("../", import.meta.url).pathname;
const IP = ["ip", "run ip by its path"];
const RULE_PROGRAMS = ["iptables", "ip6tables"].flatMap((family) => [
  ...["", "-nft", "-legacy"].map((infix) => `${family}${infix}-restore`),
  ...["", "-nft", "-legacy"].map((infix) => `${family}${infix}-save`),
]);
/** Tools of the suite that are never started. */
const UNUSED = ["iptables", "ip6tables"];
const FILES = ["read a directory", "read a file", "remove a file", "write a file", "import a file"];
const NETWORK = ["connect", "fetch", "listen", "resolve a host"];

Deno.test("dropRights() leaves nothing but ip to a program without rules, log files and servers", async () => {
  assertEquals(await allowed([]), sorted(IP));
});

Deno.test("dropRights() leaves iptables and nft to one that keeps rules", async () => {
  assertEquals(await allowed(["--setup-iptables"]), sorted(IP, RULE_PROGRAMS, ["nft"]));
});

Deno.test("dropRights() leaves files, and the names of host and user, to one that writes log files", async () => {
  for (const flags of [["--log_dir=/tmp"], ["--log_file=/tmp/log"], ["--alsologtostderr"]]) {
    assertEquals(
      await allowed(["--logtostderr=false", ...flags]),
      sorted(IP, FILES, ["know the host's name", "know the user"]),
      flags.join(),
    );
  }
  assertEquals(await allowed(["--log_dir=/tmp"]), sorted(IP), "without --logtostderr=false there are none");
});

for (const flag of ["--metrics-bind-address=:9100", "--health-probe-bind-address=:9100"]) {
  Deno.test(`dropRights() leaves the network to one with ${flag}, and dropNetwork() takes it`, async () => {
    assertEquals(await allowed([flag]), sorted(IP, NETWORK));
    assertEquals(await allowed([flag], "listening"), sorted(IP));
  });
}

Deno.test("dropRights() leaves all that is needed to one that does everything, and no more", async () => {
  const flags = ["--setup-iptables", "--logtostderr=false", "--log_dir=/tmp", "--metrics-bind-address=:9100"];
  const names = ["know the host's name", "know the user"];
  assertEquals(
    await allowed(flags),
    sorted(IP, RULE_PROGRAMS, ["nft"], FILES, NETWORK, names),
  );
});

/** What the program can still do. */
async function allowed(flags: readonly string[], mode = ""): Promise<readonly string[]> {
  return (await ask(flags, mode)).toSorted();
}

/** Runs rights_child.ts with the rights of the program, on a machine that has all tools. */
async function ask(flags: readonly string[], mode: string): Promise<readonly string[]> {
  const directory = await Deno.makeTempDir();
  try {
    for (const name of ["ip", "nft", "sh", ...RULE_PROGRAMS, ...UNUSED]) {
      await Deno.symlink("/bin/true", `${directory}/${name}`);
    }
    await Deno.writeTextFile(`${directory}/module.js`, "");
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-q",
        "-P",
        `${ROOT}tests/support/rights_child.ts`,
        directory,
        mode,
        "--ip-address=10.96.0.2",
        ...flags,
      ],
      cwd: ROOT,
      env: { PATH: directory },
    }).output();
    const decoder = new TextDecoder();
    assertEquals(decoder.decode(stderr), "");
    return JSON.parse(decoder.decode(stdout));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

function sorted(...names: readonly (readonly string[])[]): readonly string[] {
  return names.flat().toSorted();
}
