/** A read of the contested resource: its content, and the tag that came with it, if any. */
export interface Reading {
  readonly content: string;
  readonly tag: string | undefined;
}

/** A write that was answered with success: what its writer had read, and what it put in its place. */
export interface Replacement {
  readonly client: number;
  readonly read: string;
  readonly written: string;
}

export interface ContestOptions {
  /** How many clients write at once. */
  readonly clients: number;
  /** How many successful writes each of them wants. */
  readonly updates: number;
  /** How many writes each of them sends at most. */
  readonly attempts: number;
  /** Reads for a client: they are numbered from 0. */
  readonly read: (client: number) => Promise<Reading>;
  /** Sends a write for the version in `tag`. @returns the status of the answer */
  readonly write: (content: string, tag: string | undefined, client: number) => Promise<number>;
  /** The next content. `writer` is unlike that of any other write: no two written contents may be equal. */
  readonly modify: (content: string, writer: string) => string;
}

export interface Contest {
  readonly replacements: readonly Replacement[];
  readonly attempts: number;
  /** Writes that were answered with 412. */
  readonly refused: number;
  /** Statuses of writes that are neither success nor 412: what became of them is not known. */
  readonly unexpected: readonly number[];
  /** Number of successful writes by client. */
  readonly successes: readonly number[];
  /** Contents that were seen under each tag; those without a tag under undefined. */
  readonly contentsByTag: ReadonlyMap<string | undefined, ReadonlySet<string>>;
}

/**
 * Clients that all change one resource: each reads, modifies, writes back what it made of what it had read, and starts
 * again with a read, whether its write was taken or refused, until it has its updates or has used its attempts.
 */
export async function contend(options: ContestOptions): Promise<Contest> {
  const replacements: Replacement[] = [];
  const unexpected: number[] = [];
  const successes = new Array<number>(options.clients).fill(0);
  const contentsByTag = new Map<string | undefined, Set<string>>();
  let attempts = 0;
  let refused = 0;

  async function attempt(client: number, number: number): Promise<void> {
    const { content: read, tag } = await options.read(client);
    contentsByTag.set(tag, (contentsByTag.get(tag) ?? new Set()).add(read));
    const written = options.modify(read, `${client}.${number}`);
    attempts += 1;
    const status = await options.write(written, tag, client);
    if (status === 412) refused += 1;
    else if (status < 200 || status > 299) unexpected.push(status);
    else {
      replacements.push({ client, read, written });
      successes[client] = (successes[client] ?? 0) + 1;
    }
  }

  async function run(client: number): Promise<void> {
    for (let number = 1; number <= options.attempts && (successes[client] ?? 0) < options.updates; number += 1) {
      await attempt(client, number);
    }
  }

  await Promise.all(Array.from(successes.keys(), run));
  return { replacements, attempts, refused, unexpected, successes, contentsByTag };
}

/** What the successful writes of a contest made of the resource. */
export interface History {
  /** Successful writes whose change is not part of the final content. */
  readonly lost: number;
  /** Successful writes that replaced what another one had already replaced. */
  readonly forks: number;
  /** Whether the final content goes back to the initial one, step by step. */
  readonly reachesInitial: boolean;
}

/**
 * Reconstructs the history of a resource from its contents alone: from the final content back to what its writer had
 * read, and so on. Where nothing was lost, all successful writes are in this one chain, and so each has replaced exactly
 * what its writer had read.
 *
 * @param initial content before the contest
 * @param final content after it
 */
export function historyOf(initial: string, final: string, replacements: readonly Replacement[]): History {
  const predecessors = new Set(replacements.map(({ read }) => read));
  const chain = chainOf(final, replacements);
  const content = chain.at(-1)?.read ?? final;
  const survived = chain.length;
  return {
    lost: replacements.length - survived,
    forks: replacements.length - predecessors.size,
    reachesInitial: content === initial,
  };
}

/**
 * The writes that led to a content, the last one first. Writes of which nobody knows whether they took effect may be
 * among those that are given: the chain tells.
 */
export function chainOf<Write extends Replacement>(final: string, writes: readonly Write[]): readonly Write[] {
  const byWritten = new Map(writes.map((write) => [write.written, write]));
  if (byWritten.size !== writes.length) throw new Error('two writes of the contest had the same content');
  const chain: Write[] = [];
  let step = byWritten.get(final);
  while (step !== undefined) {
    chain.push(step);
    step = byWritten.get(step.read);
  }
  return chain;
}

/** The tags of a contest with which nobody could write safely: none, weak ones, ones that stood for several contents. */
export function uselessTags({ contentsByTag }: Contest): (string | undefined)[] {
  return [...contentsByTag]
    .filter(([tag, contents]) => tag === undefined || tag.startsWith('W/') || contents.size !== 1)
    .map(([tag]) => tag);
}

/** One line that says how a contest went. */
export function figures(name: string, contest: Contest, history: History): string {
  const { attempts, replacements, refused, successes } = contest;
  const fewest = Math.min(...successes);
  const most = Math.max(...successes);
  return (
    `${name}: ${attempts} writes, ${replacements.length} succeeded (${fewest} to ${most} a client), ` +
    `${refused} refused, ${history.lost} lost, ${history.forks} forks`
  );
}
