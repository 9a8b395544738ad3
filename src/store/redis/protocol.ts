import type { LeaseKind, Observation, Outcome } from '../store.js';
import { epochOf, type Held, type Part } from './holdings.js';
import type { Link } from './link.js';
import type { Records } from './records.js';
import type { Resource, Resources, Told } from './resources.js';

/** What became of asking for a lease: it was given, somebody else has it, or none is given for some milliseconds (S2). */
export type Answer =
  | { readonly kind: 'acquired'; readonly told: Told }
  | { readonly kind: 'busy' }
  | { readonly kind: 'resting'; readonly ms: number };

const kinds = { exclusive: 'x', shared: 's' } as const;

/** How long a place in line is kept of one who does not ask again, in milliseconds. */
const placeKeptFor = 1000;

/** The outcome of a lease of which nobody knows any more what it was for. */
const anything: Outcome = { kind: 'changed' };

/**
 * The steps as the scripts take them. What is held together is one script, and one round trip, for each bucket: always one
 * but in a cluster. Every step throws `StoreUnavailable`.
 */
export class Protocol {
  readonly #link: Link;
  readonly #records: Records;
  readonly #resources: Resources;

  constructor(link: Link, records: Records, resources: Resources) {
    this.#link = link;
    this.#records = records;
    this.#resources = resources;
  }

  /** The resources of keys in their parts, and that of the first key. */
  locate(keys: readonly string[], first: string): { readonly parts: readonly Part[]; readonly resource: Resource } {
    const resource = this.#resources.of(first);
    if (keys.length === 1) return { parts: [{ bucket: resource.bucket, resources: [resource] }], resource };
    const others = keys.filter((key) => key !== first).map((key) => this.#resources.of(key));
    return { parts: partsOf([resource, ...others]), resource };
  }

  /**
   * Leases all keys or none.
   *
   * @param owner names the lease, and the place in line
   * @param waits whether a place in line is wanted where somebody else has it
   */
  async acquire(
    parts: readonly Part[],
    first: Resource,
    kind: LeaseKind,
    owner: string,
    waits: boolean,
  ): Promise<Answer> {
    const asked = first.copy;
    const args = [owner, kinds[kind], waits ? owner : '', String(placeKeptFor), asked?.revision ?? ''];
    let told: Told | undefined;
    const taken: Part[] = [];
    for (const part of parts) {
      const answer = await this.#link.run('acquire', part.bucket, namesOf(part, first), args);
      if (answer[0] !== 'acquired') {
        for (const other of taken) await this.settlePart(other, owner, { kind: 'notSent' });
        return answer[0] === 'resting' ? { kind: 'resting', ms: Number(answer[2]) } : { kind: 'busy' };
      }
      taken.push(part);
      if (part.resources.includes(first)) told = this.#resources.told(first, asked, answer.slice(2));
    }
    if (told === undefined) throw new TypeError('the first key is in no part');
    return { kind: 'acquired', told };
  }

  /** @returns false where it is lost; one that the store has forgotten, and gives to nobody else, is neither */
  async renew({ parts, owner }: Held): Promise<boolean | 'forgotten'> {
    const answers = await Promise.all(
      parts.map((part) => this.#link.run('renew', part.bucket, namesOf(part), [owner])),
    );
    if (answers.some(([what]) => what === 'lost')) return false;
    return answers.every(([what]) => what === 'renewed') || 'forgotten';
  }

  /**
   * Ends what is held, and records what became of it.
   *
   * @returns the epoch of the first key; undefined where it had been lost, but not where the store has forgotten it
   */
  async settle(held: Held, outcome: Outcome): Promise<number | 'forgotten' | undefined> {
    const { owner, parts, resource: first } = held;
    const doubts = partsOf(doubtsOf(outcome).map((key) => this.#resources.of(key)));
    const settled = parts.map((part) => {
      const besides = doubts.find(({ bucket }) => bucket === part.bucket)?.resources ?? [];
      const details = part.resources.includes(first) ? this.#details(held, outcome) : undefined;
      return this.settlePart({ ...part, resources: ordered(part, first) }, owner, outcome, besides, details);
    });
    const elsewhere = doubts.filter(({ bucket }) => !parts.some((part) => part.bucket === bucket));
    const [only] = settled;
    if (settled.length === 1 && elsewhere.length === 0) return only;
    const doubted = elsewhere.map(({ bucket, resources }) => this.doubt({ bucket, resources }));
    const epochs = await Promise.all([...settled, ...doubted]);
    const index = parts.findIndex((part) => part.resources.includes(first));
    const own = epochs.slice(0, parts.length);
    if (own.includes(undefined)) return undefined;
    return own.includes('forgotten') ? 'forgotten' : own[index];
  }

  /** One part of it. What was lost while the write may have taken effect was known in the meantime: it is doubted. */
  async settlePart(
    part: Part,
    owner: string,
    outcome: Outcome | { readonly kind: 'rested' },
    besides: readonly Resource[] = [],
    details: readonly string[] = noDetails,
  ): Promise<number | 'forgotten' | undefined> {
    const rest = outcome.kind === 'unknown' ? outcome.rest : 0;
    const names = [...new Set([...part.resources, ...besides].map(nameOf))];
    const args = [owner, String(part.resources.length), outcome.kind, String(rest), ...details];
    const [what, , epoch] = await this.#link.run('settle', part.bucket, names, args);
    if (what === 'settled') return Number(epoch);
    if (mayHaveChanged(outcome)) await this.doubt({ ...part, resources: [...part.resources, ...besides] });
    return what === 'forgotten' ? what : undefined;
  }

  /** Whatever is known of these resources is so no more, and what was seen of them may be written over (W10, V7). */
  async doubt({ bucket, resources }: Part): Promise<number> {
    const names = resources.map(nameOf);
    const answer = await this.#link.run('settle', bucket, names, ['', '0', 'changed', '0', ...noDetails]);
    return Number(answer[2]);
  }

  /** As soon as the store can be reached, ends what nobody ends any more: in doubt, where anything was sent. */
  abandon(parts: readonly Part[], owner: string, wasSent: boolean): void {
    for (const part of parts) {
      const action = () => this.settlePart(part, owner, wasSent ? anything : { kind: 'notSent' });
      this.#link.owe(part.bucket, async () => void (await action()));
    }
  }

  async mark(part: Part, first: Resource, owner: string): Promise<Told | undefined> {
    const asked = first.copy;
    const answer = await this.#link.run('touch', part.bucket, namesOf(part, first), [owner, asked?.revision ?? '']);
    return part.resources.includes(first) ? this.#resources.told(first, asked, answer.slice(2)) : undefined;
  }

  async observe({ bucket, name }: Resource, epoch: number, observation: Observation): Promise<boolean> {
    const args = [
      String(epoch),
      this.#records.nameOf(observation),
      this.#records.encode(observation, this.#link.timeOf(bucket)),
    ];
    const [what] = await this.#link.run('observe', bucket, [name], args);
    return what === 'recorded';
  }

  async epoch(resource: Resource): Promise<Told> {
    const asked = resource.copy;
    const answer = await this.#link.run('epoch', resource.bucket, [resource.name], [asked?.revision ?? '']);
    return this.#resources.told(resource, asked, answer.slice(2));
  }

  /** Gives a place in line up. */
  async leave(parts: readonly Part[], ticket: string): Promise<void> {
    await Promise.all(parts.map((part) => this.#link.run('leave', part.bucket, namesOf(part), [ticket])));
  }

  /** What the scripts need to know to record what a lease's holder has seen. */
  #details(held: Held, outcome: Outcome): string[] {
    const observation = outcome.kind === 'unknown' ? undefined : outcome.observation;
    const before = outcome.kind === 'changed' || outcome.kind === 'unknown' ? outcome.before : undefined;
    const given = outcome.kind === 'changed' ? outcome.given : undefined;
    return [
      observation === undefined ? '' : this.#records.nameOf(observation),
      observation === undefined ? '' : this.#records.encode(observation, this.#link.timeOf(held.resource.bucket)),
      observation === undefined ? '0' : String(epochOf(held, observation.sentAt)),
      before === undefined ? '' : this.#records.encodeTag(before),
      given === undefined ? '' : JSON.stringify(given),
    ];
  }
}

const noDetails: readonly string[] = ['', '', '0', '', ''];

/** Whether somebody has to be told that the resource may be another one now. */
export function mayHaveChanged({ kind }: { readonly kind: string }): boolean {
  return kind === 'changed' || kind === 'unknown' || kind === 'doubt' || kind === 'rested';
}

/** Keys of the other resources that a write may have changed. */
export function doubtsOf(outcome: Outcome): readonly string[] {
  return outcome.kind === 'changed' ? (outcome.doubts ?? []) : [];
}

/** Resources by bucket, in an order that is the same for all gates, so that no two can deadlock (I7). */
function partsOf(resources: readonly Resource[]): readonly Part[] {
  const parts = new Map<Part['bucket'], Resource[]>();
  for (const resource of resources) {
    const others = parts.get(resource.bucket);
    if (others === undefined) parts.set(resource.bucket, [resource]);
    else others.push(resource);
  }
  return [...parts]
    .map(([bucket, resources]) => ({ bucket, resources }))
    .sort((one, other) => (one.bucket.key < other.bucket.key ? -1 : 1));
}

function nameOf({ name }: Resource): string {
  return name;
}

function namesOf(part: Part, first?: Resource): string[] {
  return ordered(part, first).map(nameOf);
}

/** What is told of a part is told of the first of its resources. */
function ordered({ resources }: Part, first: Resource | undefined): readonly Resource[] {
  if (first === undefined || resources[0] === first || !resources.includes(first)) return resources;
  return [first, ...resources.filter((other) => other !== first)];
}
