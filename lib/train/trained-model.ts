/** The checkpoint that a run leaves: the student's folder with other weights. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  checkElasticFile,
  serialiseElasticFile,
  type ElasticFile,
  type ElasticQuality,
} from '../model/index.js';
import { OutputFolder, writing } from '../structure/index.js';
import type { Metrics, TrainSettings } from './options.js';
import type { Subject } from './subject.js';

export interface TrainedModel {
  settings: TrainSettings;
  subject: Subject;
  /** writes or copies the weights to a path */
  writeWeights: (path: string) => Promise<void>;
  /** for the quality table */
  metrics: Metrics | undefined;
}

export const weightsName = 'model.safetensors';

/**
 * A new checkpoint beside `target`, complete but not yet in place.
 * @throws ELASTICLM_FILE_UNWRITABLE
 */
export async function makeTrainedModel(target: string, model: TrainedModel): Promise<OutputFolder> {
  const { settings, subject } = model;
  const folder = await OutputFolder.create(target, true);
  try {
    await folder.copyCompanions(subject.student.directory);
    await model.writeWeights(join(folder.path, weightsName));
    await writing(target, async () => {
      await patchConfig(join(folder.path, 'config.json'), settings, subject);
      const file = elasticFile(model);
      if (file === undefined) return;
      const path = join(folder.path, 'elastic.json');
      checkElasticFile(file, path, subject.student.config);
      await writeFile(path, serialiseElasticFile(file));
    });
    return folder;
  } catch (error) {
    await folder.abandon();
    throw error;
  }
}

/** A head that is trained makes the checkpoint one of another class; its other fields stay. */
async function patchConfig(path: string, { objective }: TrainSettings, { labels }: Subject): Promise<void> {
  const changes: Record<string, unknown> = {};
  if (objective.mlm !== undefined) changes.architectures = ['BertForMaskedLM'];
  if (labels !== undefined) {
    changes.architectures = ['BertForSequenceClassification'];
    changes.id2label = Object.fromEntries(labels.map((name, id) => [String(id), name]));
    changes.label2id = Object.fromEntries(labels.map((name, id) => [name, id]));
  }
  if (Object.keys(changes).length === 0) return;
  const config = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
  await writeFile(path, `${JSON.stringify({ ...config, ...changes }, null, 2)}\n`);
}

/** elastic.json with the student's levels; none where the student has none and there is nothing to say. */
function elasticFile({ settings, subject, metrics }: TrainedModel): ElasticFile | undefined {
  const { student, allLevels } = subject;
  const before: ElasticFile = { ...student.elastic, levels: [...allLevels] };
  delete before.quality; // of other weights
  const pooling = settings.pooling ?? student.pooling;
  const normalize = settings.normalize ?? student.normalize;
  const maxLength = settings.maxLength ?? before.maxLength;
  const quality = metrics === undefined ? [] : qualityOf(metrics);
  const saysNothing =
    quality.length === 0 &&
    settings.pooling === undefined &&
    settings.normalize === undefined &&
    settings.maxLength === undefined;
  if (student.elastic === undefined && saysNothing) return undefined;
  return {
    ...before,
    ...(pooling === undefined ? {} : { pooling }),
    ...(normalize === undefined ? {} : { normalize }),
    ...(maxLength === undefined ? {} : { maxLength }),
    ...(quality.length === 0 ? {} : { quality }),
  };
}

/** `task/metric` names as rows of the table; a name without a slash is a metric of the task 'training'. */
function qualityOf(metrics: Metrics): ElasticQuality[] {
  return Object.entries(metrics).map(([name, byLevel]) => {
    const slash = name.indexOf('/');
    const [task, metric] = slash < 0 ? ['training', name] : [name.slice(0, slash), name.slice(slash + 1)];
    return { task, metric, byLevel: { ...byLevel } };
  });
}
