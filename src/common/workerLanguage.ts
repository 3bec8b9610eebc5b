/** Takes the language of the thread that started this one. The first import of a worker. */
import { getEnvironmentData } from 'node:worker_threads';
import { setLanguage, type Language } from './language';

const given = getEnvironmentData('language') as Language | undefined;
if (given) setLanguage(given);
