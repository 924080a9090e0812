/** Recipes: what is refused and how it is named, where paths lead, and whole runs on tiny checkpoints. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  checkRecipe,
  distill,
  ElasticModel,
  finetune,
  mergeRecipe,
  readRecipe,
  type Recipe,
  type RecipeEvent,
} from '../../lib/index.js';
import { writeTinyCheckpoint } from '../support/checkpoint.js';
import { expectCode, expectRejection } from '../support/expect-code.js';

let scratch: string;

beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), 'elasticlm-recipe-'));
});

afterEach(() => {
  rmSync(scratch, { recursive: true });
});

const smallest = {
  kind: 'embedding',
  model: 'model',
  output: 'out',
  data: { source: 'text', paths: ['text'], maxLength: 32 },
  distill: { learningRate: 1e-3, steps: 3 },
};

describe('checkRecipe()', () => {
  it('accepts the smallest recipe as it is', () => {
    expect(checkRecipe(smallest)).toEqual(smallest);
  });

  it.each<[string, object, RegExp]>([
    ['no kind', { kind: undefined }, /a value for kind in the recipe, received undefined/],
    ['an unknown kind', { kind: 'magic' }, /"embedding" \| "relation".*kind in the recipe, received "magic"/],
    ['a field that there is not', { modle: 'x' }, /no such field for modle in the recipe.*misspelled/],
    [
      'such a field inside',
      { distill: { learningRate: 1e-3, clipnorm: 1 } },
      /no such field for distill\.clipnorm/,
    ],
    ['no learning rate', { distill: { steps: 3 } }, /distill\.learningRate in the recipe/],
    [
      'a learning rate of 0',
      { distill: { learningRate: 0 } },
      /a number >0 for distill\.learningRate in the recipe, received 0/,
    ],
    [
      'half a step',
      { distill: { learningRate: 1, steps: 0.5 } },
      /a whole number for distill\.steps in the recipe, received 0\.5/,
    ],
    [
      'a level above 1',
      { elasticize: { levels: [1, 1.5] } },
      /a number <=1 for elasticize\.levels\.1 in the recipe/,
    ],
    ['no data', { data: undefined }, /data in the recipe/],
    [
      'an unknown source',
      { data: { source: 'web', maxLength: 8 } },
      /data\.source in the recipe, received "web"/,
    ],
    ['data without text', { data: { source: 'text', maxLength: 8 } }, /at least one of paths/],
    [
      "another kind's data",
      { data: { source: 'wikiqa', data: 'x', maxLength: 8 } },
      /text, which the kind embedding learns from, for data\.source/,
    ],
    [
      'scores for labels',
      { kind: 'classification', data: { source: 'glue', task: 'stsb', data: 'x', maxLength: 8 } },
      /labels, not of scores, for the kind classification for data\.task/,
    ],
    [
      'a metric to choose by that is not measured',
      {
        evaluation: {
          tasks: [{ task: 'retrieval', data: 'a/scifact', metrics: ['ndcg@10'] }],
          best: { metric: 'mdn/ndcg@10' },
        },
      },
      /one of scifact\/ndcg@10 for evaluation\.best\.metric/,
    ],
    [
      'two lengths of a training',
      { distill: { learningRate: 1, steps: 1, epochs: 1 } },
      /either steps or epochs for distill in the recipe, received both/,
    ],
    [
      'a training without length',
      { distill: { learningRate: 1 } },
      /either steps or epochs for distill in the recipe, received neither/,
    ],
    [
      'an unknown loss',
      { elasticize: { levels: [1], loss: 'embedding' } },
      /elasticize\.loss in the recipe, received "embedding"/,
    ],
  ])('names the field of %s', (_, change, message) => {
    const value = JSON.parse(JSON.stringify({ ...smallest, ...change })) as unknown;
    expectCode(() => checkRecipe(value), 'ELASTICLM_RECIPE_INVALID', message);
  });

  it.each([undefined, null, 7, 'recipe'])('refuses %j', (value) => {
    expectCode(() => checkRecipe(value), 'ELASTICLM_RECIPE_INVALID', /an object for the recipe/);
  });
});

describe('readRecipe()', () => {
  it('finds models beside the recipe and data where told', async () => {
    const path = join(scratch, 'recipes', 'r.json');
    mkdirSync(join(scratch, 'recipes'));
    const recipe = {
      ...smallest,
      model: '../models/a',
      data: { source: 'text', maxLength: 8, paths: ['t'], exclude: [{ data: 'c', splits: ['test'] }] },
      evaluation: { tasks: [{ task: 'sts', data: 'glue', metrics: ['spearman'] }] },
    };
    writeFileSync(path, JSON.stringify(recipe));
    expect(await readRecipe(path, { data: '/data', overrides: { distill: { steps: 9 } } })).toMatchObject({
      model: join(scratch, 'models', 'a'),
      output: join(scratch, 'recipes', 'out'),
      data: { paths: ['/data/t'], exclude: [{ data: '/data/c', splits: ['test'] }] },
      evaluation: { tasks: [{ data: '/data/glue' }] },
      distill: { steps: 9, learningRate: 1e-3 },
    });
    expect((await readRecipe(path)).data).toMatchObject({ paths: [join(scratch, 'recipes', 't')] });
  });

  it('names the file that is not there, is no JSON or no recipe', async () => {
    await expectRejection(readRecipe(join(scratch, 'none.json')), 'ELASTICLM_FILE_NOT_FOUND', /none\.json/);
    const path = join(scratch, 'r.json');
    writeFileSync(path, '{"kind": ');
    await expectRejection(readRecipe(path), 'ELASTICLM_RECIPE_INVALID', /JSON for .*r\.json/);
    writeFileSync(path, '{"kind": "embedding"}');
    await expectRejection(readRecipe(path), 'ELASTICLM_RECIPE_INVALID', /model in .*r\.json/);
    writeFileSync(path, JSON.stringify(smallest));
    await expectRejection(
      readRecipe(path, { overrides: { distill: { steps: -1 } } }),
      'ELASTICLM_RECIPE_INVALID',
      /distill\.steps in .*r\.json with the options given/,
    );
  });

  it('accepts every recipe of this repository', async () => {
    const folder = fileURLToPath(new URL('../../recipes', import.meta.url));
    const names = readdirSync(folder).filter((name) => name.endsWith('.json'));
    expect(names).toContain('minilm-embedding.json');
    for (const name of names) await readRecipe(join(folder, name));
  });
});

describe('mergeRecipe()', () => {
  it('replaces at any depth, leaves what is not mentioned, and lists as wholes', () => {
    const base = { a: { b: 1, c: [1, 2] }, d: 1 };
    expect(mergeRecipe(base, { a: { c: [3], e: undefined }, f: 2 })).toEqual({
      a: { b: 1, c: [3] },
      d: 1,
      f: 2,
    });
    expect(base).toEqual({ a: { b: 1, c: [1, 2] }, d: 1 });
    expect(mergeRecipe({ a: { epochs: 2 } }, { a: { steps: 9 } })).toEqual({ a: { steps: 9 } });
  });
});

describe('a run', () => {
  const words = ['fox', 'dog', 'city', 'river', 'quick', 'brown', 'lazy', 'jumps'];
  const sentence = (idx: number): string =>
    Array.from({ length: 6 }, (_, word) => words[(idx * 5 + word * word) % words.length]).join(' ');

  function prepare(labels?: number): Pick<Recipe, 'model' | 'output' | 'seed' | 'threads'> {
    const model = join(scratch, 'model');
    writeTinyCheckpoint(model, labels === undefined ? {} : { labels });
    return { model, output: join(scratch, 'run'), seed: 1, threads: 1 };
  }

  function writeText(): string {
    const path = join(scratch, 'text.jsonl');
    const lines = Array.from({ length: 40 }, (_, idx) =>
      JSON.stringify({
        title: `the ${sentence(idx + 1)}`,
        text: `A ${sentence(idx)}. The ${sentence(idx + 3)}.`,
      }),
    );
    writeFileSync(path, `${lines.join('\n')}\n`);
    return path;
  }

  function writeTable(name: string, rows: readonly string[]): void {
    writeFileSync(join(scratch, name), rows.map((row) => `${row}\n`).join(''));
  }

  const training = { learningRate: 1e-3, tokensPerMicroBatch: 200, precision: 'f32' } as const;

  it('embedding: cuts the model, trains every level against it, measures, and goes on from what is there', async () => {
    const rows = ['index\tsentence1\tsentence2\tscore'];
    for (let idx = 0; idx < 8; ++idx) rows.push(`${idx}\t${sentence(idx)}\t${sentence(idx * 2)}\t${idx % 5}`);
    writeTable('dev.tsv', rows);
    const events: RecipeEvent[] = [];
    const recipe: Recipe = {
      ...prepare(),
      kind: 'embedding',
      data: { source: 'text', maxLength: 32, paths: [writeText()] },
      elasticize: { levels: [1, 0.5, 0.25], examples: 20 },
      distill: { ...training, steps: 6 },
      evaluation: { tasks: [{ task: 'sts', data: scratch, metrics: ['spearman'] }] },
    };
    const result = await distill(recipe, { onEvent: (event) => events.push(event) });
    expect(result).toMatchObject({ stage: 'distill', reason: 'steps', step: 6 });
    expect(Object.keys(result.metrics!['sts/spearman']!)).toEqual(['1', '0.5', '0.25']);
    await using model = await ElasticModel.load(result.model!);
    expect(model.levels.map(({ level }) => level)).toEqual([1, 0.5, 0.25]);
    const elastic = JSON.parse(readFileSync(join(result.model!, 'elastic.json'), 'utf8')) as object;
    expect(elastic).toMatchObject({
      importance: { method: 'mask-gradient', loss: 'contrastive', examples: 20 },
      quality: [{ task: 'sts', metric: 'spearman' }],
    });
    const kinds = new Set(events.map(({ stage, type }) => `${stage} ${type}`));
    expect([...kinds].sort()).toEqual([
      'distill checkpoint',
      'distill evaluation',
      'distill progress',
      'distill start',
      'distill step',
      'elasticize progress',
    ]);

    const before = readFileSync(join(result.model!, 'model.safetensors'));
    const again = await distill(recipe);
    expect(again).toEqual(result);
    expect(readFileSync(join(result.model!, 'model.safetensors')).equals(before)).toBe(true);
    await expectRejection(
      distill({ ...recipe, elasticize: { levels: [1, 0.5] } }),
      'ELASTICLM_TRAINING_STATE_MISMATCH',
      /elastic/,
    );
    await expectRejection(distill(recipe, { resume: false }), 'ELASTICLM_ARGUMENT_INVALID');
  });

  it('refuses to go on with other data', async () => {
    const recipe: Recipe = {
      ...prepare(),
      kind: 'embedding',
      data: { source: 'text', maxLength: 32, paths: [writeText()] },
      distill: { ...training, steps: 4 },
    };
    await distill(recipe);
    writeFileSync(join(scratch, 'text.jsonl'), '{"text":"a fox"}\n');
    await expectRejection(distill(recipe), 'ELASTICLM_TRAINING_STATE_MISMATCH', /data/);
  });

  it('classification: makes a teacher, cuts it and teaches its levels', async () => {
    writeTable('train.tsv', ['sentence\tlabel', ...words.map((word, idx) => `a ${word} dog\t${idx % 2}`)]);
    writeTable('dev.tsv', ['sentence\tlabel', 'a fox\t0', 'a city\t1']);
    const recipe: Recipe = {
      ...prepare(),
      kind: 'classification',
      data: { source: 'glue', task: 'sst2', data: scratch, maxLength: 16 },
      finetune: { ...training, epochs: 2 },
      elasticize: { levels: [1, 0.5] },
      distill: { ...training, epochs: 1 },
      evaluation: { tasks: [{ task: 'sst2', data: scratch, metrics: ['accuracy'] }] },
    };
    const teacher = await finetune(recipe);
    expect(Object.keys(teacher.metrics!['sst2/accuracy']!)).toEqual(['1']);
    const result = await distill(recipe);
    expect(Object.keys(result.metrics!['sst2/accuracy']!)).toEqual(['1', '0.5']);
    const config = JSON.parse(readFileSync(join(result.model!, 'config.json'), 'utf8')) as object;
    expect(config).toMatchObject({ id2label: { 0: 'negative', 1: 'positive' } });
  });

  it('ranking: lists of WikiQA', async () => {
    const rows = ['question\tsentence\tlabel'];
    for (const word of words) rows.push(`${word}\tthe ${word}\t1`, `${word}\tx\t0`, `${word}\ty z\t0`);
    writeTable('train.tsv', rows);
    writeTable('dev.tsv', rows);
    const recipe: Recipe = {
      ...prepare(),
      kind: 'ranking',
      data: { source: 'wikiqa', data: scratch, maxLength: 16 },
      finetune: { ...training, epochs: 1 },
      elasticize: { levels: [1, 0.5] },
      distill: { ...training, epochs: 1 },
      evaluation: { tasks: [{ task: 'wikiqa', data: scratch, metrics: ['map'] }] },
    };
    const result = await distill(recipe);
    expect(Object.keys(result.metrics!['wikiqa/map']!)).toEqual(['1', '0.5']);
  });

  it.each<[Recipe['kind'], Recipe['data']['source']]>([
    ['contrastive', 'titles'],
    ['contrastive', 'halves'],
    ['mlm', 'text'],
  ])('%s: fine-tunes on %s', async (kind, source) => {
    const recipe = checkRecipe({
      ...prepare(),
      kind,
      data: { source, maxLength: 32, paths: [writeText()] },
      finetune: { ...training, steps: 3 },
    });
    const result = await finetune(recipe);
    expect(result).toMatchObject({ stage: 'finetune', step: 3 });
  });

  it('relation: aligns relations, and leaves the extra projection out of the checkpoint', async () => {
    const recipe: Recipe = {
      ...prepare(),
      kind: 'relation',
      data: { source: 'text', maxLength: 32, paths: [writeText()] },
      elasticize: { levels: [1, 0.5], importance: 'activation-norm', examples: 10 },
      distill: { ...training, steps: 3, objective: { relation: { weight: 1, numRelationHeads: 8 } } },
    };
    const { model } = await distill(recipe);
    await using loaded = await ElasticModel.load(model!);
    expect(loaded.levels).toHaveLength(2);
  });

  it('stops for a while when its time is over', async () => {
    const recipe: Recipe = {
      ...prepare(),
      kind: 'embedding',
      data: { source: 'text', maxLength: 32, paths: [writeText()] },
      distill: { ...training, steps: 5 },
    };
    const first = await distill(recipe, { maxMinutes: 1e-9 });
    expect(first).toEqual({ stage: 'distill', reason: 'time', step: 1 });
    expect(await distill(recipe)).toMatchObject({ reason: 'steps', step: 5 });
  });

  it('says what a recipe lacks', async () => {
    const { kind, data } = smallest;
    const recipe = checkRecipe({ kind, data, ...prepare() });
    await expectRejection(distill(recipe), 'ELASTICLM_RECIPE_INVALID', /distill/);
    await expectRejection(finetune(recipe), 'ELASTICLM_RECIPE_INVALID', /finetune/);
  });
});
