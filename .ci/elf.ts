/**
 * What the header and the dynamic section of an ELF file say: its architecture, its libraries, its demands on glibc.
 *
 * @module
 */

/** An architecture, by the names of OCI and Debian. */
export type Architecture = "amd64" | "arm64";

/** Values of `e_machine` (elf.h). */
const MACHINES: ReadonlyMap<number, Architecture> = new Map([[62, "amd64"], [183, "arm64"]]);
const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const PT_INTERP = 3;
const DT_NEEDED = 1n;
const DT_STRTAB = 5n;
const DT_STRSZ = 10n;

/** What {@linkcode readElf} finds. */
export interface Elf {
  readonly architecture: Architecture;
  /** Path of the loader; undefined in a library. */
  readonly loader: string | undefined;
  /** Names of the libraries it is linked against. */
  readonly libraries: readonly string[];
  /** Versions of glibc whose symbols it uses, such as 2.17. */
  readonly glibc: readonly string[];
}

/** @returns undefined if the file is no 64-bit ELF file of an {@linkcode Architecture}. */
export function readElf(file: Uint8Array<ArrayBuffer>): Elf | undefined {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < 64 || view.getUint32(0) !== 0x7f454c46 || view.getUint8(4) !== 2) return undefined;
  const architecture = MACHINES.get(view.getUint16(18, true));
  if (architecture === undefined) return undefined;
  const word = (offset: number) => Number(view.getBigUint64(offset, true));
  const segments = Array.from({ length: view.getUint16(56, true) }, (_, index) => {
    const at = word(32) + index * view.getUint16(54, true);
    return { type: view.getUint32(at, true), offset: word(at + 8), address: word(at + 16), size: word(at + 32) };
  });
  const bytes = (offset: number, size: number) =>
    new TextDecoder("latin1").decode(file.subarray(offset, offset + size));

  const dynamic = segments.filter(({ type }) => type === PT_DYNAMIC).flatMap(({ offset, size }) =>
    Array.from({ length: size / 16 }, (_, index) => ({
      tag: view.getBigUint64(offset + 16 * index, true),
      value: word(offset + 16 * index + 8),
    }))
  );
  const valueOf = (wanted: bigint) => dynamic.find(({ tag }) => tag === wanted)?.value ?? 0;
  const at = valueOf(DT_STRTAB);
  const home = segments.find(({ type, address, size }) => type === PT_LOAD && address <= at && at < address + size);
  const strings = home === undefined ? "" : bytes(home.offset + at - home.address, valueOf(DT_STRSZ));
  const interpreter = segments.find(({ type }) => type === PT_INTERP);
  return {
    architecture,
    loader: interpreter === undefined ? undefined : bytes(interpreter.offset, interpreter.size - 1),
    libraries: dynamic.filter(({ tag }) => tag === DT_NEEDED)
      .map(({ value }) => strings.slice(value, strings.indexOf("\0", value))),
    glibc: strings.split("\0").flatMap((text) => /^GLIBC_([\d.]+)$/.exec(text)?.[1] ?? []),
  };
}
