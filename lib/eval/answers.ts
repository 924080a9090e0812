/** Whether a passage answers a question, as DPR decides it for NQ and TriviaQA. */

/** Letters, digits and marks in a row are one token; every other character that is neither space nor control is one. */
const token = /[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]/gu;
/** Stands in no token, since it is a control character. */
const separator = '\0';

/**
 * A text as matching reads it: decomposed (NFD), lower case, one separator around each token, so that a sequence of tokens
 * inside another is a string inside another. Accents, articles and punctuation stay. Empty for a text without a token.
 */
export function matchable(text: string): string {
  const tokens = text.normalize('NFD').match(token);
  return tokens === null ? '' : `${separator}${tokens.join(separator)}${separator}`.toLowerCase();
}

/**
 * DPR's has_answer: whether the tokens of one of the answers stand in the passage, one after the other. An answer without a
 * token is in no passage (DPR finds it in every one).
 * @param passage as matchable() gives it
 * @param answers likewise
 */
export function hasAnswer(passage: string, answers: readonly string[]): boolean {
  return answers.some((answer) => answer !== '' && passage.includes(answer));
}
