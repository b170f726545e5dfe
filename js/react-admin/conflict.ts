/**
 * Whether an error says that something of this kind is there already: the status 409, Postgres' code 23505, or its words
 * where a provider has made another error of it. PostgREST says 409 of a missing reference too (23503): who asks, looks
 * whether it really is there.
 */
export function isConflict(error: unknown): boolean {
  const places = [error, ...["body", "cause", "error"].map((key) => at(error, key))];
  return places.some(
    (place) =>
      Number(at(place, "status")) === 409 ||
      String(at(place, "code")) === "23505" ||
      /duplicate key|unique constraint/i.test(String(at(place, "message"))),
  );
}

function at(place: unknown, key: string): unknown {
  return typeof place === "object" && place !== null ? (place as Record<string, unknown>)[key] : undefined;
}
