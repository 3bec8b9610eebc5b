/** What the trainer says of the configuration: the first rows token by token, the run's size, its cost. */
import * as l10n from '@vscode/l10n';
import type { Cost, RowTokens, TokenPiece, TokenStatistics } from '../../src/protocol/messages';
import type { FromNewRun, PreviewContent, PreviewView } from '../../src/views/newRunProtocol';
import { isOne } from '../../src/common/language';
import { around, h, icon } from '../common/dom';
import { bytes, duration, integer, percent } from '../../src/common/format';
import { button, spinner } from '../common/toolkit';

type Send = (message: FromNewRun) => void;

export function previewPart(view: PreviewView, send: Send): HTMLElement {
  switch (view.state) {
    case 'none':
      return h('p', { class: 'note' }, view.reason);
    case 'untrusted':
      return h('p', { class: 'note' }, l10n.t('Tokens and cost are told by the trainer, a Python process, which is not started in a workspace that is not trusted.'));
    case 'no-environment':
      return h('div', { class: 'missing' }, h('p', {}, icon('tools'), h('span', {}, view.reason)), button({ label: l10n.t('Set Up Environment'), primary: true, onClick: () => send({ type: 'setUpEnvironment' }) }));
    case 'working':
      return h('div', {}, h('p', { class: 'working', attributes: { role: 'status' } }, spinner(), h('span', {}, `${view.doing} …`), button({ label: l10n.t('Cancel'), onClick: () => send({ type: 'cancel' }) })), view.before && contentPart(view.before, undefined));
    case 'cancelled':
      return h('div', {}, h('p', { class: 'working' }, h('span', {}, l10n.t('Cancelled. What is shown may be of an earlier choice.')), button({ label: l10n.t('Ask Again'), onClick: () => send({ type: 'preview' }) })), view.before && contentPart(view.before, undefined));
    case 'shown':
      return contentPart(view.content, send);
    default: {
      const unknown: never = view;
      throw new Error(`unknown view ${JSON.stringify(unknown)}`);
    }
  }
}

/** Without `send` it is of before, and nothing can be asked of it. */
function contentPart({ rows, statistics, cost, problems }: PreviewContent, send: Send | undefined): HTMLElement {
  return h(
    'div',
    send ? { class: 'content' } : { class: 'content before', attributes: { 'aria-busy': 'true' } },
    ...problems.map(problem => h('p', { class: 'field-problem' }, icon('error'), h('span', {}, problem))),
    statistics && summary(statistics, cost),
    cost && costPart(cost, send),
    rows.length > 0 && tokensPart(rows),
    !statistics && rows.length === 0 && problems.length === 0 && h('p', { class: 'note' }, l10n.t('Nothing can be shown until what is wrong beside the fields is mended.')),
  );
}

const pair = (label: string, value: string, more?: string): HTMLElement => h('div', {}, h('dt', {}, label), h('dd', {}, h('span', { class: 'number' }, value), more && h('span', { class: 'note' }, more)));

function summary({ rows, lookedAt, median, p95, longest, truncated, untrained, trainedTokens, steps }: TokenStatistics, cost: Cost | null): HTMLElement {
  const sampled = lookedAt < rows;
  return h(
    'div',
    {},
    h(
      'dl',
      { class: 'figures' },
      pair(l10n.t('Steps'), integer(steps)),
      pair(l10n.t('Trained tokens'), `${sampled ? '≈ ' : ''}${integer(trainedTokens)}`),
      cost && pair(l10n.t('Time'), cost.seconds < 1 ? l10n.t('under 1 s') : `≈ ${duration(cost.seconds)}`, cost.measured ? l10n.t('measured') : l10n.t('computed')),
      cost && pair(l10n.t('Memory'), `≈ ${bytes(cost.memoryBytes)}`, cost.measured ? l10n.t('measured') : l10n.t('computed')),
      pair(l10n.t('Tokens of a row'), integer(median), l10n.t`95 % up to ${integer(p95)}, the longest ${integer(longest)}`),
      pair(l10n.t('Rows that are cut'), percent(truncated), untrained > 0 ? l10n.t`${percent(untrained)} without a trained token` : undefined),
    ),
    sampled && h('p', { class: 'note' }, isOne(rows) ? l10n.t`From a sample of ${integer(lookedAt)} of ${integer(rows)} row.` : l10n.t`From a sample of ${integer(lookedAt)} of ${integer(rows)} rows.`),
  );
}

function costPart({ parts, basis, measured, device }: Cost, send: Send | undefined): HTMLElement {
  const { weights, trained, optimiser, activations, libraries } = parts;
  return h(
    'div',
    { class: 'cost' },
    h('p', { class: 'note' }, basis),
    h(
      'details',
      {},
      h('summary', {}, l10n.t`Memory by its parts, computed (${device})`),
      h('dl', { class: 'figures' }, pair(l10n.t('Weights'), bytes(weights)), pair(l10n.t('Trained weights and gradients'), bytes(trained)), pair(l10n.t('Optimiser'), bytes(optimiser)), pair(l10n.t('Activations'), bytes(activations)), libraries > 0 && pair(l10n.t('Python and libraries'), bytes(libraries))),
    ),
    send && button({ label: measured ? l10n.t('Measure Again') : l10n.t('Measure'), title: l10n.t('Loads the model and times two steps'), onClick: () => send({ type: 'measure' }) }),
  );
}

function tokensPart(rows: readonly RowTokens[]): HTMLElement {
  return h(
    'section',
    { class: 'tokens' },
    h('h3', {}, l10n.t('Tokens of the first rows')),
    h('p', { class: 'legend note' }, ...around(l10n.t('{0} is trained, {1} is read only'), h('mark', { class: 'trained' }, l10n.t('underlined')), h('span', { class: 'masked' }, l10n.t('the rest')))),
    ...rows.map(row =>
      h(
        'article',
        { attributes: { 'aria-label': l10n.t`Row at line ${row.line}` } },
        h('p', { class: 'note' }, [sizeOf(row), row.truncated && l10n.t('cut')].filter(Boolean).join(', ')),
        row.problem !== null && h('p', { class: 'field-problem' }, icon('warning'), h('span', {}, l10n.t`It is left out: ${row.problem}.`)),
        h('pre', { attributes: { tabindex: '0' } }, ...stretches(row.pieces).map(stretchPart), row.truncated && h('span', { class: 'cut' }, l10n.t('⋯ cut here'))),
      ),
    ),
  );
}

const sizeOf = ({ line, tokens, trained }: RowTokens): string =>
  isOne(tokens)
    ? l10n.t`Line ${integer(line)}: ${integer(tokens)} token, ${integer(trained)} trained`
    : l10n.t`Line ${integer(line)}: ${integer(tokens)} tokens, ${integer(trained)} trained`;

/** Pieces that follow one another and are trained alike. */
function stretches(pieces: readonly TokenPiece[]): TokenPiece[][] {
  const found: TokenPiece[][] = [];
  for (const piece of pieces) {
    const last = found.at(-1);
    if (last && last[0]!.trained === piece.trained) last.push(piece);
    else found.push([piece]);
  }
  return found;
}

function stretchPart(pieces: readonly TokenPiece[]): HTMLElement {
  const tokens = pieces.map(({ text }) => h('span', { class: 'token' }, text));
  if (!pieces[0]!.trained) return h('span', { class: 'masked' }, ...tokens);
  return h('mark', { class: 'trained' }, h('span', { class: 'unseen' }, ` ${l10n.t('trained')}: `), ...tokens, h('span', { class: 'unseen' }, ` ${l10n.t('end of trained')} `));
}
