/** The page of a webview: a script and a style sheet of ours, and nothing from elsewhere. */
import { randomBytes } from 'node:crypto';
import * as vscode from 'vscode';
import { language } from '../common/language';

/** Prepares the webview; `name` is that of the script and of the style sheet in dist/media. */
export function loadPage(webview: vscode.Webview, extensionUri: vscode.Uri, name: string, title: string): void {
  const media = vscode.Uri.joinPath(extensionUri, 'dist', 'media');
  webview.options = { enableScripts: true, localResourceRoots: [media] };
  const nonce = randomBytes(16).toString('base64');
  const resource = (file: string) => webview.asWebviewUri(vscode.Uri.joinPath(media, file)).toString();
  const policy = [
    "default-src 'none'",
    `style-src ${webview.cspSource}`,
    `script-src 'nonce-${nonce}'`,
    `img-src ${webview.cspSource}`,
  ].join('; ');
  webview.html = `<!DOCTYPE html>
<html lang="${language().tag}">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta http-equiv="Content-Security-Policy" content="${policy}">
  <link rel="stylesheet" href="${resource(`${name}.css`)}">
  <title>${title}</title>
</head>
<body data-kind="${name}">
  <main id="${name}"></main>
  <script type="application/json" id="language">${JSON.stringify(language()).replaceAll('<', '\\u003c')}</script>
  <script type="module" nonce="${nonce}" src="${resource(`${name}.js`)}"></script>
</body>
</html>`;
}
