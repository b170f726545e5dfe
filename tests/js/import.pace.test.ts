import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Known } from "../../js/import/desk.ts";
import { RateLimitService } from "../../js/index.ts";

type Pace = typeof import("../../js/import/pace.ts");

const KEY = "tidegate.pace";
const ORIGIN = "https://project.supabase.co";
const NOW = Date.UTC(2026, 0, 1);
const DAY = 86_400_000;
const LEARNED: Known = { rate: 9.5, cap: null, bans: false, cost: 0.5 };
const OTHER: Known = { rate: 40, cap: 6, bans: true, cost: 10 };

/** What a page sees after it was loaded. */
async function loaded(): Promise<Pace> {
  vi.resetModules();
  return import("../../js/import/pace.ts");
}

const serviceOf = () => new RateLimitService({ logLevel: "silent" });

let pace: Pace;

beforeEach(async () => {
  pace = await loaded();
});

afterEach(() => {
  vi.unstubAllGlobals();
});

/** A storage that has `text`. */
function storage(text?: string): Map<string, string> {
  const texts = new Map(text === undefined ? [] : [[KEY, text]]);
  vi.stubGlobal("localStorage", {
    getItem: (key: string) => texts.get(key) ?? null,
    setItem: (key: string, value: string) => void texts.set(key, value),
  });
  return texts;
}

/** A storage that fails as one does that the user forbids, or that is full. */
function brokenStorage(): void {
  const fail = (): never => {
    throw new DOMException("No", "SecurityError");
  };
  vi.stubGlobal("localStorage", { getItem: fail, setItem: fail });
}

describe("in memory", () => {
  beforeEach(() => vi.stubGlobal("localStorage", undefined));

  it("knows nothing of what nobody learned", () => {
    expect(pace.recalled(undefined, ORIGIN, NOW)).toBeNull();
    expect(pace.recalled(serviceOf(), ORIGIN, NOW)).toBeNull();
  });

  it("recalls by the origin", () => {
    pace.remember(undefined, ORIGIN, LEARNED, NOW);
    expect(pace.recalled(undefined, ORIGIN, NOW)).toEqual(LEARNED);
    expect(pace.recalled(serviceOf(), ORIGIN, NOW)).toEqual(LEARNED);
    expect(pace.recalled(undefined, "https://other.example", NOW)).toBeNull();
  });

  it("recalls by the service before that: two may have limits of their own", () => {
    const [own, others] = [serviceOf(), serviceOf()];
    pace.remember(own, ORIGIN, LEARNED, NOW);
    pace.remember(others, ORIGIN, OTHER, NOW);
    expect(pace.recalled(own, ORIGIN, NOW)).toEqual(LEARNED);
    expect(pace.recalled(others, ORIGIN, NOW)).toEqual(OTHER);
    expect(pace.recalled(undefined, ORIGIN, NOW)).toEqual(OTHER);
  });

  it("takes those of whom no origin is known for different servers, unless they share a service", () => {
    const service = serviceOf();
    pace.remember(service, "", LEARNED, NOW);
    expect(pace.recalled(service, "", NOW)).toEqual(LEARNED);
    expect(pace.recalled(undefined, "", NOW)).toBeNull();
  });

  it("forgets after a day", () => {
    const service = serviceOf();
    pace.remember(service, ORIGIN, LEARNED, NOW);
    expect(pace.recalled(service, ORIGIN, NOW + DAY)).toEqual(LEARNED);
    expect(pace.recalled(service, ORIGIN, NOW + DAY + 1)).toBeNull();
    expect(pace.recalled(undefined, ORIGIN, NOW + DAY + 1)).toBeNull();
  });

  it("keeps a copy, and gives one", () => {
    const known = { ...LEARNED };
    const service = serviceOf();
    pace.remember(service, ORIGIN, known, NOW);
    known.rate = 1;
    const recalled = pace.recalled(service, ORIGIN, NOW);
    expect(recalled).toEqual(LEARNED);
    Object.assign(recalled as Known, { rate: 2 });
    expect(pace.recalled(service, ORIGIN, NOW)).toEqual(LEARNED);
  });

  it("does without the time of day", () => {
    pace.remember(undefined, ORIGIN, LEARNED);
    expect(pace.recalled(undefined, ORIGIN)).toEqual(LEARNED);
  });

  it.each<[string, Partial<Known>]>([
    ["no rate", { rate: 0 }],
    ["no number", { rate: Number.NaN }],
    ["no end", { rate: Number.POSITIVE_INFINITY }],
    ["half a request in flight", { cap: 0.5 }],
    ["a cost below nothing", { cost: -1 }],
  ])("does not remember nonsense: %s", (_, nonsense) => {
    const service = serviceOf();
    pace.remember(service, ORIGIN, { ...LEARNED, ...nonsense }, NOW);
    expect(pace.recalled(service, ORIGIN, NOW)).toBeNull();
  });
});

describe("in the storage", () => {
  it("starts warm after a reload, whatever the service is by then", async () => {
    storage();
    pace.remember(serviceOf(), ORIGIN, OTHER, NOW);
    pace = await loaded();
    expect(pace.recalled(serviceOf(), ORIGIN, NOW + 1_000)).toEqual(OTHER);
    expect(pace.recalled(undefined, ORIGIN, NOW + 1_000)).toEqual(OTHER);
    expect(pace.recalled(undefined, ORIGIN, NOW + DAY + 1)).toBeNull();
  });

  it("takes what another tab learned meanwhile, and keeps it when it writes", async () => {
    storage();
    const other = await loaded();
    pace.remember(undefined, "https://a.example", LEARNED, NOW);
    other.remember(undefined, "https://b.example", OTHER, NOW);
    expect(pace.recalled(undefined, "https://b.example", NOW)).toEqual(OTHER);
    expect(other.recalled(undefined, "https://a.example", NOW)).toEqual(LEARNED);
  });

  it("keeps twenty origins, the latest", () => {
    const texts = storage();
    for (let i = 0; i < 25; i++) pace.remember(undefined, `https://${i}.example`, LEARNED, NOW + i);
    const kept = Object.keys(JSON.parse(texts.get(KEY) ?? "{}"));
    expect(kept).toHaveLength(20);
    expect(pace.recalled(undefined, "https://4.example", NOW + 25)).toBeNull();
    expect(pace.recalled(undefined, "https://5.example", NOW + 25)).toEqual(LEARNED);
  });

  it("drops what is old when it writes", () => {
    const texts = storage();
    pace.remember(undefined, "https://old.example", LEARNED, NOW);
    pace.remember(undefined, ORIGIN, LEARNED, NOW + DAY + 1);
    expect(Object.keys(JSON.parse(texts.get(KEY) ?? "{}"))).toEqual([ORIGIN]);
  });

  it("writes nothing but the five numbers of an origin", () => {
    const texts = storage();
    pace.remember(undefined, ORIGIN, { ...LEARNED, secret: "x" } as Known, NOW);
    expect(JSON.parse(texts.get(KEY) ?? "{}")).toEqual({ [ORIGIN]: { ...LEARNED, at: NOW } });
  });

  const entry = (fields: object) => JSON.stringify({ [ORIGIN]: { ...LEARNED, at: NOW, ...fields } });

  it.each<[name: string, text: string]>([
    ["no JSON", "{"],
    ["nothing", ""],
    ["null", "null"],
    ["a list", "[1,2]"],
    ["a number", "7"],
    ["an entry that is none", JSON.stringify({ [ORIGIN]: null })],
    ["a text for a rate", entry({ rate: "9" })],
    ["a rate that stands still", entry({ rate: 1e-9 })],
    ["a rate that floods", entry({ rate: 1e9 })],
    ["a cap of none", entry({ cap: 0 })],
    ["a cap that is left out", entry({ cap: undefined })],
    ["a cap beyond all", entry({ cap: 1e6 })],
    ["bans that are a text", entry({ bans: "no" })],
    ["a cost of ages", entry({ cost: 1e9 })],
    ["no time", entry({ at: "yesterday" })],
    ["a time to come", entry({ at: NOW + 1 })],
  ])("does not believe what anybody may have written: %s", (_, text) => {
    storage(text);
    expect(pace.recalled(undefined, ORIGIN, NOW)).toBeNull();
    // And one that is sound beside it is read.
    pace.remember(undefined, ORIGIN, OTHER, NOW);
    expect(pace.recalled(undefined, ORIGIN, NOW)).toEqual(OTHER);
  });

  it("reads what is sound beside what is not", () => {
    storage(JSON.stringify({ "https://bad.example": 1, [ORIGIN]: { ...LEARNED, at: NOW } }));
    expect(pace.recalled(undefined, ORIGIN, NOW)).toEqual(LEARNED);
  });

  it("takes any text for an origin", () => {
    storage();
    pace.remember(undefined, "__proto__", LEARNED, NOW);
    expect(pace.recalled(undefined, "__proto__", NOW)).toEqual(LEARNED);
    expect(pace.recalled(undefined, "toString", NOW)).toBeNull();
    expect(({} as Partial<Known>).rate).toBeUndefined();
  });

  it("goes on in memory where it is forbidden", () => {
    brokenStorage();
    pace.remember(undefined, ORIGIN, LEARNED, NOW);
    expect(pace.recalled(undefined, ORIGIN, NOW)).toEqual(LEARNED);
  });

  it("goes on in memory where reading the property throws", () => {
    vi.stubGlobal("localStorage", undefined);
    Object.defineProperty(globalThis, "localStorage", {
      configurable: true,
      get: () => {
        throw new DOMException("No", "SecurityError");
      },
    });
    pace.remember(undefined, ORIGIN, LEARNED, NOW);
    expect(pace.recalled(undefined, ORIGIN, NOW)).toEqual(LEARNED);
  });
});
