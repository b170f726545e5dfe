import { vi } from "vitest";

/** Counts how often somebody gives way. */
export function spyOnTurns(onTurn: () => void = () => {}): { count: number } {
  const turns = { count: 0 };
  vi.stubGlobal("MessageChannel", undefined);
  const { setTimeout: later } = globalThis;
  vi.stubGlobal("setTimeout", (act: () => void, ms: number) => {
    turns.count++;
    onTurn();
    return later(act, ms);
  });
  return turns;
}
