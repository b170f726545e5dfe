// docs/dependencies.md tells of every dependency, with the version and the licence in use, and of nothing else.
import { readFile } from "node:fs/promises";
import path from "node:path";
import { ask, root, StepError } from "../../js/steps.mjs";

/** Resolves with how many there are. Throws a StepError that names those that are told wrongly. */
export async function checkDependencies() {
  const told = await rows();
  const used = await dependencies();
  const problems = [
    ...[...used.values()].map((dependency) => problemWith(dependency, told)).filter(Boolean),
    ...[...told.keys()].filter((name) => !used.has(name)).map((name) => `${name} is told of and not in use`),
  ];
  if (problems.length > 0) throw new StepError(`docs/dependencies.md:\n${problems.join("\n")}`);
  return used.size;
}

function problemWith({ name, version, licence, manifest }, told) {
  const row = told.get(`${name} ${version}`);
  if (row === undefined) return `${name} ${version} of ${manifest} is missing`;
  if (row.reason === "") return `${name}: what it is for is missing`;
  if (licence === undefined || row.licence.includes(normal(licence))) return undefined;
  return `${name}: its licence is ${licence}, not ${row.licence}`;
}

// ---- what is told

/** Every `name version` in the first column of a table, with the rest of its row. */
async function rows() {
  const text = await readFile(path.join(root, "docs", "dependencies.md"), "utf8");
  const lines = text.split("\n").filter((line) => /^\| .*\d/.test(line));
  return new Map(
    lines.flatMap((line) => {
      const [names, reason, licence] = line
        .slice(1)
        .split("|")
        .map((cell) => cell.trim());
      return [...names.matchAll(NAMED)].map(([, name, version]) => [
        `${name} ${version}`,
        { reason, licence: normal(licence) },
      ]);
    }),
  );
}

const NAMED = /(@?[a-z][\w./-]*) (\d+\.[\w.+-]+)/g;

/** `MIT/Apache-2.0`, `MIT OR Apache-2.0` and `MIT or Apache-2.0` are one. */
const normal = (licence) => licence.replace("/", " OR ").toLowerCase();

// ---- what is in use

/** By `name version`. Of what is installed on demand, without a lock file, the licence is not known here. */
async function dependencies() {
  const listed = ask("git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate");
  if (listed === null)
    throw new StepError("The manifests are those that git knows, and this is no repository.");
  const all = new Map();
  for (const manifest of listed.split("\n").filter((file) => /(^|\/)package\.json$/.test(file))) {
    for (const one of await ofNpm(manifest)) all.set(`${one.name} ${one.version}`, one);
  }
  for (const one of [...(await ofCargo("Cargo.toml")), ...(await ofCargo("fuzz/Cargo.toml"))]) {
    all.set(`${one.name} ${one.version}`, { ...all.get(`${one.name} ${one.version}`), ...one });
  }
  return all;
}

async function ofNpm(manifest) {
  const read = (file) => readFile(path.join(root, path.dirname(manifest), file), "utf8").then(JSON.parse);
  const { dependencies, devDependencies, peerDependencies, optionalDependencies } =
    await read("package.json");
  const { packages = {} } = await read("package-lock.json").catch(() => ({}));
  const wanted = { ...peerDependencies, ...optionalDependencies, ...devDependencies, ...dependencies };
  return Object.entries(wanted)
    .filter(([, version]) => !version.startsWith("file:"))
    .map(([alias, wish]) => {
      const [, name = alias, version = wish] = /^npm:(.+)@(.+)$/.exec(wish) ?? [];
      const locked = packages[`node_modules/${alias}`];
      return { name, version: locked?.version ?? version, licence: locked?.license, manifest };
    });
}

/** The direct ones, by the tables of the manifest, in the versions of the lock file beside it. */
async function ofCargo(manifest) {
  const text = await readFile(path.join(root, manifest), "utf8");
  const lock = await readFile(path.join(root, manifest.replace(/toml$/, "lock")), "utf8");
  const tables = text.split(/^(?=\[)/m).filter((table) => /^\[.*dependencies\]$/m.test(table));
  const names = tables.flatMap((table) =>
    [...table.matchAll(/^([\w-]+) = (?!.*path = )/gm)].map(([, name]) => name),
  );
  const licences = manifest === "Cargo.toml" ? licencesOfCrates() : new Map();
  return [...new Set(names)].flatMap((name) => {
    const versions = [...lock.matchAll(new RegExp(`name = "${name}"\nversion = "(.+)"`, "g"))].map(
      ([, version]) => version,
    );
    if (versions.length !== 1)
      throw new StepError(`${manifest}: ${versions.length} versions of ${name} are locked`);
    return [{ name, version: versions[0], licence: licences.get(`${name} ${versions[0]}`), manifest }];
  });
}

function licencesOfCrates() {
  const metadata = ask("cargo", "metadata", "--format-version", "1", "--locked");
  if (metadata === null) throw new StepError("cargo metadata failed");
  const { packages } = JSON.parse(metadata);
  return new Map(packages.map(({ name, version, license }) => [`${name} ${version}`, license]));
}
