import ipaddr from "ipaddr.js";
import { ValueError } from "./text.ts";

/** An IP address in canonical form, {@link https://www.rfc-editor.org/rfc/rfc5952 | RFC 5952}. */
export interface IpAddress {
  readonly family: 4 | 6;
  readonly ip: string;
}

/** Scope that an address can be given; see ip-address(8). */
export type AddressScope = "host" | "link" | "global";

/**
 * Reads an IP address in full: four decimal parts, or any form of IPv6, a dotted quad at its end included.
 *
 * @throws {ValueError} (a SyntaxError) If it is anything else, has a zone or a prefix length, or is an IPv4-mapped one,
 * which the kernel takes for an address other than the IPv4 one.
 */
export function parseIp(text: string): IpAddress {
  const fail = (reason: string) => new ValueError("IP address", text, reason);
  if (text.includes("/")) throw fail("an address is given without a prefix length");
  if (text.includes("%")) throw fail("an address is given without a zone");
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) return { family: 4, ip: text };
  const groups = withoutQuad(text);
  if (!/^[\da-f:]{2,39}$/i.test(groups) || !ipaddr.IPv6.isValid(groups)) {
    throw fail("an address is IPv4 in four decimal parts, such as 10.96.0.2, or IPv6, such as 2001:db8::2");
  }
  const address = ipaddr.IPv6.parse(groups);
  if (address.isIPv4MappedAddress()) {
    throw fail(`an IPv4-mapped address is not accepted: use ${address.toIPv4Address()}`);
  }
  return { family: 6, ip: address.toRFC5952String() };
}

// ipaddr.js 2.5.0 reads ::1.2.3.4 as ::ffff:1.2.3.4, and the parts of an embedded quad as octal or hexadecimal.
function withoutQuad(text: string): string {
  const colon = text.lastIndexOf(":") + 1;
  const quad = text.slice(colon);
  if (colon === 0 || !ipaddr.IPv4.isValidFourPartDecimal(quad)) return text;
  const [a = 0, b = 0, c = 0, d = 0] = quad.split(".").map(Number);
  return `${text.slice(0, colon)}${(a << 8 | b).toString(16)}:${(c << 8 | d).toString(16)}`;
}

/**
 * Reads an address for a proxy to listen on, which is put on an interface and must be free to be routed to this node.
 *
 * @throws {ValueError} (a SyntaxError) If {@linkcode parseIp} throws, or the address is unspecified, loopback,
 * multicast or broadcast.
 */
export function parseProxyIp(text: string): IpAddress {
  const address = parseIp(text);
  const range = ipaddr.parse(address.ip).range();
  // ipaddr.js calls all of 0.0.0.0/8 unspecified.
  const kind = range === "unspecified" && !["0.0.0.0", "::"].includes(address.ip) ? "unicast" : range;
  if (["unspecified", "loopback", "multicast", "broadcast"].includes(kind)) {
    throw new ValueError("IP address", text, `a proxy cannot have an address that is ${kind}`);
  }
  return address;
}

/**
 * The canonical form of an address that `ip` or `iptables` printed. inet_ntop(3), which they use, differs from RFC 5952
 * only in that it writes some IPv6 addresses with a dotted quad.
 */
export function canonicalIp(text: string): string {
  return text.includes(":") && text.includes(".") ? ipaddr.IPv6.parse(withoutQuad(text)).toRFC5952String() : text;
}

/** Whether two addresses of one family, in canonical form, have the same prefix. */
export function inSameSubnet(one: string, other: string, prefixLength: number): boolean {
  const [a, b] = [ipaddr.parse(one), ipaddr.parse(other)];
  return a.kind() === b.kind() && a.match(b, prefixLength);
}
