/**
 * The same text on its own: JavaScript keeps all of a long one in memory for the sake of a part, a whole head for one of
 * its fields. For what is remembered.
 *
 * @param octets one octet per character
 */
export function copied(octets: string): string {
  return Buffer.from(octets, 'latin1').toString('latin1');
}
