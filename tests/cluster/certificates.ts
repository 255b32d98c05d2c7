/**
 * Test equipment: a certificate authority for one run, and the certificate of the kube-apiservers.
 *
 * @module
 */
import { run } from "./process.ts";
import { ADDRESSES } from "./topology.ts";

/** Where the PEM files are. */
export interface Certificates {
  readonly authority: string;
  readonly certificate: string;
  readonly key: string;
}

/** Makes them in a directory. */
export async function makeCertificates(directory: string): Promise<Certificates> {
  const path = (name: string) => `${directory}/${name}`;
  const names = `subjectAltName=DNS:kubernetes.default.svc,IP:${ADDRESSES.v4},IP:${ADDRESSES.v6}\n`;
  await Deno.writeTextFile(path("names"), names);
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"];
  const ca = ["-CA", path("ca.pem"), "-CAkey", path("ca.key"), "-CAcreateserial"];
  const days = ["-days", "2"];
  await openssl(
    "req",
    "-x509",
    ...key,
    ...days,
    "-subj=/CN=cluster",
    "-keyout",
    path("ca.key"),
    "-out",
    path("ca.pem"),
  );
  await openssl("req", ...key, "-subj=/CN=kube-apiserver", "-keyout", path("tls.key"), "-out", path("tls.csr"));
  await openssl(
    "x509",
    "-req",
    ...ca,
    ...days,
    "-in",
    path("tls.csr"),
    "-extfile",
    path("names"),
    "-out",
    path("tls.pem"),
  );
  return { authority: path("ca.pem"), certificate: path("tls.pem"), key: path("tls.key") };
}

async function openssl(...args: string[]): Promise<void> {
  const { code, stderr } = await run(["openssl", ...args]);
  if (code !== 0) throw new Error(`Cannot run openssl ${args[0]}: exit code ${code}: ${stderr.trimEnd()}`);
}
