import { assertEquals, assertThrows } from "@std/assert";
import { canonicalIp, inSameSubnet, parseIp, parseProxyIp } from "../lib/ip.ts";

Deno.test("parseIp() reads every form of an address, and gives the canonical one", () => {
  const cases: readonly (readonly [string, 4 | 6, string])[] = [
    ["10.96.0.2", 4, "10.96.0.2"],
    ["0.0.0.0", 4, "0.0.0.0"],
    ["240.0.0.1", 4, "240.0.0.1"],
    ["255.255.255.255", 4, "255.255.255.255"],
    ["2001:DB8:0:0:0:0:0:2", 6, "2001:db8::2"],
    ["2001:0db8::0002", 6, "2001:db8::2"],
    ["2001:db8:0:1:1:1:1:1", 6, "2001:db8:0:1:1:1:1:1"],
    ["2001:0:0:1:0:0:0:1", 6, "2001:0:0:1::1"],
    ["2001:db8:0:0:1:0:0:1", 6, "2001:db8::1:0:0:1"],
    ["::", 6, "::"],
    ["::1", 6, "::1"],
    ["::1.2.3.4", 6, "::102:304"],
    ["64:ff9b:1::100.104.1.2", 6, "64:ff9b:1::6468:102"],
    ["64:ff9b::10.96.0.2", 6, "64:ff9b::a60:2"],
  ];
  assertEquals(cases.map(([text]) => parseIp(text)), cases.map(([, family, ip]) => ({ family, ip })));
});

Deno.test("parseIp() rejects what is not one address in full", () => {
  const cases: readonly (readonly [string, string])[] = [
    ["10.96.0.2/32", "without a prefix length"],
    ["fd00::1/128", "without a prefix length"],
    ["fe80::1%eth0", "without a zone"],
    ["10.96.2", "four decimal parts"],
    ["10.96.0.256", "four decimal parts"],
    ["0x0a.96.0.2", "four decimal parts"],
    ["010.096.0.2", "four decimal parts"],
    ["174063618", "four decimal parts"],
    ["1.2.3.4.5", "four decimal parts"],
    ["", "four decimal parts"],
    ["localhost", "four decimal parts"],
    [" 10.96.0.2", "four decimal parts"],
    [":::", "four decimal parts"],
    ["1::2::3", "four decimal parts"],
    ["1:2:3:4:5:6:7", "four decimal parts"],
    ["12345::", "four decimal parts"],
    ["::1.2.3", "four decimal parts"],
    ["::1.2.3.256", "four decimal parts"],
    ["::ffff:10.96.0.2", "use 10.96.0.2"],
    ["::ffff:a60:2", "use 10.96.0.2"],
  ];
  for (const [text, reason] of cases) assertThrows(() => parseIp(text), SyntaxError, reason, text);
});

Deno.test("parseProxyIp() takes every address that can be routed to a node", () => {
  const good = [
    "10.96.0.2",
    "0.1.2.3",
    "169.254.20.10",
    "192.0.2.1",
    "240.0.0.1",
    "fd00:96::2",
    "fe80::1",
    "::102:304",
  ];
  assertEquals(good.map((text) => parseProxyIp(text).ip), good);
});

Deno.test("parseProxyIp() rejects addresses that no proxy can have", () => {
  const cases: readonly (readonly [string, string])[] = [
    ["0.0.0.0", "unspecified"],
    ["::", "unspecified"],
    ["127.0.0.1", "loopback"],
    ["127.1.2.3", "loopback"],
    ["::1", "loopback"],
    ["224.0.0.1", "multicast"],
    ["ff02::1", "multicast"],
    ["255.255.255.255", "broadcast"],
  ];
  for (const [text, kind] of cases) {
    assertThrows(() => parseProxyIp(text), SyntaxError, `a proxy cannot have an address that is ${kind}`);
  }
});

Deno.test("canonicalIp() brings what the tools print into the form of parseIp()", () => {
  const printed = ["10.96.0.2", "::1.2.3.4", "fd00:96::2", "64:ff9b:1::6468:102", "::1", "::ffff:1.2.3.4"];
  assertEquals(printed.map(canonicalIp), [
    "10.96.0.2",
    "::102:304",
    "fd00:96::2",
    "64:ff9b:1::6468:102",
    "::1",
    "::ffff:102:304",
  ]);
});

Deno.test("inSameSubnet() compares prefixes within a family", () => {
  assertEquals(inSameSubnet("10.96.0.9", "10.96.0.2", 24), true);
  assertEquals(inSameSubnet("192.0.2.7", "10.96.0.2", 24), false);
  assertEquals(inSameSubnet("fd00::1", "fd00::ffff:1", 64), true);
  assertEquals(inSameSubnet("fd00::1", "10.96.0.2", 24), false);
});
