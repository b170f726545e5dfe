// What a long run found, for machines: docs/evidence/<name>.json. It says with what and when, and nothing of where.
import { readFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { installed, root, writeWhole } from "../../../js/steps.mjs";

export async function writeEvidence(folder, name, found) {
  const data = { ...(await surroundings()), ...found };
  const file = path.join(folder, `${name}.json`);
  await writeWhole(file, `${JSON.stringify(data, null, 2)}\n`);
  console.log(`\nwritten: ${path.relative(root, file)}`);
}

async function surroundings() {
  const { version } = JSON.parse(await readFile(path.join(root, "package.json"), "utf8"));
  const versions = { tidegate: version, node: process.versions.node };
  for (const name of ["@supabase/supabase-js", "ra-supabase-core", "playwright-core"]) {
    versions[name] = JSON.parse(await readFile(installed(name, "package.json"), "utf8")).version;
  }
  return {
    date: new Date().toISOString().slice(0, 10),
    versions,
    machine: `${os.cpus().length} × ${os.cpus()[0]?.model.trim()}, ${os.type()} ${os.arch()}`,
  };
}
