/** What Supabase's hosted REST API lets a page read; it is built into PostgREST, and Retry-After is not in it. */
const EXPOSED = [
  "Content-Encoding",
  "Content-Location",
  "Content-Range",
  "Content-Type",
  "Date",
  "Location",
  "Server",
  "Transfer-Encoding",
  "Range-Unit",
];

/**
 * Lets any page read an answer, and of its headers those that hosted Supabase shows.
 *
 * @param {Headers} headers changed in place
 * @param {{ exposeHeaders: boolean }} options exposeHeaders: show Retry-After too
 */
export function allowReading(headers, { exposeHeaders }) {
  headers.set("access-control-allow-origin", "*");
  headers.set(
    "access-control-expose-headers",
    [...EXPOSED, ...(exposeHeaders ? ["Retry-After"] : [])].join(", "),
  );
}

/** The answer to a preflight: everything is allowed, for an hour. @param {Request} request */
export function preflight(request) {
  return new Response(null, {
    status: 200,
    headers: {
      "access-control-allow-origin": "*",
      "access-control-allow-methods": "GET, HEAD, POST, PATCH, PUT, DELETE, OPTIONS",
      "access-control-allow-headers": request.headers.get("access-control-request-headers") ?? "*",
      "access-control-max-age": "3600",
    },
  });
}
