import type { Report } from "./pass.ts";

/** What a loop of its own looks after. */
export type About = "addresses" | "rules";

/** Why a pass is made; `poll`: no watcher tells of events, so that looks stand in for it. */
export type Cause = "start" | "interval" | "retry" | "event" | "poll" | "signal";

/** A pass that ended. */
export interface PassInfo {
  readonly about: About;
  readonly cause: Cause;
  /** When it was asked for, by the loop's clock. */
  readonly at: number;
}

/** What happened to a watcher. */
export interface WatcherEvent {
  readonly program: "ip" | "nft" | "xtables-monitor";
  /** `listening`: the kernel hands events to it; `deaf`: no longer; `restarted`; `lost-events`: more than it could take. */
  readonly kind: "listening" | "deaf" | "restarted" | "lost-events";
}

/** Who is told what the daemon does. None of it may throw, or take long: repairs wait for it. */
export interface Observer {
  onPass?(report: Report, info: PassInfo): void;
  onWatcher?(event: WatcherEvent): void;
  /** The first signal to stop came. */
  onStop?(): void;
}
