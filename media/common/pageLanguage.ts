/** Takes the language that the extension has put into the page. The first import of a page. */
import { setLanguage, type Language } from '../../src/common/language';

setLanguage(JSON.parse(document.getElementById('language')!.textContent) as Language);
