// @ts-check
/**
 * Bugs that a kernel could have, each a change of one place, and the test program that must see it. Run by
 * scripts/mutate-kernels.mjs, which fails when a text is no longer where it was.
 *
 * @typedef {object} Mutation
 * @property {string} name what the change does
 * @property {string} file below native/
 * @property {'missing barrier' | 'wrong wait count' | 'wrong mask' | 'wrong descriptor' | 'wrong parity' | 'missing fence' |
 *   'wrong address' | 'wrong order'} class
 * @property {string} find exactly once in the file, or at least `occurrence` times
 * @property {number} [occurrence] which of them is changed, from 1
 * @property {string} replace
 * @property {string} test program of native/test/cuda
 * @property {string} filter what its cases' names must contain; '' for all
 */

/** @type {readonly Mutation[]} */
export const mutations = [];
