import type { DataProvider, GetListParams, GetListResult } from "ra-core";
import { expect, expectTypeOf, test } from "vitest";
import { RateLimitError, type RateLimitErrorCode, RateLimitService } from "../../js/index.ts";
import {
  type DataProviderMethod,
  HttpRateLimitError,
  type ResilienceMeta,
  type ResilientDataProviderOptions,
  resilientDataProvider,
} from "../../js/react-admin.ts";

interface CrmProvider extends DataProvider {
  merge(from: number, into: number): Promise<{ merged: number }>;
  readonly apiUrl: string;
}

class Provider {
  #url = "https://api.example.com";
  async getList(
    _resource: "contacts" | "deals",
    _params: GetListParams,
  ): Promise<GetListResult<{ id: number }>> {
    return { data: [], total: this.#url.length };
  }
}

const crm = { apiUrl: "https://api.example.com" } as CrmProvider;

test("what comes out has the type of what went in", () => {
  expectTypeOf(resilientDataProvider(crm)).toEqualTypeOf<CrmProvider>();
  expectTypeOf(resilientDataProvider(crm).merge).toEqualTypeOf<CrmProvider["merge"]>();
  expectTypeOf(resilientDataProvider(new Provider())).toEqualTypeOf<Provider>();
  expectTypeOf(resilientDataProvider(new Provider()).getList)
    .parameter(0)
    .toEqualTypeOf<"contacts" | "deals">();
  expectTypeOf(
    resilientDataProvider({ create: async (n: number) => n }).create,
  ).returns.resolves.toBeNumber();
  expectTypeOf(resilientDataProvider<DataProvider>(crm)).toExtend<DataProvider>();
});

test("methods are the nine of react-admin's DataProvider", () => {
  type Known = { [K in keyof DataProvider as string extends K ? never : K]: DataProvider[K] };
  expectTypeOf<DataProviderMethod>().toEqualTypeOf<Exclude<keyof Known, "supportAbortSignal">>();
});

test("options and errors", () => {
  const options: ResilientDataProviderOptions = {
    service: new RateLimitService(),
    methods: ["getList", "create"],
    deadlineMs: null,
    onWait: ({ reason, untilTime, attempt }) => {
      expectTypeOf(reason).toEqualTypeOf<"backoff" | "cooldown" | "quota" | "concurrency" | "queue">();
      expectTypeOf({ untilTime, attempt }).toEqualTypeOf<{ untilTime: number; attempt: number }>();
    },
  };
  expectTypeOf<ResilienceMeta>().toHaveProperty("priority");
  expectTypeOf<HttpRateLimitError>().toExtend<RateLimitError>();
  expectTypeOf<HttpRateLimitError["body"]>().toEqualTypeOf<{
    readonly code: RateLimitErrorCode;
    readonly retryAfterMs?: number;
  }>();
  expect(resilientDataProvider(crm, options).apiUrl).toBe(crm.apiUrl);
  expect(new HttpRateLimitError(new RateLimitError(DETAILS)).message).toBe(DETAILS.userMessage);
});

test("mistakes that the compiler finds", () => {
  // @ts-expect-error no object
  expect(() => resilientDataProvider("https://api.example.com")).toThrow(TypeError);
  // @ts-expect-error a custom method
  expect(() => resilientDataProvider(crm, { methods: ["merge"] })).toThrow("methods");
  // @ts-expect-error an option of the service
  expect(() => resilientDataProvider(crm, { maxRetries: 3 })).toThrow("maxRetries");
  // @ts-expect-error seconds as text
  expect(() => resilientDataProvider(crm, { deadlineMs: "15s" })).toThrow("deadlineMs");
});

const DETAILS = {
  code: "RATE_LIMIT_CIRCUIT_OPEN",
  summary: "Rate limit circuit breaker is open. ",
  userMessage: "Too many requests. Please wait 1-2 minutes before trying again.",
  attempts: 0,
} as const;
