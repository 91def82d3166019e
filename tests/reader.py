"""reader.py: reads .tte images of format 2, written from IMAGE FORMAT in tt_embed.h alone.

    python3 reader.py IMAGE ..            what an image holds, and its first row
    python3 reader.py --compare IMAGE.. ROWS   all rows against float32 in ROWS, bit for bit; ends with
                                          'reader: N passed, N failed'

Plain and slow; needs numpy. Everything is checked that this reader relies on, nothing more.
"""
import struct
import sys
import zlib

import numpy as np

f32 = np.float32
CODES = ((2339688529, 1818127173), (441949745, 3125967622))  # A and B, of the first and the second value of a step
EIGHTHS = np.array([1, 1.0905077, 1.1892071, 1.2968396, 1.4142135, 1.5422108, 1.6817929, 1.8340081], f32)
PER_TABLE, PER_TOKEN = 1, 2
RECORDS, INDEX, CLASSES, BASIS, CENTROIDS = 1, 2, 3, 4, 5


def bits_of(data):
    """Lowest bit of the first byte first."""
    return np.unpackbits(np.frombuffer(data, np.uint8), bitorder='little').astype(np.int64)


def numbers(data, count, width):
    """`count` numbers of `width` bits each, lowest bits first."""
    bits = bits_of(data)[:count * width].reshape(count, width)
    return bits @ (1 << np.arange(width, dtype=np.int64))


def bf16(data):
    return (np.frombuffer(data, '<u2').astype(np.uint32) << 16).view(f32)


def u16(data, at):
    return struct.unpack_from('<H', data, at)[0]


# ---- one train for the table ------------------------------------------------------------------------------

class Run:
    def __init__(self, rate, count, spread=128):
        self.rate, self.count = rate, count
        self.plain = rate >= 128
        self.values = 2 if rate % 2 and not self.plain else 1
        self.bits = rate - 128 if self.plain else rate if self.values == 2 else rate // 2
        self.steps = (count + self.values - 1) // self.values
        self.bound = 1 << self.bits if self.plain else 510 if rate else 0
        self.spread = np.ldexp(EIGHTHS[spread % 8], spread // 8 - 16).astype(f32)


def read_runs(data, at):
    """A count, then the runs; and where they end."""
    runs = [Run(data[p], u16(data, p + 1), data[p + 3]) for p in range(at + 1, at + 1 + 4 * data[at], 4)]
    return runs, at + 1 + 4 * len(runs)


def record_bytes(runs):
    plain = sum(r.steps * r.bits for r in runs if r.plain)
    trellis = sum(r.steps * r.bits for r in runs if not r.plain)
    return (plain + 7) // 8 + (trellis + 7) // 8


def decode(record, runs, state_bits):
    """Code integers of all coefficients of the runs, as int64."""
    plain_bytes = (sum(r.steps * r.bits for r in runs if r.plain) + 7) // 8
    plain, circle = bits_of(record[:plain_bytes]), bits_of(record[plain_bytes:])
    # Where each state of the trellis begins: the first at bit 0, each further one its own k bits further on.
    ks = np.concatenate([np.full(r.steps, r.bits) for r in runs if 0 < r.rate < 128] or [[]]).astype(np.int64)
    begins = np.cumsum(ks) - (ks[0] if len(ks) else 0)
    out, step = [], 0
    for r in runs:
        if r.plain:
            u = plain[:r.steps * r.bits].reshape(r.steps, r.bits) @ (1 << np.arange(r.bits, dtype=np.int64))
            plain = plain[r.steps * r.bits:]
            t = 2 * u + 1 - (1 << r.bits)
        elif r.rate == 0:
            t = np.zeros(r.count, np.int64)
        else:
            places = (begins[step:step + r.steps, None] + np.arange(state_bits)) % len(circle)
            state = circle[places] @ (1 << np.arange(state_bits, dtype=np.int64))
            step += r.steps
            halves = []
            for a, b in CODES[:r.values]:
                word = (np.uint64(a) * state.astype(np.uint64) + np.uint64(b)) & np.uint64(0xFFFFFFFF)
                halves.append(sum((word >> np.uint64(s) & np.uint64(255)).astype(np.int64) for s in (0, 8, 16, 24)) - 510)
            t = np.concatenate(halves)[:r.count]
        out.append(t)
    return np.concatenate(out or [np.zeros(0, np.int64)])


class Table:
    """Reads the classes and the basis, then rows."""

    def __init__(self, header, sections):
        (self.rank, self.centroids, self.state_bits, self.effort, self.class_count, self.gain_bits,
         _, self.exponent) = struct.unpack_from('<IIBBBBfh', header, 184)
        self.dim, self.vocab = struct.unpack_from('<IQ', header, 20)
        self.records, self.index = sections.get(RECORDS, b''), sections.get(INDEX, b'')
        self.read_classes(sections[CLASSES])
        self.read_basis(sections[BASIS])
        if self.centroids >= 2:
            size = record_bytes(self.classes[-1][1])
            self.centre = np.stack([self.coefficients(sections[CENTROIDS][i * size:(i + 1) * size], f32(1), -1)
                                    for i in range(self.centroids)])
        self.read_index()

    def read_classes(self, data):
        at = 2 << self.gain_bits
        self.gains, self.classes = bf16(data[:at]), []
        for _ in range(self.class_count + (self.centroids >= 2)):
            scale = bf16(data[at + 2:at + 4])[0]
            runs, at = read_runs(data, at + 4)
            self.classes.append((scale, runs))
        assert at == len(data)

    def read_basis(self, data):
        rows = self.rank + (self.centroids >= 1)
        runs, at = read_runs(data, 0)
        self.scales = bf16(data[at:at + 2 * rows])
        at += 2 * rows
        self.basis, self.bound = np.zeros((rows, self.dim), np.int64), np.zeros(rows, np.int64)
        row = 0
        for run in runs:
            each = [Run(run.rate, self.dim)]
            for _ in range(run.count):
                self.basis[row] = decode(data[at:at + record_bytes(each)], each, self.state_bits)
                self.bound[row] = run.bound
                row, at = row + 1, at + record_bytes(each)
        assert row == rows and at == len(data)

    def read_index(self):
        """Of each row: where its record begins, its class, its gain, its centroid."""
        class_bits = (self.class_count - 1).bit_length()
        id_bits = (self.centroids - 1).bit_length() if self.centroids >= 2 else 0
        width = (len(self.records).bit_length() + 7) // 8
        sizes = [record_bytes(runs) for _, runs in self.classes]
        self.where, at = [], 0
        for first in range(0, self.vocab, 128):
            n = min(128, self.vocab - first)
            offset = int.from_bytes(self.index[at:at + width], 'little')
            at += width
            ids = []
            for bits in (class_bits, self.gain_bits, id_bits):
                size = (n * bits + 7) // 8
                ids.append(numbers(self.index[at:at + size], n, bits))
                at += size
            for c, g, m in zip(*ids):
                self.where.append((offset, c, g, m))
                offset += sizes[c]
        assert at == len(self.index)

    def coefficients(self, record, gain, c):
        """z of a record of class c, in float32, each product rounded."""
        scale, runs = self.classes[c]
        g = f32(scale * gain)
        z, at = np.zeros(self.rank, f32), 0
        t = decode(record, runs, self.state_bits).astype(f32)
        for r in runs:
            if r.rate:
                z[at:at + r.count] = t[at:at + r.count] * f32(g * r.spread)
            at += r.count
        return z

    def row(self, token):
        offset, c, g, m = self.where[token]
        z = self.coefficients(self.records[offset:offset + record_bytes(self.classes[c][1])], self.gains[g], c)
        if self.centroids >= 2:
            z = self.centre[m] + z
        if self.centroids >= 1:
            z = np.concatenate([np.ones(1, f32), z])
        a = z * self.scales
        m = np.max(np.abs(a)) if len(a) else f32(0)
        if m == 0 or not np.isfinite(m) or not np.isfinite(f32(32767) / m):
            return np.zeros(self.dim, f32)
        y = a * (f32(32767) / m)
        q = np.trunc(y + np.copysign(f32(0.5), y)).astype(np.int64)
        total, e = int(np.sum(np.abs(q) * self.bound)), 0
        while total >> e >= 1 << 31:
            e += 1
        q = np.sign(q) * (np.abs(q) >> e)
        x = (q @ self.basis).astype(f32) * np.ldexp(m / f32(32767), e).astype(f32)
        half = int(self.exponent / 2)
        return np.ldexp(np.ldexp(x, half).astype(f32), self.exponent - half).astype(f32)


# ---- a train for each row -----------------------------------------------------------------------------------

def product(a, b):
    """a @ b in float32, sums in order."""
    out = np.zeros((a.shape[0], b.shape[1]), f32)
    for k in range(a.shape[1]):
        out = out + a[:, k, None] * b[None, k, :]
    return out


class Trains:
    def __init__(self, header, sections):
        self.coding, self.modes, flags = header[15], header[16], u16(header, 18)
        self.dim, self.vocab = struct.unpack_from('<IQ', header, 20)
        sizes = struct.unpack_from('<%dI' % (2 * self.modes + 1), header, 184)
        self.shape, largest = sizes[1::2], sizes[0::2]
        self.records, index = sections[RECORDS], sections.get(INDEX, b'')
        self.where, offset, at = [], 0, 0
        for token in range(self.vocab):
            ranks = largest
            if flags & 1:
                if token % 16 == 0:
                    offset, at = struct.unpack_from('<Q', index, at)[0], at + 8
                wide = len(index) > (self.vocab + 15) // 16 * 8 + self.vocab * (self.modes - 1)
                ranks = (1,) + struct.unpack_from('<%d%s' % (self.modes - 1, 'H' if wide else 'B'), index, at) + (1,)
                at += (self.modes - 1) << wide
            self.where.append((offset, ranks))
            offset += self.record_parts(ranks)[1]

    def record_parts(self, ranks):
        """Entries of each core, and bytes of the record."""
        sizes = [ranks[k] * self.shape[k] * ranks[k + 1] for k in range(self.modes)]
        scales = 2 * self.modes if self.coding >= 3 else 0
        return sizes, scales + (sum(sizes) * (64 >> self.coding) + 7) // 8

    def row(self, token):
        offset, ranks = self.where[token]
        sizes, size = self.record_parts(ranks)
        data, total = self.records[offset:offset + size], sum(sizes)
        if self.coding == 1:
            entries = np.frombuffer(data, '<f4').astype(f32)
        elif self.coding == 2:
            entries = np.frombuffer(data, '<f2').astype(f32)
        else:
            scales = np.frombuffer(data[:2 * self.modes], '<f2').astype(f32)
            codes = data[2 * self.modes:]
            codes = np.frombuffer(codes, np.int8) if self.coding == 3 else numbers(codes, total, 4) - 8
            entries = codes.astype(f32) * np.repeat(scales, sizes)
        ends = np.cumsum([0] + sizes)
        cores = [entries[ends[k]:ends[k + 1]].reshape(ranks[k], self.shape[k], ranks[k + 1]) for k in range(self.modes)]
        # From both ends to the last bond with at most the root of all entries on its left, the first at least.
        middle, left = 1, self.shape[0]
        while middle + 1 < self.modes and (left * self.shape[middle]) ** 2 <= np.prod(self.shape):
            left, middle = left * self.shape[middle], middle + 1
        v = cores[0][0]
        for core in cores[1:middle]:
            v = product(v, core.reshape(core.shape[0], -1)).reshape(-1, core.shape[2])
        if self.modes == 1:
            return v[:self.dim, 0]
        y = cores[-1][:, :, 0]
        for core in cores[-2:middle - 1:-1]:
            y = product(core.reshape(-1, core.shape[2]), y).reshape(core.shape[0], -1)
        return product(v, y).ravel()[:self.dim]


# ---- images ---------------------------------------------------------------------------------------------------

def open_image(data):
    assert data[:8] == b'\x89TTE\r\n\x1a\n' and u16(data, 12) == 2, 'not an image of format 2'
    layout, modes, count = data[14], data[16], data[17]
    first = 184 + (24 if layout == PER_TABLE else 4 + 8 * modes)
    end = first + 24 * count
    assert zlib.crc32(data[12:end]) == struct.unpack_from('<I', data, 8)[0], 'checksum of the header'
    sections = {}
    for entry in range(first, end, 24):
        offset, size, crc, kind = struct.unpack_from('<QQII', data, entry)
        assert offset == end, 'a gap before a section'
        sections[kind] = data[offset:offset + size]
        assert zlib.crc32(sections[kind]) == crc, 'checksum of section %d' % kind
        end += size
    assert data[end:] == bytes(32) and len(data) == struct.unpack_from('<Q', data, 32)[0], 'the end'
    return (Table if layout == PER_TABLE else Trains)(data, sections)


def compare(paths, rows):
    want, failed = np.fromfile(rows, '<f4'), 0
    for path in paths:
        with open(path, 'rb') as file:
            image = open_image(file.read())
        own, want = want[:image.vocab * image.dim].reshape(image.vocab, image.dim), want[image.vocab * image.dim:]
        wrong = [t for t in range(image.vocab) if not same(image.row(t), own[t])]
        if wrong:
            failed += 1
            print('FAILED %s: %d of %d rows, the first %d' % (path, len(wrong), image.vocab, wrong[0]), file=sys.stderr)
    if len(want) > 0:
        failed += 1
        print('FAILED %s has more rows' % rows, file=sys.stderr)
    print('reader: %d passed, %d failed' % (len(paths) + 1 - failed, failed))
    return failed > 0


def same(a, b):
    """Equal bits; one NaN is like another."""
    return bool(np.all((a.view(np.uint32) == b.view(np.uint32)) | (np.isnan(a) & np.isnan(b))))


def main(arguments):
    np.seterr(all='ignore')  # an image may hold any numbers
    if len(arguments) > 2 and arguments[0] == '--compare':
        return compare(arguments[1:-1], arguments[-1])
    for path in arguments:
        with open(path, 'rb') as file:
            image = open_image(file.read())
        print('%s: %d x %d' % (path, image.vocab, image.dim), image.row(0) if image.vocab else '')
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
