import type * as Yaml from 'yaml';
import { dotted, optionAt } from './options.js';
import { withoutCredentials } from './redact.js';
import { emptyTree, type Mistake, type Path, type Source, type Tree } from './source.js';
import { substitute } from './substitute.js';
import { yaml } from './yaml.js';

/** More aliases than this in one file are a mistake or an attack: each may repeat all that the others repeat. */
const mostAliases = 100;

/** A file as a source; `isWhole` is false where so much is wrong with it that its keys can not be known. */
export interface FileSource extends Source {
  readonly isWhole: boolean;
}

/**
 * Reads a YAML file's text: its structure, the place of every key and value, and its `${VAR}`s replaced.
 * `name` is how messages call the file.
 */
export function readFileSource(
  name: string,
  text: string,
  environment: Readonly<Record<string, string | undefined>>,
): FileSource {
  const lines = new (yaml().LineCounter)();
  const document = yaml().parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const walk = new Walk(document, environment);
  const place = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `${name}:${line}:${col}`;
  };
  for (const { code, message, pos } of [...document.errors, ...document.warnings]) {
    const said = code === 'DUPLICATE_KEY' ? 'this key is here twice; leave one' : syntaxMessage(message);
    walk.faults.push({ offset: pos[0], text: said });
  }
  const isWhole = document.errors.every(({ code }) => code === 'DUPLICATE_KEY');
  const tree = isWhole ? walk.tree() : emptyTree();
  return {
    tree,
    isWhole,
    locate: (path, part) => {
      const offset = walk.offset(path, part);
      return { label: `${place(offset)}: ${withoutCredentials(dotted(path))}`, order: offset };
    },
    origin: (path) => place(walk.offset(path, 'value')),
    variables: (path) => walk.variables.filter((at) => startsWith(at.path, path)).map((at) => at.variable),
    mistakes: walk.faults.map(
      (fault): Mistake => ({ order: fault.offset, line: `${place(fault.offset)}: ${fault.text}` }),
    ),
    isJudged: (path) => walk.judged.has(keyOf(path)),
  };
}

/** Makes plain values of a document's nodes and remembers where each stood. */
class Walk {
  readonly faults: { readonly offset: number; readonly text: string }[] = [];
  readonly variables: { readonly path: Path; readonly variable: string }[] = [];
  readonly judged = new Set<string>();
  readonly #document: Yaml.Document.Parsed;
  readonly #environment: Readonly<Record<string, string | undefined>>;
  readonly #offsets = new Map<string, { readonly key: number; readonly value: number }>();
  #aliases = 0;

  constructor(document: Yaml.Document.Parsed, environment: Readonly<Record<string, string | undefined>>) {
    this.#document = document;
    this.#environment = environment;
  }

  /** The whole document; an empty one is an empty map. */
  tree(): Tree {
    const { contents } = this.#document;
    if (contents === null || (yaml().isScalar(contents) && contents.value === null)) return emptyTree();
    if (yaml().isMap(contents)) return this.#map(contents, []);
    this.faults.push({ offset: contents.range[0], text: 'the file is not a map; write keys such as upstream: URL' });
    return emptyTree();
  }

  /** Where a key or value stood; for one that is not there, where the map stood that it should be in. */
  offset(path: Path, part: 'key' | 'value'): number {
    const place = this.#offsets.get(keyOf(path));
    if (place !== undefined) return place[part];
    return path.length === 0 ? 0 : this.offset(path.slice(0, -1), part);
  }

  #map(map: Yaml.YAMLMap, path: Path): Tree {
    const tree = emptyTree();
    for (const { key, value } of map.items) {
      const keyOffset = offsetOf(key) ?? offsetOf(map) ?? 0;
      if (!yaml().isScalar(key)) {
        this.faults.push({ offset: keyOffset, text: 'a key is not a plain word; write key: value' });
        continue;
      }
      const name = String(key.value);
      tree[name] = this.#value(value, [...path, name], keyOffset);
    }
    return tree;
  }

  #value(node: unknown, path: Path, keyOffset: number): unknown {
    const isEmpty = yaml().isScalar(node) && node.value === null && !node.source;
    this.#offsets.set(keyOf(path), { key: keyOffset, value: isEmpty ? keyOffset : (offsetOf(node) ?? keyOffset) });
    const target = yaml().isAlias(node) ? this.#resolved(node, path) : node;
    if (yaml().isMap(target)) return this.#map(target, path);
    if (yaml().isSeq(target)) {
      return target.items.map((item, index) => this.#value(item, [...path, index], offsetOf(item) ?? keyOffset));
    }
    const value = yaml().isScalar(target) ? target.value : null;
    return typeof value === 'string' ? this.#text(value, path) : value;
  }

  #resolved(alias: Yaml.Alias, path: Path): unknown {
    this.#aliases += 1;
    const node = this.#aliases > mostAliases ? undefined : alias.resolve(this.#document);
    if (node !== undefined) return node;
    this.judged.add(keyOf(path));
    const text =
      this.#aliases > mostAliases
        ? `there are more than ${mostAliases} aliases; write the values out`
        : 'this alias has no anchor; write & and its name before the value that it repeats, or quotes around a text with *';
    this.faults.push({ offset: offsetOf(alias) ?? 0, text });
    return null;
  }

  #text(text: string, path: Path): unknown {
    const result = substitute(text, this.#environment);
    if (result.kind === 'wrong') {
      this.faults.push({ offset: this.offset(path, 'value'), text: `${dotted(path)}: ${result.wrong}` });
      this.judged.add(keyOf(path));
      return text;
    }
    if (result.variables.length === 0) return text;
    this.variables.push(...result.variables.map((variable) => ({ path, variable })));
    const fromText = typeof path.at(-1) === 'string' ? optionAt(path)?.kind.fromText : undefined;
    return fromText?.(result.text) ?? result.text;
  }
}

/** The parser's message as the first half of ours, without what it repeats of the file: that may be a secret. */
function syntaxMessage(message: string): string {
  return `${message.replace(/(: | \\|\n).*/s, '').replaceAll(';', ',')}; write valid YAML`;
}

function offsetOf(node: unknown): number | undefined {
  return yaml().isNode(node) ? node.range?.[0] : undefined;
}

function keyOf(path: Path): string {
  return JSON.stringify(path);
}

function startsWith(path: Path, start: Path): boolean {
  return start.every((part, index) => path[index] === part);
}
