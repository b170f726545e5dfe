// Packs the package and installs the tarball into a new folder, as an application would get it from the registry.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { npm } from "../../js/setup.mjs";
import { root, run } from "../../js/steps.mjs";

/** Resolves with `{ folder, tarball, files, remove() }`: the application's folder, the packed file, the paths in it. */
export async function installPacked() {
  const folder = await mkdtemp(path.join(tmpdir(), "tidegate-app-"));
  const remove = () => rm(folder, { recursive: true, force: true });
  try {
    const [command, ...args] = npm();
    const pack = ["pack", "--json", "--ignore-scripts", "--loglevel=error", "--pack-destination", folder];
    const { stdout } = await run("npm pack", command, [...args, ...pack], { cwd: root });
    const [{ filename, files }] = Object.values(JSON.parse(stdout));
    const tarball = path.join(folder, filename);
    await writeFile(
      path.join(folder, "package.json"),
      '{ "name": "app", "private": true, "type": "module" }\n',
    );
    const install = [
      "install",
      "--offline",
      "--ignore-scripts",
      "--no-audit",
      "--no-fund",
      "--loglevel=error",
      tarball,
    ];
    await run("npm install", command, [...args, ...install], { cwd: folder });
    return { folder, tarball, files: files.map((file) => file.path).sort(), remove };
  } catch (error) {
    await remove();
    throw error;
  }
}
