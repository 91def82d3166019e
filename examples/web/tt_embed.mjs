/*
 * tt_embed - compressed embedding tables in browsers and node: tt_embed.h's reader as WebAssembly
 *
 *     import {open} from './tt_embed.mjs';
 *     const table = await open(await (await fetch('table.tte')).arrayBuffer());
 *     const {ids, scores} = table.topK(table.row(42), 10);
 *
 * build.sh makes tt_embed.wasm, which has to lie beside this file. The image is copied into the module's
 * memory once, together with scratch and room for results; nothing is unpacked. A table that is no longer used is
 * collected like any object.
 */

const BATCH = 256;  // rows that are read together

/** What the library refuses: `status` is its number (tte_status), the message its words. */
export class TableError extends Error {
    constructor(status, message) {
        super(message);
        this.name = 'TableError';
        this.status = status;
    }
}

let compiled;

async function compile() {
    const url = new URL('tt_embed.wasm', import.meta.url);
    if (url.protocol === 'file:') return WebAssembly.compile(await (await import('node:fs/promises')).readFile(url));
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(`${url.pathname}: ${answer.status} ${answer.statusText}`);
    return WebAssembly.compile(await answer.arrayBuffer());
}

/**
 * Opens and verifies an image.
 * @param {ArrayBuffer | ArrayBufferView} bytes the whole .tte file
 * @returns {Promise<Table>}
 * @throws {TableError} when it is no sound image
 */
export async function open(bytes) {
    if (!(bytes instanceof ArrayBuffer || ArrayBuffer.isView(bytes)))
        throw new TypeError('open: expected an ArrayBuffer or a view of one');
    compiled ??= compile().catch(error => {
        compiled = undefined;
        throw error;
    });
    const image = bytes instanceof ArrayBuffer ? new Uint8Array(bytes)
        : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return new Table((await WebAssembly.instantiate(await compiled)).exports, image);
}

/** A table of `vocab` rows of `dim` numbers; open() makes it. */
class Table {
    #wasm; #end; #scratch; #query; #ids; #scores;

    constructor(wasm, image) {
        this.#wasm = wasm;
        this.#end = wasm.heap();
        const at = this.#reserve(image.length);
        new Uint8Array(wasm.memory.buffer).set(image, at);
        this.#must(wasm.open(at, image.length));
        const facts = new Float64Array(wasm.memory.buffer, wasm.facts(), 9);
        [this.vocab, this.dim, this.bytes, this.ratio, this.error, this.weightedError, this.worstError] = facts;
        this.layout = facts[7] === 1 ? 'table' : 'token';
        this.#scratch = this.#reserve(4 * facts[8]);
        this.#query = this.#reserve(4 * this.dim * BATCH);
        this.#ids = this.#reserve(4 * Math.max(this.vocab, BATCH));
        this.#scores = this.#reserve(4 * this.vocab);
        Object.freeze(this);
    }

    /* Room in the module's memory, on a boundary of 64 bytes. Views are made after the last call of it. */
    #reserve(size) {
        const memory = this.#wasm.memory, at = Math.ceil(this.#end / 64) * 64;
        this.#end = at + size;
        const missing = this.#end - memory.buffer.byteLength;
        try {
            if (missing > 0) memory.grow(Math.ceil(missing / 65536));
        } catch {
            throw new TableError(4, this.#text(4));
        }
        return at;
    }

    #text(status) {
        const memory = new Uint8Array(this.#wasm.memory.buffer), at = this.#wasm.text(status);
        return new TextDecoder().decode(memory.subarray(at, memory.indexOf(0, at)));
    }

    #must(status) {
        if (status !== 0) throw new TableError(status, this.#text(status));
    }

    #floats(at, count) { return new Float32Array(this.#wasm.memory.buffer, at, count); }
    #integers(at, count) { return new Uint32Array(this.#wasm.memory.buffer, at, count); }

    #setQuery(query) {
        if (query?.length !== this.dim) throw new RangeError(`a vector of ${query?.length} numbers, expected ${this.dim}`);
        this.#floats(this.#query, this.dim).set(query);
    }

    /**
     * One row.
     * @param {number} id from 0 to vocab - 1
     * @returns {Float32Array} dim numbers
     */
    row(id) { return this.rows([id]); }

    /**
     * Several rows, which is much faster than one by one.
     * @param {ArrayLike<number>} ids
     * @returns {Float32Array} ids.length x dim numbers, row by row
     */
    rows(ids) {
        const rows = new Float32Array(ids.length * this.dim);
        for (let first = 0; first < ids.length; first += BATCH) {
            const count = Math.min(BATCH, ids.length - first), part = this.#integers(this.#ids, count);
            for (let i = 0; i < count; i++) {
                const id = ids[first + i];
                if (!(Number.isInteger(id) && id >= 0 && id < this.vocab))
                    throw new RangeError(`row ${id}: expected a whole number from 0 to ${this.vocab - 1}`);
                part[i] = id;
            }
            this.#must(this.#wasm.rows(this.#ids, count, this.#query, this.#scratch));
            rows.set(this.#floats(this.#query, count * this.dim), first * this.dim);
        }
        return rows;
    }

    /**
     * The inner products of a vector with all rows.
     * @param {ArrayLike<number>} query dim numbers
     * @returns {Float32Array} vocab numbers
     */
    scores(query) {
        this.#setQuery(query);
        this.#must(this.#wasm.scores(this.#query, this.vocab, this.#scores, this.#scratch));
        return this.#floats(this.#scores, this.vocab).slice();
    }

    /**
     * The k rows with the largest inner products, descending; the lower id where they are equal.
     * @param {ArrayLike<number>} query dim numbers
     * @param {number} k from 1 to vocab
     * @returns {{ids: Uint32Array, scores: Float32Array}} k of each
     */
    topK(query, k) {
        if (!(Number.isInteger(k) && k >= 1 && k <= this.vocab))
            throw new RangeError(`k = ${k}: expected a whole number from 1 to ${this.vocab}`);
        this.#setQuery(query);
        this.#must(this.#wasm.top(this.#query, k, this.#ids, this.#scores, this.#scratch));
        return {ids: this.#integers(this.#ids, k).slice(), scores: this.#floats(this.#scores, k).slice()};
    }
}
