import type { Config } from "../config/config.ts";
import type { AddressScope, IpAddress } from "../ip.ts";
import { type Rule, rules } from "./rules.ts";

/** The interface that carries the addresses. */
export interface Link {
  readonly kind: "link";
  readonly name: string;
}

/** An address as it is to stand on the interface: /32 or /128, permanent, without a broadcast address. */
export interface Address extends IpAddress {
  readonly kind: "address";
  readonly link: string;
  readonly scope: "auto" | AddressScope;
}

/** One thing that this program keeps in, or removes from, the kernel. */
export type Item = Link | Address | Rule;

/** What the kernel is to hold. */
export interface Desired {
  /** Whether the items are to be there (a pass) or to be gone (cleanup). */
  readonly want: "present" | "absent";
  readonly link: Link;
  readonly addresses: readonly Address[];
  readonly rules: readonly Rule[];
  /** Whether the addresses are to be removed from other interfaces; auto: if {@linkcode Desired.link} is ours. */
  readonly deduplicate: "auto" | boolean;
}

/** Says what the kernel is to hold, from the command line alone. */
export function desired(config: Config, want: Desired["want"]): Desired {
  return {
    want,
    link: { kind: "link", name: config.interface },
    addresses: config.addresses.map(({ family, ip }) => ({
      kind: "address",
      family,
      ip,
      link: config.interface,
      scope: config.addressScope,
    })),
    rules: config.setupIptables
      ? config.addresses.flatMap((ip) => config.ports.flatMap((port) => rules(ip, port)))
      : [],
    deduplicate: config.deduplicate,
  };
}

/** Length of the prefix that is one address of a family. */
export function fullPrefix(family: 4 | 6): number {
  return family === 4 ? 32 : 128;
}

/** Names an item as the tools write it. */
export function itemName(item: Item): string {
  switch (item.kind) {
    case "link":
      return item.name;
    case "address":
      return `${item.ip}/${fullPrefix(item.family)}`;
    case "rule":
      return `${item.table} ${item.chain} ${item.spec}`;
  }
}
