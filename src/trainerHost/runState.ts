/** A run's events, reduced to what views show. No I/O; used by the monitor, the status bar and `npm start`. */
import type {
  AnyEvent,
  AttemptStarted,
  Batch,
  BudgetExceeded,
  CanaryReady,
  CheckpointSaved,
  CommandAcknowledged,
  DatasetRead,
  Evaluated,
  Finished,
  Measured,
  PhaseStarted,
  Progress,
  SettingsChanged,
  Warned,
} from '../protocol/messages';
import type { TailedEvent } from './eventTail';
import { Series } from './series';

export type Phase = PhaseStarted['phase'];

export interface PhaseProgress {
  phase: Phase;
  message: string;
  /** When the phase began, milliseconds since the Unix epoch. */
  since: number;
  done: number | null;
  total: number | null;
  unit: string;
}

/** Lines that tell nothing. */
export interface EventCounts {
  /** No events. */
  bad: number;
  /** Events that only a newer trainer knows. */
  unknown: number;
  /** Events that came twice, or after later ones. */
  repeated: number;
}

export class RunState {
  private steps: Series | undefined;
  /** Counts up whenever steps that were there have gone or changed: whoever copied the series starts again. */
  generation = 0;
  attempt: AttemptStarted | undefined;
  phase: PhaseProgress | undefined;
  dataset: DatasetRead | undefined;
  latest: Batch | undefined;
  before: Evaluated | undefined;
  after: Evaluated | undefined;
  checkpoint: CheckpointSaved | undefined;
  canary: CanaryReady | undefined;
  /** What was done to the run while it trained, oldest first: by the user or because its budget was exceeded. */
  interventions: (BudgetExceeded | SettingsChanged)[] = [];
  /** What the model was like while it trained, oldest first. */
  measurements: Measured[] = [];
  finished: Finished | undefined;
  paused = false;
  warnings: Warned[] = [];
  /** The answers to commands, newest last. */
  acknowledged: CommandAcknowledged[] = [];
  counts: EventCounts = { bad: 0, unknown: 0, repeated: 0 };
  /** Of the attempt, the number of the newest event of each kind. */
  private readonly newest = new Map<string, number>();
  private readonly listed = new Set<string>();
  /** Milliseconds since the Unix epoch of the first and the last event. */
  firstEvent: number | undefined;
  lastEvent: number | undefined;

  /** Made when it is asked for: of many runs most are never looked into. */
  get series(): Series {
    return (this.steps ??= new Series());
  }

  /**
   * A state whose steps are known already, from the other events in their order, and the last of any batches between
   * them: whatever a batch changes beside the series, the next one changes again.
   */
  static restored(series: Series, events: readonly TailedEvent[], counts: EventCounts): RunState {
    const state = new RunState();
    for (const event of events) state.apply(event);
    state.steps = series;
    for (const measured of state.measurements) series.addMeasurement(measured);
    state.generation = 0;
    state.counts = { bad: counts.bad, unknown: counts.unknown, repeated: counts.repeated };
    return state;
  }

  /** What is known of the run stays, the numbers of its steps do not. */
  forgetSteps(): void {
    this.steps = undefined;
    this.generation++;
  }

  /** Says whether the event counts: one that comes again, or late, does not. */
  apply({ event, offset, length }: TailedEvent): boolean {
    if (this.isRepeated(event)) {
      this.counts.repeated++;
      return false;
    }
    this.newest.set(kindOf(event), event.seq);
    this.firstEvent ??= event.ts;
    this.lastEvent = event.ts;
    this.reduce(event, offset, length);
    return true;
  }

  /**
   * Attempts come in the order of their numbers, and events in that of theirs: what an earlier attempt said counts no
   * more, and the newest word of a kind is not taken back by an older one. What is listed must not be listed twice.
   */
  private isRepeated(event: AnyEvent): boolean {
    if (event.type === 'attempt_started') return event.attempt <= (this.attempt?.attempt ?? 0);
    if (event.seq < (this.attempt?.seq ?? 0)) return true;
    const newest = this.newest.get(kindOf(event)) ?? -1;
    switch (event.type) {
      case 'heartbeat':
        return false;
      case 'batch':
        return event.seq <= newest;
      case 'budget':
      case 'settings':
      case 'command_acknowledged':
      case 'warning': {
        const listed = `${event.type} ${event.seq} ${event.ts}`;
        if (this.listed.has(listed)) return true;
        this.listed.add(listed);
        return false;
      }
      default:
        return event.seq < newest;
    }
  }

  private reduce(event: AnyEvent, offset: number, length: number): void {
    switch (event.type) {
      case 'attempt_started':
        return this.startAttempt(event);
      case 'phase':
        this.phase = { ...event, since: event.ts, done: null, total: null, unit: '' };
        if (this.latest) this.countSteps(this.latest);
        return;
      case 'progress':
        return this.progress(event);
      case 'dataset':
        this.dataset = event;
        return;
      case 'batch':
        return this.addBatch(event, offset, length);
      case 'checkpoint':
        this.checkpoint = event;
        return;
      case 'canary':
        this.canary = event;
        return;
      case 'budget':
      case 'settings':
        this.interventions.push(event);
        return;
      case 'evaluation':
        this[event.model] = event;
        return;
      case 'measurement':
        return this.addMeasurement(event);
      case 'command_acknowledged':
        this.acknowledged.push(event);
        return;
      case 'activity':
        this.paused = event.paused;
        return;
      case 'warning':
        this.warnings.push(event);
        return;
      case 'heartbeat':
        return;
      case 'finished':
        this.finished = event;
        this.phase = undefined;
        return;
      default: {
        const unknown: never = event;
        throw new Error(`unknown event ${JSON.stringify(unknown)}`);
      }
    }
  }

  /** What an earlier attempt did after this one's first step no longer counts. */
  private startAttempt(event: AttemptStarted): void {
    if (this.series.cutAfter(event.fromStep)) this.generation++;
    this.interventions = this.interventions.filter(intervention => holdsFrom(intervention) <= event.fromStep);
    this.measurements = this.measurements.filter(({ step }) => step <= event.fromStep);
    this.attempt = event;
    this.newest.clear();
    this.phase = undefined;
    this.latest = undefined;
    this.after = undefined;
    this.finished = undefined;
    this.paused = false;
  }

  private progress({ phase, done, total, unit, ts }: Progress): void {
    const known = this.phase?.phase === phase ? this.phase : { phase, message: '', since: ts };
    this.phase = { ...known, done, total, unit };
  }

  private addBatch(batch: Batch, offset: number, length: number): void {
    if (this.series.cutAfter(batch.step - 1)) this.generation++;
    this.series.add(batch, offset, length, this.attempt?.fromStep);
    this.latest = batch;
    this.countSteps(batch);
  }

  private countSteps({ step, totalSteps }: Batch): void {
    if (this.phase?.phase === 'training') this.phase = { ...this.phase, done: step, total: totalSteps, unit: 'steps' };
  }

  private addMeasurement(event: Measured): void {
    this.measurements = [...this.measurements.filter(({ step }) => step !== event.step), event];
    this.series.addMeasurement(event);
    this.generation++;
  }
}

/** Reports of progress and phases are one story. */
const kindOf = ({ type }: AnyEvent): string => (type === 'progress' ? 'phase' : type);

/** The step after which it holds: of a roll-back, the one that the run has gone back to. */
export const holdsFrom = (event: BudgetExceeded | SettingsChanged): number => ('backTo' in event ? event.backTo : null) ?? event.step;
