import { assertEquals } from "@std/assert";
import { FLAGS, usage } from "../../lib/config/flags.ts";

Deno.test("usage() shows every flag in its group with its default", () => {
  assertEquals(
    usage(),
    `Usage: apiserver-proxy-sidecar --ip-address=IP[,IP...] [flags]

Keeps the address of an API server proxy, and the firewall rules for it, on this node.
Lists are separated by commas, or the flag is repeated. A bool takes its value only after "="
and is false unless it says otherwise.

Address:
      --ip-address IPs                       address(es) the proxy listens on; required
      --interface name                       interface to put the address on (default lo)
      --port ports                           port(s) the proxy listens on (default 443)
      --address-scope auto|host|link|global  auto: host on loopback, else global (default auto)
      --deduplicate auto|true|false          remove the address from other interfaces (default auto)

Firewall:
      --setup-iptables                       set up the iptables rules
      --iptables-mode auto|nft|legacy        iptables back end to drive (default auto)

Running:
      --daemon                               keep running; false: one pass, then exit (default true)
      --sync-interval duration               how often everything is checked (default 1m0s)
      --watch                                repair at once on kernel events (default true)
      --cleanup                              remove addresses and rules on exit
      --command-timeout duration             longest time for one ip or iptables (default 10s)
  -h, --help                                 print this and exit
      --version                              print the version and exit

Logging:
  -v, --v level                              log verbosity (default 0)
      --vmodule glob=N,...                   log verbosity per source module
      --logging-format text|json             klog text or JSON lines (default text)
      --logtostderr                          log to standard error, not to files (default true)
      --alsologtostderr                      log to standard error and to files
      --stderrthreshold severity             severity that goes to stderr too, 0 to 3 (default 2)
      --alsologtostderrthreshold severity    severity that --alsologtostderr is for (default 0)
      --legacy_stderr_threshold_behavior     --logtostderr ignores --stderrthreshold (default true)
      --log_dir directory                    write log files in this directory
      --log_file file                        write this log file
      --log_file_max_size MiB                size to rotate a log file at; 0: never (default 1800)
      --skip_headers                         no header prefix on log lines
      --skip_log_headers                     no header block in log files
      --add_dir_header                       add the file's directory to the header
      --one_output                           log only to the severity's own file
      --log_backtrace_at file:N              add a stack trace when that line logs

Observing:
      --check                                change nothing, print what is there and what is wrong
      --output text|json                     format of --check (default text)
      --metrics-bind-address host:port       serve Prometheus metrics at /metrics
      --health-probe-bind-address host:port  serve /healthz and /readyz; may be the metrics address
`,
  );
});

Deno.test("usage() names every flag once, within 100 columns", () => {
  const lines = usage().split("\n");
  assertEquals(lines.filter((line) => line.length > 100), []);
  assertEquals(lines.flatMap((line) => /^ .{5}--(\S+)/.exec(line)?.[1] ?? []), Object.keys(FLAGS));
});
