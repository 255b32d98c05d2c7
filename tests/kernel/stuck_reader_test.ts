import { kernelTest } from "../support/namespace.ts";
import { isReadLater, worksUnread } from "../support/stuck_reader.ts";

kernelTest("a standard error that nobody reads holds up no repair, no stop and no cleanup", async (namespace) => {
  await worksUnread(namespace, [], {});
});

kernelTest("nor does a log file that hangs", async (namespace) => {
  await worksUnread(namespace, ["--logtostderr=false", "--log_file=/run/stuck"], {});
});

kernelTest("what waits is written once somebody reads", async (namespace) => {
  await isReadLater(namespace, {});
});
