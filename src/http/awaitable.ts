/**
 * What nearly always is there at once, and has to be waited for in the other cases. A function that gives it is not
 * `async`: where there is nothing to wait for it makes no promise, and keeps no state that has to outlive a wait.
 */
export type Awaitable<T> = T | Promise<T>;

/** Goes on with what is there: at once, or when it has been waited for. */
export function goOn<T, Next>(value: Awaitable<T>, next: (value: T) => Next): Awaitable<Next> {
  return value instanceof Promise ? value.then(next) : next(value);
}
