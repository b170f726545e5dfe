// What the matrix is played on: the packed package, Postgres, and the example's gateway before it.
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { root } from "../../js/steps.mjs";
import { installPacked } from "../packaging/pack.mjs";

const server = (name) => import(pathToFileURL(path.join(root, "examples", "crm", "server", name)));

/** Resolves with `{ app, lib, backend, upstream, close() }`. */
export async function openStage() {
  const { startBackend } = await server("backend.mjs");
  const { createGateway, forwardTo } = await server("gateway.mjs");
  const app = await installPacked();
  try {
    const backend = await startBackend();
    const gateway = createGateway({ upstream: forwardTo(backend.url), limits: { rate: 1e6, burst: 1e6 } });
    return {
      app,
      lib: await libraryOf(app),
      backend,
      upstream: (request) => gateway.handle(request),
      close: async () => {
        await backend.close();
        await app.remove();
      },
    };
  } catch (error) {
    await app.remove();
    throw error;
  }
}

/** The subpaths of the package as an application gets them. */
async function libraryOf({ folder }) {
  const file = path.join(folder, "library.mjs");
  const lines = Object.entries(SUBPATHS).map(([name, subpath]) => `export * as ${name} from "${subpath}";`);
  await writeFile(file, `${lines.join("\n")}\n`);
  return import(pathToFileURL(file).href);
}

const SUBPATHS = {
  core: "tidegate",
  imports: "tidegate/import",
  supabase: "tidegate/supabase",
  reactAdmin: "tidegate/react-admin",
  testing: "tidegate/testing",
};
