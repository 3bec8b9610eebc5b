/** Everything that the extension and the page of a new run say to each other. */
import type { Cost, RowTokens, TokenStatistics } from '../protocol/messages';
import type { FieldName, Method, MethodCard, SettingKey } from './newRunModel';

export interface FieldView {
  text: string;
  /** What is wrong with it. */
  problem: string | null;
  /** What is known of it. */
  note: string;
}

export interface SettingView extends FieldView {
  key: SettingKey;
  label: string;
  description: string;
  /** Empty where there is none. */
  usual: string;
}

export interface FormView {
  trusted: boolean;
  name: FieldView;
  model: FieldView;
  /** `nameColumns`: no row is a conversation, and the columns could be named. */
  dataset: FieldView & { nameColumns: boolean };
  method: Method;
  methods: readonly MethodCard[];
  baselines: readonly MethodCard[];
  settings: SettingView[];
  /** Whether there is all that a configuration file needs. */
  complete: boolean;
}

/** What the trainer says of the configuration. */
export interface PreviewContent {
  rows: RowTokens[];
  statistics: TokenStatistics | null;
  cost: Cost | null;
  /** What is wrong, and about no field. */
  problems: string[];
}

export type PreviewView =
  /** Not asked, and why. */
  | { state: 'none'; reason: string }
  | { state: 'untrusted' }
  | { state: 'no-environment'; reason: string }
  /** Being asked; shown meanwhile is what was said before. */
  | { state: 'working'; doing: string; before: PreviewContent | null }
  | { state: 'shown'; content: PreviewContent }
  /** The user does not want it; what was said before may be old. */
  | { state: 'cancelled'; before: PreviewContent | null };

export type ToNewRun = { type: 'form'; form: FormView } | { type: 'preview'; preview: PreviewView };

export type FromNewRun =
  | { type: 'ready' }
  | { type: 'change'; field: FieldName; text: string }
  | { type: 'chooseModel' }
  | { type: 'chooseDataset' }
  | { type: 'nameColumns' }
  | { type: 'setUpEnvironment' }
  | { type: 'manageTrust' }
  | { type: 'preview' }
  | { type: 'measure' }
  | { type: 'cancel' }
  | { type: 'create'; start: boolean };
