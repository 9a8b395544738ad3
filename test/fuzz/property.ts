import fc from 'fast-check';

/** Something that holds for a parser whatever it is given. */
export interface Property {
  /** The file under src that it is about, without `.ts`, and what holds: the name by which it is run again. */
  readonly name: string;
  /** How many cases of an ordinary property take as long as one of this one. */
  readonly cost: number;
  readonly check: fc.IRawProperty<unknown>;
}

/** A property that holds if `holds` throws for none of the values. */
export function property<T>(name: string, values: fc.Arbitrary<T>, holds: (value: T) => void, cost = 1): Property {
  return { name, cost, check: fc.property(values, holds) };
}

/** The same where it takes a promise to know. */
export function asyncProperty<T>(
  name: string,
  values: fc.Arbitrary<T>,
  holds: (value: T) => Promise<void>,
  cost: number,
): Property {
  return { name, cost, check: fc.asyncProperty(values, holds) };
}

/** A text that is made of these pieces, in any order: those that a grammar is made of come together in every way. */
export function soup(pieces: readonly string[], maxLength = 16): fc.Arbitrary<string> {
  return fc.array(fc.constantFrom(...pieces), { maxLength }).map((chosen) => chosen.join(''));
}

/** These texts with up to three mistakes: characters that are missing, doubled or replaced by one of the pieces. */
export function mutated(texts: fc.Arbitrary<string>, pieces: readonly string[]): fc.Arbitrary<string> {
  const mistake = fc.tuple(fc.nat(200), fc.nat(2), fc.constantFrom('', ...pieces));
  return fc.tuple(texts, fc.array(mistake, { maxLength: 3 })).map(([text, mistakes]) =>
    mistakes.reduce((before, [place, dropped, put]) => {
      const at = place % (before.length + 1);
      return before.slice(0, at) + put + before.slice(at + dropped);
    }, text),
  );
}

/** A name in any mixture of upper and lower case. */
export function anyCase(name: string): fc.Arbitrary<string> {
  return fc.nat(0xffff).map((bits) => {
    const dice = new Dice(bits);
    return [...name].map((letter) => (dice.roll(2) === 0 ? letter.toLowerCase() : letter.toUpperCase())).join('');
  });
}

/** Choices that follow from one number, for the many small ones that spelling a structure takes. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A whole number from 0 to below `sides`. */
  roll(sides: number): number {
    // Constants of Numerical Recipes; the upper bits are the good ones.
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return Math.floor((this.#state / 2 ** 32) * sides);
  }

  /** One of these. */
  pick<T>(first: T, ...others: T[]): T {
    return others[this.roll(others.length + 1) - 1] ?? first;
  }

  /** A copy in another order. */
  shuffled<T>(values: readonly T[]): T[] {
    const ranked = values.map((value) => ({ value, rank: this.roll(2 ** 20) }));
    return ranked.sort((one, other) => one.rank - other.rank).map(({ value }) => value);
  }
}

/** Seeds for `Dice`. */
export const seeds = fc.nat(0xffffffff);
