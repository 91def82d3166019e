/* page.mjs: nearest words while one types, from one of several images of a table. build.sh makes data/. */
import {open} from './tt_embed.mjs';

const SHOWN = 10, COMPLETIONS = 12;
const element = Object.fromEntries([...document.querySelectorAll('[id]')].map(node => [node.id, node]));
const number = new Intl.NumberFormat('en');

const state = {
    words: [],          // by id; null: a piece of a word, which is not shown
    place: new Map(),   // word: id
    sorted: [],         // ids of words, in order of their text in lower case
    images: [],         // {file, table, inverse}, the largest first
};

async function get(path) {
    const answer = await fetch(new URL(path, import.meta.url), {cache: 'no-cache'});  // build.sh may have run again
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${answer.statusText}`);
    return answer;
}

/* ---- words ------------------------------------------------------------------------------------------ */

/* GPT-2's vocabularies have a printable character for each byte: these stand for themselves, all others for
   characters from 256 on, in order. */
function bytesOfCharacters() {
    const itself = byte => (byte > 32 && byte < 127) || (byte > 160 && byte < 256 && byte !== 173), bytes = new Map();
    for (let byte = 0, other = 256; byte < 256; byte++) bytes.set(String.fromCharCode(itself(byte) ? byte : other++), byte);
    return bytes;
}

/* Tokens with a space before them are words, others are pieces of words. Vocabularies without spaces have words alone. */
function readWords(text, json) {
    if (!json) return text.replace(/\r?\n$/, '').split(/\r?\n/);
    const words = [], bytes = bytesOfCharacters(), decoder = new TextDecoder();
    for (const [token, id] of Object.entries(JSON.parse(text)))
        words[id] = decoder.decode(Uint8Array.from(token, character => bytes.get(character) ?? 63));
    if (!words.some(word => word?.startsWith(' '))) return words;
    return Array.from(words, word => /^ [\p{L}\p{N}'’-]+$/u.test(word ?? '') ? word.slice(1) : null);
}

function setWords(words) {
    state.words = words;
    words.forEach((word, id) => {
        if (word && !state.place.has(word)) state.place.set(word, id);
    });
    const folded = words.map(word => word?.toLowerCase());
    state.sorted = [...state.place.values()].sort((a, b) => folded[a] < folded[b] ? -1 : folded[a] > folded[b] ? 1 : a - b);
}

/* Words that begin like this, the most frequent (lowest ids) first. */
function completions(beginning) {
    const start = beginning.toLowerCase(), text = i => state.words[state.sorted[i]].toLowerCase();
    let low = 0, high = state.sorted.length;
    while (low < high) {
        const middle = low + high >> 1;
        if (text(middle) < start) low = middle + 1;
        else high = middle;
    }
    const found = [];
    for (; low < state.sorted.length && text(low).startsWith(start); low++) found.push(state.sorted[low]);
    return found.sort((a, b) => a - b).slice(0, COMPLETIONS);
}

/* ---- images ----------------------------------------------------------------------------------------- */

const pause = () => new Promise(resolve => setTimeout(resolve));

/* One over the length of each row, for cosines; in pieces, so that the page stays awake. Words alone count. */
async function inverseLengths(table) {
    const inverse = new Float32Array(table.vocab), ids = [...state.place.values()];
    for (let first = 0; first < ids.length; first += 1024) {
        const part = ids.slice(first, first + 1024), rows = table.rows(part);
        part.forEach((id, i) => {
            let sum = 0;
            for (let j = i * table.dim; j < (i + 1) * table.dim; j++) sum += rows[j] * rows[j];
            inverse[id] = sum > 0 ? 1 / Math.sqrt(sum) : 0;
        });
        await pause();
    }
    return inverse;
}

/* The SHOWN words whose rows point in the most similar direction. */
function nearest({table, inverse}, id) {
    const scores = table.scores(table.row(id)), best = [];
    for (let other = 0; other < table.vocab; other++) {
        if (inverse[other] === 0 || other === id) continue;
        const cosine = scores[other] * inverse[other] * inverse[id];
        if (best.length === SHOWN && cosine <= best[SHOWN - 1].cosine) continue;
        let at = best.length;
        while (at > 0 && cosine > best[at - 1].cosine) at--;
        best.splice(at, 0, {id: other, cosine});
        best.length = Math.min(best.length, SHOWN);
    }
    return best;
}

const digits = error => error.toFixed(error < 0.01 ? 4 : 3);
const times = table => `${Number(table.ratio.toPrecision(3))}×`;

function showImages() {
    element.rows.replaceChildren(...state.images.map(({table}) => {
        const row = document.createElement('tr'), head = document.createElement('th'), bar = document.createElement('span');
        head.scope = 'row';
        head.textContent = times(table);
        bar.className = 'size';
        bar.style.setProperty('--share', `${100 / table.ratio}%`);
        row.append(head, ...[number.format(table.bytes), digits(table.error), bar].map(content => {
            const cell = document.createElement('td');
            cell.append(content);
            return cell;
        }));
        row.lastChild.className = 'wide';
        return row;
    }));
    element.ratios.replaceChildren(...state.images.map((_, i) => new Option('', i)));
}

/* ---- what is shown ------------------------------------------------------------------------------------ */

let said;

/* For those who listen: once they stop typing. */
function say(text) {
    clearTimeout(said);
    said = setTimeout(() => { element.live.textContent = text; }, 600);
}

function showFigures(image) {
    const {table} = image;
    element.times.textContent = times(table);
    element.bytes.textContent = `${number.format(table.bytes)} of ${number.format(4 * table.vocab * table.dim)}`;
    element.error.textContent = digits(table.error);
    element.worst.textContent = digits(table.worstError);
    element.ratio.setAttribute('aria-valuetext',
        `${times(table).replace('×', ' times')}, ${number.format(table.bytes)} bytes, relative error ${digits(table.error)}`);
    [...element.rows.children].forEach((row, i) => {
        if (state.images[i] === image) row.setAttribute('aria-current', 'true');
        else row.removeAttribute('aria-current');
    });
}

function showResults(list, fine) {
    const known = new Set(fine.map(({id}) => id));
    element.results.replaceChildren(...list.map(({id, cosine}) => {
        const item = document.createElement('li'), button = document.createElement('button');
        const text = document.createElement('span'), value = document.createElement('span');
        button.type = 'button';
        button.value = state.words[id];
        button.style.setProperty('--share', `${Math.max(0, 100 * cosine)}%`);
        text.textContent = state.words[id];
        text.className = known.has(id) ? 'text' : 'text new';
        if (!known.has(id)) text.append(' (new here)');
        value.textContent = cosine.toFixed(3);
        value.className = 'cosine';
        button.append(text, value);
        item.append(button);
        return item;
    }));
    return list.filter(({id}) => known.has(id)).length;
}

function update() {
    const typed = element.word.value.trim(), image = state.images[element.ratio.valueAsNumber], largest = state.images[0];
    const list = typed ? completions(typed) : [];
    const id = state.place.get(typed) ?? state.place.get(typed.toLowerCase()) ?? list[0];
    element.completions.replaceChildren(...list.map(each => new Option(state.words[each])));
    showFigures(image);
    element.found.textContent = !typed ? 'Type a word of the table.' : id === undefined ? `No word of the table begins with “${typed}”.`
        : state.words[id] === typed ? `Row ${number.format(id)} of ${number.format(image.table.vocab)}.`
        : `Not a word of the table; taken for “${state.words[id]}”.`;
    if (id === undefined) {
        element.results.replaceChildren();
        element.agreement.textContent = '\u00a0';
        element.nearest.textContent = 'Nearest words';
        if (typed) say(element.found.textContent);
        return;
    }
    const start = performance.now(), found = nearest(image, id), took = performance.now() - start;
    const agreed = showResults(found, image === largest ? found : nearest(largest, id));
    element.time.textContent = `${took.toFixed(1)} ms`;
    element.nearest.textContent = `Nearest to “${state.words[id]}”`;
    element.agreement.textContent = image === largest
        ? `The largest image, ${times(largest.table)}, is what the others are compared with.`
        : `${agreed} of ${found.length} are also among the nearest at ${times(largest.table)}.`;
    say(`Nearest to ${state.words[id]} at ${times(image.table).replace('×', ' times')} smaller: ${found.map(each => state.words[each.id]).join(', ')}.`);
}

async function start() {
    const {name, words, images} = await (await get('data/table.json')).json();
    setWords(readWords(await (await get(`data/${words}`)).text(), words.endsWith('.json')));
    for (const file of images) {
        element.about.textContent = `Loading ${file}…`;
        const table = await open(await (await get(`data/${file}`)).arrayBuffer());
        if (table.vocab < state.words.length) throw new Error(`data/${words}: ${state.words.length} words, but ${file} has ${table.vocab} rows`);
        state.images.push({file, table, inverse: await inverseLengths(table)});
    }
    state.images.sort((a, b) => b.table.bytes - a.table.bytes);
    const {vocab, dim} = state.images[0].table;
    element.about.textContent = `The token table of ${name}, ${number.format(vocab)} rows of ${dim} numbers, in ${images.length} sizes.`;
    showImages();
    element.ratio.max = state.images.length - 1;
    element.ratio.value = Math.min(2, state.images.length - 1);
    element.word.value = ['river', 'mother', 'house'].find(word => state.place.has(word)) ?? state.words[state.sorted[0]] ?? '';
    element.word.disabled = element.ratio.disabled = false;
    element.word.addEventListener('input', update);
    element.ratio.addEventListener('input', update);
    element.controls.addEventListener('submit', event => event.preventDefault());
    element.results.addEventListener('click', event => {
        const button = event.target.closest('button');
        if (!button) return;
        element.word.value = button.value;
        element.word.focus();
        update();
    });
    update();
    document.querySelector('main').removeAttribute('aria-busy');
}

start().catch(error => {
    element.about.textContent = `The table cannot be shown: ${error.message}`;
    element.about.className = 'problem note';
    element.about.setAttribute('role', 'alert');
});
