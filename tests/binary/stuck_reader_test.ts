import { kernelTest } from "../support/namespace.ts";
import { BINARY } from "../support/program.ts";
import { isReadLater, worksUnread } from "../support/stuck_reader.ts";

kernelTest(
  "compiled: a standard error that nobody reads holds up no repair, no stop and no cleanup",
  async (namespace) => {
    await worksUnread(namespace, [], { program: [BINARY] });
  },
);

kernelTest("compiled: what waits is written once somebody reads", async (namespace) => {
  await isReadLater(namespace, { program: [BINARY] });
});
