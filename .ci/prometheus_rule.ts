/**
 * Makes deploy/monitoring/prometheusrule.yaml of deploy/alerts.yaml, which a Prometheus without its operator takes as it is.
 *
 * @module
 */

/** A PrometheusRule with the rules of a file of rules, comments included. */
export function prometheusRule(rules: string): string {
  return `# Made of ../alerts.yaml by "deno task prometheus-rule".
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: apiserver-proxy-sidecar
spec:
${rules.replaceAll(/^(?=.)/gm, "  ")}`;
}

if (import.meta.main) {
  const rules = await Deno.readTextFile("deploy/alerts.yaml");
  await Deno.writeTextFile("deploy/monitoring/prometheusrule.yaml", prometheusRule(rules));
}
