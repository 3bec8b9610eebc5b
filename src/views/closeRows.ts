/**
 * Which rows a model takes for harmful answers, however harmless they look: bidirectional anchoring (He et al.
 * 2024), asked of the trainer by command and shown behind the rows until it is forgotten.
 */
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import { hundredths, integer } from '../common/format';
import type { RowLocation } from '../common/commands';
import { Disposable } from '../common/disposable';
import { Emitter } from '../common/emitter';
import { UserError } from '../common/userError';
import type { RowNote, RowNotes } from '../datasets/rowNotes';
import type { AnchoringReport } from '../protocol/messages';

export interface CloseRow {
  row: RowLocation;
  similarity: number;
}

export const NONE_KNOWN = l10n.t('No rows are marked as close to harmful answers.');

export class CloseRows extends Disposable implements RowNotes {
  private readonly changed = this.register(new Emitter<void>());
  readonly onDidChange = this.changed.event;
  private readonly known = new Map<string, ReadonlyMap<string, RowNote>>();
  /** Those that were found last and are worth reading, the closest first. */
  closest: readonly CloseRow[] = [];

  of(file: string): ReadonlyMap<string, RowNote> | undefined {
    return this.known.get(file);
  }

  /** `pathOf` says where the editor has a file of the report. */
  set(report: AnchoringReport, configuration: string, pathOf: (file: string) => string): void {
    const notes = notesOf(report, configuration);
    report.files.forEach((file, index) => this.known.set(pathOf(file), notes[index]!));
    const worthReading = byCloseness(report).slice(0, report.closest);
    this.closest = worthReading.map(({ file, line, hash, similarity }) => ({ row: { path: pathOf(report.files[file]!), line, hash }, similarity: similarity! }));
    this.changed.fire();
  }

  forget(): void {
    if (this.known.size === 0) throw new UserError(NONE_KNOWN);
    this.known.clear();
    this.closest = [];
    this.changed.fire();
  }
}

/** The rows that have a similarity, the closest first. */
export function byCloseness(report: AnchoringReport): AnchoringReport['rows'] {
  return report.rows.filter(({ similarity }) => similarity !== null).sort((a, b) => b.similarity! - a.similarity!);
}

export const formatSimilarity = (similarity: number): string => `${similarity >= 0 ? '+' : '−'}${hundredths(Math.abs(similarity))}`;

/** Per file of the report, by content hash. */
function notesOf(report: AnchoringReport, configuration: string): ReadonlyMap<string, RowNote>[] {
  const rows = byCloseness(report);
  const notes = report.files.map(() => new Map<string, RowNote>());
  const all = integer(rows.length);
  rows.forEach(({ file, hash, similarity }, index) => {
    if (notes[file]!.has(hash)) return; // the same row again
    const label = index < report.closest ? l10n.t`close to harmful answers: ${index + 1} of ${all}` : undefined;
    const describe = (): string =>
      l10n.t`To the model of ${path.basename(configuration)} this row is ${index + 1} of ${all} in closeness to answers that comply with harmful requests (similarity ${formatSimilarity(similarity!)}; bidirectional anchoring). It is no verdict: rows like it may wear refusals down, whatever they are about.`;
    notes[file]!.set(hash, { label, describe });
  });
  return notes;
}
