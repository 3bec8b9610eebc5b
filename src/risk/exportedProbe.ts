/**
 * A probe of a model's hidden states with the model under it, as the trainer exports it: how harmful a prompt is
 * to that model, in its conversation up to the answer.
 *
 * The twin of trainer/safe_finetuning/risk/exported_probe.py. The chat template is rendered by Hugging Face's own
 * Jinja for JavaScript, as a template may do anything with the turns before. What the trainer has written down of
 * a few conversations, their tokens and risks, is held against what comes out here before anything is judged.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { Template } from '@huggingface/jinja';
import { Tokenizer } from '@huggingface/tokenizers';
import * as l10n from '@vscode/l10n';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { fixed } from '../common/format';
import { errorText } from '../common/log';
import { batchesByLength } from './batches';
import { wellFormed } from './pairText';
import { ProbeUnavailable, type ProbeSource, type Turn } from './probeSource';

interface About {
  judge: string;
  sha256: string;
  chatTemplate: string;
  specialTokens: Record<string, unknown>;
  tolerance: number;
  checks: { messages: Turn[]; ids: number[]; risk: number }[];
}

const BATCH_TOKENS = 2048; // padded tokens in one forward: attention takes memory by their square
const MOST_TOKENS = 2048; // of a conversation; the trainer judges longer ones, too

/** White space in Python or in JavaScript, but not in both: where a template trims, they render otherwise. */
const DISPUTED = [...'\u001c\u001d\u001e\u001f\u0085\ufeff'];

export class ExportedProbe {
  private constructor(
    private readonly session: InferenceSession,
    private readonly tokenizer: Tokenizer,
    private readonly template: Template,
    private readonly specialTokens: Record<string, unknown>,
  ) {}

  /** `threads`: processor threads of one forward pass, 0 for all. Rejects with `ProbeUnavailable`. */
  static async load({ folder, judgeId }: ProbeSource, threads = 0): Promise<ExportedProbe> {
    try {
      const about = JSON.parse(await readFile(path.join(folder, 'probe.json'), 'utf8')) as About;
      if (about.judge !== judgeId) throw new Error(l10n.t`it is ${about.judge}, of another probe or model than ${judgeId}`);
      const file = path.join(folder, 'probe.onnx');
      if ((await digestOf(file)) !== about.sha256) throw new Error(l10n.t('probe.onnx is damaged or cut off'));
      const tokenizer = new Tokenizer(JSON.parse(await readFile(path.join(folder, 'tokenizer.json'), 'utf8')) as object, {});
      const template = new Template(about.chatTemplate);
      const session = await InferenceSession.create(file, { intraOpNumThreads: threads, enableMemPattern: false, logSeverityLevel: 3 });
      const probe = new ExportedProbe(session, tokenizer, template, about.specialTokens);
      try {
        await probe.check(about);
      } catch (error) {
        await probe.release();
        throw error;
      }
      return probe;
    } catch (error) {
      throw new ProbeUnavailable(l10n.t`The probe in ${folder} cannot be used: ${errorText(error)}. Have the dataset judged by its configuration again: the trainer judges its rows, and makes the probe anew where it is damaged.`);
    }
  }

  /**
   * Probability in [0, 1] that each conversation, which ends where the answer begins, is about to lead to harm; NaN
   * where it is empty, has no `tokens` or too many. Rejects with the signal's reason when it is aborted.
   */
  async score(conversations: readonly (readonly Turn[])[], signal?: AbortSignal): Promise<number[]> {
    const scores = new Array<number>(conversations.length).fill(NaN);
    const texts = new Map<string, { ids: number[]; owners: number[] }>(); // answers to several prompts share theirs
    for (const [owner, turns] of conversations.entries()) {
      signal?.throwIfAborted();
      const ids = turns.length > 0 ? this.tokens(turns) : undefined;
      if (!ids || ids.length > MOST_TOKENS) continue;
      const key = ids.join();
      const known = texts.get(key) ?? { ids, owners: [] };
      known.owners.push(owner);
      texts.set(key, known);
    }
    for (const batch of batchesByLength([...texts.values()], BATCH_TOKENS)) {
      signal?.throwIfAborted();
      const risks = await this.judge(batch.map(({ ids }) => ids));
      batch.forEach((each, row) => each.owners.forEach(owner => (scores[owner] = risks[row]!)));
    }
    return scores;
  }

  /** What the model reads before it answers; undefined where its template refuses these turns, or may render them otherwise here. */
  tokens(turns: readonly Turn[]): number[] | undefined {
    if (turns.some(({ content }) => DISPUTED.some(character => content.includes(character)))) return undefined;
    const messages = turns.map(({ role, content }) => ({ role, content: wellFormed(content) }));
    let text: string;
    try {
      text = this.template.render({ ...this.specialTokens, messages, tools: null, documents: null, add_generation_prompt: true, enable_thinking: false });
    } catch {
      return undefined;
    }
    return this.tokenizer.encode(text, { add_special_tokens: false }).ids;
  }

  /** Frees what it takes in memory, once it is done. */
  async release(): Promise<void> {
    await this.session.release();
  }

  private async check({ checks, tolerance }: About): Promise<void> {
    for (const { messages, ids } of checks) {
      if (this.tokens(messages)?.join() !== ids.join()) throw new Error(l10n.t("its model's chat template or tokenizer reads otherwise here than in the trainer"));
    }
    const risks = await this.score(checks.map(({ messages }) => messages));
    const difference = Math.max(...checks.map(({ risk }, index) => Math.abs(risk - risks[index]!)));
    if (!(difference <= tolerance)) throw new Error(l10n.t`it judges otherwise here than in the trainer, by up to ${fixed(difference, 3)}`);
  }

  /** Risks of one batch of token ids, padded on the left to the longest. */
  private async judge(batch: readonly number[][]): Promise<number[]> {
    const longest = Math.max(...batch.map(ids => ids.length));
    const inputIds = new BigInt64Array(batch.length * longest);
    const attentionMask = new BigInt64Array(batch.length * longest);
    for (const [row, ids] of batch.entries()) {
      const start = (row + 1) * longest - ids.length;
      inputIds.set(ids.map(BigInt), start);
      attentionMask.fill(1n, start, start + ids.length);
    }
    const shape = [batch.length, longest];
    const { risk } = await this.session.run({
      input_ids: new Tensor('int64', inputIds, shape),
      attention_mask: new Tensor('int64', attentionMask, shape),
    });
    return [...(risk!.data as Float64Array)];
  }
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
