import { getLog } from "./logger.ts";
import { createLogFile, lstat, type OpenFile, openLogFile } from "./open.ts";
import { localTime } from "./time.ts";

/**
 * Where the files of one log are, one after the other: opens the file to write to at first, after the one before is gone, or
 * after it is full; rejects with what the file system has against it.
 *
 * @param now Milliseconds since the Unix epoch.
 */
export type Place = (now: number, isFull: boolean) => Promise<OpenFile>;

const log = getLog("files");

/** `--log_file`: always the same path; a full file is renamed aside. */
export function fixedPlace(path: string): Place {
  return async (now, isFull) => {
    if (isFull) await Deno.rename(path, await unused(`${path}.${stamp(now)}`));
    return await openLogFile(path);
  };
}

/**
 * `--log_dir`: each file is a new one, with the time in its name.
 *
 * @param link The path of the symbolic link to the latest file, in the same directory.
 * @param before The path of a file up to the time in it.
 * @param after What comes after the time.
 */
export function directoryPlace(link: string, before: string, after: string): Place {
  return async (now) => {
    const opened = await createUnused(`${before}${stamp(now)}${after}`);
    try {
      await pointTo(link, opened.path.replace(/.*\//s, ""));
    } catch (error) {
      log.warning("Cannot make the symbolic link to the log file", { error, file: link });
    }
    return opened;
  };
}

/** Makes what looks whether a directory is safe to have logs in, says so once if it is not, and throws if it is no place for them. */
export function directoryGuard(directory: string): () => Promise<void> {
  let isSaid = false;
  return async () => {
    const info = await lstat(directory);
    // /tmp/logs may be a link that a user planted to have files made elsewhere; those of the machine itself are root's.
    if (info?.isSymlink && info.uid !== 0) throw new TypeError(`"${directory}" is a symbolic link of user ${info.uid}`);
    const target = info?.isSymlink ? await Deno.stat(directory) : info;
    if (isSaid || !target?.isDirectory || ((target.mode ?? 0) & 0o1002) !== 0o002) return;
    isSaid = true;
    const fault = "every user can rename and remove the files in it";
    log.warning("The log directory is not safe", { directory, fault });
  };
}

async function createUnused(path: string): Promise<OpenFile> {
  for (let n = 0;; n++) {
    try {
      return await createLogFile(numbered(path, n));
    } catch (error) {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    }
  }
}

async function unused(path: string): Promise<string> {
  for (let n = 0;; n++) {
    if (await lstat(numbered(path, n)) === undefined) return numbered(path, n);
  }
}

/** More than one file can be filled within a second. */
function numbered(path: string, n: number): string {
  return n === 0 ? path : `${path}.${n}`;
}

/** Makes `link` point to `target`, in one step, whatever it pointed to before. */
async function pointTo(link: string, target: string): Promise<void> {
  const before = await lstat(link);
  if (before !== undefined && !before.isSymlink) throw new TypeError(`"${link}" is no symbolic link`);
  const fresh = `${link}.${crypto.randomUUID()}`;
  await Deno.symlink(target, fresh);
  try {
    await Deno.rename(fresh, link);
  } catch (error) {
    await Deno.remove(fresh);
    throw error;
  }
}

/** `YYYYMMDD-HHMMSS`, local time. */
function stamp(now: number): string {
  return localTime(now).slice(0, 19).replaceAll(/[-:]/g, "").replace("T", "-");
}
