/** The request fields that selected a representation: those that can be sent again on a probe, and a digest of all. */
export interface Selecting {
  /**
   * Flat list name, value, … of Accept, Accept-Charset, Accept-Encoding and Accept-Language as the client sent them;
   * empty where they are longer than is kept.
   */
  readonly fields: readonly string[];
  /** Whether they were: no probe can be sent with them then (W4). */
  readonly isCut?: true;
  /**
   * Equal for two requests exactly when they would select the same representation. It ends with the names of the
   * further fields that `Vary` named, so that the digest of another request can be made for comparison
   * (resource/selecting.ts, `selectsSame`).
   */
  readonly digest: string;
}
