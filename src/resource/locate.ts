import { foldHost, foldPath, type IdentityOptions, type QueryPolicy, resourceKey } from './key.js';
import { compileRoutes, substitute } from './policy.js';
import { parseTarget, type Target } from './target.js';

/** What locating needs to know of the rules for a resource. */
export interface LocatedPolicy {
  readonly query: QueryPolicy;
  /** Path patterns of other resources, with this route's parameters (W8). */
  readonly invalidates: readonly string[];
}

/** The resource behind a request-target, and the rules for it. */
export interface Located<P> {
  /** Pattern of the route that matched, `*` where none did. */
  readonly route: string;
  readonly policy: P;
  readonly fingerprint: string;
  readonly key: string;
  readonly invalidates: readonly string[];
}

export interface Locator<P> {
  /** @param host that the client named; part of the key only where `identity.host` says so (I5) */
  locate(target: Target, host: string): Located<P>;
  /**
   * Key of a resource that an answer names in Location or Content-Location (W10).
   *
   * @param reference URI reference as the upstream sent it
   * @param target of the request that was answered
   * @returns undefined where it is not one of this upstream's
   */
  keyOf(reference: string, target: Target, host: string): string | undefined;
  /**
   * The resource that a request names besides its own, in Destination or in `If` (I7, R5; RFC 4918 8.3), whatever host
   * stands before it: what the upstream makes of that is not known.
   *
   * @param reference a URL or an absolute path, as the client sent it
   * @param host that the request is for; counts where the reference names none (I5)
   * @returns where it is, or one sentence that says why that cannot be told (I6)
   */
  locateReference(reference: string, host: string): LocatedReference<P>;
  /** Routes that an earlier one hides. */
  readonly unreachable: readonly { path: string; by: string }[];
}

/** @see Locator.locateReference */
export type LocatedReference<P> =
  | { readonly kind: 'located'; readonly target: Target; readonly resource: Located<P> }
  | { readonly kind: 'refused'; readonly reason: string };

/** What a locator is made of. */
export interface LocatorOptions<P> {
  readonly routes: readonly { readonly path: string; readonly policy: P }[];
  /** The rules where no route matches. */
  readonly policy: P;
  readonly identity: IdentityOptions;
  /** Fingerprint of what decides how tags are made under a policy (V2). */
  readonly fingerprint: (policy: P) => string;
  /** The upstream's authority and base path, which its Locations may carry. */
  readonly upstream: { readonly authority: string; readonly basePath: string };
}

function refused(reason: string): { readonly kind: 'refused'; readonly reason: string } {
  return { kind: 'refused', reason };
}

/** @param base folded; the root for an upstream without a base path */
function isBelow(path: string, base: string): boolean {
  return base !== '/' && (path === base || path.startsWith(`${base}/`));
}

/** Keys are found out where somebody asks: what is not guarded has no use for them. */
class Found<P> implements Located<P> {
  readonly route: string;
  readonly policy: P;
  readonly fingerprint: string;
  readonly #find: { key(): string; invalidates(): readonly string[] };
  #key: string | undefined;
  #invalidates: readonly string[] | undefined;

  constructor(
    route: string,
    policy: P,
    fingerprint: string,
    find: { key(): string; invalidates(): readonly string[] },
  ) {
    this.route = route;
    this.policy = policy;
    this.fingerprint = fingerprint;
    this.#find = find;
  }

  get key(): string {
    this.#key ??= this.#find.key();
    return this.#key;
  }

  get invalidates(): readonly string[] {
    this.#invalidates ??= this.#find.invalidates();
    return this.#invalidates;
  }
}

/** Makes the function that finds the resource and the rules for a request-target (I1, I5). */
export function createLocator<P extends LocatedPolicy>(options: LocatorOptions<P>): Locator<P> {
  const { identity, upstream } = options;
  const fold = (path: string): string => foldPath(path, identity);
  const ruled = (policy: P) => ({ policy, fingerprint: options.fingerprint(policy) });
  const routes = compileRoutes(
    options.routes.map(({ path, policy }) => ({ path, value: ruled(policy) })),
    fold,
  );
  const byDefault = ruled(options.policy);

  function locate(target: Target, host: string): Located<P> {
    const match = options.routes.length === 0 ? undefined : routes.match(fold(target.path));
    const { policy, fingerprint } = match?.value ?? byDefault;
    return new Found(match?.path ?? '*', policy, fingerprint, {
      key: () => resourceKey(target, policy.query, identity, host),
      invalidates: () =>
        policy.invalidates.flatMap((pattern) => keyOfPath(substitute(pattern, match?.params ?? {}), host) ?? []),
    });
  }

  function keyOfPath(path: string, host: string): string | undefined {
    const parsed = parseTarget(path);
    if (parsed.kind !== 'target') return undefined;
    const match = routes.match(fold(parsed.target.path));
    return resourceKey(parsed.target, (match?.value.policy ?? options.policy).query, identity, host);
  }

  function withoutBasePath(path: string): string {
    return path.startsWith(`${upstream.basePath}/`) ? path.slice(upstream.basePath.length) : path;
  }

  return {
    locate,
    keyOf(reference, target, host) {
      let url: URL;
      try {
        // Fields are read as one character for each octet.
        const octets = reference.replace(/[\u0080-\u00ff]/g, (octet) => `%${octet.charCodeAt(0).toString(16)}`);
        url = new URL(octets, `http://${host}${target.raw}`);
      } catch {
        return undefined;
      }
      const named = foldHost(url.host);
      if (named !== foldHost(host) && named !== foldHost(upstream.authority)) return undefined;
      return keyOfPath(withoutBasePath(url.pathname) + url.search, host);
    },
    locateReference(reference, host) {
      // An authority for some, an empty segment for others (RFC 3986 4.2).
      if (reference.startsWith('//')) return refused('It begins with "//".');
      const whole = parseTarget(reference);
      if (whole.kind === 'asterisk') return refused('It is neither a URL nor an absolute path.');
      if (whole.kind === 'refused') return refused(whole.reason.replace('The request-target', 'It'));
      const { raw, path, authority } = whole.target;
      // What is left must be readable in one way too: it could climb out of the base path, or begin with "//".
      const left = parseTarget(withoutBasePath(raw));
      if (left.kind !== 'target') return refused('Behind the base path of the upstream it is ambiguous.');
      const isBased = left.target.raw !== raw;
      if (!isBased && isBelow(fold(path), fold(upstream.basePath))) {
        return refused('It spells the base path of the upstream in another way.');
      }
      const target = { ...left.target, authority };
      return { kind: 'located', target, resource: locate(target, authority ?? host) };
    },
    unreachable: routes.unreachable,
  };
}
