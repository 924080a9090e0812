/** WikiQA through a cross-encoder: the candidates of each question, ranked. */
import type { ElasticRanker } from '../heads/index.js';
import { averagePrecision, mean, reciprocalRankAt } from './ranking-metrics.js';
import { checkSome } from './streams.js';
import { resolveLevels, type TaskOptions } from './task-options.js';
import { readWikiQa, type WikiQaQuestion } from './wikiqa.js';

/** `data` is the folder of WikiQA's files; `split` by default dev. */
export interface WikiQaOptions extends TaskOptions {
  ranker: ElasticRanker;
}

export interface WikiQaResult {
  task: 'wikiqa';
  level: number;
  /** questions with at least one answer, which the means are over, as in the published figures */
  questions: number;
  map: number;
  mrr: number;
}

/** One result per level; equal scores keep the file's order. @throws ELASTICLM_DATA_INVALID, ELASTICLM_LEVEL_UNKNOWN, … */
export async function* evaluateWikiQa(options: WikiQaOptions): AsyncGenerator<WikiQaResult> {
  const { ranker, maxLength, signal } = options;
  const levels = resolveLevels(options.levels, ranker);
  const questions: WikiQaQuestion[] = [];
  for await (const question of readWikiQa(options.data, options.split)) {
    if (question.candidates.some(({ answers }) => answers)) questions.push(question);
  }
  checkSome(questions.length, 'question with an answer', options.data);
  const pairs = questions.flatMap(({ question, candidates }) =>
    candidates.map(({ sentence }): [string, string] => [question, sentence]),
  );
  for (const [idx, level] of levels.entries()) {
    const scores = await ranker.score(pairs, { level, maxLength, signal, activation: 'identity' });
    options.onProgress?.((idx + 1) * questions.length, levels.length * questions.length);
    yield { task: 'wikiqa', level, questions: questions.length, ...rankingMetrics(questions, scores) };
  }
}

/** @param scores of all candidates of all questions, in their order */
function rankingMetrics(
  questions: readonly WikiQaQuestion[],
  scores: Float32Array,
): Pick<WikiQaResult, 'map' | 'mrr'> {
  let begin = 0;
  const perQuestion = questions.map(({ candidates }) => {
    const own = scores.subarray(begin, (begin += candidates.length));
    const ranked = candidates
      .map((_, position) => position)
      .sort((a, b) => own[b]! - own[a]! || a - b)
      .map(String);
    const judgments = new Map(candidates.map(({ answers }, position) => [String(position), answers ? 1 : 0]));
    return {
      precision: averagePrecision(ranked, judgments),
      reciprocalRank: reciprocalRankAt(ranked, judgments, ranked.length),
    };
  });
  return {
    map: mean(perQuestion.map(({ precision }) => precision)),
    mrr: mean(perQuestion.map(({ reciprocalRank }) => reciprocalRank)),
  };
}
