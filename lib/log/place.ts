import { createLogFile, lstat, type OpenFile, openLogFile } from "./open.ts";

/** Where the files of one log are, one after the other. Each method throws what the file system has against it. */
export interface Place {
  /** Opens the file to write to at first, or after the one before is gone. */
  open(now: Date): OpenFile;
  /** Opens the file to write to after the one that is there, which is full. */
  next(now: Date): OpenFile;
}

/** `--log_file`: always the same path; a full file is renamed aside. */
export function fixedPlace(path: string): Place {
  return {
    open: () => openLogFile(path),
    next(now) {
      Deno.renameSync(path, unused(`${path}.${stamp(now)}`));
      return openLogFile(path);
    },
  };
}

/** How the files of a {@linkcode directoryPlace} are called. */
export interface FileNames {
  /** What comes before the time in a file's name. */
  readonly before: string;
  /** What comes after it. */
  readonly after: string;
  /** The symbolic link to the latest file, in the same directory. */
  readonly link: string;
}

/**
 * `--log_dir`: each file is a new one, with the time in its name.
 *
 * @param onLinkFailure Is told why the link could not be made; the log does not need it.
 */
export function directoryPlace(
  directory: string,
  names: FileNames,
  onLinkFailure: (path: string, error: unknown) => void,
): Place {
  const link = `${directory}/${names.link}`;
  const open = (now: Date): OpenFile => {
    const opened = createUnused(`${directory}/${names.before}${stamp(now)}${names.after}`);
    try {
      pointTo(link, opened.path.slice(directory.length + 1));
    } catch (error) {
      onLinkFailure(link, error);
    }
    return opened;
  };
  return { open, next: open };
}

/**
 * What is unsafe about a directory for logs, if something is.
 *
 * @throws {TypeError} if it is no place for logs at all.
 */
export function directoryFault(directory: string): string | undefined {
  const info = lstat(directory);
  // /tmp/logs may be a link that a user planted to have files made elsewhere; those of the machine itself are root's.
  if (info?.isSymlink && info.uid !== 0) throw new TypeError(`"${directory}" is a symbolic link of user ${info.uid}`);
  const { mode, isDirectory } = info?.isSymlink ? Deno.statSync(directory) : info ?? { mode: 0, isDirectory: false };
  const isOpenToAll = isDirectory && ((mode ?? 0) & 0o1002) === 0o002;
  return isOpenToAll ? "every user can rename and remove the files in it" : undefined;
}

function createUnused(path: string): OpenFile {
  for (let n = 0;; n++) {
    try {
      return createLogFile(numbered(path, n));
    } catch (error) {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    }
  }
}

function unused(path: string): string {
  for (let n = 0;; n++) {
    const candidate = numbered(path, n);
    if (lstat(candidate) === undefined) return candidate;
  }
}

/** More than one file can be filled within a second. */
function numbered(path: string, n: number): string {
  return n === 0 ? path : `${path}.${n}`;
}

/** Makes `link` point to `target`, in one step, whatever it pointed to before. */
function pointTo(link: string, target: string): void {
  const before = lstat(link);
  if (before !== undefined && !before.isSymlink) throw new TypeError(`"${link}" is no symbolic link`);
  const fresh = `${link}.${crypto.randomUUID()}`;
  Deno.symlinkSync(target, fresh);
  try {
    Deno.renameSync(fresh, link);
  } catch (error) {
    Deno.removeSync(fresh);
    throw error;
  }
}

/** `YYYYMMDD-HHMMSS`, local time. */
function stamp(date: Date): string {
  const two = (n: number) => String(n).padStart(2, "0");
  return `${date.getFullYear()}${two(date.getMonth() + 1)}${two(date.getDate())}-` +
    `${two(date.getHours())}${two(date.getMinutes())}${two(date.getSeconds())}`;
}
