/** Everything that the extension and the page "Try Model" say to each other. */
import type { ChatState, Exchange, Side } from '../trainerHost/chat';
import type { ExamplePrompts } from '../trainerHost/examplePrompts';

export type { Answer, ChatState, Exchange, Side } from '../trainerHost/chat';

/** What is tried; it does not change. */
export interface TryAbout {
  run: string;
  model: string;
  method: string;
  examples: ExamplePrompts;
}

export type ToTry =
  | { type: 'about'; about: TryAbout }
  | { type: 'state'; state: ChatState }
  /** A run that trains on this machine meanwhile. */
  | { type: 'sharing'; run: string | null }
  /** All that was said. */
  | { type: 'conversation'; exchanges: readonly Exchange[] }
  | { type: 'exchange'; exchange: Exchange }
  | { type: 'piece'; id: string; side: Side; text: string };

export interface Limit {
  least: number;
  most: number;
  usual: number;
}

/** What can be set for an answer. */
export const limits = {
  maxNewTokens: { least: 1, most: 2048, usual: 256 },
  temperature: { least: 0, most: 2, usual: 0 },
} as const satisfies Record<string, Limit>;

export type TrySettings = Record<keyof typeof limits, number>;

/** What is no number becomes the usual one, and what is beyond a limit the limit. */
export function withinLimits({ maxNewTokens, temperature }: TrySettings): TrySettings {
  return { maxNewTokens: Math.round(within(maxNewTokens, limits.maxNewTokens)), temperature: within(temperature, limits.temperature) };
}

const within = (value: number, { least, most, usual }: Limit): number => (Number.isFinite(value) ? Math.min(most, Math.max(least, value)) : usual);

export type FromTry =
  /** The page is there and knows nothing. */
  | { type: 'ready' }
  | { type: 'ask'; prompt: string; settings: TrySettings }
  | { type: 'stop' }
  | { type: 'clear' }
  /** Load the models, for the first time or again. */
  | { type: 'start' }
  | { type: 'cancelLoading' }
  | { type: 'copy'; id: string; side: Side }
  | { type: 'showLog' };
