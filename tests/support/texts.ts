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
