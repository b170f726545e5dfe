/**
 * Gives the class of `object` the method that `using` calls, where the platform has it; typed in `tidegate/dispose`.
 *
 * Called by constructors, because a method with a computed name keeps bundlers from leaving an unused class out.
 */
export function forUsing<K extends string>(object: { [Key in K]: () => void }, end: K): void {
  const { dispose } = Symbol as { dispose?: symbol };
  if (dispose === undefined || dispose in object) return;
  const value = function (this: typeof object): void {
    this[end]();
  };
  Object.defineProperty(Object.getPrototypeOf(object), dispose, {
    value,
    configurable: true,
    writable: true,
  });
}
