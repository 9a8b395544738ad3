/**
 * The demo backend's data: JSON documents that are kept as the text they were sent as. There is no version in here, on
 * purpose: whoever writes last wins, as in the APIs that ifmatch stands in front of.
 */
export interface Documents {
  /** All documents as one JSON array, in the order in which they were created. */
  list(): string;
  /** The document's text, byte for byte as it was stored. */
  get(id: string): string | undefined;
  /** Stores `text`, a JSON object, as it is. True where there was no such document before. */
  put(id: string, text: string): boolean;
  /** Gives `content` the next free id and stores it with that id as its first member. */
  add(content: JsonObject): { id: string; text: string };
  /** False where there was no such document. */
  remove(id: string): boolean;
}

export type JsonObject = { [name: string]: unknown };

const firstDocuments: readonly JsonObject[] = [
  {
    title: 'Menu of the week',
    text: 'Monday: lentil soup\nTuesday: risotto\nWednesday: baked potatoes\nThursday: couscous\nFriday: fish',
  },
  {
    title: 'Opening hours',
    text: 'Monday to Friday: 9:00 to 18:00\nSaturday: 10:00 to 14:00\nSunday: closed',
  },
  {
    title: 'Packing list',
    text: 'Tent\nSleeping bag\nMap and compass\nTorch\nFirst aid kit',
  },
];

/**
 * Makes the data of a new demo backend.
 *
 * @returns documents 1 to 3, always the same ones
 */
export function createDocuments(): Documents {
  const texts = new Map<string, string>();
  let lastId = 0;

  function add(content: JsonObject): { id: string; text: string } {
    do lastId += 1;
    while (texts.has(String(lastId)));
    const id = String(lastId);
    // A Map keeps the first place and the last value of a name: the id comes first, and is ours whatever was sent.
    const members = new Map<string, unknown>([['id', id], ...Object.entries(content), ['id', id]]);
    const text = JSON.stringify(Object.fromEntries(members));
    texts.set(id, text);
    return { id, text };
  }

  for (const content of firstDocuments) add(content);

  return {
    list: () => `[${[...texts.values()].join(',')}]`,
    get: (id) => texts.get(id),
    put(id, text) {
      const isNew = !texts.has(id);
      texts.set(id, text);
      return isNew;
    },
    add,
    remove: (id) => texts.delete(id),
  };
}

/** Deepest nesting of a document: enough for any, and far from where recursion over it could overflow the stack. */
const deepestNesting = 100;

/**
 * Reads a JSON object.
 *
 * @param text the body of a request
 * @returns the object, or a sentence that says what is wrong with the text
 */
export function parseObject(text: string): { value: JsonObject } | { error: string } {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { error: `The body is not JSON: ${error instanceof Error ? error.message : String(error)}.` };
  }
  if (!isObject(value)) return { error: 'The body must be a JSON object.' };
  if (isDeeperThan(value, deepestNesting)) {
    return { error: `The body is nested more than ${deepestNesting} levels deep.` };
  }
  return { value };
}

/**
 * Applies a JSON merge patch (RFC 7396, which replaces RFC 7386): null removes a member, an object is merged into the
 * one that is there, anything else replaces it.
 *
 * @param target the value as it is
 * @param patch the changes
 * @returns the patched value; neither argument is changed
 */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const members = new Map(isObject(target) ? Object.entries(target) : []);
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) members.delete(name);
    else members.set(name, mergePatch(members.get(name), value));
  }
  // fromEntries defines members, where an assignment to "__proto__" would change what the object inherits.
  return Object.fromEntries(members);
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isDeeperThan(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((member) => isDeeperThan(member, levels - 1));
}
