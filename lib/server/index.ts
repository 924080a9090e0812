/** Models behind a schedule. The HTTP side is plugin.ts, an entry of its own: it brings a server with it. */
export { ElasticService, type HeadName, type ServiceHeads, type ServiceOptions } from './elastic-service.js';
export { ModelSchedule, type ModelScheduleOptions } from './model-schedule.js';
export { levelQualities, profileModel, type ProfileOptions } from './profile-model.js';
