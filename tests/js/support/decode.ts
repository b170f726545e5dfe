/** What tests/vectors writes for values that JSON has no words for (tests/vectors/README.md), made real again. */

type Written = Record<string, unknown>;

export function decode(written: unknown): unknown {
  if (typeof written !== "object" || written === null) return written;
  if (Array.isArray(written)) return written.map(decode);
  const value = written as Written;
  if ("$undefined" in value) return undefined;
  if ("$number" in value) return Number(value.$number);
  if ("$revoked" in value) return revoked();
  if ("$class" in value) return instance(value);
  return withProperties({}, value);
}

/** An own property for each; one that throws or leads back is a matter of the property. */
function withProperties<T extends object>(target: T, written: Written): T {
  for (const [key, inner] of Object.entries(written)) {
    Object.defineProperty(target, key, {
      ...(isMarked(inner, "$throws") ? { get: fail } : { value: inSelf(target, inner), writable: true }),
      enumerable: true,
      configurable: true,
    });
  }
  return target;
}

function inSelf(self: object, written: unknown): unknown {
  return isMarked(written, "$self") ? self : decode(written);
}

function isMarked(written: unknown, mark: string): boolean {
  return typeof written === "object" && written !== null && mark in written;
}

function instance(written: Written): object {
  const name = written.$class as string;
  if (name === "Headers") return new Headers(written.entries as Record<string, string>);
  if (name === "Map") return new Map(Object.entries(written.entries as Record<string, string>));
  if (name === "Response") return response(written);
  return error(written as unknown as WrittenError);
}

function response(written: Written): object {
  const { status, statusText, ok, headers, type, bodyUsed } = written as {
    status: number;
    statusText: string;
    headers: Record<string, string>;
  } & Written;
  if (status >= 200 && status <= 599) return new Response(null, { status, statusText, headers });
  // A network error or an opaque answer: scripts cannot make one.
  return { status, statusText, ok, type, bodyUsed, headers: new Headers(headers) };
}

interface WrittenError {
  $class: string;
  $name: string;
  $message: string;
  props: Written;
}

function error({ $class, $name, $message, props }: WrittenError): object {
  if ($class === "DOMException") return withProperties(new DOMException($message, $name), props);
  const made = new (PLATFORM[$class] ?? named($class, $name, $message))();
  return withProperties(made, props);
}

const PLATFORM: Record<string, new () => Error> = { Error, TypeError, SyntaxError, RangeError };

/** A class as a client has it; what its errors do not have themselves they inherit. */
function named(className: string, name: string, message: string): new () => Error {
  const Made = { [className]: class extends Error {} }[className] as new () => Error;
  Object.assign(Made.prototype, { name, message });
  return Made;
}

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

function fail(): never {
  throw new Error("a getter that throws");
}
