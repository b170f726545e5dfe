// @vitest-environment jsdom

import { QueryClient } from "@tanstack/react-query";
import {
  type AuthProvider,
  CoreAdminContext,
  CreateBase,
  type DataProvider,
  HttpError,
  memoryStore,
  type NotificationPayload,
  type SaveHandler,
  useCreate,
  useDataProvider,
  useGetList,
  useNotificationContext,
  useSaveContext,
} from "ra-core";
import { act, type ReactNode } from "react";
import { createRoot, type Root } from "react-dom/client";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { isRateLimitError } from "../../js/index.ts";
import { resilientDataProvider } from "../../js/react-admin.ts";
import { serviceOf } from "./react-admin.support.ts";
import { rejection } from "./support/service.ts";

const OVERLOADED = "The system is temporarily overloaded. Please try again in a few moments.";

let root: Root;

beforeEach(() => {
  vi.stubGlobal("IS_REACT_ACT_ENVIRONMENT", true);
  // In a browser they go together; here jsdom's would meet the reasons of Node's AbortController.
  vi.stubGlobal("DOMException", AbortSignal.abort().reason.constructor);
  // useDataProvider logs every rejection but aborts while developing.
  vi.spyOn(console, "error").mockImplementation(() => {});
  root = createRoot(document.createElement("div"));
});

afterEach(async () => {
  await act(() => root.unmount());
});

/** React Query as the guide says: it repeats what failed three times, but not what we gave up. */
function queryClient() {
  const retry = (n: number, error: unknown) => !isRateLimitError(error) && n < 3;
  return new QueryClient({
    defaultOptions: { queries: { retry, retryDelay: 0 }, mutations: { retry, retryDelay: 0 } },
  });
}

interface Admin {
  dataProvider: object;
  authProvider?: AuthProvider;
}

async function render(children: ReactNode, { dataProvider, authProvider }: Admin): Promise<void> {
  await act(() =>
    root.render(
      <CoreAdminContext
        dataProvider={dataProvider as DataProvider}
        {...(authProvider && { authProvider })}
        queryClient={queryClient()}
        store={memoryStore()}
      >
        {children}
      </CoreAdminContext>,
    ),
  );
}

/** Renders a component that only hands out what a hook returns; `current()` is what it returned last. */
async function renderHook<T>(useHook: () => T, admin: Admin): Promise<() => T> {
  let last: T | undefined;
  const Probe = () => {
    last = useHook();
    return null;
  };
  await render(<Probe />, admin);
  return () => last as T;
}

/** Lets React and React Query do what needs turns of the event loop, and no time. */
async function turns(): Promise<void> {
  await act(async () => {
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setTimeout(resolve));
  });
}

const refusal = (body?: object) => new HttpError("Too Many Requests", 429, body);

test("useDataProvider reaches the methods, custom ones too, and keeps supportAbortSignal", async () => {
  const { host, service } = serviceOf();
  const create = vi.fn(async () => ({ data: { id: 1 } })).mockRejectedValueOnce(refusal());
  class Provider {
    #name = "me";
    supportAbortSignal = true;
    create = create;
    async me() {
      return { data: this.#name };
    }
  }
  const dataProvider = resilientDataProvider(new Provider(), { service });
  const current = await renderHook(() => useDataProvider<DataProvider & Provider>(), { dataProvider });
  expect(current().supportAbortSignal).toBe(true);
  await expect(current().me()).resolves.toEqual({ data: "me" });
  await expect(host.drive(current().create())).resolves.toEqual({ data: { id: 1 } });
  expect(create).toHaveBeenCalledTimes(2);
});

test("a call that we ended does not log the user out", async () => {
  const { service } = serviceOf();
  service.isolateCircuit();
  const logout = vi.fn(async () => {});
  const checkError = vi.fn(async ({ status }: { status: number }) => {
    if (status === 401 || status === 403) throw new Error("logged out");
  });
  const authProvider = {
    checkError,
    logout,
    login: vi.fn(),
    checkAuth: async () => {},
    getPermissions: vi.fn(),
  };
  const dataProvider = resilientDataProvider({ create: vi.fn() }, { service });
  const current = await renderHook(() => useDataProvider(), { dataProvider, authProvider });
  const error = await act(() => rejection(current().create("posts", { data: {} })));
  expect(isRateLimitError(error)).toBe(true);
  expect(checkError).toHaveBeenCalledWith(error);
  expect(logout).not.toHaveBeenCalled();
});

test("useCreate: refusals are waited out, and what we give up is not repeated by React Query", async () => {
  const { host, service } = serviceOf();
  const create = vi.fn(() => Promise.reject(refusal()));
  const dataProvider = resilientDataProvider({ create }, { service });
  const current = await renderHook(() => useCreate("posts", { data: { name: "Ada" } }), { dataProvider });
  await act(() => current()[0]());
  await turns();
  expect(current()[1].isPending).toBe(true);
  await act(() => host.advance(100 + 200 + 400));
  await turns();
  expect(create).toHaveBeenCalledTimes(4);
  expect(current()[1]).toMatchObject({ isError: true, error: { code: "RATE_LIMIT_MAX_RETRIES_EXCEEDED" } });
});

test("useCreate: other failures are repeated as the QueryClient says", async () => {
  const { service } = serviceOf();
  const create = vi.fn(() => Promise.reject(new HttpError("Internal Server Error", 500)));
  const dataProvider = resilientDataProvider({ create }, { service });
  const current = await renderHook(() => useCreate("posts", { data: {} }), { dataProvider });
  await act(() => current()[0]());
  await turns();
  expect(create).toHaveBeenCalledTimes(4);
  expect(current()[1].error).toBeInstanceOf(HttpError);
});

test("useGetList: four requests for a list that is refused, not sixteen", async () => {
  const { host, service } = serviceOf();
  const getList = vi.fn(() => Promise.reject(refusal()));
  const dataProvider = resilientDataProvider({ getList }, { service, methods: ["getList"] });
  const current = await renderHook(() => useGetList("posts"), { dataProvider });
  await act(() => host.advance(60_000));
  await turns();
  expect(getList).toHaveBeenCalledTimes(4);
  expect(current()).toMatchObject({ isError: true, error: { message: OVERLOADED } });
});

test("leaving the page ends the wait for its list", async () => {
  const { host, service } = serviceOf();
  const getList = vi.fn((_resource: string, _params: { signal: AbortSignal }) =>
    Promise.reject(refusal({ retry_after: 10 })),
  );
  const provider = { getList, supportAbortSignal: true };
  const dataProvider = resilientDataProvider(provider, { service, methods: ["getList"] });
  await renderHook(() => useGetList("posts"), { dataProvider });
  await turns();
  expect(host.sleeping).toBe(1);
  await render(null, { dataProvider });
  await turns();
  expect(host.sleeping).toBe(0);
  await act(() => host.advance(60_000));
  expect(getList).toHaveBeenCalledTimes(1);
  expect(console.error).not.toHaveBeenCalled();
});

/** A page to create a post, whose form is sent by `save()`, and which notes what is shown to the user. */
async function createPage(dataProvider: object) {
  const shown: NotificationPayload[] = [];
  let save: SaveHandler<object> | undefined;
  const Form = () => {
    save = useSaveContext().save as SaveHandler<object>;
    const { notifications } = useNotificationContext();
    shown.push(...notifications.filter((notification) => !shown.includes(notification)));
    return null;
  };
  const page = (
    <CreateBase resource="posts" redirect={false}>
      <Form />
    </CreateBase>
  );
  await render(page, { dataProvider });
  return { shown, save: (data: object) => save?.(data) };
}

test.each([
  ["a refusal that lasts", [1, 1, 1, 1], OVERLOADED],
  ["a wait that does not fit", [20], "This is taking longer than expected. Please try again."],
  ["a hint that is too long", [3600], expect.stringMatching(/^The service asks to wait until .*\d.*\.$/)],
])("the create page says so: %s", async (_, hints, message) => {
  const { host, service } = serviceOf();
  const create = vi.fn(async () => Promise.reject(refusal({ retry_after: hints.shift() })));
  const page = await createPage(resilientDataProvider({ create }, { service }));
  const saved = page.save({ name: "Ada" });
  await act(() => host.advance(14_000));
  await turns();
  // Undefined: there are no errors of form fields.
  expect(await saved).toBeUndefined();
  expect(page.shown).toMatchObject([
    { message, type: "error", notificationOptions: { messageArgs: { _: message } } },
  ]);
});

test("the create page shows the server's validation errors at their fields, as ever", async () => {
  const { service } = serviceOf();
  const errors = { name: "required" };
  const create = vi.fn(async () => Promise.reject(new HttpError("invalid", 422, { errors })));
  const page = await createPage(resilientDataProvider({ create }, { service }));
  const saved = page.save({});
  await turns();
  expect(await saved).toEqual(errors);
  expect(page.shown).toEqual([]);
});
