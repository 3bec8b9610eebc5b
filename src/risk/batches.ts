/** The texts, shortest first, in batches of at most `batchTokens` when padded to their longest. */
export function* batchesByLength<T extends { ids: number[] }>(texts: readonly T[], batchTokens: number): Generator<T[]> {
  let batch: T[] = [];
  for (const text of [...texts].sort((a, b) => a.ids.length - b.ids.length)) {
    if (batch.length > 0 && (batch.length + 1) * text.ids.length > batchTokens) {
      yield batch;
      batch = [];
    }
    batch.push(text);
  }
  if (batch.length > 0) yield batch;
}
