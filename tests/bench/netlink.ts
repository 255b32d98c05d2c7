/**
 * Test equipment: netlink sockets of any network namespace, to delete something and to see it come back without starting a
 * process for either, which takes longer than a repair. Linux on a little-endian machine only.
 *
 * @module
 */

const AF_INET = 2;
const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const CLONE_NEWNET = 0x4000_0000;
const O_CLOEXEC = 0o2000000;
const POLLIN = 1;
const MSG_DONTWAIT = 0x40;

const NLM_F_REQUEST = 1;
const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const IFA_LOCAL = 2;
const NFT = 10 << 8; // NFNL_SUBSYS_NFTABLES
const NFT_MSG_DELTABLE = NFT | 2;
const NFT_MSG_NEWRULE = NFT | 6;
const NFT_MSG_DELRULE = NFT | 8;
const NFTA_RULE_TABLE = 1;
const NFTA_RULE_CHAIN = 2;
const NFTA_RULE_HANDLE = 3;
/** Flags of an attribute's type: NLA_F_NESTED and NLA_F_NET_BYTEORDER. */
const ATTRIBUTE_TYPE = 0x3fff;
const IPPROTO_RAW = 255;
const IPT_SO_GET_INFO = 64;

/** The two kinds of sockets, with the protocol and the group of events of each. */
const KINDS = {
  addresses: { protocol: 0, group: 5 }, // NETLINK_ROUTE, RTNLGRP_IPV4_IFADDR
  rules: { protocol: 12, group: 7 }, // NETLINK_NETFILTER, NFNLGRP_NFTABLES
} as const;

const libc = Deno.dlopen("libc.so.6", {
  open: { parameters: ["buffer", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  setns: { parameters: ["i32", "i32"], result: "i32" },
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  send: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
  recv: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
  poll: { parameters: ["buffer", "u64", "i32"], result: "i32" },
});

/** Something that came: an IPv4 address, or a rule of nftables. */
export type Arrival =
  | { readonly kind: "address"; readonly ip: string }
  | { readonly kind: "rule"; readonly table: string; readonly chain: string; readonly handle: bigint };

/** A rule as the kernel knows it. */
export interface KernelRule {
  readonly table: string;
  readonly chain: string;
  readonly handle: bigint;
}

/** Sees what comes into the IPv4 addresses, and into the rules of nftables, of one network namespace, and deletes there. */
export class NetworkProbe implements Disposable {
  readonly #addresses: number;
  readonly #rules: number;
  readonly #legacy: number;
  readonly #polled: Uint8Array<ArrayBuffer>;

  /** @param pid Of a process in the namespace. */
  constructor(pid: number) {
    const [addresses, rules, legacy] = inNetwork(pid, () => [
      open("addresses"),
      open("rules"),
      check("socket", libc.symbols.socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW)),
    ]);
    this.#addresses = addresses!;
    this.#rules = rules!;
    this.#legacy = legacy!;
    this.#polled = new Uint8Array(16);
    const view = new DataView(this.#polled.buffer);
    for (const [i, socket] of [this.#addresses, this.#rules].entries()) {
      view.setInt32(8 * i, socket, true);
      view.setInt16(8 * i + 4, POLLIN, true);
    }
  }

  /** Waits, with the whole thread, for what comes. Empty when there was nothing in `ms` milliseconds. */
  wait(ms: number): readonly Arrival[] {
    if (check("poll", libc.symbols.poll(this.#polled, 2n, Math.ceil(ms))) === 0) return [];
    return [...receive(this.#addresses), ...receive(this.#rules)];
  }

  /** Forgets what came until now. */
  drain(): void {
    while (this.wait(0).length > 0 || libc.symbols.poll(this.#polled, 2n, 0) > 0);
  }

  /** Deletes an address with prefix length 32 from `lo`. */
  deleteAddress(ip: string): void {
    const body = [AF_INET, 32, 0, 0, ...int32(1), ...attribute(IFA_LOCAL, ip.split(".").map(Number))];
    send(this.#addresses, message(RTM_DELADDR, body));
  }

  /** Deletes a rule. */
  deleteRule({ table, chain, handle }: KernelRule): void {
    const number = new DataView(new ArrayBuffer(8));
    number.setBigUint64(0, handle);
    send(
      this.#rules,
      batch(NFT_MSG_DELRULE, AF_INET, [
        ...attribute(NFTA_RULE_TABLE, text(table)),
        ...attribute(NFTA_RULE_CHAIN, text(chain)),
        ...attribute(NFTA_RULE_HANDLE, [...new Uint8Array(number.buffer)]),
      ]),
    );
  }

  /** `iptables-nft -F`: deletes the rules of all chains of a table. */
  flushTable(table: string): void {
    send(this.#rules, batch(NFT_MSG_DELRULE, AF_INET, attribute(NFTA_RULE_TABLE, text(table))));
  }

  /** `nft flush ruleset`: deletes all tables of all families. */
  flushRuleset(): void {
    send(this.#rules, batch(NFT_MSG_DELTABLE, 0, []));
  }

  /** Number of entries in a table of iptables-legacy; one for each rule and chain, and one more. */
  legacyEntries(table: string): number {
    const info = new Uint8Array(84);
    info.set(text(table));
    const length = new Uint8Array(int32(info.length));
    check("getsockopt", libc.symbols.getsockopt(this.#legacy, 0, IPT_SO_GET_INFO, info, length));
    return new DataView(info.buffer).getUint32(76, true);
  }

  [Symbol.dispose](): void {
    for (const socket of [this.#addresses, this.#rules, this.#legacy]) libc.symbols.close(socket);
  }
}

/** Calls something in the network namespace of another process. Sockets stay in the one they were opened in. */
function inNetwork<T>(pid: number, body: () => T): T {
  const enter = (path: string): number => {
    const fd = check(`open ${path}`, libc.symbols.open(text(path), O_CLOEXEC));
    return fd;
  };
  const [own, other] = [enter("/proc/thread-self/ns/net"), enter(`/proc/${pid}/ns/net`)];
  try {
    check("setns", libc.symbols.setns(other, CLONE_NEWNET));
    return body();
  } finally {
    check("setns", libc.symbols.setns(own, CLONE_NEWNET));
    libc.symbols.close(own);
    libc.symbols.close(other);
  }
}

function open(kind: keyof typeof KINDS): number {
  const { protocol, group } = KINDS[kind];
  const socket = check("socket", libc.symbols.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  const address = new Uint8Array(12);
  address[0] = AF_NETLINK;
  check("bind", libc.symbols.bind(socket, address, address.length));
  const option = new Uint8Array(int32(group));
  check("setsockopt", libc.symbols.setsockopt(socket, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, option, option.length));
  return socket;
}

function check(call: string, result: number): number {
  if (result < 0) throw new Error(`Cannot call ${call}: it failed`);
  return result;
}

function send(socket: number, bytes: Uint8Array<ArrayBuffer>): void {
  check("send", Number(libc.symbols.send(socket, bytes, BigInt(bytes.length), 0)));
}

const buffer = new Uint8Array(1 << 16);

function receive(socket: number): Arrival[] {
  const arrivals: Arrival[] = [];
  while (true) {
    const length = Number(libc.symbols.recv(socket, buffer, BigInt(buffer.length), MSG_DONTWAIT));
    if (length <= 0) return arrivals;
    const view = new DataView(buffer.buffer, 0, length);
    for (let at = 0; at + 16 <= length;) {
      const size = view.getUint32(at, true);
      const arrival = read(view.getUint16(at + 4, true), new DataView(buffer.buffer, at + 16, size - 16));
      if (arrival !== undefined) arrivals.push(arrival);
      at += (size + 3) & ~3;
    }
  }
}

function read(type: number, body: DataView<ArrayBuffer>): Arrival | undefined {
  if (type === RTM_NEWADDR) {
    const local = attributes(body, 8).get(IFA_LOCAL);
    return local && { kind: "address", ip: new Uint8Array(local.buffer, local.byteOffset, 4).join(".") };
  }
  if (type === NFT_MSG_NEWRULE) {
    const found = attributes(body, 4);
    const name = (type: number) => {
      const value = found.get(type)!;
      return new TextDecoder().decode(new Uint8Array(value.buffer, value.byteOffset, value.byteLength - 1));
    };
    const handle = found.get(NFTA_RULE_HANDLE)!.getBigUint64(0);
    return { kind: "rule", table: name(NFTA_RULE_TABLE), chain: name(NFTA_RULE_CHAIN), handle };
  }
  return undefined;
}

function attributes(body: DataView<ArrayBuffer>, from: number): Map<number, DataView<ArrayBuffer>> {
  const found = new Map<number, DataView<ArrayBuffer>>();
  for (let at = from; at + 4 <= body.byteLength;) {
    const size = body.getUint16(at, true);
    found.set(
      body.getUint16(at + 2, true) & ATTRIBUTE_TYPE,
      new DataView(body.buffer, body.byteOffset + at + 4, size - 4),
    );
    at += (size + 3) & ~3;
  }
  return found;
}

function batch(type: number, family: number, attributes: readonly number[]): Uint8Array<ArrayBuffer> {
  const limit = [0, 0, 0, NFT >> 8]; // the subsystem, in network order
  return new Uint8Array([
    ...message(0x10, limit),
    ...message(type, [family, 0, 0, 0, ...attributes]),
    ...message(0x11, limit),
  ]);
}

function message(type: number, body: readonly number[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array((16 + body.length + 3) & ~3);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 16 + body.length, true);
  view.setUint16(4, type, true);
  view.setUint16(6, NLM_F_REQUEST, true);
  bytes.set(body, 16);
  return bytes;
}

function attribute(type: number, value: readonly number[] | Uint8Array): number[] {
  const size = 4 + value.length;
  return [...int16(size), ...int16(type), ...value, ...new Array<number>(-size & 3).fill(0)];
}

function text(value: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${value}\0`);
}

function int16(value: number): number[] {
  return [value & 255, value >> 8];
}

function int32(value: number): number[] {
  return [...int16(value & 0xffff), ...int16(value >>> 16)];
}
