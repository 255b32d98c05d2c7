import { assertEquals, assertRejects } from "@std/assert";
import type { LogConfig } from "../../lib/log/config.ts";
import { openLogFile } from "../../lib/log/open.ts";
import { contents, HEADER, temporaryDirectory, testLogging } from "../support/logging.ts";

const FILES: Partial<LogConfig> = { toStderr: false, skipLogHeaders: true };
const LINK = "apiserver-proxy-sidecar.INFO";
const NAME = "apiserver-proxy-sidecar.node-1.root.log.INFO.20260709-080503.4242";
const FALLBACK = "Cannot write log file, logging to standard error";
const LATER = HEADER.replace("08:05", "08:06");

/** Logs to `file` with something in its way: returns what is said, having seen that the job and its log go on. */
async function refused(file: string): Promise<string> {
  await using logging = await testLogging({ ...FILES, file });
  logging.log.info("One");
  const said = await logging.stderr();
  logging.log.info("Two");
  assertEquals(await logging.stderr(), `I${HEADER}Two\n`);
  return said.replace(`E${HEADER}${FALLBACK} err=`, "").replace(`\nI${HEADER}One\n`, "");
}

Deno.test("LogFiles writes to standard error while the directory is missing, and to files once it is there", async () => {
  using directory = temporaryDirectory();
  const path = `${directory.path}/missing`;
  await using logging = await testLogging({ ...FILES, dir: path });
  logging.log.info("One");
  logging.log.info("Two");
  const error = `No such file or directory (os error 2): open '${path}/${NAME}'`;
  assertEquals(await logging.stderr(), `E${HEADER}${FALLBACK} err="${error}"\nI${HEADER}One\nI${HEADER}Two\n`);
  await Deno.mkdir(path);
  logging.log.info("Three");
  assertEquals(await logging.stderr(), `I${HEADER}Three\n`);
  logging.clock.time += 60_000;
  logging.log.info("Four");
  logging.log.info("Five");
  const name = NAME.replace("0805", "0806");
  assertEquals(await logging.stderr(), `I${LATER}Log file can be written again file="${path}/${name}"\n`);
  assertEquals(await logging.contents(path), { [LINK]: `-> ${name}`, [name]: `I${LATER}Four\nI${LATER}Five\n` });
});

Deno.test("LogFiles says once that the directory is missing, not for each severity", async () => {
  await using logging = await testLogging({ ...FILES, dir: "/nonexistent" });
  logging.log.error("Pass failed");
  const name = NAME;
  assertEquals(
    await logging.stderr(),
    `E${HEADER}Pass failed\n` +
      `E${HEADER}${FALLBACK} err="No such file or directory (os error 2): open '/nonexistent/${name}'"\n`,
  );
});

Deno.test("LogFiles follows no symbolic link in the way of --log_file, nor changes what it points to", async () => {
  using directory = temporaryDirectory();
  const [file, target] = [`${directory.path}/log`, `${directory.path}/target`];
  await Deno.writeTextFile(target, "theirs", { mode: 0o600 });
  await Deno.symlink("target", file);
  assertEquals(await refused(file), `"\\"${file}\\" is a symbolic link"`);
  assertEquals(contents(directory.path), { log: "-> target", target: "theirs" });
  assertEquals((await Deno.stat(target)).mode! & 0o777, 0o600);
  await Deno.remove(target);
  assertEquals(await refused(file), `"\\"${file}\\" is a symbolic link"`);
  assertEquals(contents(directory.path), { log: "-> target" });
});

Deno.test("LogFiles writes no second name of another file and no directory", async () => {
  using directory = temporaryDirectory();
  const path = (name: string) => `${directory.path}/${name}`;
  await Deno.writeTextFile(path("target"), "theirs");
  await Deno.link(path("target"), path("linked"));
  await Deno.mkdir(path("directory"));
  const said = [];
  for (const name of ["linked", "directory"]) said.push(await refused(path(name)));
  assertEquals(said, [
    `"\\"${path("linked")}\\" is one of 2 names of a file"`,
    `"\\"${path("directory")}\\" is not a regular file"`,
  ]);
  assertEquals(await Deno.readTextFile(path("target")), "theirs");
});

Deno.test({
  name: "LogFiles writes to no pipe of another user (only root can make one)",
  ignore: Deno.uid() !== 0,
  async fn() {
    using directory = temporaryDirectory();
    const pipe = `${directory.path}/pipe`;
    await new Deno.Command("mkfifo", { args: [pipe] }).output();
    await Deno.chown(pipe, 1000, null);
    assertEquals(await refused(pipe), `"\\"${pipe}\\" is not a regular file"`);
  },
});

Deno.test("LogFiles writes to a device and to a pipe, and never rotates them", async () => {
  using directory = temporaryDirectory();
  const pipe = `${directory.path}/pipe`;
  await new Deno.Command("mkfifo", { args: [pipe] }).output();
  // Open for writing too, the pipe has no end when somebody closes it who opens it again.
  const reading = ["-c", 'exec 3<> "$0" && exec head -n 2 <&3', pipe];
  const reader = new Deno.Command("sh", { args: reading, stdout: "piped" }).spawn();
  for (const file of [pipe, "/dev/null"]) {
    await using logging = await testLogging({ ...FILES, file, fileMaxSize: 1 });
    logging.log.info("One");
    logging.clock.time += 60_000;
    logging.log.info("Two");
    assertEquals(await logging.stderr(), "", file);
  }
  assertEquals(new TextDecoder().decode((await reader.output()).stdout), `I${HEADER}One\nI${LATER}Two\n`);
  assertEquals(contents(directory.path), { pipe: "?" });
});

Deno.test("openLogFile() refuses a file that is replaced between looking and opening", async () => {
  using directory = temporaryDirectory();
  const [file, target] = [`${directory.path}/log`, `${directory.path}/target`];
  Deno.writeTextFileSync(target, "theirs");
  Deno.writeTextFileSync(file, "ours\n");
  const { lstat } = Deno;
  Deno.lstat = async (path) => {
    const info = await lstat(path);
    Deno.removeSync(path);
    Deno.symlinkSync("target", path as string);
    return info;
  };
  try {
    await assertRejects(() => openLogFile(file), TypeError, "was replaced while it was opened");
  } finally {
    Deno.lstat = lstat;
  }
  assertEquals(contents(directory.path), { log: "-> target", target: "theirs" });
});

Deno.test("LogFiles follows no link that was planted under the name of a file or of the link in --log_dir", async () => {
  using directory = temporaryDirectory();
  await Deno.writeTextFile(`${directory.path}/target`, "theirs");
  for (const name of [NAME, LINK]) await Deno.symlink("target", `${directory.path}/${name}`);
  await using logging = await testLogging({ ...FILES, dir: directory.path });
  logging.log.info("One");
  assertEquals(await logging.stderr(), "");
  assertEquals(await logging.contents(directory.path), {
    [LINK]: `-> ${NAME}.1`,
    [NAME]: "-> target",
    [`${NAME}.1`]: `I${HEADER}One\n`,
    target: "theirs",
  });
});

Deno.test("LogFiles leaves alone what is no link where its link should be", async () => {
  using directory = temporaryDirectory();
  await Deno.writeTextFile(`${directory.path}/${LINK}`, "theirs");
  await using logging = await testLogging({ ...FILES, dir: directory.path, fileMaxSize: 1 });
  logging.log.info("One");
  logging.log.info("Two");
  assertEquals(
    await logging.stderr(),
    (`W${HEADER}Cannot make the symbolic link to the log file err="\\"${directory.path}/${LINK}\\" is no symbolic link" ` +
      `file="${directory.path}/${LINK}"\n`).repeat(2),
  );
  assertEquals(await logging.contents(directory.path), {
    [LINK]: "theirs",
    [NAME]: `I${HEADER}One\n`,
    [`${NAME}.1`]: `I${HEADER}Two\n`,
  });
});

Deno.test("LogFiles does not use a directory that is a user's symbolic link", async () => {
  using directory = temporaryDirectory();
  const [dir, target] = [`${directory.path}/dir`, `${directory.path}/target`];
  await Deno.mkdir(target);
  await Deno.symlink("target", dir);
  await new Deno.Command("chown", { args: ["-h", "1000", dir] }).output();
  const { uid } = await Deno.lstat(dir);
  await using logging = await testLogging({ ...FILES, dir });
  logging.log.info("One");
  assertEquals(
    await logging.stderr(),
    `E${HEADER}${FALLBACK} err="\\"${dir}\\" is a symbolic link of user ${uid}"\nI${HEADER}One\n`,
  );
  assertEquals(await logging.contents(target), {});
});

Deno.test("LogFiles says once that every user can change the directory, and writes", async () => {
  using directory = temporaryDirectory();
  await Deno.chmod(directory.path, 0o777);
  await using logging = await testLogging({ ...FILES, dir: directory.path, stderrThreshold: "FATAL" });
  logging.log.error("One");
  assertEquals(
    await logging.stderr(),
    `W${HEADER}The log directory is not safe directory="${directory.path}" ` +
      `fault="every user can rename and remove the files in it"\n`,
  );
  assertEquals((await logging.contents(directory.path))[NAME], `E${HEADER}One\n`);
  await Deno.chmod(directory.path, 0o1777);
  await using sticky = await testLogging({ ...FILES, file: `${directory.path}/log` });
  sticky.log.info("One");
  assertEquals(await sticky.stderr(), "");
});

Deno.test("LogFiles opens a file anew that was renamed, removed or replaced, within a second", async () => {
  using directory = temporaryDirectory();
  const file = `${directory.path}/log`;
  await using logging = await testLogging({ ...FILES, file });
  const write = async (text: string) => {
    logging.log.info(text);
    return await logging.stderr();
  };
  assertEquals(await write("One"), "");
  await Deno.rename(file, `${file}.1`);
  // Not lost: it is in the file that was renamed.
  assertEquals(await write("Two"), "");
  logging.clock.time += 1000;
  assertEquals(await write("Three"), "");
  await Deno.remove(file);
  logging.clock.time += 1000;
  assertEquals(await write("Four"), "");
  await Deno.rename(file, `${file}.2`);
  await Deno.writeTextFile(file, "made by logrotate\n");
  logging.clock.time += 1000;
  assertEquals(await write("Five"), "");
  const at = (second: number) => `I${HEADER.replace(":03.", `:0${second}.`)}`;
  assertEquals(await logging.contents(directory.path), {
    "log": `made by logrotate\n${at(6)}Five\n`,
    "log.1": `${at(3)}One\n${at(3)}Two\n`,
    "log.2": `${at(5)}Four\n`,
  });
  await Deno.remove(file);
  await Deno.symlink("log.1", file);
  logging.clock.time += 1000;
  const time = HEADER.replace(":03.", ":07.");
  assertEquals(await write("Six"), `E${time}${FALLBACK} err="\\"${file}\\" is a symbolic link"\nI${time}Six\n`);
});

Deno.test("LogFiles goes on at the beginning of a file that was truncated, and counts its size anew", async () => {
  using directory = temporaryDirectory();
  const file = `${directory.path}/log`;
  const line = `I${HEADER}One\n`;
  await using logging = await testLogging({ ...FILES, file, fileMaxSize: 2 * line.length });
  logging.log.info("One");
  logging.log.info("Two");
  await logging.flush();
  await Deno.truncate(file);
  logging.clock.time += 1000;
  logging.log.info("Six");
  assertEquals(await logging.contents(directory.path), { log: `I${HEADER.replace(":03.", ":04.")}Six\n` });
});

Deno.test("LogFiles renames no file of others when its own is gone", async () => {
  using directory = temporaryDirectory();
  const file = `${directory.path}/log`;
  await using logging = await testLogging({ ...FILES, file, fileMaxSize: 80 });
  logging.log.info("One");
  await logging.flush();
  await Deno.rename(file, `${file}.1`);
  await Deno.writeTextFile(file, "theirs\n");
  logging.log.info("Two");
  assertEquals(await logging.contents(directory.path), {
    "log": `theirs\nI${HEADER}Two\n`,
    "log.1": `I${HEADER}One\n`,
  });
});

Deno.test("LogFiles goes on when the clock is set back", async () => {
  using directory = temporaryDirectory();
  const path = `${directory.path}/missing`;
  await using logging = await testLogging({ ...FILES, dir: path });
  logging.log.info("One");
  await logging.flush();
  await Deno.mkdir(path);
  logging.clock.time -= 86_400_000;
  logging.log.info("Two");
  const name = NAME.replace("0709-", "0708-");
  assertEquals(await logging.contents(path), {
    [LINK]: `-> ${name}`,
    [name]: `I${HEADER.replace("0709", "0708")}Two\n`,
  });
});
