/**
 * Test equipment: links and addresses as the kernel keeps them, told in the language of `ip`.
 *
 * @module
 */

/** What `ip` prints when it, or the kernel, says no. */
export class Refusal extends Error {}

/** An address on a {@linkcode FakeLink}. */
export interface FakeAddress {
  readonly family: 4 | 6;
  readonly ip: string;
  readonly peer: string | undefined;
  readonly prefixLength: number;
  readonly scope: string;
  readonly broadcast: string | undefined;
  /** Goes when the first address of its subnet goes. */
  secondary: boolean;
  /** Seconds. */
  valid: number;
  preferred: number;
  /** Of IPv6, added without `nodad`, for ever: but for `lo` the links of this model have no carrier. */
  tentative: boolean;
  dadFailed: boolean;
}

/** A network interface. */
export interface FakeLink {
  readonly name: string;
  readonly kind: string;
  readonly altnames: string[];
  group: string;
  alias: string | undefined;
  up: boolean;
  addresses: FakeAddress[];
}

const FOREVER = 0xffff_ffff;

/** The links of a {@linkcode FakeNode}, by index. */
export class FakeLinks {
  readonly #links: FakeLink[] = [newLink("lo", "loopback")];
  readonly #lacking: (kind: string) => boolean;

  /** @param lacking Says whether the kernel lacks a type of link. */
  constructor(lacking: (kind: string) => boolean) {
    this.#lacking = lacking;
    this.run("link set dev lo up");
  }

  /** The link of this name, or alternative name. @throws {Refusal} if there is none */
  get(name: string): FakeLink {
    const link = this.#find(name);
    if (link === undefined) throw new Refusal(`Cannot find device "${name}"`);
    return link;
  }

  #find(name: string): FakeLink | undefined {
    return this.#links.find((link) => link.name === name || link.altnames.includes(name));
  }

  /**
   * Runs one line of `ip -json -batch` and gives what it prints.
   *
   * @throws {Refusal} if `ip` would fail; {Error} if this model does not know the line.
   */
  run(line: string): string {
    const [object = "", verb = "", ...words] = line.split(" ");
    switch (`${object} ${verb}`) {
      case "address show":
        return this.#show(words);
      case "address add":
      case "address replace":
        this.#put(verb === "replace", words);
        return "";
      case "address del":
        this.#remove(words);
        return "";
      case "link add":
        this.#create(options(words, ["name", "group", "type"]));
        return "";
      case "link property":
        this.#rename(options(words.slice(1), ["dev", "altname"]));
        return "";
      case "link set":
        this.#set(options(words, ["dev", "group", "alias"], ["up", "down"]));
        return "";
      case "link del":
        this.#delete(options(words, ["dev"]));
        return "";
      default:
        throw new Error(`FakeLinks does not know "${line}"`);
    }
  }

  /** The lines that make all this; what the kernel makes by itself is left out. */
  dump(): readonly string[] {
    const links = this.#links.toSorted((a, b) => a.name < b.name ? -1 : 1);
    return [
      ...links.flatMap(({ name, altnames, group, kind, alias, up }) =>
        name === "lo" ? up ? [] : ["ip link set dev lo down"] : [
          `ip link add name ${name}${group === "default" ? "" : ` group ${group}`} type ${kind}`,
          ...altnames.map((altname) => `ip link property add dev ${name} altname ${altname}`),
          ...alias === undefined && !up
            ? []
            : [`ip link set dev ${name}${alias === undefined ? "" : ` alias ${alias}`}${up ? " up" : ""}`],
        ]
      ),
      ...links.flatMap(({ name, addresses }) =>
        addresses.filter((address) => !isAutomatic(address)).map((address) =>
          [
            `ip address add ${address.ip}${address.peer === undefined ? "" : ` peer ${address.peer}`}`,
            `/${address.prefixLength} dev ${name}`,
            address.family === 4 ? ` scope ${address.scope}` : address.tentative ? "" : " nodad",
            address.broadcast === undefined ? "" : ` broadcast ${address.broadcast}`,
            address.valid === FOREVER && address.preferred === FOREVER
              ? ""
              : ` valid_lft ${address.valid} preferred_lft ${address.preferred}`,
            address.dadFailed ? " # dadfailed" : "",
          ].join("")
        ).toSorted()
      ),
    ];
  }

  #show(words: readonly string[]): string {
    const { dev, to } = options(words, ["dev", "to"]);
    const device = dev === undefined ? undefined : this.#find(dev);
    if (dev !== undefined && device === undefined) throw new Refusal(`Device "${dev}" does not exist.`);
    const links = this.#links.filter((link) =>
      (device === undefined || link === device) &&
      (to === undefined || link.addresses.some(({ ip }) => ip === ntop(to)))
    );
    return `${JSON.stringify(links.map((link) => this.#json(link, to)))}\n`;
  }

  /** Those that the filter hides of other families are left out, of the same family `{}`. */
  #json(link: FakeLink, to: string | undefined): unknown {
    const { name, altnames, group, kind, up, alias } = link;
    const family = to === undefined ? undefined : to.includes(":") ? 6 : 4;
    const addresses = link.addresses.filter((address) => family === undefined || address.family === family);
    return {
      ifindex: this.#links.indexOf(link) + 1,
      ifname: name,
      flags: [...kind === "loopback" ? ["LOOPBACK"] : ["BROADCAST", "MULTICAST"], ...up ? ["UP", "LOWER_UP"] : []],
      group,
      ...alias !== undefined && { ifalias: alias },
      ...altnames.length > 0 && { altnames },
      addr_info: addresses.map(({ family, ip, peer, prefixLength, scope, broadcast, secondary, ...rest }) =>
        to !== undefined && ip !== ntop(to) ? {} : {
          family: family === 4 ? "inet" : "inet6",
          local: ip,
          ...peer !== undefined && { address: peer },
          prefixlen: prefixLength,
          ...broadcast !== undefined && { broadcast },
          scope,
          ...secondary && { secondary },
          ...rest.dadFailed && { dadfailed: true },
          ...rest.preferred === 0 && { deprecated: true },
          ...rest.tentative && { tentative: true },
          valid_life_time: rest.valid,
          // Of a permanent IPv4 address the kernel tells no lifetimes.
          preferred_life_time: family === 4 && rest.valid === FOREVER ? FOREVER : rest.preferred,
        }
      ),
    };
  }

  #put(replace: boolean, words: readonly string[]): void {
    const [local = "", ...rest] = words;
    const { dev = "", ...given } = options(
      rest,
      ["dev", "scope", "broadcast", "peer", "valid_lft", "preferred_lft"],
      ["nodad"],
    );
    const link = this.get(dev);
    const [ip = "", prefix = ""] = given.peer === undefined
      ? ntop(local).split("/")
      : [local, given.peer.split("/")[1]];
    const family = ip.includes(":") ? 6 : 4;
    const address: FakeAddress = {
      family,
      ip,
      peer: given.peer?.split("/")[0],
      prefixLength: parsePrefix(prefix),
      scope: family === 4 ? given.scope ?? (ip.startsWith("127.") ? "host" : "global") : scopeOf(ip),
      broadcast: given.broadcast,
      secondary: false,
      valid: parseLifetime(given.valid_lft),
      preferred: parseLifetime(given.preferred_lft),
      tentative: family === 6 && given.nodad === undefined && dev !== "lo",
      dadFailed: false,
    };
    const relatives = link.addresses.filter((other) => sameSubnet(other, address));
    // IPv6 has an address once on a link, whatever its prefix length.
    const there = (family === 4 ? relatives : link.addresses).find((other) => other.ip === ip);
    if (there !== undefined) {
      if (!replace) throw new Refusal(`Error: ipv${family}: ${family === 4 ? "A" : "a"}ddress already assigned.`);
      there.valid = address.valid;
      there.preferred = address.preferred;
      return;
    }
    address.secondary = relatives.length > 0;
    if (relatives.some(({ scope }) => scope !== address.scope)) throw new Refusal("Error: ipv4: Invalid scope value.");
    link.addresses.splice(placeOf(address, link.addresses), 0, address);
  }

  #remove(words: readonly string[]): void {
    const [local = "", ...rest] = words;
    const link = this.get(options(rest, ["dev"]).dev ?? "");
    const [ip = "", prefix = ""] = ntop(local).split("/");
    const family = ip.includes(":") ? 6 : 4;
    const address = link.addresses.find((other) =>
      other.ip === ip && (family === 6 || other.peer === undefined) && other.prefixLength === parsePrefix(prefix)
    );
    if (address === undefined) throw new Refusal(`Error: ipv${family}: ${family === 4 ? "A" : "a"}ddress not found.`);
    link.addresses = link.addresses.filter((other) =>
      other !== address && !(other.secondary && !address.secondary && sameSubnet(other, address))
    );
  }

  #create({ name = "", group = "default", type = "" }: Options): void {
    if (this.#lacking(type)) throw new Refusal("Error: Unknown device type.");
    if (this.#find(name) !== undefined) throw new Refusal("RTNETLINK answers: File exists");
    this.#links.push({ ...newLink(name, type), group });
  }

  #rename({ dev = "", altname = "" }: Options): void {
    this.get(dev).altnames.push(altname);
  }

  #set({ dev = "", group, alias, up, down }: Options): void {
    const link = this.get(dev);
    if (group !== undefined) link.group = group;
    if (alias !== undefined) link.alias = alias;
    if (up !== undefined && !link.up) {
      link.up = true;
      const automatic = link.name === "lo" ? ["127.0.0.1/8", "::1/128"] : [`fe80::${this.#links.indexOf(link) + 1}/64`];
      for (const address of automatic) {
        if (!link.addresses.some(({ ip }) => ip === address.split("/")[0])) this.#put(false, [address, "dev", dev]);
      }
    }
    if (down !== undefined && link.up) {
      link.up = false;
      link.addresses = link.addresses.filter(({ family }) => family === 4);
    }
  }

  #delete({ dev = "" }: Options): void {
    const link = this.get(dev);
    if (link.name === "lo") throw new Refusal("RTNETLINK answers: Operation not supported");
    this.#links.splice(this.#links.indexOf(link), 1);
  }
}

/** An address in the form of inet_ntop(3), which the tools print: only `::a.b.c.d` differs from RFC 5952. */
export function ntop(ip: string): string {
  return ip.replace(/^::([\da-f]{1,4}):([\da-f]{1,4})(?=\/|$)/, (_, high, low) => {
    const quad = [high, low].flatMap((group) => [parseInt(group, 16) >> 8, parseInt(group, 16) & 255]);
    return `::${quad.join(".")}`;
  });
}

function newLink(name: string, kind: string): FakeLink {
  return { name, kind, altnames: [], group: "default", alias: undefined, up: false, addresses: [] };
}

type Options = Readonly<Record<string, string | undefined>>;

/** Reads `name value` and `flag` words. */
function options(words: readonly string[], names: readonly string[], flags: readonly string[] = []): Options {
  const found: Record<string, string> = {};
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? "";
    if (!names.includes(word) && !flags.includes(word)) {
      throw new Error(`FakeLinks does not know "${word}" in "${words.join(" ")}"`);
    }
    found[word] = flags.includes(word) ? "" : words[++index] ?? "";
  }
  return found;
}

function parsePrefix(text: string): number {
  if (!/^\d+$/.test(text)) throw new Error(`FakeLinks wants a prefix length, not "${text}"`);
  return Number(text);
}

function parseLifetime(text: string | undefined): number {
  return text === undefined || text === "forever" ? FOREVER : Number(text);
}

function scopeOf(ip: string): string {
  return ip === "::1" ? "host" : ip.startsWith("fe80:") ? "link" : "global";
}

/** Whether two IPv4 addresses are of one subnet. */
function sameSubnet(one: FakeAddress, other: FakeAddress): boolean {
  const subnet = ({ ip, peer = ip, prefixLength }: FakeAddress) =>
    peer.split(".").map((part) => Number(part).toString(2).padStart(8, "0")).join("").slice(0, prefixLength);
  return one.family === 4 && other.family === 4 && one.prefixLength === other.prefixLength &&
    subnet(one) === subnet(other);
}

const SCOPES = ["global", "site", "link", "host"];

/** IPv4: behind the primaries of its scope and narrower ones, secondaries last; IPv6: before those of its scope. */
function placeOf(address: FakeAddress, addresses: readonly FakeAddress[]): number {
  const rank = ({ scope }: FakeAddress) => SCOPES.indexOf(scope);
  const firstV6 = addresses.findIndex(({ family }) => family === 6);
  const endV4 = firstV6 < 0 ? addresses.length : firstV6;
  if (address.family === 6) {
    const before = addresses.findIndex((other) => other.family === 6 && rank(other) >= rank(address));
    return before < 0 ? addresses.length : before;
  }
  if (address.secondary) return endV4;
  return addresses.findLastIndex((other) => other.family === 4 && !other.secondary && rank(other) >= rank(address)) + 1;
}

function isAutomatic({ ip, prefixLength }: FakeAddress): boolean {
  return ["127.0.0.1/8", "::1/128"].includes(`${ip}/${prefixLength}`) ||
    (ip.startsWith("fe80:") && prefixLength === 64);
}
