/**
 * Why an import waits, for the people who sell: no status codes, no jargon.
 *
 * @typedef {"cooldown" | "circuit" | "offline" | "paused"} WaitingReason
 */

/**
 * @param {WaitingReason} reason
 * @param {number} [untilTime] epoch milliseconds; none when nobody knows
 */
export function waitingMessage(reason, untilTime) {
  switch (reason) {
    case "cooldown":
      return `The server asks us to slow down; going on ${when(untilTime)}.`;
    case "circuit":
      return `The server needs a break; trying again ${when(untilTime)}. Nothing is lost.`;
    case "offline":
      return `The server cannot be reached; trying again ${when(untilTime)}. Nothing is lost.`;
    case "paused":
      return "Paused. Nothing is sent until you go on.";
  }
}

/** @param {number} [time] */
function when(time) {
  return time === undefined ? "as soon as possible" : `at ${CLOCK.format(time)}`;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
