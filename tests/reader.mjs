/* reader.mjs: reads .tte images of format 2, written from IMAGE FORMAT in tt_embed.h alone.
 *
 *     node reader.mjs IMAGE ..                   what an image holds, and how its first row begins
 *     node reader.mjs --compare IMAGE .. ROWS    all rows against float32 in ROWS, bit for bit; ends with
 *                                                'reader: N passed, N failed'
 *
 * As a module it has open(bytes), which gives {vocab, dim, row(token)}; browsers take it, too. Plain and slow. Everything
 * is checked that this reader relies on, nothing more. */

const RECORDS = 1, INDEX = 2, CLASSES = 3, BASIS = 4, CENTROIDS = 5;
const CODES = [[2339688529, 1818127173], [441949745, 3125967622]];  // A and B, of the first and the second value of a step
const EIGHTHS = [1, 1.0905077, 1.1892071, 1.2968396, 1.4142135, 1.5422108, 1.6817929, 1.8340081];

const f = Math.fround;  // of sums, products and quotients of floats in double, this is what float arithmetic gives
const sum = list => list.reduce((a, b) => a + b, 0);
const product = list => list.reduce((a, b) => a * b, 1);
const bytesOf = bits => Math.ceil(bits / 8);
const widthOf = number => number.toString(2).length * (number > 0);  // bits that hold it
const list = (count, entry) => Array.from({length: count}, (_, i) => entry(i));

function check(condition, what) {
    if (!condition) throw new Error(what);
}

const upper = new DataView(new ArrayBuffer(4));  // a float, whose lower half stays zero

/* Numbers one after another. */
class Reader {
    constructor(bytes, at = 0) {
        this.bytes = bytes;
        this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        this.at = at;
    }
    next(get, size) {
        this.at += size;
        return this.view[get](this.at - size, true);
    }
    u8() { return this.next('getUint8', 1); }
    i8() { return this.next('getInt8', 1); }
    u16() { return this.next('getUint16', 2); }
    i16() { return this.next('getInt16', 2); }
    u32() { return this.next('getUint32', 4); }
    u64() { return Number(this.next('getBigUint64', 8)); }
    f32() { return this.next('getFloat32', 4); }
    bf16() {
        upper.setUint16(0, this.u16());
        return upper.getFloat32(0);
    }
    f16() {
        const bits = this.u16(), exponent = bits >> 10 & 31, fraction = (bits & 1023) / 1024, sign = bits >> 15 ? -1 : 1;
        if (exponent === 31) return fraction ? NaN : sign * Infinity;
        return sign * (exponent ? (1 + fraction) * 2 ** (exponent - 15) : fraction * 2 ** -14);
    }
    take(size) {
        this.at += size;
        return this.bytes.subarray(this.at - size, this.at);
    }
}

/* `count` bits from bit `at` on, lowest first; positions count modulo `size`. */
function bits(bytes, at, count, size = Infinity) {
    let value = 0;
    for (let i = 0; i < count; i++) {
        const place = (at + i) % size;
        value |= (bytes[place >> 3] >> (place & 7) & 1) << i;
    }
    return value;
}

function crc32(bytes) {
    let crc = -1;
    for (const byte of bytes) {
        crc ^= byte;
        for (let bit = 0; bit < 8; bit++) crc = crc >>> 1 ^ (crc & 1 ? 0xEDB88320 : 0);
    }
    return ~crc >>> 0;
}

/* ---- one train for the table ----------------------------------------------------------------------------- */

class Run {
    constructor(rate, count, spread = 128) {
        this.rate = rate;
        this.count = count;
        this.plain = rate >= 128;
        this.values = rate % 2 && !this.plain ? 2 : 1;
        this.bits = this.plain ? rate - 128 : rate * this.values / 2;
        this.steps = Math.ceil(count / this.values);
        this.bound = this.plain ? 2 ** this.bits : rate ? 510 : 0;
        this.spread = f(f(EIGHTHS[spread % 8]) * 2 ** (Math.floor(spread / 8) - 16));
    }
}

const readRuns = data => list(data.u8(), () => new Run(data.u8(), data.u16(), data.u8()));
const bitsOf = (runs, plain) => sum(runs.map(run => run.plain === plain ? run.steps * run.bits : 0));
const recordBytes = runs => bytesOf(bitsOf(runs, true)) + bytesOf(bitsOf(runs, false));

/* The code integers of each run. */
function decode(record, runs, stateBits) {
    const plainBytes = bytesOf(bitsOf(runs, true)), plain = record.subarray(0, plainBytes), circle = record.subarray(plainBytes);
    const first = runs.find(run => !run.plain && run.rate > 0);
    let plainAt = 0, at = first ? -first.bits : 0;  // the state of the first step begins at bit 0
    return runs.map(run => {
        const codes = new Int32Array(run.steps * run.values);
        for (let i = 0; i < run.steps && run.rate > 0; i++) {
            if (run.plain) {
                codes[i] = 2 * bits(plain, plainAt, run.bits) + 1 - 2 ** run.bits;
                plainAt += run.bits;
                continue;
            }
            at += run.bits;
            const state = bits(circle, at, stateBits, 8 * circle.length);
            for (let value = 0; value < run.values; value++) {
                const [a, b] = CODES[value], word = Math.imul(a, state) + b;
                codes[value * run.steps + i] = sum([0, 8, 16, 24].map(shift => word >>> shift & 255)) - 510;
            }
        }
        return codes.subarray(0, run.count);
    });
}

/* Reads the classes and the basis, then rows. */
class Table {
    constructor(data, {dim, vocab}, sections) {
        Object.assign(this, {dim, vocab, rank: data.u32(), centroids: data.u32(), stateBits: data.u8()});
        data.u8();
        this.classCount = data.u8();
        this.gainBits = data.u8();
        data.f32();
        this.exponent = data.i16();
        this.records = sections[RECORDS] ?? new Uint8Array();
        this.readClasses(new Reader(sections[CLASSES]));
        this.readBasis(new Reader(sections[BASIS]));
        if (this.centroids > 1) {
            const data = new Reader(sections[CENTROIDS]), type = this.classes[this.classCount];
            this.centre = list(this.centroids, () => this.coefficients(data.take(recordBytes(type.runs)), type, 1));
            check(data.at === data.bytes.length, 'centroids that end elsewhere');
        }
        this.readIndex(new Reader(sections[INDEX] ?? new Uint8Array()));
    }

    readClasses(data) {
        this.gains = list(2 ** this.gainBits, () => data.bf16());
        this.classes = list(this.classCount + (this.centroids > 1), () => {
            data.u16();
            return {scale: data.bf16(), runs: readRuns(data)};
        });
        check(data.at === data.bytes.length, 'classes that end elsewhere');
    }

    readBasis(data) {
        const runs = readRuns(data);
        this.scales = list(this.rank + (this.centroids > 0), () => data.bf16());
        this.bounds = runs.flatMap(run => list(run.count, () => run.bound));
        this.basis = runs.flatMap(run => list(run.count, () => {
            const row = [new Run(run.rate, this.dim)];
            return decode(data.take(recordBytes(row)), row, this.stateBits)[0];
        }));
        check(this.basis.length === this.scales.length && data.at === data.bytes.length, 'a basis that ends elsewhere');
    }

    /* Of each row: where its record begins, its class, its gain, its centroid. */
    readIndex(data) {
        const offsetBytes = bytesOf(widthOf(this.records.length)), sizes = this.classes.map(type => recordBytes(type.runs));
        const widths = [widthOf(this.classCount - 1), this.gainBits, this.centroids > 1 ? widthOf(this.centroids - 1) : 0];
        this.where = [];
        while (this.where.length < this.vocab) {
            const count = Math.min(128, this.vocab - this.where.length);
            let offset = data.take(offsetBytes).reduceRight((high, byte) => 256 * high + byte, 0);
            const ids = widths.map(width => {
                const bytes = data.take(bytesOf(count * width));
                return list(count, i => bits(bytes, i * width, width));
            });
            for (let i = 0; i < count; i++) {
                const [type, gain, centroid] = ids.map(id => id[i]);
                this.where.push({offset, type, gain, centroid});
                offset += sizes[type];
            }
        }
        check(data.at === data.bytes.length, 'an index that ends elsewhere');
    }

    /* z of a record. */
    coefficients(record, {scale, runs}, gain) {
        const z = new Float32Array(this.rank), g = f(scale * gain);
        let j = 0;
        decode(record, runs, this.stateBits).forEach((codes, i) => {
            const unit = f(g * runs[i].spread);
            for (const t of codes) z[j++] = runs[i].rate > 0 ? t * unit : 0;
        });
        return z;
    }

    row(token) {
        const {offset, type, gain, centroid} = this.where[token], chosen = this.classes[type];
        const record = this.records.subarray(offset, offset + recordBytes(chosen.runs));
        const row = new Float32Array(this.dim);
        let a = this.coefficients(record, chosen, this.gains[gain]);
        if (this.centroids > 1) a = a.map((z, j) => this.centre[centroid][j] + z);
        if (this.centroids > 0) a = Float32Array.of(1, ...a);
        a = a.map((z, j) => z * this.scales[j]);
        const m = a.reduce((most, x) => Math.max(most, Math.abs(x)), 0), full = f(32767 / m);
        if (m === 0 || !Number.isFinite(m) || !Number.isFinite(full)) return row;
        let q = Array.from(a, x => Math.trunc(f(f(x * full) + (x < 0 ? -0.5 : 0.5)))), e = 0;
        const s = sum(q.map((x, j) => Math.abs(x) * this.bounds[j]));
        while (Math.floor(s / 2 ** e) >= 2 ** 31) e++;
        q = q.map(x => Math.sign(x) * Math.floor(Math.abs(x) / 2 ** e));
        const factor = f(f(m / 32767) * 2 ** e), half = Math.trunc(this.exponent / 2);
        const sums = new Float64Array(this.dim);
        q.forEach((x, j) => this.basis[j].forEach((t, c) => { sums[c] += x * t; }));
        return row.map((_, c) => f(f(f(sums[c]) * factor) * 2 ** half) * 2 ** (this.exponent - half));
    }
}

/* ---- a train for each row ------------------------------------------------------------------------------------ */

/* a (m x k) times b (k x n), sums in the order of k. */
function multiply(a, b, k) {
    const m = a.length / k, n = b.length / k, c = new Float32Array(m * n);
    for (let i = 0; i < m; i++)
        for (let l = 0; l < k; l++)
            for (let j = 0; j < n; j++) c[i * n + j] += f(a[i * k + l] * b[l * n + j]);
    return c;
}

class Trains {
    constructor(data, {coding, modes, adapted, dim, vocab, maxRank}, sections) {
        const ranks = [data.u32()], shape = list(modes, () => [data.u32(), ranks.push(data.u32())][0]);
        Object.assign(this, {coding, modes, dim, vocab, shape, records: sections[RECORDS], where: []});
        // The largest rank that the shape allows at a bond.
        const most = list(modes - 1, k => Math.min(product(shape.slice(0, k + 1)), product(shape.slice(k + 1)), maxRank || Infinity));
        const index = new Reader(sections[INDEX] ?? new Uint8Array()), wide = most.some(rank => rank > 255);
        for (let token = 0, offset = 0; token < vocab; token++) {
            if (adapted && token % 16 === 0) offset = index.u64();
            const own = adapted ? [1, ...most.map(() => wide ? index.u16() : index.u8()), 1] : ranks;
            this.where.push({offset, ranks: own});
            offset += this.parts(own).size;
        }
        check(index.at === index.bytes.length, 'an index that ends elsewhere');
    }

    /* Entries of each core, and bytes of the record. */
    parts(ranks) {
        const entries = this.shape.map((n, k) => ranks[k] * n * ranks[k + 1]);
        return {entries, size: (this.coding >= 3 ? 2 * this.modes : 0) + bytesOf(sum(entries) * (64 >> this.coding))};
    }

    cores({offset, ranks}) {
        const {entries, size} = this.parts(ranks), data = new Reader(this.records.subarray(offset, offset + size));
        const scales = list(this.coding >= 3 ? this.modes : 0, () => data.f16()), begin = data.at;
        let i = 0;
        const entry = [, () => data.f32(), () => data.f16(), k => scales[k] * data.i8(),
            k => scales[k] * (bits(data.bytes, 8 * begin + 4 * i++, 4) - 8)][this.coding];
        return entries.map((count, k) => Float32Array.from({length: count}, () => entry(k)));
    }

    row(token) {
        const {shape, modes} = this, {ranks} = this.where[token], cores = this.cores(this.where[token]);
        let middle = 1;
        while (middle + 1 < modes && product(shape.slice(0, middle + 1)) ** 2 <= product(shape)) middle++;
        let left = cores[0], right = cores[modes - 1];
        for (let k = 1; k < middle; k++) left = multiply(left, cores[k], ranks[k]);
        for (let k = modes - 2; k >= middle; k--) right = multiply(cores[k], right, ranks[k + 1]);
        return (modes > 1 ? multiply(left, right, ranks[middle]) : left).slice(0, this.dim);
    }
}

/* ---- images ---------------------------------------------------------------------------------------------------- */

export function open(bytes) {
    const data = new Reader(bytes, 8), magic = [0x89, 0x54, 0x54, 0x45, 0x0D, 0x0A, 0x1A, 0x0A];
    check(magic.every((byte, i) => bytes[i] === byte), 'not a .tte image');
    const crc = data.u32(), version = data.u16(), layout = data.u8(), coding = data.u8(), modes = data.u8(), count = data.u8();
    check(version === 2, 'another version of the format');
    const adapted = data.u16() & 1, dim = data.u32(), vocab = data.u64(), size = data.u64(), maxRank = data.u32();
    const table = new Reader(bytes, 184 + (layout === 1 ? 24 : 4 + 8 * modes)), sections = {};
    let end = table.at + 24 * count;
    check(crc32(bytes.subarray(12, end)) === crc, 'checksum of the header');
    for (let i = 0; i < count; i++) {
        const offset = table.u64(), length = table.u64(), crc = table.u32(), kind = table.u32();
        check(offset === end, 'a gap before a section');
        sections[kind] = bytes.subarray(offset, offset + length);
        check(crc32(sections[kind]) === crc, `checksum of section ${kind}`);
        end += length;
    }
    check(size === bytes.length && end + 32 === size && bytes.subarray(end).every(byte => byte === 0), 'the end');
    data.at = 184;
    return new (layout === 1 ? Table : Trains)(data, {coding, modes, adapted, dim, vocab, maxRank}, sections);
}

/* The first row that differs from float32 numbers one after another, or -1. One NaN is like another. */
export function differs(image, want) {
    for (let token = 0; token < image.vocab; token++)
        if (!image.row(token).every((x, j) => Object.is(x, want[token * image.dim + j]))) return token;
    return -1;
}

async function main(arguments_) {
    const {readFileSync} = await import('node:fs');
    const compare = arguments_[0] === '--compare', paths = compare ? arguments_.slice(1, -1) : arguments_;
    const rows = compare ? new Reader(readFileSync(arguments_.at(-1))) : null;
    let failed = 0;
    for (const path of paths) {
        const image = open(readFileSync(path));
        if (!compare) {
            console.log(`${path}: ${image.vocab} x ${image.dim}`, image.vocab ? image.row(0).slice(0, 8) : '');
            continue;
        }
        const wrong = differs(image, Float32Array.from({length: image.vocab * image.dim}, () => rows.f32()));
        if (wrong >= 0) console.error(`FAILED ${path}: row ${wrong}`);
        failed += wrong >= 0;
    }
    if (!compare) return;
    if (rows.at !== rows.bytes.length) console.error('FAILED: more rows than these images have');
    failed += rows.at !== rows.bytes.length;
    console.log(`reader: ${paths.length + 1 - failed} passed, ${failed} failed`);
    process.exitCode = failed > 0 ? 1 : 0;
}

if (globalThis.process?.argv?.[1]?.endsWith('reader.mjs')) await main(process.argv.slice(2));
