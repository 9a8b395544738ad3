/** What stands in for a secret. */
export const hidden = '***';

/**
 * The text with all from `://` to its last @ hidden: in what is not a valid URL, the password may go on behind a slash.
 */
export function withoutCredentials(text: string): string {
  const slashes = text.indexOf('://');
  const at = text.lastIndexOf('@');
  return slashes === -1 || at < slashes ? text : `${text.slice(0, slashes + 3)}${hidden}${text.slice(at)}`;
}

/** The text with the user and password of a URL hidden. */
export function withoutUser(text: string): string {
  const slashes = text.indexOf('://');
  if (slashes === -1) return text;
  const start = slashes + 3;
  const rest = text.slice(start);
  const end = rest.search(/[/?#]/);
  const at = (end === -1 ? rest : rest.slice(0, end)).lastIndexOf('@');
  return at === -1 ? text : `${text.slice(0, start)}${hidden}${rest.slice(at)}`;
}
