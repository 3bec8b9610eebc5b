/** A few of the prompts that ship with the trainer, as suggestions. */
import fs from 'node:fs';
import path from 'node:path';

export interface ExamplePrompts {
  /** Harmless, though they sound otherwise. */
  benign: string[];
  /** What the evaluation asks. */
  harmful: string[];
}

const perKind = 3;

export function examplePrompts(trainerFolder: string): ExamplePrompts {
  const read = (name: string) => chosen(path.join(trainerFolder, 'safe_finetuning', 'prompts', name));
  return { benign: read('benign.jsonl'), harmful: read('harmful.jsonl') };
}

/** The shortest of some categories that lie far apart. */
function chosen(file: string): string[] {
  const byCategory = new Map<string, string[]>();
  for (const line of fs.readFileSync(file, 'utf8').split('\n').filter(Boolean)) {
    const { prompt, category } = JSON.parse(line) as { prompt: string; category: string };
    byCategory.set(category, [...(byCategory.get(category) ?? []), prompt]);
  }
  const categories = [...byCategory.values()];
  return Array.from({ length: perKind }, (_, i) => categories[Math.floor((i * categories.length) / perKind)]!.sort((a, b) => a.length - b.length)[0]!);
}
