/** In a dataset, behind its rows: which of them pulled the model hardest from its reference in the run that is shown. */
import path from 'node:path';
import { Disposable } from '../common/disposable';
import { Emitter } from '../common/emitter';
import { errorText, type Log } from '../common/log';
import type { RowNote, RowNotes } from '../datasets/rowNotes';
import type { Run } from '../trainerHost/run';
import { isActive } from '../trainerHost/runFolder';
import type { RunRegistry } from '../trainerHost/runs';
import { readRowPulls, type RowPulls } from '../trainerHost/rowPull';

const LABELLED_FROM_TIMES = 5;
const MOST_LABELS = 100;

export class PullNotes extends Disposable implements RowNotes {
  private readonly changed = this.register(new Emitter<void>());
  readonly onDidChange = this.changed.event;
  private shown: { id: string; notes: Map<string, ReadonlyMap<string, RowNote>> } | undefined;

  constructor(
    private readonly registry: RunRegistry,
    private readonly log: Log,
  ) {
    super();
    this.register(registry.onDidChange(() => void this.follow()));
    this.register(registry.onDidChangeCurrent(() => void this.follow()));
  }

  of(file: string): ReadonlyMap<string, RowNote> | undefined {
    return this.shown?.notes.get(file);
  }

  private async follow(): Promise<void> {
    const { current } = this.registry;
    const ended = current && current.record && !isActive(current.status) ? current : undefined;
    if (ended?.id === this.shown?.id) return;
    this.shown = ended && { id: ended.id, notes: new Map() };
    this.changed.fire();
    if (!ended) return;
    try {
      const notes = notesOf(ended, await readRowPulls(path.join(ended.folder, 'events.jsonl')));
      if (this.shown?.id !== ended.id) return;
      this.shown = { id: ended.id, notes };
      this.changed.fire();
    } catch (error) {
      this.log.warn(`${ended.folder}: which rows pulled the model cannot be told: ${errorText(error)}`);
    }
  }
}

function notesOf(run: Run, pulls: RowPulls): Map<string, ReadonlyMap<string, RowNote>> {
  const all = [...pulls.values()].flatMap(ofFile => [...ofFile.values()]).map(({ timesMedian }) => timesMedian);
  const labelledFrom = Math.max(LABELLED_FROM_TIMES, all.sort((a, b) => b - a)[MOST_LABELS] ?? 0);
  const notes = new Map<string, ReadonlyMap<string, RowNote>>();
  for (const [file, ofFile] of pulls) {
    const dataset = run.record?.datasets[file];
    if (!dataset) continue;
    const ofRows = [...ofFile].map(([hash, { kl, timesMedian }]): [string, RowNote] => {
      const times = `${timesMedian < 10 ? timesMedian.toFixed(1) : Math.round(timesMedian)}×`;
      const label = timesMedian >= labelledFrom ? `moved the model ${times} the median row` : undefined;
      const describe = (): string => `In the run “${run.name}” this row stood ${kl.toPrecision(2)} nats a token from the reference (KL), ${times} the median of the rows that were held near it.`;
      return [hash, { label, describe }];
    });
    notes.set(dataset.path, new Map(ofRows));
  }
  return notes;
}
