/** What is trained: the student's files, its levels and heads, and the teacher's files. */
import { setImmediate } from 'node:timers/promises';
import type { NativeTrainerSpec } from '../binding/index.js';
import { describeValue, ElasticError } from '../errors.js';
import { readCheckpoint, type CheckpointFiles, type ElasticLevel } from '../model/index.js';
import { Tokenizer } from '../tokenizer/index.js';
import type { EncoderConfig } from '../types.js';
import { hasEmbeddings, invalid, type TrainSettings } from './options.js';
import type { Objective } from './types.js';

export interface Subject {
  student: CheckpointFiles;
  teacher: CheckpointFiles | undefined;
  /** all that the student has, falling */
  allLevels: readonly ElasticLevel[];
  /** those that are trained */
  levels: readonly ElasticLevel[];
  /** [levels] relative weights */
  levelWeights: readonly number[];
  /** [levels] the part of every micro-batch that each sees */
  levelShares: readonly number[];
  heads: NativeTrainerSpec['heads'];
  /** names of the classifier's classes, where one is trained and they are known */
  labels: readonly string[] | undefined;
}

/**
 * @throws what reading a checkpoint throws; ELASTICLM_LEVEL_UNKNOWN, ELASTICLM_CONFIG_INVALID and ELASTICLM_TOKENIZER_INVALID
 * for a teacher that is not the student's kind
 */
export async function readSubject(settings: TrainSettings): Promise<Subject> {
  const student = await readCheckpoint(settings.student);
  const stored = student.elastic?.levels ?? [wholeModel(student.config)];
  const allLevels = chooseAdapters(settings, stored);
  const levels = chooseLevels(settings.levels, allLevels);
  return {
    student,
    teacher: settings.teacher === undefined ? undefined : await readTeacher(settings.teacher, student),
    allLevels,
    levels,
    levelWeights: chooseNumbers('levelWeights', settings, { levels, allLevels }),
    levelShares: chooseNumbers('levelShares', settings, { levels, allLevels }),
    ...chooseHeads(settings, student, allLevels),
  };
}

function wholeModel({ numLayers, numHeads, intermediateSize }: EncoderConfig): ElasticLevel {
  return {
    level: 1,
    heads: Array<number>(numLayers).fill(numHeads),
    neurons: Array<number>(numLayers).fill(intermediateSize),
  };
}

function chooseLevels(
  wanted: readonly number[] | undefined,
  all: readonly ElasticLevel[],
): readonly ElasticLevel[] {
  if (wanted === undefined) return all;
  if (wanted.length === 0) throw invalid('levels', 'at least one level', wanted);
  for (const level of wanted) {
    if (all.some((known) => known.level === level)) continue;
    throw ElasticError.of('ELASTICLM_LEVEL_UNKNOWN', {
      expected: `levels that the student holds: ${all.map((known) => known.level).join(', ')}`,
      subject: 'options.levels',
      received: String(level),
      remedy: all.length === 1 ? 'More levels are made by elasticize' : 'Choose among them',
    });
  }
  return all.filter(({ level }) => wanted.includes(level));
}

/**
 * The levels with their adapters. Those that a student has are trained on with losses over embeddings, and left behind by
 * others: they belong to embeddings that the encoder no longer makes. Wanted ones are new where a level below 1 has none.
 */
function chooseAdapters(
  { adapters, objective }: Pick<TrainSettings, 'adapters' | 'objective'>,
  levels: readonly ElasticLevel[],
): readonly ElasticLevel[] {
  if (!hasEmbeddings(objective))
    return levels.map(({ level, heads, neurons }) => ({ level, heads, neurons }));
  if (!adapters) return levels;
  let next = countAdapters(levels);
  return levels.map((level) =>
    level.level === 1 || level.adapter !== undefined ? level : { ...level, adapter: next++ },
  );
}

function countAdapters(levels: readonly ElasticLevel[]): number {
  return levels.reduce((count, { adapter = -1 }) => Math.max(count, adapter + 1), 0);
}

/** The most that a level may be given. */
const mostOf = { levelWeights: Infinity, levelShares: 1 };

/** One number for each trained level, 1 where none is given. Numbers of the student's other levels do not matter. */
function chooseNumbers(
  field: keyof typeof mostOf,
  settings: Pick<TrainSettings, keyof typeof mostOf>,
  { levels, allLevels }: Pick<Subject, 'levels' | 'allLevels'>,
): number[] {
  const given = settings[field] ?? {};
  const most = mostOf[field];
  const names = allLevels.map(({ level }) => String(level));
  for (const [name, value] of Object.entries(given)) {
    if (!names.includes(name)) {
      throw invalid(field, `numbers of the student's levels ${names.join(', ')}`, name);
    }
    if (!(Number.isFinite(value) && value > 0 && value <= most)) {
      const expected = most === Infinity ? 'a number above 0' : `a number above 0 and up to ${most}`;
      throw invalid(`${field}["${name}"]`, expected, value);
    }
  }
  return levels.map(({ level }) => given[String(level)] ?? 1);
}

/** Terms over the logits of pooler and classifier. */
const logitTerms = ['classification', 'regression', 'logits', 'ranking'] as const;

function chooseHeads(
  { objective, labels }: Pick<TrainSettings, 'objective' | 'labels'>,
  { id2label }: CheckpointFiles,
  levels: readonly ElasticLevel[],
): Pick<Subject, 'heads' | 'labels'> {
  const has = (term: keyof Objective): boolean => objective[term] !== undefined;
  const usesLogits = logitTerms.some(has);
  const isScore = has('regression') || has('ranking');
  if (labels !== undefined && (!usesLogits || labels.length === 0 || (isScore && labels.length !== 1))) {
    const expected = usesLogits ? (isScore ? 'one name' : 'at least one name') : 'an objective over logits';
    throw invalid('labels', expected, labels);
  }
  const names = labels ?? (isScore && id2label?.length !== 1 ? ['LABEL_0'] : id2label);
  return {
    heads: {
      pooler: usesLogits,
      // 0: as many as the student's own classifier has
      numLabels: labels?.length ?? (isScore ? 1 : 0),
      relation: has('relation'),
      mlm: has('mlm'),
      numAdapters: countAdapters(levels),
    },
    labels: usesLogits ? names : undefined,
  };
}

/** The numbers that both models must share: the teacher's layers are read by the student's plan. */
const sharedFields = [
  'hiddenSize',
  'vocabSize',
  'numLayers',
  'numHeads',
  'intermediateSize',
  'maxPositionEmbeddings',
  'typeVocabSize',
  'layerNormEps',
] as const satisfies readonly (keyof EncoderConfig)[];

async function readTeacher(directory: string, student: CheckpointFiles): Promise<CheckpointFiles> {
  const teacher = await readCheckpoint(directory);
  for (const field of sharedFields) {
    if (teacher.config[field] === student.config[field]) continue;
    throw ElasticError.of('ELASTICLM_CONFIG_INVALID', {
      expected: `${field} ${student.config[field]}, as the student's`,
      subject: `teacher ${directory}`,
      received: String(teacher.config[field]),
      remedy: 'Choose the checkpoint that the student was made from, or one fine-tuned from it',
    });
  }
  await checkSameVocabulary(teacher.directory, student);
  return teacher;
}

/** Ids compared between turns of the event loop: well under a millisecond. */
const idsPerTurn = 2048;

/** A teacher that reads other words in the same ids would teach nonsense. */
async function checkSameVocabulary(directory: string, student: CheckpointFiles): Promise<void> {
  const [ours, theirs] = await Promise.all(
    [student.directory, directory].map((path) => Tokenizer.load(path)),
  );
  for (let id = 0; id < student.config.vocabSize; ++id) {
    if (id % idsPerTurn === 0) await setImmediate();
    const [expected, received] = [ours!.idToToken(id), theirs!.idToToken(id)];
    if (expected === received) continue;
    throw ElasticError.of('ELASTICLM_TOKENIZER_INVALID', {
      expected: `the student's vocabulary, with ${describeValue(expected)} at id ${id},`,
      subject: `teacher ${directory}`,
      received: describeValue(received),
      remedy: 'Choose a teacher with the same tokenizer',
    });
  }
}
