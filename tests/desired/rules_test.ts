import { assertEquals } from "@std/assert";
import { rules } from "../../lib/desired/rules.ts";

Deno.test("rules() gives the five rules of an IPv4 address and port, in their order", () => {
  const to = "-d 10.96.0.2/32 -p tcp -m tcp --dport 443";
  const from = "-s 10.96.0.2/32 -p tcp -m tcp --sport 443";
  assertEquals(rules({ family: 4, ip: "10.96.0.2" }, 443), [
    { kind: "rule", family: 4, table: "raw", chain: "PREROUTING", spec: `${to} -j NOTRACK` },
    { kind: "rule", family: 4, table: "raw", chain: "OUTPUT", spec: `${to} -j NOTRACK` },
    { kind: "rule", family: 4, table: "raw", chain: "OUTPUT", spec: `${from} -j NOTRACK` },
    { kind: "rule", family: 4, table: "filter", chain: "INPUT", spec: `${to} -j ACCEPT` },
    { kind: "rule", family: 4, table: "filter", chain: "OUTPUT", spec: `${from} -j ACCEPT` },
  ]);
});

Deno.test("rules() gives the same for IPv6, as a single address", () => {
  const to = "-d fd00:96::2/128 -p tcp -m tcp --dport 6443";
  const from = "-s fd00:96::2/128 -p tcp -m tcp --sport 6443";
  assertEquals(rules({ family: 6, ip: "fd00:96::2" }, 6443), [
    { kind: "rule", family: 6, table: "raw", chain: "PREROUTING", spec: `${to} -j NOTRACK` },
    { kind: "rule", family: 6, table: "raw", chain: "OUTPUT", spec: `${to} -j NOTRACK` },
    { kind: "rule", family: 6, table: "raw", chain: "OUTPUT", spec: `${from} -j NOTRACK` },
    { kind: "rule", family: 6, table: "filter", chain: "INPUT", spec: `${to} -j ACCEPT` },
    { kind: "rule", family: 6, table: "filter", chain: "OUTPUT", spec: `${from} -j ACCEPT` },
  ]);
});
