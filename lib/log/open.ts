/** A log file that is open for appending. */
export interface OpenFile {
  readonly path: string;
  readonly file: Deno.FsFile;
  /** What the file was when it was opened; its `size` tells where our lines begin. */
  readonly info: Deno.FileInfo;
}

// Readable as well as appendable, for one reason: opening a named pipe only for writing blocks until someone reads it.
const APPEND = { read: true, append: true } as const;

/** Log files are for the operators of the machine, not for each of its users. */
const MODE = 0o640;

/**
 * Opens a log file for appending, making it if it is not there. The log directory may be one that others can write, so
 * nothing that they may have put in the way is followed, written or changed: no symbolic link, and no second name of
 * some other file.
 *
 * @throws {TypeError} if something else than a plain file is in the way.
 */
export function openLogFile(path: string): OpenFile {
  const before = lstat(path);
  return before === undefined ? createLogFile(path) : openExisting(path, before);
}

/**
 * Makes a new log file. Nothing that is there is opened: the kernel follows no symbolic link to a file that must be new.
 *
 * @throws {Deno.errors.AlreadyExists}
 */
export function createLogFile(path: string): OpenFile {
  const file = Deno.openSync(path, { ...APPEND, createNew: true, mode: MODE });
  return withInfo(path, file);
}

/** What `path` itself is, a symbolic link included; undefined if it is not there. */
export function lstat(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.lstatSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Whether both are the same file. */
export function isSameFile(a: Deno.FileInfo | undefined, b: Deno.FileInfo): boolean {
  return a?.ino === b.ino && a.dev === b.dev;
}

function openExisting(path: string, before: Deno.FileInfo): OpenFile {
  if (before.isSymlink) throw new TypeError(`"${path}" is a symbolic link`);
  if (!before.isFile) throw new TypeError(`"${path}" is not a regular file`);
  if (before.nlink !== 1) throw new TypeError(`"${path}" is one of ${before.nlink} names of a file`);
  const open = withInfo(path, Deno.openSync(path, APPEND));
  // Deno has no O_NOFOLLOW. What was opened must be what was looked at; opening for append has changed nothing so far.
  if (!isSameFile(before, open.info)) {
    open.file.close();
    throw new TypeError(`"${path}" was replaced while it was opened`);
  }
  return open;
}

function withInfo(path: string, file: Deno.FsFile): OpenFile {
  try {
    return { path, file, info: file.statSync() };
  } catch (error) {
    file.close();
    throw error;
  }
}
