/** Takes the editor's display language, where there is a translation into it. The first import of the extension host. */
import { setEnvironmentData } from 'node:worker_threads';
import * as vscode from 'vscode';
import { language, setLanguage } from './language';

const messages = vscode.l10n.bundle;
if (messages) setLanguage({ tag: vscode.env.language, messages });
setEnvironmentData('language', language());
