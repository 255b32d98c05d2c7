/**
 * Test equipment: texts that many tests need.
 *
 * @module
 */

/** What the rules about requests to 10.96.0.2 match. */
export const TO = "-d 10.96.0.2/32 -p tcp -m tcp --dport 443";
/** What the rules about its answers match. */
export const FROM = "-s 10.96.0.2/32 -p tcp -m tcp --sport 443";
/** One pass. */
export const ONCE = "--daemon=false";
/** The command line of the tool for addresses. */
export const IP: readonly string[] = ["ip", "-json", "-details", "-force", "-batch", "-"];

/** The rules of 10.96.0.2 in a back end, such as `iptables-nft`, as FakeNode.dump() has them. */
export function dumpedRules(program: string): readonly string[] {
  return [
    `${program} -t raw -A OUTPUT ${TO} -j NOTRACK`,
    `${program} -t raw -A OUTPUT ${FROM} -j NOTRACK`,
    `${program} -t raw -A PREROUTING ${TO} -j NOTRACK`,
    `${program} -t filter -A INPUT ${TO} -j ACCEPT`,
    `${program} -t filter -A OUTPUT ${FROM} -j ACCEPT`,
  ];
}
