/**
 * What a gateway has seen since it began or was reset. Preflights are not in it.
 *
 * @typedef {object} Counts
 * @property {number} requests all that arrived, refused ones too
 * @property {number} admitted those that the limit let through
 * @property {number} writes of the admitted: other than GET and HEAD
 * @property {Record<string, number>} refused refusals by HTTP status
 * @property {Record<string, number>} faults by kind
 * @property {number} worstSecond the most requests that arrived within any second
 */

export function createCounters() {
  /** Arrivals within the last second, oldest first. @type {number[]} */
  let lastSecond = [];
  /** @type {Counts} */
  const counts = { requests: 0, admitted: 0, writes: 0, refused: {}, faults: {}, worstSecond: 0 };

  return {
    /** @param {number} now */
    arrived(now) {
      counts.requests += 1;
      lastSecond = lastSecond.filter((at) => at > now - 1000);
      lastSecond.push(now);
      counts.worstSecond = Math.max(counts.worstSecond, lastSecond.length);
    },
    /** @param {boolean} write */
    admitted(write) {
      counts.admitted += 1;
      if (write) counts.writes += 1;
    },
    /** @param {number} status */
    refused(status) {
      counts.refused[status] = (counts.refused[status] ?? 0) + 1;
    },
    /** @param {string} kind */
    faulted(kind) {
      counts.faults[kind] = (counts.faults[kind] ?? 0) + 1;
    },
    /** @returns {Counts} a copy */
    read: () => structuredClone(counts),
  };
}
