import { assertEquals } from "@std/assert";
import type { LogConfig } from "../../lib/log/config.ts";
import { contents, FILE_HEADER, HEADER, START, temporaryDirectory, testLogging } from "../support/logging.ts";

const FILES: Partial<LogConfig> = { toStderr: false, skipLogHeaders: true };

/** The name of a log file that was opened at {@linkcode START}. */
function name(severity: string, time = "20260709-080503"): string {
  return `apiserver-proxy-sidecar.node-1.root.log.${severity}.${time}.4242`;
}

Deno.test("LogFiles writes a record to the file of its severity and to all lower ones", async () => {
  using directory = temporaryDirectory();
  await using logging = await testLogging({ ...FILES, dir: directory.path });
  logging.log.info("Added address", { address: "10.96.0.2" });
  assertEquals(Object.keys(await logging.contents(directory.path)), ["apiserver-proxy-sidecar.INFO", name("INFO")]);
  logging.log.warning("Lock is busy");
  logging.log.error("Pass failed");
  const [info, warning, error] = [
    `I${HEADER}Added address address="10.96.0.2"\n`,
    `W${HEADER}Lock is busy\n`,
    `E${HEADER}Pass failed\n`,
  ];
  assertEquals(await logging.contents(directory.path), {
    "apiserver-proxy-sidecar.ERROR": `-> ${name("ERROR")}`,
    "apiserver-proxy-sidecar.INFO": `-> ${name("INFO")}`,
    "apiserver-proxy-sidecar.WARNING": `-> ${name("WARNING")}`,
    [name("ERROR")]: error,
    [name("INFO")]: info + warning + error,
    [name("WARNING")]: warning + error,
  });
  assertEquals(await logging.stderr(), error);
});

Deno.test("LogFiles writes a record to one file only with --one_output", async () => {
  using directory = temporaryDirectory();
  await using logging = await testLogging({ ...FILES, dir: directory.path, oneOutput: true });
  logging.log.error("Pass failed");
  logging.log.info("Added address");
  assertEquals(await logging.contents(directory.path), {
    "apiserver-proxy-sidecar.ERROR": `-> ${name("ERROR")}`,
    "apiserver-proxy-sidecar.INFO": `-> ${name("INFO")}`,
    [name("ERROR")]: `E${HEADER}Pass failed\n`,
    [name("INFO")]: `I${HEADER}Added address\n`,
  });
});

Deno.test("LogFiles is in the temporary directory without --log_dir", async () => {
  using directory = temporaryDirectory();
  await using logging = await testLogging(FILES, { tempDir: directory.path });
  logging.log.info("Added address");
  assertEquals(Object.keys(await logging.contents(directory.path)), ["apiserver-proxy-sidecar.INFO", name("INFO")]);
});

Deno.test("LogFiles makes names of what is unknown or strange", async () => {
  using directory = temporaryDirectory();
  const hosts = [
    { hostname: () => "../a b", uid: () => 1000 },
    {
      hostname(): string {
        throw new Deno.errors.NotCapable("sys");
      },
      uid: () => null,
    },
  ];
  for (const host of hosts) {
    await using logging = await testLogging({ ...FILES, dir: directory.path, oneOutput: true }, host);
    logging.log.warning("Lock is busy");
  }
  assertEquals(
    Object.keys(contents(directory.path)),
    [
      "apiserver-proxy-sidecar..1000.log.WARNING.20260709-080503.4242",
      "apiserver-proxy-sidecar.WARNING",
      "apiserver-proxy-sidecar.unknownhost.unknownuser.log.WARNING.20260709-080503.4242",
    ],
  );
});

Deno.test("setUpLogging() routes records to standard error as its flags ask for", async () => {
  using directory = temporaryDirectory();
  const said = async (config: Partial<LogConfig>) => {
    await using logging = await testLogging({ skipLogHeaders: true, dir: directory.path, ...config });
    logging.log.info("i");
    logging.log.warning("w");
    logging.log.error("e");
    return (await logging.stderr()).replaceAll(/^.* (.)\n/gm, "$1");
  };
  const SEVERITIES = ["INFO", "WARNING", "ERROR", "FATAL"] as const;
  const each = async (config: (severity: typeof SEVERITIES[number]) => Partial<LogConfig>) => {
    const all = [];
    for (const severity of SEVERITIES) all.push(await said(config(severity)));
    return all;
  };
  const filtered = ["iwe", "we", "e", ""];
  assertEquals(await each((stderrThreshold) => ({ toStderr: false, stderrThreshold })), filtered);
  assertEquals(
    await each((alsoToStderrThreshold) => ({ toStderr: false, alsoToStderr: true, alsoToStderrThreshold })),
    filtered,
  );
  const also = { toStderr: false, alsoToStderr: true, legacyThreshold: false };
  assertEquals(await each((stderrThreshold) => ({ ...also, stderrThreshold })), Array(4).fill("iwe"));
  assertEquals(await each((stderrThreshold) => ({ stderrThreshold, alsoToStderr: true })), Array(4).fill("iwe"));
  assertEquals(await each((stderrThreshold) => ({ stderrThreshold, legacyThreshold: false })), filtered);
});

Deno.test("LogFiles begins each file with a header, unless that is skipped or the lines are JSON", async () => {
  using directory = temporaryDirectory();
  const file = `${directory.path}/log`;
  const written = async (config: Partial<LogConfig>) => {
    await using logging = await testLogging({ toStderr: false, file, ...config });
    logging.log.info("Started");
    await logging.flush();
    return await Deno.readTextFile(file);
  };
  const line = `I${HEADER}Started\n`;
  const json = `{"ts":${START},"caller":"test.ts:7","msg":"Started","v":0}\n`;
  assertEquals(await written({}), FILE_HEADER + line);
  assertEquals(await written({}), (FILE_HEADER + line).repeat(2));
  assertEquals(await written({ skipLogHeaders: true }), (FILE_HEADER + line).repeat(2) + line);
  assertEquals(await written({ format: "json" }), (FILE_HEADER + line).repeat(2) + line + json);
});

Deno.test("LogFiles opens a new file and moves the link when one of --log_dir is full", async () => {
  using directory = temporaryDirectory();
  const line = `I${HEADER}Pass 1\n`;
  await using logging = await testLogging({ ...FILES, dir: directory.path, fileMaxSize: 2 * line.length });
  for (let pass = 1; pass <= 5; pass++) logging.log.info(`Pass ${pass}`);
  await logging.flush();
  logging.clock.time += 1000;
  for (let pass = 6; pass <= 7; pass++) logging.log.info(`Pass ${pass}`);
  const pass = (n: number, header = HEADER) => `I${header}Pass ${n}\n`;
  const later = HEADER.replace(":03.", ":04.");
  assertEquals(await logging.contents(directory.path), {
    "apiserver-proxy-sidecar.INFO": `-> ${name("INFO", "20260709-080504")}`,
    [name("INFO")]: pass(1) + pass(2),
    [`${name("INFO")}.1`]: pass(3) + pass(4),
    [`${name("INFO")}.2`]: pass(5) + pass(6, later),
    [name("INFO", "20260709-080504")]: pass(7, later),
  });
});

Deno.test("LogFiles renames a full --log_file aside", async () => {
  using directory = temporaryDirectory();
  const file = `${directory.path}/log`;
  const line = `I${HEADER}Pass 1\n`;
  await using logging = await testLogging({ ...FILES, file, fileMaxSize: 2 * line.length });
  for (let pass = 1; pass <= 5; pass++) logging.log.info(`Pass ${pass}`);
  logging.log.info("A record longer than the limit is in a file of its own, and whole", { text: "x".repeat(100) });
  logging.log.info("Pass 6");
  const pass = (n: number) => `I${HEADER}Pass ${n}\n`;
  assertEquals(await logging.contents(directory.path), {
    "log": pass(6),
    "log.20260709-080503": pass(1) + pass(2),
    "log.20260709-080503.1": pass(3) + pass(4),
    "log.20260709-080503.2": pass(5),
    "log.20260709-080503.3": `I${HEADER}A record longer than the limit is in a file of its own, and whole text="${
      "x".repeat(100)
    }"\n`,
  });
});

Deno.test("LogFiles puts a --log_file aside that is full when it starts", async () => {
  using directory = temporaryDirectory();
  const file = `${directory.path}/log`;
  await Deno.writeTextFile(file, "before\n".repeat(10));
  await using logging = await testLogging({ toStderr: false, file, fileMaxSize: 70 });
  logging.log.info("Started");
  assertEquals(await logging.contents(directory.path), {
    "log": `${FILE_HEADER}I${HEADER}Started\n`,
    "log.20260709-080503": "before\n".repeat(10),
  });
});

Deno.test("LogFiles makes files that other users cannot read", async () => {
  using directory = temporaryDirectory();
  await using logging = await testLogging({ ...FILES, dir: directory.path });
  logging.log.info("Started");
  await logging.flush();
  assertEquals((await Deno.stat(`${directory.path}/${name("INFO")}`)).mode! & 0o007, 0);
});
