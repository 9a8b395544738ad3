/** A route: a path pattern and what holds for it. `:name` is one segment, a trailing `*` the rest. */
export interface RoutePattern<T> {
  readonly path: string;
  readonly value: T;
}

export interface RouteMatch<T> {
  readonly value: T;
  /** The pattern as it was written. */
  readonly path: string;
  /** Segments that `:name` stood for, in the spelling of the folded path; under `*`, what a trailing `*` stood for. */
  readonly params: Record<string, string>;
}

export interface Routes<T> {
  /** The first route, in the order of declaration, that matches a folded path. */
  match(foldedPath: string): RouteMatch<T> | undefined;
  /** Routes that nothing can reach, each with the earlier one that takes all their paths. */
  readonly unreachable: { path: string; by: string }[];
}

type Segment =
  | { readonly kind: 'literal'; readonly text: string }
  | { readonly kind: 'parameter'; readonly name: string }
  | { readonly kind: 'rest'; readonly prefix: string };

interface Route<T> extends RoutePattern<T> {
  readonly order: number;
  readonly segments: readonly Segment[];
}

interface Node<T> {
  readonly literals: Map<string, Node<T>>;
  parameter: Node<T> | undefined;
  /** The first route that ends here. */
  end: Route<T> | undefined;
  /** Routes that end here with a `*`, in order. */
  readonly rests: Route<T>[];
  /** Lowest order of a route at or below this node. */
  first: number;
}

/**
 * Compiles routes into a tree of segments, so that a match costs what the depth of the path costs, however many routes
 * there are. A trailing `*` also matches nothing: `/docs/*` takes `/docs` too, which folding makes of `/docs/`.
 *
 * @param routes in order: the first match wins
 * @param fold folds the literal segments as the paths to be matched are folded (I1)
 */
export function compileRoutes<T>(routes: readonly RoutePattern<T>[], fold: (path: string) => string): Routes<T> {
  const compiled = routes.map(({ path, value }, order) => ({ path, value, order, segments: segmentsOf(path, fold) }));
  const root = createNode<T>();
  for (const route of compiled) insert(root, route);
  return {
    match(foldedPath) {
      const segments = split(foldedPath);
      const route = find(root, segments, 0, undefined);
      return route && { value: route.value, path: route.path, params: paramsOf(route, segments) };
    },
    unreachable: unreachableOf(compiled),
  };
}

/**
 * A path from a pattern: `/docs/:id` with `{ id: '7' }` is `/docs/7` (policy key `invalidates`). A name that is not
 * among the parameters stays as it is.
 *
 * @param pattern path with `:name` segments, and perhaps a trailing `*`
 * @param params of a `RouteMatch`
 */
export function substitute(pattern: string, params: Record<string, string>): string {
  const segments = pattern.split('/').map((segment) => {
    const name = parameterName(segment);
    return (name !== undefined && Object.hasOwn(params, name) && params[name]) || segment;
  });
  const path = segments.join('/');
  const rest = Object.hasOwn(params, '*') ? params['*'] : undefined;
  return pattern.endsWith('*') && rest !== undefined ? path.slice(0, -1) + rest : path;
}

/**
 * The pattern is folded as a whole, so that slashes and dot segments fold as in a path; what is not literal is hidden
 * behind a mark that folding leaves alone and no literal contains.
 */
function segmentsOf(pattern: string, fold: (path: string) => string): Segment[] {
  // Patterns are written in Unicode, paths come in octets.
  const path = pattern.replace(/[\u0080-\u{10ffff}]+/gu, encodeURIComponent);
  let mark = '~';
  while (fold(path).includes(mark)) mark += '~';
  const names: string[] = [];
  const hidden = path.split('/').map((segment, index, all) => {
    const name = parameterName(segment);
    if (name !== undefined) return `${mark}${names.push(name) - 1}`;
    return index === all.length - 1 && segment.endsWith('*') ? `${segment.slice(0, -1)}${mark}` : segment;
  });
  return split(fold(hidden.join('/'))).map((segment) => {
    if (segment.endsWith(mark)) return { kind: 'rest', prefix: segment.slice(0, -mark.length) };
    if (!segment.startsWith(mark)) return { kind: 'literal', text: segment };
    return { kind: 'parameter', name: decodeURIComponent(names[Number(segment.slice(mark.length))] ?? '') };
  });
}

function parameterName(segment: string): string | undefined {
  return segment.length > 1 && segment.startsWith(':') ? segment.slice(1) : undefined;
}

/** Segments behind the first slash; none for the root. */
function split(path: string): string[] {
  return path === '/' ? [] : path.slice(1).split('/');
}

function createNode<T>(): Node<T> {
  return { literals: new Map(), parameter: undefined, end: undefined, rests: [], first: Number.POSITIVE_INFINITY };
}

function insert<T>(root: Node<T>, route: Route<T>): void {
  let node = root;
  node.first = Math.min(node.first, route.order);
  for (const segment of route.segments) {
    if (segment.kind === 'rest') {
      node.rests.push(route);
      return;
    }
    node = childOf(node, segment);
    node.first = Math.min(node.first, route.order);
  }
  node.end ??= route;
}

function childOf<T>(node: Node<T>, segment: Exclude<Segment, { kind: 'rest' }>): Node<T> {
  if (segment.kind === 'parameter') {
    node.parameter ??= createNode();
    return node.parameter;
  }
  const known = node.literals.get(segment.text);
  if (known !== undefined) return known;
  const created = createNode<T>();
  node.literals.set(segment.text, created);
  return created;
}

/** Depth first through all nodes that the path reaches, without those that hold nothing earlier than `best`. */
function find<T>(
  node: Node<T> | undefined,
  segments: readonly string[],
  depth: number,
  best: Route<T> | undefined,
): Route<T> | undefined {
  if (node === undefined || (best !== undefined && node.first > best.order)) return best;
  const segment = segments[depth];
  const rest = node.rests.find((route) => (segment ?? '').startsWith(prefixOf(route)));
  let found = earlier(best, rest);
  if (segment === undefined) return earlier(found, node.end);
  found = find(node.literals.get(segment), segments, depth + 1, found);
  return segment === '' ? found : find(node.parameter, segments, depth + 1, found);
}

function earlier<T>(one: Route<T> | undefined, other: Route<T> | undefined): Route<T> | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return one.order <= other.order ? one : other;
}

function prefixOf<T>(route: Route<T>): string {
  const last = route.segments.at(-1);
  return last?.kind === 'rest' ? last.prefix : '';
}

function paramsOf<T>(route: Route<T>, segments: readonly string[]): Record<string, string> {
  const params: [string, string][] = [];
  for (const [index, segment] of route.segments.entries()) {
    if (segment.kind === 'parameter') params.push([segment.name, segments[index] ?? '']);
    if (segment.kind === 'rest') params.push(['*', segments.slice(index).join('/').slice(segment.prefix.length)]);
  }
  return Object.fromEntries(params);
}

function unreachableOf<T>(routes: readonly Route<T>[]): { path: string; by: string }[] {
  return routes.flatMap((route) => {
    const by = routes.find((other) => other.order < route.order && covers(other.segments, route.segments));
    return by === undefined ? [] : [{ path: route.path, by: by.path }];
  });
}

/** Whether every path that `inner` matches is one that `outer` matches. */
function covers(outer: readonly Segment[], inner: readonly Segment[]): boolean {
  for (const [index, segment] of outer.entries()) {
    const other = inner[index];
    if (segment.kind === 'rest') return segment.prefix === '' || startsWith(other, segment.prefix);
    if (other === undefined || other.kind === 'rest') return false;
    if (segment.kind === 'literal' && !(other.kind === 'literal' && other.text === segment.text)) return false;
    if (segment.kind === 'parameter' && other.kind === 'literal' && other.text === '') return false;
  }
  return outer.length === inner.length;
}

function startsWith(segment: Segment | undefined, prefix: string): boolean {
  if (segment?.kind === 'literal') return segment.text.startsWith(prefix);
  return segment?.kind === 'rest' && segment.prefix.startsWith(prefix);
}
