/** Listeners by event. One that throws is reported and changes nothing; one that is added or removed meanwhile, too. */
export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<(event: never) => void>>();
  readonly #report: (error: unknown) => void;

  constructor(report: (error: unknown) => void) {
    this.#report = report;
  }

  on<E extends keyof Events>(event: E, listener: (event: Events[E]) => void): () => void {
    // A listener that is added twice is called twice, and each registration ends by itself.
    const registered = (detail: Events[E]): void => listener(detail);
    const set = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, set.add(registered));
    return () => void set.delete(registered);
  }

  /** Whether it is worth making the event. */
  has(event: keyof Events): boolean {
    return (this.#listeners.get(event)?.size ?? 0) > 0;
  }

  emit<E extends keyof Events>(event: E, detail: Events[E]): void {
    const set = this.#listeners.get(event);
    if (!set) return;
    for (const listener of [...set] as ((event: Events[E]) => void)[]) this.tell(listener, detail);
  }

  /** Calls one listener; a promise that it returns and that rejects is reported as well. */
  tell<T>(listener: (detail: T) => unknown, detail: T): void {
    try {
      const returned = listener(detail);
      if (returned instanceof Promise) returned.catch(this.#report);
    } catch (error) {
      this.#report(error);
    }
  }
}
