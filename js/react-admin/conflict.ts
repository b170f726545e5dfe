/** What servers say of something that is there already, or is not there. */

/**
 * Whether an error says that something of this kind is there already: the status 409, Postgres' code 23505, or its words
 * where a provider has made another error of it. PostgREST says 409 of a missing reference too (23503): who asks, looks
 * whether it really is there.
 */
export function isConflict(error: unknown): boolean {
  return placesIn(error).some(
    (place) =>
      Number(at(place, "status")) === 409 ||
      String(at(place, "code")) === "23505" ||
      /duplicate key|unique constraint/i.test(String(at(place, "message"))),
  );
}

/**
 * Whether an error says that there is no such record: PostgREST's PGRST116 (which it says of too many, too), or the status 404
 * or 410. With another code of PostgREST or Postgres those say that there is no such table.
 */
export function isMissing(error: unknown): boolean {
  const places = placesIn(error);
  const codes = places.map((place) => String(at(place, "code") ?? ""));
  if (codes.includes("PGRST116")) {
    return !places.some((place) => /contains? [1-9]/.test(String(at(place, "details"))));
  }
  if (codes.some((code) => /^(PGRST\d+|[0-9A-Z]{5})$/.test(code))) return false;
  return places.some((place) => [404, 410].includes(Number(at(place, "status"))));
}

/** The error, and where clients keep what the server said. */
function placesIn(error: unknown): unknown[] {
  return [error, ...["body", "cause", "error"].map((key) => at(error, key))];
}

function at(place: unknown, key: string): unknown {
  return typeof place === "object" && place !== null ? (place as Record<string, unknown>)[key] : undefined;
}
