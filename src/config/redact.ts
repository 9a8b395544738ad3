/** What stands in for a secret. */
export const hidden = '***';

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
