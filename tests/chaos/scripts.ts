/**
 * Shell that stands around the program: in the place of its tools, and in front of its log.
 *
 * @module
 */

/** In the place of a tool: as a file says, it fails, hangs, has a child that hangs, or prints what nobody can read. */
export const MOODY = `mood=$(cat "/run/mood-$name" 2>&-) || mood=well
case $mood in
  fail) echo "$name: a failure of the test" >&2; exit 4 ;;
  hang) exec sleep 60 ;;
  wrapper) sleep 60 & echo $! >> /run/wrapped; wait ;;
  garbage) echo "[{]"; exit 0 ;;
  *) exec "$real" "$@" ;;
esac`;

/** In front of the program: what it logs passes through a process that can be stopped, which is not a child of it. */
export const LISTENED_TO: readonly string[] = [
  "sh",
  "-c",
  'mkfifo /run/log && (exec cat < /run/log >&2 & echo $! > /run/listener) && exec "$@" 2> /run/log',
  "sh",
];
/** What stands in a full pipe. */
export const FILLER = "fillers";
/** Fills the pipe that the program logs to. */
export const FILL = `yes ${FILLER} | dd of=/run/log bs=64 iflag=fullblock oflag=nonblock conv=notrunc,nocreat`;
