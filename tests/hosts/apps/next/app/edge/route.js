import { exercise } from "../../exercise.js";

export async function GET(request) {
  return Response.json(await exercise(new URL(request.url).searchParams.get("api")));
}

export const runtime = "edge";
