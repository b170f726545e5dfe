import { exercise } from "../../exercise.js";

/** Rendered for each request. */
export default async function Page({ searchParams }) {
  const { api } = await searchParams;
  return <pre>{JSON.stringify(await exercise(api))}</pre>;
}
