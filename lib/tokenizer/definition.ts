import type { AddedToken } from './added-tokens.js';
import type { NormalizerOptions } from './normalizer.js';
import type { Template } from './template.js';
import type { Trie } from './trie.js';

/** Ids of the tokens that have a role; a role that the vocabulary has no token for is left out. */
export interface SpecialIds {
  unk: number;
  pad?: number;
  cls?: number;
  sep?: number;
  mask?: number;
}

export const specialRoles = ['unk', 'pad', 'cls', 'sep', 'mask'] as const;
export type SpecialRole = (typeof specialRoles)[number];

/** A validated tokenizer, as plain data: what `tokenizer.json` and `vocab.txt` are both read into. */
export interface TokenizerDefinition {
  /** the model's own tokens */
  vocab: Trie;
  unkToken: string;
  continuingPrefix: string;
  maxCharsPerWord: number;
  normalizer: NormalizerOptions;
  addedTokens: readonly AddedToken[];
  /** for one text */
  single: Template;
  /** for two texts */
  pair: Template;
  /** tokens by role, where the checkpoint names them */
  roles: Readonly<Partial<Record<SpecialRole, string>>>;
  /** the longest sequence the checkpoint's tokenizer_config.json allows, special tokens included */
  modelMaxLength?: number;
}

/** What each role's token is called when the checkpoint does not say. */
export const defaultRoleTokens: Readonly<Record<SpecialRole, string>> = {
  unk: '[UNK]',
  pad: '[PAD]',
  cls: '[CLS]',
  sep: '[SEP]',
  mask: '[MASK]',
};
