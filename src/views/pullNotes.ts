/** In a dataset, behind its rows: which of them pulled the model hardest from its reference in the run that is shown. */
import * as l10n from '@vscode/l10n';
import { fixed, written } from '../common/format';
import { Disposable } from '../common/disposable';
import { Emitter } from '../common/emitter';
import { errorText, type Log } from '../common/log';
import type { RowNote, RowNotes } from '../datasets/rowNotes';
import type { Run } from '../trainerHost/run';
import { eventsFile, isActive } from '../trainerHost/runFolder';
import type { RunRegistry } from '../trainerHost/runs';
import { readRowPulls, type RowPulls } from '../trainerHost/rowPull';

const LABELLED_FROM_TIMES = 5;
const MOST_LABELS = 100;

export class PullNotes extends Disposable implements RowNotes {
  private readonly changed = this.register(new Emitter<void>());
  readonly onDidChange = this.changed.event;
  private shown: { run: Run; notes: Map<string, ReadonlyMap<string, RowNote>> | undefined } | undefined;

  constructor(
    private readonly registry: RunRegistry,
    private readonly log: Log,
  ) {
    super();
    this.register(registry.onDidChange(() => this.follow()));
    this.register(registry.onDidChangeCurrent(() => this.follow()));
  }

  /** The run's events are read, all of them, when somebody looks at a dataset of it. */
  of(file: string): ReadonlyMap<string, RowNote> | undefined {
    const { shown } = this;
    if (shown && !shown.notes && shown.run.record?.datasets.some(dataset => dataset.path === file)) {
      shown.notes = new Map();
      void this.read(shown.run);
    }
    return shown?.notes?.get(file);
  }

  private follow(): void {
    const { current } = this.registry;
    const ended = current?.record && !isActive(current.status) ? current : undefined;
    if (ended === this.shown?.run) return;
    this.shown = ended && { run: ended, notes: undefined };
    this.changed.fire();
  }

  private async read(run: Run): Promise<void> {
    try {
      await run.read();
      const notes = notesOf(run, await readRowPulls(eventsFile(run.folder), run.state.series));
      if (this.shown?.run !== run) return;
      this.shown = { run, notes };
      this.changed.fire();
    } catch (error) {
      this.log.warn(`${run.folder}: which rows pulled the model cannot be told: ${errorText(error)}`);
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
      const times = `${fixed(timesMedian, timesMedian < 10 ? 1 : 0)}×`;
      const label = timesMedian >= labelledFrom ? l10n.t`moved the model ${times} the median row` : undefined;
      const describe = (): string => l10n.t`In the run “${run.name}” this row stood ${written(kl.toPrecision(2))} nats a token from the reference (KL), ${times} the median of the rows that were held near it.`;
      return [hash, { label, describe }];
    });
    notes.set(dataset.path, new Map(ofRows));
  }
  return notes;
}
