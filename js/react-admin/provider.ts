/** What an import needs of a data provider, and the check that it was given one. */

import { RateLimitConfigError, type Rules } from "../api.ts";

/** A part of react-admin's `DataProvider`. `createMany(resource, { data: records })` is used where there is one. */
export interface CreatingProvider {
  // biome-ignore-start lint/suspicious/noExplicitAny: as react-admin's own type has it
  create(resource: string, params: any): Promise<any>;
  getList(resource: string, params: any): Promise<any>;
  // biome-ignore-end lint/suspicious/noExplicitAny: as above
}

/** @throws RateLimitConfigError when it is none, or the resource has no name. */
export function checkTarget(dataProvider: unknown, resource: unknown): void {
  const { create, getList } = (dataProvider ?? {}) as Partial<CreatingProvider>;
  if (typeof create !== "function" || typeof getList !== "function") {
    throw new RateLimitConfigError("dataProvider", dataProvider, "a data provider with create and getList");
  }
  if (!aName.holds(resource)) throw new RateLimitConfigError("resource", resource, aName.expected);
}

export const aName: Rules<{ name: string }>["name"] = {
  expected: "a name",
  holds: (value) => typeof value === "string" && value !== "",
};
