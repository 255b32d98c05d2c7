import type { Writer } from "./write.ts";

/** A log file that is open for appending. */
export interface OpenFile {
  readonly path: string;
  readonly file: Writer & { close(): void };
  /** What the file was when it was opened; undefined: no file, but a device or a pipe, which is neither full nor moved. */
  readonly info: Deno.FileInfo | undefined;
}

// Readable as well as appendable, for one reason: opening a named pipe only for writing blocks until someone reads it.
const APPEND = { read: true, append: true } as const;

/** Log files are for the operators of the machine, not for each of its users. */
const MODE = 0o640;

/** What Deno opens by their names only with all permissions. */
const STREAMS: Readonly<Record<string, Writer | undefined>> = {
  "/dev/stdout": Deno.stdout,
  "/dev/stderr": Deno.stderr,
};

/**
 * Opens a log file for appending, making it if it is not there. The log directory may be one that others can write, so
 * nothing that they may have put in the way is followed, written or changed: no symbolic link, no second name of some other
 * file, no pipe of theirs.
 *
 * @throws {TypeError} if something else than a plain file, a device or a pipe is in the way.
 */
export async function openLogFile(path: string): Promise<OpenFile> {
  const stream = STREAMS[path];
  if (stream !== undefined) {
    return { path, file: { write: (bytes) => stream.write(bytes), close: () => {} }, info: undefined };
  }
  const before = await lstat(path);
  if (before === undefined) return createLogFile(path);
  if (before.isSymlink) throw new TypeError(`"${path}" is a symbolic link`);
  const isPipe = before.isFifo && [0, Deno.uid()].includes(before.uid);
  if (before.isCharDevice || isPipe) return { path, file: await Deno.open(path, APPEND), info: undefined };
  if (!before.isFile) throw new TypeError(`"${path}" is not a regular file`);
  if (before.nlink !== 1) throw new TypeError(`"${path}" is one of ${before.nlink} names of a file`);
  const open = await withInfo(path, await Deno.open(path, APPEND));
  // Deno has no O_NOFOLLOW. What was opened must be what was looked at; opening for append has changed nothing so far.
  if (!isSameFile(before, open.info)) {
    open.file.close();
    throw new TypeError(`"${path}" was replaced while it was opened`);
  }
  return open;
}

/**
 * Makes a new log file. Nothing that is there is opened: the kernel follows no symbolic link to a file that must be new.
 *
 * @throws {Deno.errors.AlreadyExists}
 */
export async function createLogFile(path: string): Promise<OpenFile> {
  return await withInfo(path, await Deno.open(path, { ...APPEND, createNew: true, mode: MODE }));
}

/** What `path` itself is, a symbolic link included; undefined if it is not there. */
export async function lstat(path: string): Promise<Deno.FileInfo | undefined> {
  try {
    return await Deno.lstat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Whether both are the same file. */
export function isSameFile(a: Deno.FileInfo | undefined, b: Deno.FileInfo | undefined): boolean {
  return a !== undefined && b !== undefined && a.ino === b.ino && a.dev === b.dev;
}

async function withInfo(path: string, file: Deno.FsFile): Promise<OpenFile> {
  try {
    return { path, file, info: await file.stat() };
  } catch (error) {
    file.close();
    throw error;
  }
}
