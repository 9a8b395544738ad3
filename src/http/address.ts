/** Where a server listens. */
export type ListenAddress =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

/** The address as Node's `listen` takes it. */
export function listenOptions(address: ListenAddress): { path: string } | { host: string; port: number } {
  return address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port };
}

/**
 * The address in the form in which it is configured, with the port that was found.
 *
 * @param bound what the server says of itself
 */
export function addressText(bound: { readonly port: number } | string | null, configured: ListenAddress): string {
  if (configured.kind === 'unix') return `unix:${configured.path}`;
  const port = typeof bound === 'object' && bound !== null ? bound.port : configured.port;
  return `${configured.host.includes(':') ? `[${configured.host}]` : configured.host}:${port}`;
}
