/** Which of a Supabase project's limits a request counts against, read off its address. */

/** Where a request goes. */
export interface Route {
  /** Behind which API it is; `other` is none of those that are guarded, and no business of ours. */
  api: "rest" | "graphql" | "storage" | "functions" | "auth" | "other";
  /** The name of the limits: `rest`, `storage`, `functions/<name>`; empty where nothing is guarded. */
  limits: string;
  /** The table, `rpc/<function>`, bucket or Edge Function, for the metrics. */
  resourceName: string;
}

/**
 * Reads the path: `/rest/v1`, `/graphql/v1`, `/storage/v1`, `/functions/v1` and `/auth/v1`, also behind a prefix, as a
 * self-hosted project may have one. The leftmost counts: a stored file may be called `rest/v1/report.csv`.
 */
export function routeOf(url: URL | null): Route {
  const [, api, path = ""] = API.exec(url?.pathname ?? "") ?? [];
  const segments = path.split("/").map(decoded).filter(Boolean);
  switch (api) {
    case "rest":
      return { api, limits: "rest", resourceName: tableOf(segments) };
    case "graphql":
      return { api, limits: "rest", resourceName: "graphql" };
    case "storage":
      return { api, limits: "storage", resourceName: bucketOf(segments) };
    case "functions": {
      const name = shortened(segments[0] ?? "functions");
      return { api, limits: `functions/${name}`, resourceName: name };
    }
    case "auth":
      return { api, limits: "", resourceName: "auth" };
    default:
      return { api: "other", limits: "", resourceName: "" };
  }
}

/** The table, or `rpc/<function>`, that the last part of a PostgREST address names; PostgREST itself may be anywhere. */
export function resourceOf(url: URL | null): string {
  const route = routeOf(url);
  if (route.api !== "other") return route.resourceName;
  const segments = (url?.pathname ?? "").split("/").map(decoded).filter(Boolean);
  return tableOf(segments.slice(segments.at(-2) === "rpc" ? -2 : -1));
}

/** The absolute address; `null` when it is none, which `fetch` will say better than we could. */
export function absolute(url: string): URL | null {
  try {
    return new URL(url, globalThis.location?.href);
  } catch {
    return null;
  }
}

const API = /\/(rest|graphql|storage|functions|auth)\/v1(?:\/(.*))?$/;

function tableOf([first = "", second]: string[]): string {
  if (first === "rpc" && second !== undefined) return shortened(`rpc/${second}`);
  return shortened(first) || "rest";
}

/** `object/avatars/a.png`, `object/public/avatars/a.png`, `bucket/avatars` are all about `avatars`. */
function bucketOf([kind = "storage", ...rest]: string[]): string {
  const bucket = rest.find((segment) => !BEFORE_BUCKET.has(segment));
  return shortened(bucket ?? kind);
}

/** What stands between `object` or `render` and the name of the bucket. */
const BEFORE_BUCKET = new Set([
  "public",
  "authenticated",
  "sign",
  "upload",
  "list",
  "list-v2",
  "info",
  "image",
]);

function decoded(segment: string): string {
  if (!segment.includes("%")) return segment;
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

function shortened(name: string): string {
  return name.slice(0, LONGEST_NAME);
}

/** Names are written into metrics; Postgres' own end at 63 bytes. */
const LONGEST_NAME = 100;
