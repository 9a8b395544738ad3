/**
 * What a reader makes of one configured value: the value in the form that the program uses, or what is wrong with it.
 * `wrong` is a predicate and an advice, "is not a duration; write 5s": the reporter puts key and value before it.
 * `wrong` never repeats any of the value itself, which may be a secret.
 */
export type Reading<T> =
  | { readonly kind: 'value'; readonly value: T }
  | { readonly kind: 'wrong'; readonly wrong: string };

/** A value that was understood. */
export function understood<T>(value: T): Reading<T> {
  return { kind: 'value', value };
}

/** A value that was not understood; `wrong` in the form that `Reading` describes. */
export function wrong(reason: string): { readonly kind: 'wrong'; readonly wrong: string } {
  return { kind: 'wrong', wrong: reason };
}
