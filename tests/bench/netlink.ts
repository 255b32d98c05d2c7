/**
 * Test equipment: netlink sockets of any network namespace, to take something away and to see it come back without starting a
 * process for either, which takes longer than a repair. Linux on a little-endian machine only.
 *
 * @module
 */
import { check, inNetwork, int16, int32, libc, text } from "./libc.ts";

const AF_INET = 2;
const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const POLLIN = 1;
const MSG_DONTWAIT = 0x40;

const NLM_F_REQUEST = 1;
const NLM_F_DUMP = 0x300;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const IFA_LOCAL = 2;
const NFT = 10 << 8; // NFNL_SUBSYS_NFTABLES
const NFT_MSG_DELTABLE = NFT | 2;
const NFT_MSG_NEWRULE = NFT | 6;
const NFT_MSG_GETRULE = NFT | 7;
const NFT_MSG_DELRULE = NFT | 8;
const NFTA_RULE_TABLE = 1;
const NFTA_RULE_CHAIN = 2;
const NFTA_RULE_HANDLE = 3;
/** Flags of an attribute's type: NLA_F_NESTED and NLA_F_NET_BYTEORDER. */
const ATTRIBUTE_TYPE = 0x3fff;
const IPPROTO_RAW = 255;
const IPT_SO_GET_INFO = 64;

/** The protocols, and the groups of events. */
const ROUTE = { protocol: 0, group: 5 } as const; // NETLINK_ROUTE, RTNLGRP_IPV4_IFADDR
const NETFILTER = { protocol: 12, group: 7 } as const; // NETLINK_NETFILTER, NFNLGRP_NFTABLES

/** The chains that rules of ours stand in. On the nodes that are measured nothing else stands there. */
const CHAINS = [["raw", "PREROUTING"], ["raw", "OUTPUT"], ["filter", "INPUT"], ["filter", "OUTPUT"]] as const;

/** A rule as the kernel knows it. */
export interface KernelRule {
  readonly table: string;
  readonly chain: string;
  readonly handle: bigint;
}

/** Sees what comes into one network namespace, and takes away there. */
export class NetworkProbe implements Disposable {
  readonly #addresses: number;
  readonly #events: number;
  readonly #rules: number;
  readonly #legacy: number;
  readonly #polled = new Uint8Array(16);

  /** @param pid Of a process in the namespace. */
  constructor(pid: number) {
    const sockets = inNetwork(pid, () => [
      open(ROUTE.protocol, ROUTE.group),
      open(NETFILTER.protocol, NETFILTER.group),
      open(NETFILTER.protocol),
      check("socket", libc.socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW)),
    ]);
    [this.#addresses, this.#events, this.#rules, this.#legacy] = sockets as [number, number, number, number];
    const view = new DataView(this.#polled.buffer);
    for (const [i, socket] of [this.#addresses, this.#events].entries()) {
      view.setInt32(8 * i, socket, true);
      view.setInt16(8 * i + 4, POLLIN, true);
    }
  }

  /** Waits, with the whole thread, until something changes, at most `ms` milliseconds; gives the addresses that came. */
  wait(ms: number): readonly string[] {
    check("poll", libc.poll(this.#polled, 2n, ms));
    for (const _ of receive(this.#events)); // what changed in the rules is asked for, not read
    return [...receive(this.#addresses)].filter(({ type }) => type === RTM_NEWADDR).flatMap(({ body }) => {
      const local = attributes(body, 8).get(IFA_LOCAL);
      return local === undefined ? [] : [new Uint8Array(local.buffer, local.byteOffset, 4).join(".")];
    });
  }

  /** The rules that stand in the chains of ours now. */
  rules(): readonly KernelRule[] {
    return CHAINS.flatMap(([table, chain]) => {
      const attributes = [...attribute(NFTA_RULE_TABLE, text(table)), ...attribute(NFTA_RULE_CHAIN, text(chain))];
      send(this.#rules, message(NFT_MSG_GETRULE, [AF_INET, 0, 0, 0, ...attributes], NLM_F_DUMP));
      return [...this.#answer()].map((handle) => ({ table, chain, handle }));
    });
  }

  *#answer(): Generator<bigint> {
    while (true) {
      for (const { type, body } of receive(this.#rules)) {
        if (type === NFT_MSG_NEWRULE) yield attributes(body, 4).get(NFTA_RULE_HANDLE)!.getBigUint64(0);
        if (type === NLMSG_DONE || type === NLMSG_ERROR) return;
      }
    }
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
    this.#change(NFT_MSG_DELRULE, AF_INET, [
      ...attribute(NFTA_RULE_TABLE, text(table)),
      ...attribute(NFTA_RULE_CHAIN, text(chain)),
      ...attribute(NFTA_RULE_HANDLE, [...new Uint8Array(number.buffer)]),
    ]);
  }

  /** `iptables-nft -F`: deletes the rules of all chains of a table. */
  flushTable(table: string): void {
    this.#change(NFT_MSG_DELRULE, AF_INET, attribute(NFTA_RULE_TABLE, text(table)));
  }

  /** `nft flush ruleset`: deletes all tables of all families. */
  flushRuleset(): void {
    this.#change(NFT_MSG_DELTABLE, 0, []);
  }

  /** Number of entries in a table of iptables-legacy; one for each rule and chain, and one more. */
  legacyEntries(table: string): number {
    const info = new Uint8Array(84);
    info.set(text(table));
    const length = new Uint8Array(int32(info.length));
    check("getsockopt", libc.getsockopt(this.#legacy, 0, IPT_SO_GET_INFO, info, length));
    return new DataView(info.buffer).getUint32(76, true);
  }

  [Symbol.dispose](): void {
    for (const socket of [this.#addresses, this.#events, this.#rules, this.#legacy]) libc.close(socket);
  }

  /** A transaction of one change. */
  #change(type: number, family: number, attributes: readonly number[]): void {
    const limit = [0, 0, 0, NFT >> 8]; // the subsystem, in network order
    const change = message(type, [family, 0, 0, 0, ...attributes]);
    send(this.#events, new Uint8Array([...message(0x10, limit), ...change, ...message(0x11, limit)]));
  }
}

function open(protocol: number, group?: number): number {
  const socket = check("socket", libc.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  const address = new Uint8Array(12);
  address[0] = AF_NETLINK;
  check("bind", libc.bind(socket, address, address.length));
  if (group !== undefined) {
    const option = new Uint8Array(int32(group));
    check("setsockopt", libc.setsockopt(socket, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, option, option.length));
  }
  return socket;
}

function send(socket: number, bytes: Uint8Array<ArrayBuffer>): void {
  check("send", libc.send(socket, bytes, BigInt(bytes.length), 0));
}

interface Message {
  readonly type: number;
  readonly body: DataView<ArrayBuffer>;
}

const buffer = new Uint8Array(1 << 16);

/** The messages that a socket holds now. */
function* receive(socket: number): Generator<Message> {
  while (true) {
    const length = Number(libc.recv(socket, buffer, BigInt(buffer.length), MSG_DONTWAIT));
    if (length <= 0) return;
    const view = new DataView(buffer.buffer, 0, length);
    for (let at = 0; at + 16 <= length;) {
      const size = view.getUint32(at, true);
      yield { type: view.getUint16(at + 4, true), body: new DataView(buffer.buffer, at + 16, size - 16) };
      at += (size + 3) & ~3;
    }
  }
}

function attributes(body: DataView<ArrayBuffer>, from: number): Map<number, DataView<ArrayBuffer>> {
  const found = new Map<number, DataView<ArrayBuffer>>();
  for (let at = from; at + 4 <= body.byteLength;) {
    const size = body.getUint16(at, true);
    const value = new DataView(body.buffer, body.byteOffset + at + 4, size - 4);
    found.set(body.getUint16(at + 2, true) & ATTRIBUTE_TYPE, value);
    at += (size + 3) & ~3;
  }
  return found;
}

function message(type: number, body: readonly number[], flags = 0): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array((16 + body.length + 3) & ~3);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 16 + body.length, true);
  view.setUint16(4, type, true);
  view.setUint16(6, NLM_F_REQUEST | flags, true);
  bytes.set(body, 16);
  return bytes;
}

function attribute(type: number, value: readonly number[] | Uint8Array): number[] {
  const size = 4 + value.length;
  return [...int16(size), ...int16(type), ...value, ...new Array<number>(-size & 3).fill(0)];
}
