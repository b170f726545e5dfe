import { setTimeout as delay } from "node:timers/promises";
import { CONTROL_PATH, createGateway } from "./gateway.mjs";

/**
 * An API for the small examples, behind a gateway that means it.
 *
 * @typedef {object} StandIn
 * @property {string} url
 * @property {() => Promise<import("./counters.mjs").Counts>} counts what the gateway has seen
 * @property {() => Promise<void>} close
 *
 * @typedef {Pick<import("./gateway.mjs").GatewayOptions, "mode" | "limits">} Rule
 */

/**
 * Starts a gateway with this rule in front of an API that does whatever it is asked. Where the command line names the
 * address of a gateway, as the tests do, that one is given the rule.
 *
 * @param {Rule} rule
 * @returns {Promise<StandIn>} rejects with the gateway's reason when the rule makes no sense
 */
export async function startStandIn(rule) {
  const own = createGateway({ upstream: doAsAsked, control: true });
  const url = process.argv[2] ?? (await own.listen());
  const control = `${url}${CONTROL_PATH}`;
  try {
    await answer(await fetch(control, { method: "POST", body: JSON.stringify(rule) }));
  } catch (error) {
    await own.close();
    throw error;
  }
  return {
    url,
    counts: async () => (await answer(await fetch(control))).counts,
    close: own.close,
  };
}

/**
 * Answers 201 after as many milliseconds as the parameter `lasts` says, default 5.
 *
 * @param {Request} request
 */
export async function doAsAsked(request) {
  const { pathname, searchParams } = new URL(request.url);
  await delay(Number(searchParams.get("lasts") ?? 5));
  return Response.json({ done: pathname }, { status: 201 });
}

/** @param {Response} response */
async function answer(response) {
  const body = await response.json();
  if (!response.ok) throw new Error(body.message);
  return body;
}
