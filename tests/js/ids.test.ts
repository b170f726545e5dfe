import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { normalisedEmail, rowId, rowKey, uuidV5 } from "../../js/import/ids.ts";

const DNS = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";

/** What Node's own SHA-1 makes of it. */
function reference(namespace: string, name: string): string {
  const hash = createHash("sha1")
    .update(Buffer.from(namespace.replaceAll("-", ""), "hex"))
    .update(name, "utf8");
  const bytes = hash.digest().subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x50, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

describe("uuidV5", () => {
  test("the example of RFC 9562, appendix A.4", () => {
    expect(uuidV5(DNS, "www.example.com")).toBe("2ed6657d-e927-568b-95e1-2665a8aea6a2");
  });

  test.each(Array.from({ length: 140 }, (_, length) => length))(
    "a name of %i bytes, around the ends of blocks",
    (length) => {
      const name = "é".repeat(length >> 1) + "x".repeat(length & 1);
      expect(uuidV5(DNS, name)).toBe(reference(DNS, name));
    },
  );

  test("any name in any namespace", () => {
    fc.assert(
      fc.property(fc.uuid(), fc.string({ unit: "grapheme", maxLength: 400 }), (namespace, name) => {
        expect(uuidV5(namespace, name)).toBe(reference(namespace, name));
        expect(uuidV5(namespace.toUpperCase(), name)).toBe(reference(namespace, name));
      }),
    );
  });

  test("where there is no WebCrypto, as on plain http", () => {
    vi.stubGlobal("crypto", undefined);
    expect(uuidV5(DNS, "www.example.com")).toBe("2ed6657d-e927-568b-95e1-2665a8aea6a2");
  });

  test("a namespace that is no UUID is an error", () => {
    expect(() => uuidV5("contacts", "a")).toThrow(
      new TypeError('namespace: expected a UUID, got "contacts".'),
    );
  });
});

describe("rowId", () => {
  const scope = { origin: "https://project.supabase.co", table: "contacts" };

  test("ids that were once made stay", () => {
    expect(rowId(scope, "ada@example.com")).toBe("fbec6d6a-a04c-5274-8181-6b079753cac1");
    expect(rowId(scope, "Ünïcødé 🦊")).toBe("62701c40-e135-57b7-b3f8-6876f861317b");
  });

  test("other triples, other ids: also where they read the same in a row, and by halves of surrogate pairs", () => {
    const triples: [origin: string, table: string, key: string][] = [
      ["a", "b", "c"],
      ["ab", "", "c"],
      ["a", "bc", ""],
      ["a", 'b","c', ""],
      ["a", "b", '","c'],
      ["a", "b", "\ud800"],
      ["a", "b", "\udbff"],
      ["a", "b", "\ufffd"],
      ["a", "b", "\\ud800"],
    ];
    const ids = triples.map(([origin, table, key]) => rowId({ origin, table }, key));
    expect(new Set(ids).size).toBe(triples.length);
    for (const id of ids)
      expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  });
});

describe("rowKey", () => {
  test.each([
    ["a string", "ada@example.com", "ada@example.com"],
    ["with white space around it", "  Ada ", "Ada"],
    ["a number", 17, "17"],
    ["zero", 0, "0"],
    ["a big number", 12345678901234567890n, "12345678901234567890"],
  ])("%s is the key", (_, said, key) => {
    expect(rowKey({}, () => said)).toBe(key);
  });

  test.each([undefined, null, "", " \t"])("%j is none: two such rows are two rows", (said) => {
    const [ada, bea] = [rowKey({ name: "Ada" }, () => said), rowKey({ name: "Bea" }, () => said)];
    expect(ada).toMatch(/^[0-9a-f]{40}$/);
    expect(ada).not.toBe(bea);
    expect(ada).toBe(rowKey({ name: "Ada" }));
  });

  test.each([[{}], [true], [Number.NaN], [Number.POSITIVE_INFINITY], [() => 1], [Symbol("key")]])(
    "%s is an error",
    (said) => {
      expect(() => rowKey({}, () => said)).toThrow(`key: expected a string or a number, got ${typeof said}.`);
    },
  );

  test("what the function throws comes out", () => {
    const error = new Error("no such field");
    expect(() =>
      rowKey({}, () => {
        throw error;
      }),
    ).toThrow(error);
  });

  test("the same as JSON in another order is the same", () => {
    const row = { b: 1, a: { d: [1, { y: 1, x: 2 }], c: new Date(0) }, left: undefined };
    const same = { a: { c: "1970-01-01T00:00:00.000Z", d: [1, { x: 2, y: 1 }] }, b: 1 };
    expect(rowKey(row)).toBe(rowKey(same));
    expect(rowKey(row)).toBe(
      createHash("sha1")
        .update('{"a":{"c":"1970-01-01T00:00:00.000Z","d":[1,{"x":2,"y":1}]},"b":1}')
        .digest("hex"),
    );
  });

  test("anything else is not", () => {
    const rows = [
      {},
      { a: 1 },
      { a: "1" },
      { a: null },
      { a: [1] },
      { b: 1 },
      { a: { a: 1 } },
      { ["__proto__"]: 1 },
      { a: true },
    ];
    expect(new Set(rows.map((row) => rowKey(row))).size).toBe(rows.length);
    expect(rowKey([1, 2])).not.toBe(rowKey([2, 1]));
  });

  test("big numbers count", () => {
    expect(rowKey({ id: 1n })).not.toBe(rowKey({ id: 2n }));
  });

  test("what cannot be written as JSON is an error", () => {
    const cyclic: Record<string, unknown> = {};
    cyclic.self = cyclic;
    expect(() => rowKey(cyclic)).toThrow(TypeError);
    expect(() => rowKey(undefined)).toThrow("A row must be an object, got undefined.");
    expect(() => rowKey(() => 1)).toThrow("A row must be an object, got function.");
  });
});

describe("normalisedEmail", () => {
  test.each([
    ["Ada@Example.COM", "ada@example.com"],
    [" ada@example.com\u00a0", "ada@example.com"],
    ["\ufeffada\u200b@example.com", "ada@example.com"],
    ["Ada Lovelace <Ada@example.com>", "ada@example.com"],
    ["mailto:ada@example.com", "ada@example.com"],
    ["<mailto:ada@example.com>", "ada@example.com"],
    ["a.da+crm@gmail.com", "a.da+crm@gmail.com"],
    ["ju\u0308rgen@bu\u0308cher.example", "jürgen@bücher.example"],
    ["ada@localhost", "ada@localhost"],
  ])("%j is %s", (given, email) => {
    expect(normalisedEmail(given)).toBe(email);
  });

  test.each([
    ["ada"],
    ["@example.com"],
    ["ada@"],
    ["a@b@c"],
    ["ada lovelace@example.com"],
    [""],
    ["<>"],
    [17],
    [null],
    [undefined],
    [{}],
  ])("%j is none", (given) => {
    expect(normalisedEmail(given)).toBeNull();
  });

  test("as a key: rows with one address are one, rows without one are told apart", () => {
    const key = (row: { email?: string; name: string }) => rowKey(row, (of) => normalisedEmail(of.email));
    expect(key({ email: "ADA@example.com", name: "Ada" })).toBe(
      key({ email: "ada@example.com", name: "Ada L." }),
    );
    expect(key({ name: "Ada" })).not.toBe(key({ name: "Bea" }));
  });
});
