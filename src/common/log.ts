/** What features need of a log, so that pure code can write into VS Code's or into a test's. */
export interface Log {
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
}

export const errorText = (error: unknown): string => (error instanceof Error ? error.message : String(error));
