/** WikiQA through a cross-encoder: the candidates of each question, ranked. */
import type { ElasticRanker } from '../heads/index.js';
import { resolveLevels, type LevelChoice } from './levels.js';
import { averagePrecision, mean, reciprocalRankAt } from './ranking-metrics.js';
import { readWikiQa, type WikiQaQuestion } from './wikiqa.js';

export interface WikiQaOptions {
  ranker: ElasticRanker;
  /** folder of `<split>.tsv` */
  data: string;
  /** default dev */
  split?: string | undefined;
  /** default all */
  levels?: LevelChoice | undefined;
  maxLength?: number | undefined;
  /** questions done over all levels, of how many */
  onProgress?: ((done: number, total: number) => void) | undefined;
  signal?: AbortSignal | undefined;
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
  const levels = resolveLevels(options.levels ?? 'all', ranker.model.levels);
  const questions: WikiQaQuestion[] = [];
  for await (const question of readWikiQa(options.data, options.split)) {
    if (question.candidates.some(({ answers }) => answers)) questions.push(question);
  }
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
