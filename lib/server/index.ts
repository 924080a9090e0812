/** Models behind a schedule. */
export { levelQualities, profileModel, type ProfileOptions } from './profile-model.js';
