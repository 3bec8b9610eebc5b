/** A window that writes notes at steps of a run, one after the other, as a process of its own. */
import { updateMeta, withNote } from '../../src/trainerHost/runFolder';

const [folder, whose, notes] = process.argv.slice(2) as [string, string, string];

async function main(): Promise<void> {
  for (let step = 1; step <= Number(notes); step++) {
    await updateMeta(folder, ({ notes = [] }) => ({ notes: withNote(notes, { step, text: `${whose} ${step}` }, '') }));
  }
}

void main();
